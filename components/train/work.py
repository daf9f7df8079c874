"""Training with its checkpoints kept in the storage, in one process or in several."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, cast

from components.groups import unpacked
from components.storage import open_storage
from components.threads import as_many_threads_as_cores
from components.train.kept_checkpoints import KeptCheckpoints, prefix_of
from glioscope.config import ARCHITECTURES, Architecture, NetworkParams, TrainParams
from glioscope.data import SliceStore
from glioscope.errors import ConfigError, GlioscopeError, IntegrityError, TrainingError
from glioscope.model_directory import read_description
from glioscope.recipes import TrainSettings, resolve
from glioscope.revision import git_revision, software
from glioscope.training import train
from glioscope.training.checkpoint import Checkpoints, checkpoint_folder
from glioscope.training.run import identity

_EVERY_S = 60.0


def train_kept(
    store: Path,
    out: Path,
    *,
    architecture: str,
    parameters: dict[str, Any],
    network: dict[str, Any],
    storage: str,
    pushgateway: str,
    processes: int,
) -> dict[str, Any]:
    """Train and write the model directory ``out``; goes on from the checkpoints of an earlier try that was killed.

    Returns
    -------
    Facts for the UI and the record: weights_sha256, epochs, kept_epoch, validation_loss, validation_f1_macro, and how
    many checkpoint files it was ``resumed_from`` (0: it began at the beginning). ``checkpoints`` is where their copies
    lie; they stay until somebody has the model (`evaluate` drops them), for this pod may die before it is uploaded.

    Raises
    ------
    TrainingError
        A process of several ended; its own lines say why. Otherwise what :func:`glioscope.training.train` raises.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"there is no network {architecture!r}", hint=f"Give one of {', '.join(ARCHITECTURES)}")
    settings = resolve(
        unpacked(TrainParams, parameters, where="train"),
        cast(Architecture, architecture),
        unpacked(NetworkParams, network, where="networks"),
    )
    same_run = identity(SliceStore.open(store, verify=False), settings, processes=processes)
    # A mended network must not go on with what the one before it learnt.
    code = {"software": software(), "git_revision": git_revision(Path.cwd())[0]}
    prefix = prefix_of(architecture, same_run | code)
    found = _brought(KeptCheckpoints(open_storage(storage), prefix), checkpoint_folder(out))
    if found:
        print(f"goes on from the checkpoint of an earlier try, kept in {storage}", file=sys.stderr, flush=True)
    _run((store, settings, out, architecture, storage, prefix, pushgateway), processes)
    description = read_description(out)
    facts = {name: description.training[name] for name in ("epochs", "kept_epoch", "validation_loss")}
    facts["validation_f1_macro"] = description.training["validation_f1_macro"]
    return (
        {"architecture": architecture, "weights_sha256": description.weights_sha256, "resumed_from": found}
        | facts
        | {"checkpoints": prefix}
    )


def _brought(kept: KeptCheckpoints, folder: Path) -> int:
    """Copy what is kept into ``folder``, unless all of it is damaged: then training begins anew, and says so."""
    found = kept.bring(folder)
    try:
        Checkpoints(folder).latest()
    except IntegrityError as error:
        print(f"warning: begins anew: {error}", file=sys.stderr, flush=True)
        shutil.rmtree(folder)
        return 0
    return found


def _run(job: tuple[Any, ...], processes: int) -> None:
    if processes == 1:
        _train(*job)
        return
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415  (slow to import)
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, _train)(*job)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        what = f"process {rank} of {processes} ended with {failure.exitcode}"
        raise TrainingError(what, hint="Its own lines above say why") from error


def _train(  # noqa: PLR0917 - called with one tuple, here or in another process
    store: Path,
    settings: TrainSettings,
    out: Path,
    name: str,
    storage: str,
    kept_in: str,
    pushgateway: str,
) -> None:
    as_many_threads_as_cores()
    kept = KeptCheckpoints(open_storage(storage), kept_in)
    try:
        train(
            SliceStore.open(store),
            settings,
            out,
            resume=True,
            name=name,
            checkpoint_every_s=_EVERY_S,
            on_checkpoint=kept.keep,
            pushgateway=pushgateway or None,
        )
    except GlioscopeError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise
