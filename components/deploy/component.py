"""Component ``deploy``: a new version beside the running one, tested, switched to, rolled back where that fails."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def deploy(
    archive: dsl.Input[dsl.Artifact],
    management: str,
    inference: str,
    workers: int,
    champion: str,
    storage: str,
    deployment: dsl.Output[dsl.Artifact],
) -> str:
    """Take the archive into service at every replica of the endpoint, or at none; returns the version that serves.

    Args:
        management: TorchServe's management address; empty: the archive is kept in the storage and not deployed.
        inference: Address of the endpoint, for the smoke test.
        workers: Worker processes of each replica.
        champion: The version that the gate compared with, or "none": only that one may be replaced.
        deployment: JSON: version, previous version, seconds by step.
    """
    from pathlib import Path

    from components.deploy.work import deploy_archive
    from components.stage import stage
    from glioscope import atomic

    with stage("deploy", storage=storage) as result:
        told = deploy_archive(
            Path(archive.path) / "glioscope.mar",
            management=management,
            inference=inference,
            workers=workers,
            champion=champion,
            storage=storage,
        )
        atomic.write_json(Path(deployment.path), told)
        deployment.metadata.update({name: str(value) for name, value in told.items()})
        result.update(told)
    return told["version"]
