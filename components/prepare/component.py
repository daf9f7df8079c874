"""Component ``prepare``: a share of the patients into shards; pods with the other shares run beside it."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare(
    data: dsl.Input[dsl.Dataset],
    settings: dict,
    part: int,
    parts: int,
    storage: str,
    shards: dsl.Output[dsl.Dataset],
):
    """Turn the scans of one share of the patients into normalised slices.

    Args:
        data: The scans, in the layout that ``ingest_kind`` names.
        settings: Group ``ingest`` of the parameters.
        part: Which share, from 0 to ``parts`` - 1.
        shards: Slices of this share, for ``merge``.
    """
    from pathlib import Path

    from components.groups import unpacked
    from components.stage import stage
    from glioscope.config import IngestParams
    from glioscope.data.ingest import open_source
    from glioscope.data.part_file import part_name
    from glioscope.data.prepare_part import prepare_part

    name = part_name(part, parts)
    with stage("prepare", storage=storage, detail=name) as result:
        params = unpacked(IngestParams, settings, where="ingest")
        source = open_source(Path(data.path), params)
        report = prepare_part(source, params, Path(shards.path), part=part, parts=parts)
        told = report | {"bad": len(report["bad"])}
        result.update(told)
        shards.metadata.update(told, part=name)
        print(f"{name}: {told['patients']} patients, {told['slices']} slices, {told['bad']} subjects cannot be used")
