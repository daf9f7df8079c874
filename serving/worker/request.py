"""From what TorchServe hands over to a scan and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glioscope.errors import InputError
from glioscope.model_directory import ModelDescription
from glioscope.scan import Scan, contrast_named
from glioscope.scan_files import scan_from_contrasts, scan_from_files
from serving.worker.form import BODY, Form, read_form
from serving.worker.options import Options, read_options

_WHOLE = ("data", BODY)


@dataclass(frozen=True)
class Request:
    """One scan and what its sender wants to know."""

    scan: Scan
    options: Options


def read_request(fields: Mapping[str, Any], headers: Mapping[str, Any], model: ModelDescription) -> Request:
    """Read the scan and the options of one request.

    A scan is one field per contrast of the model, or ``data`` (once, or once per file), or a bare body.

    Raises
    ------
    InputError
        ``no_scan``, ``ambiguous_scan``, ``two_contrasts``, or what :mod:`serving.worker.form`,
        :mod:`serving.worker.options` and :mod:`glioscope.scan_files` raise.
    """
    form = read_form(fields, headers)
    accept = next((value for name, value in headers.items() if name.lower() == "accept"), None)
    options = read_options(form.options, accept=accept if isinstance(accept, str) else None)
    return Request(_scan(form, options, model), options)


def _scan(form: Form, options: Options, model: ModelDescription) -> Scan:
    whole = [(filename, content) for name, filename, content in form.files if name in _WHOLE and content]
    contrasts: dict[str, bytes] = {}
    for name, _, content in form.files:
        contrast = None if name in _WHOLE else contrast_named(name, model.channels)
        if contrast in contrasts:
            raise InputError(f"contrast {contrast} is sent twice", hint="Send it once", code="two_contrasts")
        if contrast is not None:
            contrasts[contrast] = content
    if not whole and not contrasts:
        raise InputError(
            "no scan in the request",
            hint=f"Send the fields {', '.join(model.channels)}, or one field data",
            code="no_scan",
        )
    if whole and contrasts:
        raise InputError(f"both data and {next(iter(contrasts))} are sent", hint="Send one scan", code="ambiguous_scan")
    if contrasts:
        return scan_from_contrasts(contrasts, model, series=options.series)
    names = [name for name, _ in whole]
    files = {name if names.count(name) == 1 else f"{place}_{name}": c for place, (name, c) in enumerate(whole)}
    return scan_from_files(files, model, series=options.series)
