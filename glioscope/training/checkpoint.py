"""Checkpoints that survive ``kill -9``: two files written in turn, each whole or not there, each with its digest.

A file is one header line, ``glioscope-checkpoint 1 <number> <sha256 of the rest>``, and then what ``torch.save`` wrote.
The higher number is the newer state; if that file is damaged the other one, one checkpoint older, is used.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from glioscope import atomic
from glioscope.errors import IntegrityError

_MAGIC = b"glioscope-checkpoint"
_FORMAT = 1
_LONGEST_HEADER = 200


def checkpoint_folder(out: Path) -> Path:
    """Where the checkpoints of the training that writes the model directory ``out`` lie."""
    return out.with_name(f".{out.name}.checkpoint")


class Checkpoints:
    """The checkpoints of one training run, in ``folder``; ``on_save`` is called with each new file."""

    def __init__(self, folder: Path, on_save: Callable[[Path], None] | None = None) -> None:
        self.folder = Path(folder)
        self._number = 0
        self._on_save = on_save

    def save(self, state: dict[str, Any]) -> None:
        """Write ``state`` (tensors, numbers, strings, and lists and dicts of those) durably; the one before stays."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        payload = buffer.getbuffer()
        self._number += 1
        digest = hashlib.sha256(payload).hexdigest()
        header = b"%s %d %d %s\n" % (_MAGIC, _FORMAT, self._number, digest.encode())
        slot = self._slot(self._number)
        atomic.write_stream(slot, lambda stream: (stream.write(header), stream.write(payload)))
        if self._on_save is not None:
            self._on_save(slot)

    def latest(self) -> dict[str, Any] | None:
        """The newest state whose digest is right, on the CPU; None where there is no checkpoint at all.

        Raises
        ------
        IntegrityError
            There are checkpoints and every one of them is damaged.
        """
        problems = []
        for number, file in sorted(((_number(slot), slot) for slot in self._slots()), reverse=True):
            try:
                state = _read(file)
            except IntegrityError as error:
                problems.append(error)
                continue
            if problems:
                print(f"warning: {problems[0]}; going on from the checkpoint before it", file=sys.stderr)
            self._number = number
            return state
        if problems:
            raise problems[0]
        return None

    def remove(self) -> None:
        """Delete all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _slot(self, number: int) -> Path:
        return self.folder / f"checkpoint-{number % 2}.pt"

    def _slots(self) -> list[Path]:
        return [slot for slot in (self._slot(0), self._slot(1)) if slot.exists()]


def _number(file: Path) -> int:
    with file.open("rb") as stream:
        words = stream.readline(_LONGEST_HEADER).split()
    # A damaged header sorts as the newest, so that the damage is reported and not silently stepped over.
    return int(words[2]) if len(words) == 4 and words[0] == _MAGIC and words[2].isdigit() else sys.maxsize


def _read(file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    header, _, payload = data.partition(b"\n")
    words = header.split()
    damaged = IntegrityError(
        "checkpoint is damaged or cut short", where=file, hint="Train again without --resume to begin from the start"
    )
    if len(words) != 4 or words[0] != _MAGIC or words[3] != hashlib.sha256(payload).hexdigest().encode():
        raise damaged
    if int(words[1]) != _FORMAT:
        raise IntegrityError(f"checkpoint has format {int(words[1])}, this version reads {_FORMAT}", where=file)
    state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return state
