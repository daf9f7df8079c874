"""Component ``gate``: whether a model may be deployed, by rules and against the model in service."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def gate(
    selected: dsl.Input[dsl.Artifact],
    champion: dsl.Input[dsl.Artifact],
    settings: dict,
    storage: str,
    decision: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.Markdown],
) -> bool:
    """Apply every rule; returns whether all hold. The reasons are in gate.json, on the page and in the run's record.

    Args:
        champion: What ``champion`` wrote: the evaluation of the model in service, or a note that there is none.
        settings: Group ``gate`` of the parameters.
        decision: The file gate.json.
    """
    from pathlib import Path

    from components.gate.page import as_markdown
    from components.groups import unpacked
    from components.stage import stage
    from glioscope.config import GateParams
    from glioscope.gate import gate as decide

    with stage("gate", storage=storage) as result:
        nobody = (Path(champion.path) / "none.txt").is_file()
        decided = decide(
            Path(selected.path) / "metrics.json",
            unpacked(GateParams, settings, where="gate"),
            Path(decision.path),
            champion=None if nobody else Path(champion.path) / "metrics.json",
        )
        result.update(passed=decided.passed, reasons=decided.reasons)
        decision.metadata.update(passed=decided.passed, reasons="; ".join(decided.reasons))
        text = as_markdown(decided, champion=str(champion.metadata.get("version", "none")))
        Path(page.path).write_text(text, encoding="utf-8")
        print(text)
    return decided.passed
