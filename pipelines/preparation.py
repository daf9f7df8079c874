"""Part of the pipeline: scans to a slice store, the patients shared out among pods."""

from typing import List, NamedTuple

from kfp import dsl

from components.merge.component import merge
from components.prepare.component import prepare
from pipelines.resources import equip


class Prepared(NamedTuple):
    """A slice store without masks, and its masks."""

    store: dsl.Dataset
    masks: dsl.Dataset


@dsl.pipeline(name="preparation")
def preparation(
    data: dsl.Input[dsl.Dataset], shares: List[int], parts: int, settings: dict, pinned: dict, storage: str
) -> Prepared:
    """Prepare every share of the patients and merge them.

    Args:
        shares: Numbers of the shares, from 0.
        parts: How many these are.
        settings: Group ``ingest`` of the parameters.
        pinned: Which data this is.
    """
    with dsl.ParallelFor(shares, name="patients") as part:
        shards = equip(prepare(data=data, settings=settings, part=part, parts=parts, storage=storage))
    whole = equip(
        merge(parts=dsl.Collected(shards.outputs["shards"]), settings=settings, pinned=pinned, storage=storage)
    )
    return Prepared(store=whole.outputs["store"], masks=whole.outputs["masks"])
