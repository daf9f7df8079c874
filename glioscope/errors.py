"""Errors that a user can mend: each is one line saying what is wrong, where, and what to do."""

from __future__ import annotations

from pathlib import Path


class GlioscopeError(Exception):
    """Base of every error that is the input's fault and not a bug; the CLI ends with exit code 2 on it.

    Parameters
    ----------
    what:
        What is wrong, in the user's words ("contrast flair is missing").
    where:
        The file, folder, field or option it was found in.
    hint:
        What to do about it.
    code:
        A stable machine-readable name (``missing_contrast``); serving maps it to an HTTP status.
    """

    code = "bad_input"

    def __init__(self, what: str, *, where: str | Path | None = None, hint: str = "", code: str = "") -> None:
        self.what = what
        self.where = str(where) if where is not None else ""
        self.hint = hint
        self.code = code or type(self).code
        super().__init__(what)

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        if self.hint:
            line = f"{line.rstrip('.')}. {self.hint}"
        return " ".join(line.split())

    def __reduce__(self) -> tuple[object, ...]:
        """Cross a process boundary whole: worker processes report their errors through this."""
        return _rebuild, (type(self), self.what, self.where, self.hint, self.code)


def _rebuild(kind: type[GlioscopeError], what: str, where: str, hint: str, code: str) -> GlioscopeError:
    return kind(what, where=where or None, hint=hint, code=code)


class InputError(GlioscopeError):
    """A file, folder or array that cannot be used as given."""


class ConfigError(GlioscopeError):
    """A parameter outside its range, or parameters that contradict each other."""

    code = "bad_config"


class IntegrityError(GlioscopeError):
    """Bytes on disk are not the bytes that were written (digest differs, file short or missing)."""

    code = "integrity"


class OutputError(GlioscopeError):
    """A result cannot be written: disk full, no permission, target in the way."""

    code = "output"


class TrainingError(GlioscopeError):
    """Training cannot go on: the loss is not a number, or memory is full."""

    code = "training"
