"""Component ``evaluate``: one model's scores with intervals, its confusion matrix, ROC and report for the UI."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    store: dsl.Input[dsl.Dataset],
    masks: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    architecture: str,
    settings: dict,
    storage: str,
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
):
    """Score a model directory on the test patients; temperature and threshold are fixed on validation.

    Args:
        settings: Group ``evaluate`` of the parameters.
        evaluation: The folder that ``glioscope evaluate`` writes.
    """
    from pathlib import Path

    from components.evaluate.show import confusion, roc, scores
    from components.evaluate.work import evaluate_whole
    from components.stage import stage
    from components.train.kept_checkpoints import drop_checkpoints

    with stage("evaluate", storage=storage, detail=architecture) as result:
        found = evaluate_whole(
            Path(store.path), Path(masks.path), Path(model.path), Path(evaluation.path), settings=settings
        )
        evaluation.metadata["architecture"] = architecture
        result.update(scores(found))
        for name, value in scores(found).items():
            metrics.log_metric(name, value)
        classification.log_confusion_matrix(*confusion(Path(evaluation.path)))
        classification.log_roc_curve(*roc(Path(evaluation.path)))
        Path(report.path).write_bytes((Path(evaluation.path) / "report.html").read_bytes())
        drop_checkpoints(storage, str(model.metadata.get("checkpoints", "")))
