"""The shelf of archives in a bucket: every deployed one, and ``current.json``, which names the one in service.

A deploy writes the record once every replica serves the version; a server that starts takes its archive from here.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glioscope.errors import InputError, IntegrityError
from serving.bucket import Bucket
from serving.mar import MAX_BYTES, Mar, read_mar

CURRENT = "current.json"
_RECORD_BYTES = 2**16
_HINT = "Deploy it again, with --bucket"


class Current(BaseModel):
    """What ``current.json`` holds.

    Attributes
    ----------
    name, version:
        The model in service at the endpoint, and its version.
    archive:
        Name of its archive beside the record.
    sha256:
        Of that archive, in hexadecimal.
    """

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[\w.-]{1,100}$")
    version: str = Field(pattern=r"^[0-9a-f]{12}$")
    archive: str = Field(pattern=r"^[\w.-]{1,200}\.mar$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @classmethod
    def of(cls, mar: Mar, name: str) -> Current:
        """The record of an archive in service as the model ``name``."""
        return cls(name=name, version=mar.version, archive=mar.stored_name(name), sha256=mar.sha256)


def read_current(bucket: Bucket, *, denied_is_missing: bool = False) -> Current | None:
    """The record; None where nothing was ever deployed from here.

    Raises
    ------
    BucketError
        The store refused or did not answer. ``denied_is_missing``: what it denies is taken for not there, as stores
        say where one may not list the bucket.
    IntegrityError
        What is there is no such record.
    """
    content = bucket.read(CURRENT, limit=_RECORD_BYTES, denied_is_missing=denied_is_missing)
    if content is None:
        return None
    try:
        return Current.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"is no record of a deploy: {'.'.join(map(str, first['loc']))} {first['msg']}"
        raise IntegrityError(reason, where=bucket.address(CURRENT), hint="Deploy again") from error


def write_current(bucket: Bucket, current: Current | None) -> None:
    """Replace the record, or remove it; what was written is read back. Raises BucketError."""
    if current is None:
        bucket.remove(CURRENT)
    else:
        bucket.write(CURRENT, current.model_dump_json(indent=2).encode() + b"\n")


def take(bucket: Bucket, archive: str, version: str, out: Path, *, sha256: str = "") -> Mar:
    """Copy an archive of the bucket to ``out``, whole or not at all.

    Parameters
    ----------
    version:
        Which it must be. A version is made of the digests of all that an archive holds, so they are all checked.
    sha256:
        Digest of the whole file, where it is known.

    Raises
    ------
    BucketError
        The store refused, did not answer, or keeps more than an archive may have.
    InputError
        There is no such object.
    IntegrityError
        It is not the archive that was deployed.
    OutputError
        ``out`` cannot be written.
    """
    where = bucket.address(archive)
    with tempfile.TemporaryDirectory(prefix="glioscope-take-") as scratch:
        fetched = Path(scratch) / "fetched.mar"
        with fetched.open("wb") as stream:
            if not bucket.save(archive, stream, limit=MAX_BYTES):
                raise InputError("is not in the bucket: it was deployed without it", where=where, hint=_HINT)
        try:
            mar = read_mar(fetched)
        except (InputError, IntegrityError) as error:
            raise IntegrityError(error.what, where=where, hint=_HINT) from error
        if mar.version != version or (sha256 and mar.sha256 != sha256):
            reason = f"is version {mar.version} (sha256 {mar.sha256[:12]}), not {version}"
            raise IntegrityError(reason, where=where, hint=_HINT)
        mar.copy_to(out)
    return read_mar(out)
