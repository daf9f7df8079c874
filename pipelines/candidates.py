"""Part of the pipeline: the networks trained and scored side by side, and the best of them on validation."""

from typing import NamedTuple

from kfp import dsl

from components.evaluate.component import evaluate
from components.select.component import select
from components.train.component import train
from pipelines.resources import equip


class Candidates(NamedTuple):
    """The evaluation of the selected model."""

    selected: dsl.Artifact


@dsl.pipeline(name="candidates")
def candidates(
    store: dsl.Input[dsl.Dataset],
    masks: dsl.Input[dsl.Dataset],
    models: list,
    train_settings: dict,
    networks: dict,
    evaluate_settings: dict,
    storage: str,
    pushgateway: str,
    gpus: str,
    gpus_scoring: str,
) -> Candidates:
    """Train and evaluate every network, and select one.

    Args:
        masks: For the evaluation; trainings get none.
        models: Names of the networks.
        gpus: Of each training; 0: CPU.
        gpus_scoring: Of each evaluation.
    """
    with dsl.ParallelFor(models, name="networks") as architecture:
        trained = equip(
            train(
                store=store,
                architecture=architecture,
                settings=train_settings,
                networks=networks,
                storage=storage,
                pushgateway=pushgateway,
                gpus=gpus,
            ),
            gpus=gpus,
        )
        scored = equip(
            evaluate(
                store=store,
                masks=masks,
                model=trained.outputs["model"],
                architecture=architecture,
                settings=evaluate_settings,
                storage=storage,
            ),
            gpus=gpus_scoring,
        )
    best = equip(select(evaluations=dsl.Collected(scored.outputs["evaluation"]), storage=storage))
    return Candidates(selected=best.outputs["selected"])
