"""Component ``select``: the best of the models on validation; the test plays no part in the choice."""

from typing import List  # KFP knows no other name for a list of artifacts

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def select(
    evaluations: dsl.Input[List[dsl.Artifact]],
    storage: str,
    selected: dsl.Output[dsl.Artifact],
) -> str:
    """Choose among evaluations and copy the chosen one; returns the sentence that says why.

    Args:
        selected: The folder of the chosen evaluation, with selection.json.
    """
    from pathlib import Path

    from components.select.work import select_named
    from components.stage import stage

    with stage("select", storage=storage) as result:
        named = {str(one.metadata["architecture"]): Path(one.path) for one in evaluations}
        choice = select_named(named, Path(selected.path))
        selected.metadata.update(architecture=choice.name, reasons="; ".join(choice.reasons))
        result.update(architecture=choice.name, reasons=list(choice.reasons))
        print("\n".join(choice.reasons))
    return choice.reason
