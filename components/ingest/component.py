"""Component ``ingest``: exactly the pinned bytes, hashed again, as a dataset."""

from typing import List  # what is no list of numbers to KFP is one of texts

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ingest(pinned: dict, parts: int, storage: str, data: dsl.Output[dsl.Dataset]) -> List[int]:
    """Fetch what was pinned; the dataset is a folder that `glioscope ingest` takes as its source.

    Args:
        pinned: What `pin` found.
        parts: Into how many parts `prepare` divides the patients.
        storage: Where records of the run are kept.
        data: The scans as they were published, with their revision, commit and digest as metadata.

    Returns:
        The numbers of the parts, from 0.
    """
    from pathlib import Path

    from components.ingest.source import Pinned, fetch
    from components.stage import stage
    from glioscope.errors import ConfigError

    with stage("ingest", storage=storage) as result:
        if int(parts) < 1:
            raise ConfigError("there must be at least one part", where="parts")
        fetched = fetch(Pinned.from_json(pinned), Path(data.path))
        data.metadata.update(fetched)
        result.update(fetched)
    return list(range(int(parts)))
