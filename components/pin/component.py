"""Component ``pin``: which bytes a DVC revision, or a bucket prefix, means now."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def pin(source: str, revision: str, path: str, storage: str) -> dict:
    """Commit and digest of the data, so that `ingest` fetches exactly these bytes, and none for the same commit again.

    Args:
        source: URL of a Git repository with DVC, or s3://bucket/prefix.
        revision: Branch, tag or commit; empty is the default branch. Not used for a bucket.
        path: What DVC tracks in the repository, such as data/scans.
        storage: Where records of the run are kept.
    """
    import sys

    from components.ingest import source as sources
    from components.stage import stage

    with stage("pin", storage=storage) as result:
        pinned = sources.pin(source, revision, path)
        print(f"pinned: {sources.describe(pinned)}", file=sys.stderr)
        result.update(pinned.to_json())
    return pinned.to_json()
