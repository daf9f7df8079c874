"""Memory for bodies: TorchServe holds each one whole until it is answered, so all of them together are bounded."""

from __future__ import annotations

from typing import Self

from serving.gateway.errors import AGAIN, Refusal


class Room:
    """Bytes that the bodies of running requests may take together.

    Parameters
    ----------
    most:
        How many there are.
    """

    def __init__(self, most: int) -> None:
        self.free = most


class Share:
    """What one request takes of a :class:`Room`; a context manager that gives it back."""

    def __init__(self, room: Room) -> None:
        self._room, self._taken = room, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._room.free += self._taken
        self._taken = 0

    def grow(self, size: int) -> None:
        """Hold at least ``size`` bytes; raises a Refusal (503) where they are not free."""
        more = max(0, size - self._taken)
        if more > self._room.free:
            raise Refusal(503, "busy", "the scans that are being answered already fill the memory for them", AGAIN)
        self._room.free -= more
        self._taken += more
