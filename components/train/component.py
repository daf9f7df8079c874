"""Component ``train``: one network from image-level labels; killed and retried, it goes on where it was."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    store: dsl.Input[dsl.Dataset],
    architecture: str,
    settings: dict,
    networks: dict,
    storage: str,
    pushgateway: str,
    gpus: str,
    model: dsl.Output[dsl.Model],
):
    """Train ``architecture`` on a slice store without masks; the result is a model directory.

    Args:
        settings: Group ``train`` of the parameters.
        networks: Group ``networks`` of the parameters.
        storage: Where checkpoints are kept while training.
        pushgateway: Address of a Prometheus Pushgateway for progress; empty: none.
        gpus: Processes, each with its GPU, which must be there; 0: one process on what ``train_device`` says.
    """
    from pathlib import Path

    from components.settings.check import count_of
    from components.stage import stage
    from components.train.work import train_kept

    with stage("train", storage=storage, detail=architecture) as result:
        cards = count_of(gpus, "gpus")
        told = train_kept(
            Path(store.path),
            Path(model.path),
            architecture=architecture,
            parameters=settings | ({"device": "cuda"} if cards else {}),
            network=networks[architecture],
            storage=storage,
            pushgateway=pushgateway,
            processes=max(1, cards),
        )
        result.update(told)
        model.metadata.update(told)
