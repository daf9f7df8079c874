"""The training loop, to be read from top to bottom; every part it calls is one file of this folder."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from glioscope.errors import TrainingError
from glioscope.models import create_model, memory_format_for
from glioscope.precision import autocast, choose_precision
from glioscope.progress import Tracker
from glioscope.recipes import TrainSettings
from glioscope.training.augment import augment
from glioscope.training.checkpoint import Checkpoints, checkpoint_folder
from glioscope.training.class_weights import class_weights
from glioscope.training.distributed import join_world
from glioscope.training.feed import Feed
from glioscope.training.finish import write_model
from glioscope.training.hide import hide, hides_evidence
from glioscope.training.history import History
from glioscope.training.level import fit_level
from glioscope.training.loss import make_loss
from glioscope.training.optimise import Optimiser
from glioscope.training.order import Order
from glioscope.training.randomness import draw_turn, reproducible, seed_update
from glioscope.training.report import Report
from glioscope.training.run import Run, identity, is_finished, require_replaceable, require_same
from glioscope.training.telemetry import Telemetry
from glioscope.training.validation import validate

if TYPE_CHECKING:
    from glioscope.data import SliceStore

READ_LOSS_EVERY = 10  # updates, on CUDA: to read a number the processor must wait for the card
LOWER_RATE = "Lower --learning-rate, set --clip-norm 1, or use --precision fp32"


def train(  # noqa: PLR0912, PLR0915 - one loop, kept in one place to be read
    store: SliceStore,
    settings: TrainSettings,
    out: Path,
    *,
    resume: bool = False,
    name: str | None = None,
    progress: bool = True,
    checkpoint_every_s: float = 120.0,
    checkpoint_every_updates: int = 0,
    on_checkpoint: Callable[[Path], None] | None = None,
    metrics_textfile: str | Path | None = None,
    pushgateway: str | None = None,
) -> Path:
    """Train a network on image-level labels; returns ``out``, a model directory with the weights that are kept.

    ``settings.keep`` "best": those of the lowest validation loss, as in the paper (arXiv 2206.05148, section 2.5), of
    equals the earliest; "last": those after the last epoch. ``out`` also gets history.csv (a row per epoch) and
    steps.csv (a row per update). While training, the checkpoints and the same two files lie beside it in
    ``.<out>.checkpoint``. Under torchrun each process trains on its share.

    Parameters
    ----------
    store:
        Slices with their split; training reads "train" and "val". Masks cannot be reached through it.
    settings:
        Every choice, from :func:`glioscope.recipes.resolve`.
    resume:
        Go on from the last checkpoint where there is one; begin where there is none; return at once where ``out`` is
        already this run's model. On a CPU with the same number of threads, a run that was killed at any moment and
        resumed ends in the same weights, bit for bit.
    name:
        Name of the model; None: the name of ``out``.
    progress:
        Show progress on stderr.
    checkpoint_every_s, checkpoint_every_updates:
        Write a checkpoint after so many seconds, or updates (0: do not count them), beside the one after each epoch.
    on_checkpoint:
        Called with the file of every new checkpoint, in the process that wrote it: to copy it to where it outlives the
        machine, say. A run begun with such files in :func:`~glioscope.training.checkpoint.checkpoint_folder` resumes.
    metrics_textfile, pushgateway:
        Where Prometheus metrics go; see :class:`glioscope.training.telemetry.Telemetry`.

    Raises
    ------
    InputError
        A split is empty, a class has no training slice, or the network cannot take slices of this size.
    ConfigError
        The device is not there, or a checkpoint or model of another run is to be resumed.
    IntegrityError
        All checkpoints are damaged.
    OutputError
        ``out`` cannot be written, or is something other than a model directory.
    TrainingError
        The loss is no longer a number, or memory is full.
    """
    out = Path(out).absolute()
    name = name or out.name
    require_replaceable(out)
    with join_world(settings.device) as world, reproducible(world.device), _memory_full():
        device, precision = world.device, choose_precision(settings.precision, world.device)

        this_run = identity(store, settings, processes=world.size)
        checkpoints = Checkpoints(checkpoint_folder(out), on_save=on_checkpoint)
        saved = checkpoints.latest() if resume else None
        if saved is not None:
            require_same(saved["run"], this_run, where=checkpoints.folder)
        elif resume and is_finished(out, this_run):
            return out
        elif world.writes:
            checkpoints.remove()

        with_tissue = settings.pool_region != "all" or settings.hide > 0
        train_feed = Feed(store, "train", device=device, with_tissue=with_tissue)
        val_feed = Feed(store, "val", device=device, with_tissue=with_tissue)
        balance = class_weights(train_feed.labels, store.classes).to(device)
        weights = balance if settings.class_weights else torch.ones_like(balance)
        loss_of = make_loss(settings.loss, weights, tumour_free=store.healthy is not None)
        order = Order(len(train_feed), settings.batch_size, settings.accumulate, world.size, settings.seed)
        total = settings.epochs * order.updates
        healthy = None if store.healthy is None else store.classes.index(store.healthy)

        torch.manual_seed(settings.seed)
        built = create_model(
            settings.architecture,
            in_channels=len(store.channels),
            num_classes=len(store.classes),
            **settings.network_options(),
        )
        layout = memory_format_for(built, device, training=True)
        network: nn.Module = world.synchronise_batch_norm(built).to(device)
        network = network.to(memory_format=layout)  # type: ignore[call-overload]
        run = Run(network, Optimiser(network, settings, updates=total), History(total))
        if saved is not None:
            run.restore(saved)
        done = run.epoch * order.updates + run.update
        world.require_same(done, "the checkpoint")
        if settings.compile:
            network.compile()
        parallel = world.wrap(network)

        generator = torch.Generator()
        read_every = READ_LOSS_EVERY if device.type == "cuda" else 1
        last_saved = time.monotonic()
        report = Report(
            epochs=settings.epochs,
            tracker=Tracker(f"train {name}", total - done) if progress and world.writes else None,
            telemetry=Telemetry(name, textfile=metrics_textfile, pushgateway=pushgateway) if world.writes else None,
        )
        with report:
            while run.epoch < settings.epochs and not 0 < settings.patience <= run.stale:
                network.train()
                plan = order.epoch(run.epoch, rank=world.rank)[run.update :]
                batches = train_feed.batches(itertools.chain.from_iterable(plan))
                began, slices, losses = time.monotonic(), 0, []
                for indices in plan:
                    seed_update(generator, seed=settings.seed, epoch=run.epoch, update=run.update, rank=world.rank)
                    hides = hides_evidence(settings, epoch=run.epoch, update=run.update)
                    loss = torch.zeros((), device=device)
                    for number, batch in enumerate(itertools.islice(batches, len(indices)), start=1):
                        images, tissue = augment(batch.images, batch.tissue, generator=generator, settings=settings)
                        labels = batch.labels
                        if hides and tissue is not None:
                            with autocast(device, precision):
                                changed, shown = hide(
                                    images.contiguous(memory_format=layout),
                                    tissue,
                                    labels,
                                    teacher=run.optimiser.validated,
                                    region=settings.pool_region,
                                    share=settings.hide,
                                    healthy=healthy,
                                    generator=generator,
                                )
                            images, tissue = torch.cat([images, changed]), torch.cat([tissue, tissue])
                            labels = torch.cat([labels, shown])
                        images = images.contiguous(memory_format=layout)
                        turn = draw_turn(1 if hides else settings.views, images, generator)
                        with world.exchange_gradients(parallel, now=number == len(indices)):
                            with autocast(device, precision):
                                logits = parallel(images, tissue, turn=turn).logits
                            part = loss_of(logits, labels) / len(indices)
                            part.backward()
                        loss += part.detach()
                        slices += world.size * len(batch.labels)
                    learning_rate = run.optimiser.learning_rate
                    run.optimiser.update()
                    run.update += 1
                    losses.append(loss)
                    if run.update % read_every and run.update < order.updates:
                        continue

                    value = world.mean(torch.stack(losses).mean())
                    step = run.epoch * order.updates + run.update
                    if not math.isfinite(value):
                        raise TrainingError(
                            f"training loss is {value} in epoch {run.epoch + 1}, update {run.update} ({step} in all)",
                            hint=LOWER_RATE,
                        )
                    speed = slices / (time.monotonic() - began)
                    run.history.add_updates(len(losses), step=step, loss=value, learning_rate=learning_rate)
                    report.updates(
                        len(losses), epoch=run.epoch + 1, loss=value, learning_rate=learning_rate, speed=speed
                    )
                    losses = []
                    due = time.monotonic() - last_saved >= checkpoint_every_s
                    due |= checkpoint_every_updates > 0 and step % checkpoint_every_updates == 0
                    if world.writes and due and run.update < order.updates:
                        checkpoints.save(run.state() | {"run": this_run})
                        last_saved = time.monotonic()

                validated = world.align(run.optimiser.validated)
                scores, logits = validate(
                    validated,
                    val_feed,
                    classes=len(store.classes),
                    loss_of=loss_of,
                    batch_size=settings.batch_size,
                    precision=precision,
                    world=world,
                )
                run.epoch, run.update = run.epoch + 1, 0
                if not math.isfinite(scores["val_loss"]):
                    raise TrainingError(f"validation loss is not a number after epoch {run.epoch}", hint=LOWER_RATE)
                row = run.history.add_epoch(epoch=run.epoch, learning_rate=learning_rate, slices_per_s=speed, **scores)
                level = fit_level(logits, torch.from_numpy(val_feed.labels), loss_of) if settings.level else None
                report.epoch(row, is_best=run.keep_weights(row, settings.keep, level=level))
                if world.writes:
                    checkpoints.save(run.state() | {"run": this_run})
                    last_saved = time.monotonic()
                    run.history.write(checkpoints.folder)

        if world.writes:
            write_model(out, run, store=store, settings=settings, this_run=this_run, name=name)
            checkpoints.remove()
        world.wait()
        del parallel  # before its process group, or gloo's thread and this one may wait for each other
    return out


@contextlib.contextmanager
def _memory_full() -> Iterator[None]:
    hint = "Lower --batch-size and raise --accumulate by as much"
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError("the memory of the GPU is full", hint=hint) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise TrainingError("memory is full", hint=hint) from error
