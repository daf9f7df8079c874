"""One revision of a Git repository, without its history, within a time limit and without ever asking a person."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from components.ingest.git_address import TOKEN, USER, check_revision, check_source, mask
from glioscope.errors import InputError

_LIMIT = "GLIOSCOPE_GIT_S"
_LIMIT_S = 300.0
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.symlinks=false",  # a link is checked out as a text file, and so leads nowhere
    "advice.detachedHead=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
)
_HELPER = f"""!f() {{ test "$1" = get && printf 'username=%s\\npassword=%s\\n' "${USER}" "${TOKEN}"; }}; f"""
_ANY_OWNER = "--upload-pack=git -c 'safe.directory=*' upload-pack"
"""A local repository may be somebody else's, as in a container: fetching from it is safe, Git's documentation says."""
_OF_ANOTHER_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
_NAMELESS = ("not our ref", "unadvertised object")
"""What a server says that does not give commits by name, or does not have this one."""


def check_out(source: str, revision: str, folder: Path) -> str:
    """Put the files of one revision into ``folder`` (which is empty) and return its commit.

    Only that commit is fetched. A server that gives no commit by name is asked for all branches and tags; a line on
    stderr says so.

    Parameters
    ----------
    source:
        A URL, or the path of a local repository. Credentials for http(s) are those of
        :mod:`components.ingest.git_address`; else as Git itself is configured.
    revision:
        Branch, tag or commit (which may be shortened to 4 digits); empty: the default branch.

    Raises
    ------
    ConfigError
        ``source`` or ``revision`` cannot be one, or holds credentials.
    InputError
        The repository cannot be reached in time (GLIOSCOPE_GIT_S seconds per step, 300 unless set), wants other
        credentials, or has no such revision.
    """
    check_source(source)
    check_revision(revision)
    repository = _Repository(source, folder)
    repository.git("init", "--quiet", "--template=", str(folder))
    wanted = revision or "HEAD"
    answer = repository.try_git(*repository.fetch, "--depth=1", "--no-tags", "--", repository.address, wanted)
    found = "FETCH_HEAD"
    if answer:
        hexadecimal = re.fullmatch(r"[0-9a-f]{4,64}", wanted) is not None
        if not hexadecimal or not (_unknown_name(answer) or any(words in answer for words in _NAMELESS)):
            raise repository.error(answer, wanted)
        print(f"{repository.shown}: gives no commit by the name {wanted}: fetching all its history", file=sys.stderr)
        everything = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        repository.git(*repository.fetch, "--", repository.address, *everything)
        found = wanted
    commit = repository.commit(found)
    repository.git("checkout", "--quiet", "--detach", commit)
    return commit


class _Repository:
    def __init__(self, source: str, folder: Path) -> None:
        local = Path(source).exists()
        self.address = str(Path(source).absolute()) if local else source
        self.fetch = ("fetch", "--quiet", *([_ANY_OWNER] if local else []))
        self.shown = mask(source)
        self._folder = folder
        settings = [*_SETTINGS, *_credentials(source)]
        self._command = ["git", "-C", str(folder), *(word for setting in settings for word in ("-c", setting))]

    def git(self, *arguments: str) -> None:
        if answer := self.try_git(*arguments):
            raise self.error(answer, "")

    def try_git(self, *arguments: str) -> str:
        """Run a command; what it complained of, empty if it did well."""
        code, _, complaint = self._run(arguments)
        return (complaint.strip() or f"git ended with {code}") if code else ""

    def commit(self, name: str) -> str:
        """The commit of that name in the fetched repository."""
        code, answer, complaint = self._run(("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"))
        if code:
            raise self.error(complaint or "unknown revision", name)
        return answer.strip()

    def error(self, complaint: str, revision: str) -> InputError:
        """The one line that Git's complaint comes down to."""
        if _unknown_name(complaint):
            hint = "Check the revision's name, and that it was pushed"
            return InputError(f"has no branch, tag or commit {revision}", where=self.shown, hint=hint, code="revision")
        hint = "Check the address, and that this machine may reach it"
        if re.search(r"[Aa]uthentication failed|could not read (Username|Password)|Permission denied", complaint):
            hint = f"Give {USER} and {TOKEN} for http(s), or a key for ssh"
        said = [line for line in complaint.splitlines() if line.startswith(("fatal:", "error:"))] or [complaint]
        reason = mask(said[0].removeprefix("fatal:").removeprefix("error:").strip())[:300]
        return InputError(f"cannot be fetched: {reason}", where=self.shown, hint=hint, code="repository")

    def _run(self, arguments: tuple[str, ...]) -> tuple[int, str, str]:
        limit = float(os.environ.get(_LIMIT, _LIMIT_S))
        process = subprocess.Popen(
            [*self._command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=_environment(),
            start_new_session=True,  # its helpers hold the pipes, and are to end with it
        )
        with process:
            try:
                answer, complaint = process.communicate(timeout=limit)
            except BaseException as error:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                what, hint = (
                    f"Git did not end within {limit:g} s",
                    f"Check the network, or set {_LIMIT} to more seconds",
                )
                raise InputError(what, where=self.shown, hint=hint, code="repository") from None
        return process.returncode, answer, complaint


def _unknown_name(complaint: str) -> bool:
    return "couldn't find remote ref" in complaint or "unknown revision" in complaint


def _credentials(source: str) -> list[str]:
    """Settings that hand the environment's credentials to the host of ``source``, and to no other."""
    parts = urlsplit(source)
    if parts.scheme not in ("http", "https") or not os.environ.get(TOKEN):
        return []
    return [f"credential.{parts.scheme}://{parts.netloc}.helper={value}" for value in ("", _HELPER)]


def _environment() -> dict[str, str]:
    ssh = os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=15")
    inherited = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
    return inherited | {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_SSH_COMMAND": ssh,
        "LC_ALL": "C",
    }
