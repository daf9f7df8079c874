"""TorchServe's management API, as far as a deploy needs it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

CONNECT_S = 5.0
_LOOK_S = 0.25
_NO_MODEL = re.compile(r'"type":\s*"Model(Version)?NotFoundException"')
_BATCH_DELAY_MS = 100
_QUERY = re.compile(r"""(https?://[^\s?"]+)\?[^\s"]*""")


class ManagementError(Exception):
    """TorchServe refused an order, or did not answer; the message is one line."""


class NoAnswerError(ManagementError):
    """TorchServe did not answer."""


@dataclass(frozen=True)
class Version:
    """A registered version of a model.

    Attributes
    ----------
    workers:
        How many TorchServe keeps up.
    ready:
        How many of them can answer now.
    waiting:
        Requests that no worker has taken yet.
    """

    version: str
    workers: int
    ready: int
    batch_size: int
    waiting: int


class Management:
    """A client of the API at ``url``; ``timeout`` seconds are the longest wait for one answer."""

    def __init__(self, url: str, *, timeout: float = 300.0) -> None:
        self.url, self.timeout = url.rstrip("/"), timeout

    def versions(self, name: str) -> dict[str, Version]:
        """Every registered version of a model; empty where there is no such model."""
        answer = self._ask("GET", f"{name}/all", missing=[])
        return {one.version: one for one in map(_version, answer)}

    def default(self, name: str) -> str | None:
        """The version that answers requests that name none; None where there is no such model."""
        answer = self._ask("GET", name, missing=[])
        return _version(answer[0]).version if answer else None

    def register(self, archive: str, name: str, *, batch_size: int | None = None) -> None:
        """Register a version; a first one becomes the default. TorchServe starts the workers its archive asks for."""
        order: dict[str, Any] = {"url": archive, "model_name": name, "initial_workers": 0, "synchronous": True}
        # TorchServe's default for a query; for a body it is a time before now.
        order["max_batch_delay"] = _BATCH_DELAY_MS
        if batch_size is not None:
            order["batch_size"] = batch_size
        # As a body, and not as a query, which is what gets logged: a presigned address is a credential.
        self._ask("POST", "", body=order)

    def scale(self, name: str, version: str, workers: int) -> None:
        """Have so many workers, and return once they can answer."""
        counts: dict[str, object] = {"min_worker": workers, "max_worker": workers}
        self._ask("PUT", f"{name}/{version}", query=counts | {"synchronous": "true"})
        until = time.monotonic() + self.timeout
        while (known := self.versions(name).get(version)) is None or known.ready < workers:
            if known is None:
                raise ManagementError(f"{name} {version} is not registered any more")
            if time.monotonic() > until:
                raise ManagementError(f"only {known.ready} of {workers} workers were ready after {self.timeout:.0f} s")
            time.sleep(_LOOK_S)

    def set_default(self, name: str, version: str) -> None:
        """Let requests that name no version go to this one; those already taken stay where they are."""
        self._ask("PUT", f"{name}/{version}/set-default")

    def unregister(self, name: str, version: str) -> None:
        """End a version's workers and forget it. What it is still answering is lost: let it run dry first."""
        self._ask("DELETE", f"{name}/{version}", missing={})

    def _ask(
        self,
        method: str,
        path: str,
        *,
        missing: Any = None,
        query: Mapping[str, object] | None = None,
        body: dict[str, Any] | None = None,
    ) -> Any:
        address = f"{self.url}/models/{path}".rstrip("/")
        try:
            answer = requests.request(
                method,
                address,
                params={key: str(value) for key, value in (query or {}).items()},
                json=body,
                timeout=(CONNECT_S, self.timeout),
            )
        except requests.RequestException as error:
            reason = " ".join(str(error).split())
            known = {"refused": "nothing listens there", "Failed to resolve": "there is no such host"}
            said = next((words for sign, words in known.items() if sign in reason), reason[:200])
            raise NoAnswerError(f"{self.url}: no answer: {said}") from error
        # Any other 404 is somebody else's: a wrong address must not be taken for a server without models.
        if answer.status_code == 404 and missing is not None and _NO_MODEL.search(answer.text):
            return missing
        if not answer.ok:
            raise ManagementError(f"{method} {address}: HTTP {answer.status_code}: {_message(answer)}")
        try:
            return answer.json()
        except ValueError as error:
            raise ManagementError(f"{address}: not TorchServe's management API") from error


def _version(said: dict[str, Any]) -> Version:
    workers = said.get("workers", [])
    return Version(
        version=said["modelVersion"],
        workers=said["minWorkers"],
        ready=sum(worker["status"] == "READY" for worker in workers),
        batch_size=said["batchSize"],
        waiting=said.get("jobQueueStatus", {}).get("pendingRequests", 0),
    )


def _message(answer: requests.Response) -> str:
    """What TorchServe says, with addresses cut before their query: that of a presigned one is a credential."""
    try:
        said = " ".join(str(answer.json()["message"]).split())
    except (ValueError, KeyError, TypeError):
        said = answer.text
    return _QUERY.sub(r"\1", said)[:500]
