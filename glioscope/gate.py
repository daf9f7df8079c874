"""The gate: metrics and rules in, a decision with reasons in words out.

A number that is missing or not a number never passes. A challenger is compared with a champion on the very same slices,
by paired patient bootstrap where the tables of slices lie beside both metrics files.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glioscope import atomic
from glioscope.config import ChampionRule, GateParams, GateRule
from glioscope.errors import InputError

if TYPE_CHECKING:
    from glioscope.evaluation.table import SliceTable

Metrics = dict[str, Any]
_RESAMPLES, _SEED = 2000, 0
_BOUNDS = {"value": "", "ci_low": ", lower end of its 95 % interval,", "ci_high": ", upper end of its 95 % interval,"}


@dataclass(frozen=True)
class Check:
    """One rule applied: whether it holds, the sentence that says why, and the numbers it rests on."""

    metric: str
    passed: bool
    reason: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """All rules applied. ``passed`` only where every one holds; ``reasons`` are the sentences of those that do not."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        return [check.reason for check in self.checks if not check.passed]

    def summary(self) -> dict[str, Any]:
        """What gate.json holds."""
        checks = [
            {"metric": check.metric, "passed": check.passed, "reason": check.reason} | check.numbers
            for check in self.checks
        ]
        return {"passed": self.passed, "reasons": self.reasons, "checks": checks}


def gate(metrics: Path, rules: GateParams, out: Path, *, champion: Path | None = None) -> Decision:
    """Decide on a metrics.json, against the champion's where given, and write gate.json to ``out`` atomically.

    Raises
    ------
    InputError
        A metrics file is missing, broken, or not one that ``glioscope evaluate`` wrote; nothing is written then.
    """
    ours = read_metrics(metrics)
    theirs = read_metrics(champion) if champion is not None else None
    tables = None
    if theirs is not None and champion is not None:
        files = (Path(metrics).with_name("slices.csv"), Path(champion).with_name("slices.csv"))
        if all(file.is_file() for file in files):
            from glioscope.evaluation.table import read_table  # noqa: PLC0415  (scientific libraries, slow to import)

            tables = (
                read_table(files[0], healthy=ours.get("healthy"), volume_temperature=_volume_temperature(ours)),
                read_table(files[1], healthy=theirs.get("healthy"), volume_temperature=_volume_temperature(theirs)),
            )
    decision = decide(ours, rules, champion=theirs, tables=tables)
    lineage = {"metrics": ours.get("lineage"), "champion": theirs.get("lineage") if theirs else None}
    atomic.write_json(out, decision.summary() | {"rules": rules.model_dump(), "lineage": lineage})
    return decision


def decide(
    metrics: Metrics,
    rules: GateParams,
    *,
    champion: Metrics | None = None,
    tables: tuple[SliceTable, SliceTable] | None = None,
) -> Decision:
    """Apply ``rules`` to the contents of a metrics.json.

    ``tables`` are the challenger's and the champion's slices; without them, or where they hold different slices,
    values are compared and the sentence says that the comparison was not paired.
    """
    checks = [_check(metrics, rule) for rule in rules.rules]
    if champion is not None:
        checks += _against_champion(metrics, champion, rules.champion, tables)
    return Decision(tuple(checks))


def read_metrics(path: Path) -> Metrics:
    """Read a metrics.json; raises :class:`InputError` where it is missing, broken or something else."""
    hint = "Give a metrics.json that `glioscope evaluate` wrote"
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=path, hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON: {error}", where=path, hint=hint) from error
    if not isinstance(found, dict) or not isinstance(found.get("classification"), dict):
        raise InputError("has no classification scores", where=path, hint=hint)
    return found


def number(metrics: Metrics, metric: str, bound: str = "value") -> float | None:
    """The number at a dotted name: ``bound`` of a score, or the leaf itself if it is a number; None without one."""
    found = lookup(metrics, metric)
    if isinstance(found, dict):
        found = found.get(bound)
    elif bound != "value":
        return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if math.isfinite(found) else None


