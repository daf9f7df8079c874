"""What Git holds about a path that DVC tracks: its digest, its size, and where in S3 its bytes lie."""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from glioscope.errors import ConfigError, InputError

_FEW = 5


@dataclass(frozen=True)
class Tracked:
    """An output of DVC, or something inside one.

    Attributes
    ----------
    name:
        Last part of the path.
    inside:
        What of the output is asked for, with ``/``; empty: all of it.
    digest, hash_name:
        As Git holds them; ``hash_name`` is ``md5``, or ``md5-dos2unix`` of DVC before version 3.
    files, bytes:
        Of the whole output; 0 where DVC does not say.
    bucket, key_of:
        The bucket of the default remote, and the key in it of an object by its digest.
    endpoint:
        Address of the S3 server that the repository names; empty: none.
    """

    name: str
    inside: str
    digest: str
    hash_name: str
    files: int
    bytes: int
    bucket: str
    key_of: Callable[[str], str]
    endpoint: str


def tracked(checkout: Path, path: str, where: str) -> Tracked:
    """Look up ``path`` in the DVC repository around it in ``checkout``; nothing is run or fetched.

    Parameters
    ----------
    path:
        Relative to ``checkout``: an output of a ``.dvc`` file or of a stage in dvc.lock, or something inside one.
    where:
        What messages call the repository.

    Raises
    ------
    ConfigError
        ``path`` leads outside, or the repository has no default remote in S3.
    InputError
        There is no DVC repository, DVC cannot read it, or it does not track ``path``.
    """
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts:
        raise ConfigError(
            "not a path inside the repository", where=path or "path", hint="Give, for example, data/scans"
        )
    wanted = checkout.joinpath(*parts)
    root = next((one for one in wanted.parents if one.is_relative_to(checkout) and (one / ".dvc").is_dir()), None)
    if root is None:
        hint = "Check the revision, or run `dvc init`, `dvc add` and `git commit` in it"
        raise InputError(f"is no DVC repository at or above {path}", where=where, hint=hint, code="repository")

    from dvc.exceptions import DvcException, OutputNotFoundError  # noqa: PLC0415  (slow, and a bucket does without)
    from dvc.repo import Repo  # noqa: PLC0415

    _name_user()
    with tempfile.TemporaryDirectory() as scratch:
        repo = None
        try:
            repo = Repo(str(root), config={"core": {"site_cache_dir": scratch}})
            return _output(repo, wanted, where, path)
        except OutputNotFoundError:
            names = sorted(output.fspath for output in repo.index.outs) if repo else []
            names = [os.path.relpath(name, checkout) for name in names]
            hint = f"It tracks {', '.join(names[:_FEW])}{', …' if len(names) > _FEW else ''}" if names else ""
            raise InputError(f"{path} is not tracked by DVC", where=where, hint=hint, code="not_tracked") from None
        except DvcException as error:
            raise InputError(f"DVC cannot read it: {_line(error)}", where=where, code="repository") from error
        finally:
            if repo is not None:
                repo.close()


def _name_user() -> None:
    """DVC asks for the user's name, and a container's user may have none."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())


def _output(repo: Any, wanted: Path, where: str, path: str) -> Tracked:
    (output, *_) = repo.find_outs_by_path(str(wanted), strict=False)
    inside = wanted.relative_to(output.fspath).as_posix()
    if not output.use_cache or not output.hash_info:
        why = "is kept in Git itself" if output.hash_info else "has no digest there: its stage was not run"
        hint = "Run `dvc repro`, `dvc push` and `git commit`" if output.use_cache else "Give a path that DVC caches"
        raise InputError(f"{path} {why}", where=where, hint=hint, code="not_tracked")
    objects, endpoint = _remote(repo, output, where)
    bucket, _, _ = objects.path.partition("/")
    return Tracked(
        name=wanted.name,
        inside="" if inside == "." else inside,
        digest=str(output.hash_info.value),
        hash_name=str(output.hash_info.name),
        files=int(output.meta.nfiles or (not output.is_dir_checksum)),
        bytes=int(output.meta.size or 0),
        bucket=bucket,
        key_of=lambda digest: objects.oid_to_path(digest).partition("/")[2],
        endpoint=endpoint,
    )


def _remote(repo: Any, output: Any, where: str) -> tuple[Any, str]:
    """DVC's view of the objects in the remote, and the address of the server that it names."""
    from dvc.config import ConfigError as DvcConfigError  # noqa: PLC0415
    from dvc.config import NoRemoteError  # noqa: PLC0415

    name = output.remote or repo.config["core"].get("remote")
    try:
        objects = repo.cloud.get_remote_odb(name, hash_name=output.hash_info.name)
    except NoRemoteError as error:
        hint = "Run `dvc remote add --default NAME s3://bucket/prefix` and `git commit` in it"
        raise ConfigError("has no default DVC remote", where=where, hint=hint, code="remote") from error
    except DvcConfigError as error:
        raise ConfigError(f"its DVC remote cannot be used: {_line(error)}", where=where, code="remote") from error
    if objects.fs.protocol != "s3":
        raise ConfigError(f"its DVC remote {name} is not in S3", where=where, hint="Give it one in S3", code="remote")
    return objects, str(repo.config["remote"][name].get("endpointurl") or "")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
