"""Component ``archive``: the model that passed the gate as the ``.mar`` that TorchServe loads."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def archive(selected: dsl.Input[dsl.Artifact], storage: str, archive: dsl.Output[dsl.Artifact]) -> str:
    """Package the selected model; returns the archive's version, which is made of the digests of all that it holds.

    Args:
        selected: The folder of the chosen evaluation; its ``model`` is packaged.
        archive: A folder with glioscope.mar.
    """
    from pathlib import Path

    from components.stage import stage
    from serving.archive import archive as package
    from serving.mar import read_mar

    with stage("archive", storage=storage) as result:
        target = Path(archive.path) / "glioscope.mar"
        package(Path(selected.path) / "model", target)
        mar = read_mar(target)
        told = {"version": mar.version, "sha256": mar.sha256, "weights_sha256": mar.model.weights_sha256}
        archive.metadata.update(told)
        result.update(told)
    return mar.version