def _check(metrics: Metrics, rule: GateRule) -> Check:
    found = number(metrics, rule.metric, rule.bound)
    limits = {"bound": rule.bound, "value": found, "min": rule.min, "max": rule.max}
    if found is None:
        return Check(rule.metric, False, f"{rule.metric}.{rule.bound} is missing{_why(metrics, rule.metric)}", limits)
    said = f"{rule.metric}{_BOUNDS[rule.bound]} is {found:.4g}"
    low, high = (number(metrics, rule.metric, end) for end in ("ci_low", "ci_high"))
    if rule.bound == "value" and low is not None and high is not None:
        said += f" (95 % CI {low:.3g} to {high:.3g})"
    if rule.min is not None and found < rule.min:
        return Check(rule.metric, False, f"{said}, below the minimum of {rule.min:g}", limits)
    if rule.max is not None and found > rule.max:
        return Check(rule.metric, False, f"{said}, above the maximum of {rule.max:g}", limits)
    return Check(rule.metric, True, f"{said}, within its limits", limits)


def _why(metrics: Metrics, metric: str) -> str:
    absent = metrics.get("absent")
    for name, reason in absent.items() if isinstance(absent, dict) else ():
        if metric == name or metric.startswith(f"{name}."):
            return f": {reason}"
    return ""


def _against_champion(
    ours: Metrics, theirs: Metrics, rules: tuple[ChampionRule, ...], tables: tuple[SliceTable, SliceTable] | None
) -> list[Check]:
    if difference := _different_data(ours, theirs):
        return [Check("champion", False, difference)]
    if not rules:
        return []
    from glioscope.evaluation.pairing import pair  # noqa: PLC0415  (scientific libraries, slow to import)

    pairing = pair(tables, ours, theirs)
    checks = []
    for rule in rules:
        a, b = number(ours, rule.metric), number(theirs, rule.metric)
        if a is None or b is None:
            whose, metrics = ("challenger", ours) if a is None else ("champion", theirs)
            reason = f"{rule.metric} cannot be compared: the {whose} has none{_why(metrics, rule.metric)}"
            checks.append(Check(rule.metric, False, reason, {"champion": b, "challenger": a}))
            continue
        sign = -1 if pairing.lower_is_better(rule.metric) else 1
        drop = sign * (b - a)
        numbers: dict[str, Any] = {"champion": b, "challenger": a, "drop": drop, "max_drop": rule.max_drop}
        said = f"{rule.metric} is {a:.4g}, the champion's {b:.4g}"
        certainty = pairing.certainty(rule.metric, max_drop=rule.max_drop, resamples=_RESAMPLES, seed=_SEED)
        if certainty is None:
            passed = drop <= rule.max_drop + 1e-12
            verdict = f"worse by {'no more' if passed else 'more'} than {rule.max_drop:g}"
            said += f": {verdict} (values only; not paired: {pairing.reason_for(rule.metric)})"
        else:
            passed = certainty < rule.confidence
            numbers |= {"certainty": certainty, "confidence": rule.confidence}
            said += f": worse by more than {rule.max_drop:g} with a certainty of {certainty:.1%} (paired bootstrap)"
            said += f", {'below' if passed else 'not below'} the {rule.confidence:.0%} that refuses"
        checks.append(Check(rule.metric, passed, said, numbers | {"paired": certainty is not None}))
    return checks


def _different_data(ours: Metrics, theirs: Metrics) -> str:
    for name, a, b in (
        ("data", lookup(ours, "lineage.data_digest"), lookup(theirs, "lineage.data_digest")),
        ("split", ours.get("split"), theirs.get("split")),
    ):
        if a != b or a is None:
            return (
                f"the champion was measured on other slices ({name}: {_short(b)}, here {_short(a)}); "
                "evaluate it on this store first"
            )
    return ""


def lookup(metrics: Metrics, name: str) -> Any:
    """What lies at a dotted name, of any type; None where nothing does."""
    found: Any = metrics
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _volume_temperature(metrics: Metrics) -> float:
    return number(metrics, "calibration.volume_temperature") or 1.0


def _short(value: Any) -> str:
    return "unknown" if value is None else str(value)[:12]
