"""Component ``champion``: the model in service, measured on this run's test patients, for the gate to compare with."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def champion(
    store: dsl.Input[dsl.Dataset],
    masks: dsl.Input[dsl.Dataset],
    management: str,
    settings: dict,
    storage: str,
    champion: dsl.Output[dsl.Artifact],
) -> str:
    """Evaluate the version that the endpoint answers with now; returns that version, or "none".

    Args:
        management: TorchServe's management address; empty: nothing is deployed, so there is no champion.
        settings: Group ``evaluate`` of the parameters.
        champion: An evaluation; without a model in service, a folder with none.txt.
    """
    from pathlib import Path

    from components.champion.work import measure_champion
    from components.stage import stage

    with stage("champion", storage=storage) as result:
        version = measure_champion(
            Path(store.path),
            Path(masks.path),
            Path(champion.path),
            management=management,
            storage=storage,
            settings=settings,
        )
        champion.metadata["version"] = version
        result.update(version=version)
        print(f"in service: {version}")
    return version
