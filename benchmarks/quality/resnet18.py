"""The baseline: ResNet-18 (He et al. 2016, MONAI's) trained from the same labels, in the same way, as our networks."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets.resnet import resnet18
from safetensors.torch import load, save
from torch import Tensor, nn

from glioscope import atomic
from glioscope.data import SliceStore
from glioscope.errors import InputError, IntegrityError
from glioscope.models.output import NetworkOutput
from glioscope.precision import autocast, choose_device, choose_precision
from glioscope.recipes import TrainSettings
from glioscope.training.augment import augment
from glioscope.training.checkpoint import Checkpoints, checkpoint_folder
from glioscope.training.class_weights import class_weights
from glioscope.training.distributed import World
from glioscope.training.feed import Feed
from glioscope.training.history import History
from glioscope.training.level import fit_level
from glioscope.training.loss import make_loss
from glioscope.training.optimise import Optimiser
from glioscope.training.order import Order
from glioscope.training.randomness import reproducible, seed_update
from glioscope.training.run import Run, identity, require_same
from glioscope.training.validation import validate


class ResNet18(nn.Module):
    """Logits (B, K) of slices (B, C, H, W), in the form of our networks' answer but without a heatmap.

    The stem has stride 2 and no pooling, so that maps of a 64 × 64 slice are 16, 8 and 4 pixels wide at the second,
    third and fourth stage and not half of that: CAMs are as coarse as these maps.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.network = resnet18(
            spatial_dims=2, n_input_channels=in_channels, num_classes=num_classes, conv1_t_stride=2, no_max_pool=True
        )

    @property
    def head_convolution(self) -> nn.Linear:
        """The last layer, whose bias sets the classes' levels."""
        last = self.network.fc
        assert isinstance(last, nn.Linear)
        return last

    def forward(self, x: Tensor, tissue: Tensor | None = None) -> NetworkOutput:
        """``tissue`` plays no part."""
        return NetworkOutput(self.network(x), None)


def train_resnet18(store: SliceStore, settings: TrainSettings, out: Path) -> None:
    """Train on the store's image-level labels and write ``out``: weights.safetensors, model.json and history.csv.

    Augmentation, order, optimizer, schedule, averaging, class weights and loss are those of ``settings``; what it says
    of heads and heatmaps has no meaning here. After a kill the same call goes on from the last whole epoch.

    Raises
    ------
    GlioscopeError
        As :func:`glioscope.training.train` does.
    """
    this_run = identity(store, settings, processes=1)
    if (out / "model.json").is_file():
        require_same(_read(out)["run"], this_run, where=out)
        return
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    checkpoints = Checkpoints(checkpoint_folder(out))
    with reproducible(device):
        feed = Feed(store, "train", device=device, with_tissue=False)
        val_feed = Feed(store, "val", device=device, with_tissue=False)
        balance = class_weights(feed.labels, store.classes).to(device)
        weights = balance if settings.class_weights else torch.ones_like(balance)
        loss_of = make_loss(settings.loss, weights, tumour_free=store.healthy is not None)
        order = Order(len(feed), settings.batch_size, settings.accumulate, 1, settings.seed)
        total = settings.epochs * order.updates
        torch.manual_seed(settings.seed)
        network = ResNet18(len(store.channels), len(store.classes)).to(device)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        run = Run(network, Optimiser(network, settings, updates=total), History(total))
        if (saved := checkpoints.latest()) is not None:
            require_same(saved["run"], this_run, where=checkpoints.folder)
            run.restore(saved)
        generator = torch.Generator()
        while run.epoch < settings.epochs:
            network.train()
            began = time.monotonic()
            plan = order.epoch(run.epoch, rank=0)
            batches = feed.batches(itertools.chain.from_iterable(plan))
            for update, indices in enumerate(plan):
                seed_update(generator, seed=settings.seed, epoch=run.epoch, update=update, rank=0)
                loss = torch.zeros((), device=device)
                for batch in itertools.islice(batches, len(indices)):
                    images, _ = augment(batch.images, None, generator=generator, settings=settings)
                    images = images.contiguous(memory_format=torch.channels_last)
                    with autocast(device, precision):
                        logits = network(images).logits
                    part = loss_of(logits.float(), batch.labels) / len(indices)
                    part.backward()
                    loss += part.detach()
                rate = run.optimiser.learning_rate
                run.optimiser.update()
                step = run.epoch * order.updates + update + 1
                run.history.add_updates(1, step=step, loss=float(loss), learning_rate=rate)
            speed = order.batches * settings.batch_size / (time.monotonic() - began)
            scores, logits = validate(
                run.optimiser.validated,
                val_feed,
                classes=len(store.classes),
                loss_of=loss_of,
                batch_size=settings.batch_size,
                precision=precision,
                world=World(0, 1, device),
            )
            run.epoch += 1
            row = run.history.add_epoch(epoch=run.epoch, learning_rate=rate, slices_per_s=speed, **scores)
            level = fit_level(logits, torch.from_numpy(val_feed.labels), loss_of) if settings.level else None
            run.keep_weights(row, settings.keep, level=level)
            checkpoints.save(run.state() | {"run": this_run})
            print(f"epoch {run.epoch}/{settings.epochs}: {row}", flush=True)
    _write(out, run, store, this_run)
    checkpoints.remove()


def load_resnet18(path: Path) -> tuple[ResNet18, dict[str, Any]]:
    """The network, in eval mode, and its model.json; raises :class:`IntegrityError` where the weights are others."""
    description = _read(path)
    data = (path / "weights.safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != description["weights_sha256"]:
        raise IntegrityError("weights do not match model.json", where=path, hint="Remove it and train again")
    network = ResNet18(len(description["channels"]), len(description["classes"]))
    network.load_state_dict(load(data))
    return network.eval(), description


def _read(path: Path) -> dict[str, Any]:
    try:
        description: dict[str, Any] = json.loads((path / "model.json").read_bytes())
    except (OSError, ValueError) as error:
        raise InputError("is no trained ResNet-18", where=path, hint="Train again") from error
    return description


def _write(out: Path, run: Run, store: SliceStore, this_run: dict[str, Any]) -> None:
    data = save({key: value.contiguous() for key, value in run.kept["weights"].items()})
    description = {
        "architecture": "resnet18",
        "channels": list(store.channels),
        "classes": list(store.classes),
        "healthy": store.healthy,
        "normalisation": store.normalisation,
        "kept_epoch": run.kept["epoch"],
        "run": this_run,
        "weights_sha256": hashlib.sha256(data).hexdigest(),
    }
    with atomic.new_folder(out, marker="model.json") as folder:
        (folder / "weights.safetensors").write_bytes(data)
        atomic.write_json(folder / "model.json", description)
        run.history.write(folder)
