"""Whether the endpoint can answer now: has the model's default version a worker that is ready?"""

from __future__ import annotations

import asyncio
import json

import aiohttp

HEALTHY = "Healthy"
FRESH_SECONDS = 1.0
ASK_SECONDS = 2.0


class Readiness:
    """Asks TorchServe's management API; for probes at most once a second and one question at a time.

    TorchServe's own ``/ping`` speaks of all models and versions together; a probe needs the one that answers scans.
    """

    def __init__(self, session: aiohttp.ClientSession, management: str, model: str) -> None:
        self._session, self._models, self._model = session, f"{management}/models", model
        self._lock = asyncio.Lock()
        self._asked_at = 0.0
        self._state = ""

    async def state(self) -> str:
        """Return "Healthy", or what is missing; no older than a second."""
        clock = asyncio.get_running_loop().time
        async with self._lock:
            if not self._state or clock() - self._asked_at >= FRESH_SECONDS:
                self._state = await self._ask(self._model)
                self._asked_at = clock()
            return self._state

    async def has_worker(self, model: str) -> bool:
        """Whether ``NAME`` or ``NAME/VERSION`` has a ready worker now."""
        return await self._ask(model) == HEALTHY

    async def _ask(self, model: str) -> str:
        try:
            async with asyncio.timeout(ASK_SECONDS), self._session.get(f"{self._models}/{model}") as answer:
                if answer.status != 200:
                    return "No such model"
                versions = json.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError):
            return "Model server unreachable"
        except ValueError:
            return "Model server not understood"
        return HEALTHY if _has_ready_worker(versions) else "No worker ready"


def _has_ready_worker(versions: object) -> bool:
    try:
        return any(worker["status"] == "READY" for worker in versions[0]["workers"])  # type: ignore[index]
    except (LookupError, TypeError):
        return False
