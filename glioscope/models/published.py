"""Reading the authors' published checkpoints, which are strangers' files: nothing in them is ever executed."""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from glioscope.errors import InputError
from glioscope.models.create import create_model

LARGEST_BYTES = 2 << 30  # the paper's largest network with its optimizer's state is 0.3 GB
_PREFIXES = ("net.", "module.", "_orig_mod.")  # the authors' wrapper, data parallelism, compilation

# First convolution, head, and the keys that count the depth, of each network.
_LANDMARKS = {
    "gp_unet": ("down_path.0.block.0.weight", "last.weight", "down_path"),
    "gp_shuffle_unet": ("conv_inp.conv_1.weight", "out.weight", "wave_down"),
    "gp_recon_resnet": ("intialConv.1.weight", "finalconv.0.weight", "resblocks"),
}


def read_published(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The state dict in ``path`` (.safetensors, or .bin/.pt/.pth/.ckpt of ``torch.save``), on the CPU.

    A wrapping ``{"state_dict": …}`` and the prefixes ``net.`` and ``module.`` are taken off, ``loss.*`` is dropped.

    Raises
    ------
    InputError
        The file is missing, too large, damaged, holds something other than weights (pickles with code are refused,
        unexecuted), or a weight is not a finite number.
    """
    path = Path(path)
    content = _load(path)
    wrapped = content.get("state_dict")
    state: dict[str, Tensor] = {}
    for key, value in (wrapped if isinstance(wrapped, dict) else content).items():
        name = _without_prefixes(str(key))
        if name.startswith("loss."):
            continue
        if name in state:
            raise InputError(f"key {name!r} occurs twice once prefixes are taken off", where=path)
        if not isinstance(value, Tensor) or not _is_plain(value):
            raise InputError(
                f"entry {name!r} is not a plain dense tensor", where=path, hint="Save the state_dict alone"
            )
        if not torch.isfinite(value.float() if value.is_floating_point() else value).all():
            raise InputError(f"{name!r} holds NaN or infinite numbers", where=path, hint="Export the checkpoint again")
        state[name] = value
    if not state:
        raise InputError("holds no weights", where=path, hint="Give a checkpoint of one of the authors' networks")
    return state


def describe(state: dict[str, Tensor], name: str) -> dict[str, int]:
    """The ``in_channels, num_classes, width, depth`` that :func:`create_model` needs to fit ``state``.

    Every key and shape is compared before any memory is taken for the network.

    Raises
    ------
    InputError
        ``state`` is not one of a network ``name`` as the authors build it.
    ConfigError
        ``name`` is unknown, or the sizes are outside what :func:`create_model` builds.
    """
    if name not in _LANDMARKS:
        create_model(name, in_channels=1, num_classes=1)  # says which names there are
    first, head, repeated = _LANDMARKS[name]
    if any(key not in state or state[key].dim() != 4 for key in (first, head)):
        looks_like = [other for other, (key, *_) in _LANDMARKS.items() if key in state]
        hint = f"It looks like {looks_like[0]}: use --model {looks_like[0]}" if looks_like else "Check --model"
        raise InputError(f"these are not the weights of {name}: {first} or {head} is missing", hint=hint)
    levels = {key.split(".")[1] for key in state if key.startswith(f"{repeated}.")}
    size = {
        "in_channels": state[first].shape[1],
        "num_classes": state[head].shape[0],
        "width": state[first].shape[0],
        "depth": len(levels),
    }
    with torch.device("meta"):
        skeleton = create_model(name, **size)  # type: ignore[arg-type]
    _require_fit(skeleton, state, where=name)
    return size


def load_published_weights(net: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load a published checkpoint into ``net``, all keys and shapes exactly; on any error ``net`` stays as it was.

    Raises
    ------
    InputError
        As :func:`read_published`, or a key is missing or unexpected, or a shape differs; names the first of them.
    """
    state = read_published(path)
    _require_fit(net, state, where=str(path))
    net.load_state_dict(state, strict=True)


def _require_fit(net: nn.Module, state: dict[str, Tensor], where: str) -> None:
    wanted = net.state_dict()
    missing = [key for key in wanted if key not in state]
    unexpected = [key for key in state if key not in wanted]
    problems = [f"{_some(keys)} {what}" for keys, what in ((missing, "missing"), (unexpected, "unexpected")) if keys]
    for key in wanted.keys() & state.keys():
        if wanted[key].shape != state[key].shape:
            problems.append(f"{key} is {tuple(state[key].shape)}, the network needs {tuple(wanted[key].shape)}")
            break
        if wanted[key].is_floating_point() != state[key].is_floating_point():
            problems.append(f"{key} is {state[key].dtype}, the network needs {wanted[key].dtype}")
            break
    if problems:
        raise InputError(
            f"weights do not fit the network: {'; '.join(problems)}",
            where=where,
            hint="Check the network's name, channels, classes, width and depth",
        )


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:3])
    return f"{len(keys)} keys ({shown}, …)" if len(keys) > 3 else f"{len(keys)} key{'s' * (len(keys) > 1)} ({shown})"


def _without_prefixes(key: str) -> str:
    while key.startswith(_PREFIXES):
        key = key.split(".", 1)[1]
    return key


def _is_plain(tensor: Tensor) -> bool:
    held = not tensor.is_meta and tensor.layout is torch.strided and not tensor.is_quantized
    return held and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _load(path: Path) -> dict[Any, Any]:
    try:
        size = path.stat().st_size
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(entry.file_size for entry in archive.infolist()))
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read: {error}", where=path, hint="Give a checkpoint file") from error
    if size > LARGEST_BYTES:
        raise InputError(f"holds {size / 1e9:.1f} GB, the limit is {LARGEST_BYTES / 1e9:.1f} GB", where=path)
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can make the readers raise nearly anything
        if isinstance(error, pickle.UnpicklingError):
            foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
            raise InputError(
                f"refused: it holds more than weights{f' ({foreign[1]})' if foreign else ''}, which could run code",
                where=path,
                hint="Have its author save the state_dict alone, best as .safetensors",
            ) from error
        raise InputError(
            "is damaged, or not a checkpoint", where=path, hint="Download it again, and give .safetensors or .bin/.pt"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"holds a {type(content).__name__}, not a state dict", where=path)
    return content
