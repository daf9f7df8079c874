"""A Git repository whose phantom scans DVC keeps in S3, as a hospital's data repository would be."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from dvc.repo import Repo

from glioscope.config import PhantomParams
from glioscope.data.phantom import write_phantom

PATH = "data/phantom"
"""What DVC tracks: a folder that `glioscope ingest` takes as its source."""


def make(
    folder: Path, bucket_url: str, *, subjects: int = 3, size: int = 32, slices: int = 4, remote_endpoint: str = ""
) -> Path:
    """Make the repository in ``folder``: one commit on ``main``, tagged ``v1``, its scans pushed to ``bucket_url``.

    Parameters
    ----------
    bucket_url:
        ``s3://bucket/prefix`` for the default remote; server and credentials are the environment's.
    remote_endpoint:
        Address of the server to write into the repository's configuration, too.
    """
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    with Repo.init(str(folder)) as repo, repo.config.edit() as config:
        config["core"] |= {"remote": "store", "analytics": False}
        config["remote"]["store"] = {"url": bucket_url}
    write_phantom(folder / PATH, PhantomParams(subjects=subjects, size=size, slices=slices), workers=1)
    track(folder, PATH, "Scans")
    git(folder, "tag", "--annotate", "v1", "--message", "First scans")
    if remote_endpoint:
        with Repo(str(folder)) as repo, repo.config.edit() as config:
            config["remote"]["store"]["endpointurl"] = remote_endpoint
        git(folder, "commit", "--quiet", "--all", "--message", "Where the store is")
    return folder


def track(folder: Path, path: str, message: str) -> str:
    """Put what lies at ``path`` into DVC, push it, commit, and return the commit."""
    with Repo(str(folder)) as repo:
        repo.add(str(folder / path))
        repo.push()
    git(folder, "add", "--all")
    return commit(folder, message)


def commit(folder: Path, message: str) -> str:
    """Commit what is staged or changed and return the commit."""
    git(folder, "commit", "--quiet", "--all", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def git(folder: Path, *arguments: str) -> str:
    """What a command of Git wrote, in a repository whose author is nobody in particular."""
    who = {
        f"GIT_{role}_{what}": f"{what.lower()}@test" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], env=os.environ | who, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"git {' '.join(arguments)}\n{done.stderr}"
    return done.stdout.strip()
