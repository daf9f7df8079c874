"""A run that Kubeflow starts by itself, at set times: made once, and replaced when it is asked for differently."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from glioscope.errors import ConfigError
from pipelines.kubeflow import Kubeflow, KubeflowError, Version, named

_FIELD = re.compile(r"[0-9A-Za-z*?/,\-]+")


@dataclass(frozen=True)
class Schedule:
    """When: ``cron`` in Kubeflow's six fields, seconds first, in UTC; or ``every`` so many seconds."""

    name: str
    cron: str = ""
    every: int = 0

    def __post_init__(self) -> None:
        if bool(self.cron) == bool(self.every):
            raise ConfigError("give either --cron or --every", where="schedule")
        if self.every < 0:
            raise ConfigError("must be above 0", where="--every")
        # Kubeflow takes five fields, too, and reads them as seconds, minutes, hours, day, month: not as crontab does.
        fields = self.cron.split()
        if fields and (len(fields) != 6 or not all(_FIELD.fullmatch(field) for field in fields)):
            hint = 'Give second, minute, hour, day, month and weekday: "0 0 2 * * *" is every night at two'
            raise ConfigError("is not Kubeflow's cron of six fields", where=f"--cron {self.cron!r}", hint=hint)

    @property
    def words(self) -> str:
        """For people: "every 3600 s"."""
        return f"at {self.cron} UTC" if self.cron else f"every {self.every} s"


@dataclass(frozen=True)
class Kept:
    """A recurring run as it is now, and what was done for that."""

    recurring_run_id: str
    change: Literal["created", "updated", "unchanged"]


def keep(
    kubeflow: Kubeflow,
    schedule: Schedule,
    version: Version,
    values: dict[str, Any],
    *,
    experiment_id: str,
    service_account: str = "",
) -> Kept:
    """See to it that there is one recurring run of this name, and that it is this one.

    The API cannot change one. So the new one is made first and the old ones are deleted then: if that is cut off, there
    are two for a while, never none, and doing it again mends it.
    """
    search = partial(kubeflow.api.list_recurring_runs, filter=named(schedule.name), page_size=100)
    found = kubeflow.ask("looking for the recurring run", partial(search, namespace=kubeflow.namespace))
    before = list(found.recurring_runs or ())
    same = [
        run
        for run in before
        if _is(run, schedule, version, values, experiment_id=experiment_id, account=service_account)
    ]
    change: Literal["created", "updated", "unchanged"] = "updated" if before else "created"
    if same:
        now = same[0].recurring_run_id
        change = "unchanged" if len(before) == 1 else "updated"
    else:
        create = partial(
            kubeflow.api.create_recurring_run,
            experiment_id,
            schedule.name,
            cron_expression=schedule.cron or None,
            interval_second=schedule.every or None,
            max_concurrency=1,
            no_catchup=True,
            params=values,
            pipeline_id=version.pipeline_id,
            version_id=version.version_id,
            service_account=service_account or None,
        )
        now = kubeflow.ask("making the recurring run", create).recurring_run_id
    for old in before:
        if old.recurring_run_id != now:
            _delete(kubeflow, old.recurring_run_id, schedule.name)
    return Kept(now, change)


def _delete(kubeflow: Kubeflow, recurring_run_id: str, name: str) -> None:
    delete = partial(kubeflow.api.delete_recurring_run, recurring_run_id)
    try:
        kubeflow.ask("deleting the old recurring run", delete)
    except KubeflowError as error:
        hint = f"The new one is there, but so is the old one, {recurring_run_id}: run this again"
        raise KubeflowError(error.what, where=name, hint=hint) from error


def _is(
    run: Any, schedule: Schedule, version: Version, values: dict[str, Any], *, experiment_id: str, account: str
) -> bool:
    trigger = run.trigger
    cron = trigger.cron_schedule.cron if trigger and trigger.cron_schedule else ""
    every = int(trigger.periodic_schedule.interval_second) if trigger and trigger.periodic_schedule else 0
    reference = run.pipeline_version_reference
    return (
        run.mode == "ENABLE"
        and (cron or "", every) == (schedule.cron, schedule.every)
        and reference is not None
        and reference.pipeline_version_id == version.version_id
        and run.experiment_id == experiment_id
        and account in ("", run.service_account)
        and ((run.runtime_config.parameters if run.runtime_config else None) or {}) == values
    )
