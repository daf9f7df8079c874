"""Component ``merge``: all shares of the patients joined to one slice store, its masks apart."""

from typing import List  # KFP knows no other name for a list of artifacts

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def merge(
    parts: dsl.Input[List[dsl.Dataset]],
    settings: dict,
    pinned: dict,
    storage: str,
    store: dsl.Output[dsl.Dataset],
    masks: dsl.Output[dsl.Dataset],
):
    """Join what ``prepare`` wrote to the store that ``glioscope ingest`` would have made in one go.

    Args:
        parts: Outputs ``shards`` of all ``prepare`` tasks, in any order.
        settings: Group ``ingest`` of the parameters.
        pinned: What ``pin`` gave; its revision goes into the store's provenance and so into every model's lineage.
        store: The slice store, without masks.
        masks: The masks, for evaluation only; without any, a folder with none.txt.
    """
    from pathlib import Path

    from components.merge.work import merge_whole
    from components.stage import stage

    with stage("merge", storage=storage) as result:
        told = merge_whole(
            [Path(part.path) for part in parts], Path(store.path), Path(masks.path), settings=settings, pinned=pinned
        )
        result.update(told)
        store.metadata.update(told)
        masks.metadata["store_digest"] = told["digest"]
