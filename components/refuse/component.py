"""Component ``refuse``: the end of a run whose model the gate turned down."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def refuse(decision: dsl.Input[dsl.Artifact], storage: str) -> str:
    """Say in the log, the record and the output why nothing is deployed; the model in service goes on serving.

    Args:
        decision: The file gate.json.
    """
    import json
    from pathlib import Path

    from components.stage import stage

    with stage("refuse", storage=storage) as result:
        reasons = json.loads(Path(decision.path).read_text(encoding="utf-8"))["reasons"]
        result.update(reasons=reasons)
        for reason in reasons:
            print(f"refused: {reason}")
    return "; ".join(reasons)
