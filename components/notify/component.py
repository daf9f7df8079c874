"""Component ``notify``: the exit handler, which says what became of the run, and why."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def notify(storage: str, pushgateway: str, ui: str, page: dsl.Output[dsl.Markdown]) -> str:
    """Sum up the run in the log, on its page, in runs/<run>/outcome.json and at the Pushgateway; returns the outcome.

    Args:
        pushgateway: Address of a Prometheus Pushgateway; empty: none.
        ui: Address of the Kubeflow Pipelines UI, for the link to the run; empty: no link.
    """
    import os
    from pathlib import Path

    from components.notify.summary import as_markdown
    from components.notify.tell import tell
    from components.stage import RUN_ID

    outcome = tell(run=os.environ.get(RUN_ID, ""), storage=storage, pushgateway=pushgateway, ui=ui)
    Path(page.path).write_text(as_markdown(outcome), encoding="utf-8")
    return outcome.outcome
