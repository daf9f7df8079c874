"""What a store tells of its source: all that the last step of ingest needs once the subjects themselves are read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from glioscope.config import Kind
from glioscope.data.case import Source


class SourceFacts(BaseModel):
    """Attributes of :class:`glioscope.data.case.Source` without its path: equal wherever the data set lies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    name: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    healthy: str | None
    orientation: Literal["LPS"] | None
    extra_columns: tuple[str, ...]

    @classmethod
    def of(cls, source: Source) -> SourceFacts:
        """The facts of ``source``; ``name`` is that of its folder or file."""
        return cls(
            kind=source.kind,
            name=Path(source.path).name,
            channels=source.channels,
            classes=source.classes,
            healthy=source.healthy,
            orientation=source.orientation,
            extra_columns=source.extra_columns,
        )
