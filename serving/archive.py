"""``python -m serving.archive MODEL --out NAME.mar``: a model directory as the archive that TorchServe loads.

The same model directory gives the same bytes: entries are sorted, and every time stamp is dropped. Inside lies a list
of digests (:mod:`serving.signatures`), which the worker checks before it serves.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated

import typer

from glioscope import atomic
from glioscope.errors import ConfigError, GlioscopeError
from glioscope.model_directory import ModelDescription, load_model
from serving.signatures import NAME as SIGNATURES
from serving.signatures import sign, version_of

HANDLER = Path(__file__).with_name("handler.py")
MODEL_CONFIG = Path(__file__).with_name("model-config.yaml")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def archive(model: Path, out: Path) -> ModelDescription:
    """Write the ``.mar`` of a model directory; returns the model's description.

    The archive's version is made of the digests of all that it holds, so two archives that differ never share one.

    Raises
    ------
    InputError, IntegrityError
        The model directory cannot be loaded: nothing unloadable is ever packaged.
    ConfigError
        ``out`` does not end in ``.mar``.
    """
    if out.suffix != ".mar":
        raise ConfigError("an archive ends in .mar", where=out, hint="Give --out NAME.mar")
    _, description = load_model(model)
    files = [model / "model.json", model / "weights.safetensors", HANDLER, MODEL_CONFIG]
    signatures = sign({file.name: file.read_bytes() for file in files})
    with tempfile.TemporaryDirectory() as scratch:
        signed = Path(scratch) / SIGNATURES
        signed.write_bytes(signatures)
        command = [sys.executable, "-m", "model_archiver.model_packaging", "--model-name", out.stem, "--force"]
        command += ["--version", version_of(signatures), "--handler", str(HANDLER)]
        command += ["--extra-files", ",".join(str(file) for file in (*files[:2], signed))]
        command += ["--config-file", str(MODEL_CONFIG), "--export-path", scratch]
        subprocess.run(command, check=True, capture_output=True)
        atomic.write_bytes(out, _reproducible((Path(scratch) / out.name).read_bytes()))
    return description


def _reproducible(packed: bytes) -> bytes:
    source = zipfile.ZipFile(io.BytesIO(packed))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive_file:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name == "MAR-INF/MANIFEST.json":
                manifest = json.loads(content)
                manifest.pop("createdOn", None)
                content = json.dumps(manifest, indent=2, sort_keys=True).encode()
            archive_file.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return target.getvalue()


def main() -> None:
    """Command line; exit 0, or 2 with one line for bad input."""

    def command(
        model: Annotated[Path, typer.Argument(help="Model directory")],
        out: Annotated[Path, typer.Option("--out", help="NAME.mar to write")],
    ) -> None:
        """Package a model directory for TorchServe."""
        try:
            description = archive(model, out)
        except GlioscopeError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(2) from error
        print(f"{out}: {description.name} {description.weights_sha256[:12]}, {out.stat().st_size / 1e6:.1f} MB")

    typer.run(command)


if __name__ == "__main__":
    main()
