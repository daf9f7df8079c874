"""Reading a ``.mar``: which model and version it holds, and whether it holds them whole."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from glioscope import atomic
from glioscope.errors import InputError, IntegrityError
from glioscope.model_directory import ModelDescription
from serving.signatures import NAME as SIGNATURES
from serving.signatures import verify_files

MANIFEST = "MAR-INF/MANIFEST.json"
MAX_BYTES = 2**31
_HINT = "Write it again with `python -m serving.archive`"


@dataclass(frozen=True)
class Mar:
    """An archive whose every file has the digest it was signed with.

    Attributes
    ----------
    version:
        Of its manifest; TorchServe registers it under this.
    sha256:
        Of the whole file, in hexadecimal.
    model:
        The description of the model in it.
    """

    path: Path
    version: str
    sha256: str
    model: ModelDescription

    def read(self, name: str) -> bytes:
        """The content of one file in it."""
        with zipfile.ZipFile(self.path) as packed:
            return packed.read(name)

    def stored_name(self, name: str) -> str:
        """What it is called in a model store or a bucket, as the model ``name``."""
        return stored_name(name, self.version)

    def copy_to(self, target: Path) -> bool:
        """Put a copy at ``target``, whole or not at all; False where the same bytes are there already."""
        if target.is_file() and sha256_of(target) == self.sha256:
            return False
        with self.path.open("rb") as stream:
            atomic.write_stream(target, lambda copy: shutil.copyfileobj(stream, copy))
        return True


def read_mar(path: Path) -> Mar:
    """Open an archive and check every file in it against its list of digests.

    Raises
    ------
    InputError
        There is no such file, or it is not an archive of a glioscope model.
    IntegrityError
        A file in it is missing, is not the one that was signed, or was never signed; or the version is not theirs.
    """
    try:
        whole = sha256_of(path)
        files = _content(path)
        version = verify_files(files, where=path)
        named = json.loads(files[MANIFEST])["model"]["modelVersion"]
        model = ModelDescription.model_validate(json.loads(files["model.json"]))
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror or error}", where=path, hint="Check the path") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise IntegrityError(f"is not a whole archive: {error}", where=path, hint=_HINT) from error
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"is not an archive of a glioscope model: {reason}", where=path, hint=_HINT) from error
    if unsigned := files.keys() - json.loads(files[SIGNATURES])["files"].keys() - {SIGNATURES, MANIFEST}:
        raise IntegrityError(f"{', '.join(sorted(unsigned))} in it was never signed", where=path, hint=_HINT)
    if named != version:
        raise IntegrityError(f"is called version {named} and is {version}", where=path, hint=_HINT)
    return Mar(path.resolve(), version, whole, model)


def stored_name(name: str, version: str) -> str:
    """What the archive of a version is called in a model store or a bucket, as the model ``name``."""
    return f"{name}-{version}.mar"


def sha256_of(path: Path) -> str:
    """The digest of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _content(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as packed:
        if sum(entry.file_size for entry in packed.infolist()) > MAX_BYTES:
            raise InputError(f"holds more than {MAX_BYTES:,} bytes", where=path, hint=_HINT)
        return {name: packed.read(name) for name in packed.namelist()}
