"""part.json: what the preparation of some of a source's patients leaves for whoever joins all parts to a store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from glioscope import atomic
from glioscope.config import IngestParams, Kind, Normalisation
from glioscope.data.case import CaseRef
from glioscope.data.source_facts import SourceFacts
from glioscope.data.store import canonical_digest
from glioscope.errors import InputError, IntegrityError

PART_FILE = "part.json"


class _Fixed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Subject(_Fixed):
    """What the split needs of a :class:`glioscope.data.case.CaseRef`: no path, so that parts of two machines agree."""

    id: str
    patient: str
    label: str | None
    split: str | None

    def ref(self) -> CaseRef:
        """A reference that can be split but not loaded."""
        return CaseRef(self.id, self.patient, self.label, self.split)


class ShardParams(_Fixed):
    """The parameters that shards depend on; all others take effect when parts are joined."""

    kind: Kind
    size: int | None
    normalisation: Normalisation
    healthy: str | None

    @classmethod
    def of(cls, params: IngestParams) -> ShardParams:
        """Those of ``params``."""
        return cls.model_validate(params.model_dump(include=set(cls.model_fields)))


class Origin(_Fixed):
    """What all parts of one store have in common.

    Attributes
    ----------
    source, subjects:
        The data set, and all of its subjects in the source's order, those of other parts, too.
    params, software:
        What the shards were made with.
    """

    source: SourceFacts
    subjects: tuple[Subject, ...]
    params: ShardParams
    software: dict[str, str]


class Part(_Fixed):
    """All of part.json: ``number`` counts from 0, ``records`` are those of the part's patients, sorted by patient."""

    format: Literal[1] = 1
    number: int
    parts: int
    origin: Origin
    records: tuple[dict[str, Any], ...]

    def __str__(self) -> str:
        return part_name(self.number, self.parts)


def part_name(number: int, parts: int) -> str:
    """Which part, as people count: ``part 2 of 3`` is number 1."""
    return f"part {number + 1} of {parts}"


def share(patients: Iterable[str], number: int, parts: int) -> set[str]:
    """Patients of one part: all of them, sorted and dealt out in turn, so that parts differ by one patient at most."""
    return set(sorted(set(patients))[number::parts])


def write_part(folder: Path, part: Part) -> None:
    """Write ``part`` to ``folder``, with a checksum."""
    values = part.model_dump(mode="json")
    atomic.write_json(folder / PART_FILE, values | {"checksum": canonical_digest(values)})


def read_part(folder: Path) -> Part:
    """Read what :func:`write_part` wrote; the shards beside it are not looked at.

    Raises
    ------
    InputError
        There is no part in ``folder``, or a later version wrote it.
    IntegrityError
        part.json is not what was written.
    """
    file = folder / PART_FILE
    try:
        text = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"no part of a store: {error.strerror}", where=file, hint="Give the folders that the preparation wrote"
        ) from error
    try:
        values = json.loads(text)
        intact = values.pop("checksum") == canonical_digest(values)
        later = values["format"] > Part.model_fields["format"].default
        if intact and not later:
            return Part.model_validate(values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError("is damaged", where=file, hint="Prepare this part again") from error
    if later:
        raise InputError(f"has format {values['format']}", where=file, hint="Update glioscope")
    raise IntegrityError("is not what was written", where=file, hint="Prepare this part again")
