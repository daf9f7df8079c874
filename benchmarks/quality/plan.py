"""What is compared: the sets, and the entries that are trained and tested on each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from glioscope.config import Architecture, IngestParams, NetworkParams, TrainParams
from glioscope.recipes import TrainSettings, resolve

FOLDS = 5
TESTED = (0, 2, 3)
# Fold f is validated on the patients that fold f + 1 tests. The recipe was developed on fold 0's validation patients,
# so fold 1 would test on patients whose scores have shaped it.
DEVELOPED_ON = 1


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A manifest of slices and what the recipes are given for it.

    Attributes
    ----------
    size:
        Height and width of the slices, pixels.
    train, paper:
        Overrides of :class:`TrainParams` for entries of the recipe "glioscope" (the baseline, too) and of "paper".
    networks:
        Overrides of :class:`NetworkParams` by architecture, for the recipe "glioscope".
    entries:
        The entries that are run on it; empty: all that make sense.
    """

    name: str
    size: int
    train: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, Any] = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    entries: tuple[str, ...] = ()

    def ingest_params(self, fold: int) -> IngestParams:
        """Five folds by patient; one process, as several runs share the machine."""
        return IngestParams(kind="manifest", size=self.size, normalisation="median", folds=FOLDS, fold=fold, workers=1)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One way to train, or to use, a network.

    Attributes
    ----------
    about:
        How it differs, for the table's reader.
    method:
        "network": trained by :func:`glioscope.training.train`. "resnet18": a plain classifier with post-hoc CAMs.
    train, network:
        Overrides of :class:`TrainParams` and :class:`NetworkParams`, over those of the set.
    reuses, options:
        Not trained: the weights of the entry ``reuses``, with other ``options`` of :func:`create_model`.
    sets:
        Where it makes sense; empty: everywhere. An entry that would train exactly what "glioscope" trains is left out.
    """

    name: str
    about: str
    architecture: Architecture = "gp_unet"
    recipe: Literal["glioscope", "paper"] = "glioscope"
    method: Literal["network", "resnet18"] = "network"
    train: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, int] = field(default_factory=dict)
    reuses: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    sets: tuple[str, ...] = ()


# The authors train 300 epochs of width 64 with 16 × 8 slices an update on a GPU, 400 hours of two CPU cores. Here they
# get 8 epochs; their 128 slices an update would be some 100 updates in all, so it is 16, as ours.
_PAPER = {"epochs": 8, "accumulate": 2}
# figshare: skull present; planes and sides that tell the class; no tumour-free class to learn from.
_FIGSHARE = {"pool_region": "inner", "views": 1, "rotation": 30.0, "epochs": 20}
_FIGSHARE_NETWORKS = {"gp_unet": {"width": 24}}
FIRST = ("glioscope", "resnet18")  # all folds of these come before anything else
OURS, BASELINE = FIRST

SETS = {
    data.name: data
    for data in (
        DataSet(name="tcga-lgg", size=64, paper=_PAPER),
        DataSet(
            name="figshare",
            size=64,
            train=_FIGSHARE,
            paper=_PAPER,
            networks=_FIGSHARE_NETWORKS,
        ),
        DataSet(name="figshare-96", size=96, train=_FIGSHARE, networks=_FIGSHARE_NETWORKS, entries=FIRST),
        # Any manifest in a minute or two, to see that all works; its numbers mean nothing.
        DataSet(
            name="trial",
            size=32,
            train={"epochs": 1, "batch_size": 8},
            paper={"epochs": 1, "accumulate": 1},
            networks={"gp_unet": {"width": 4, "depth": 2}},
        ),
    )
}

_ABLATIONS = (
    Entry(name="without-two-views", about="one view of a slice in training", train={"views": 1}),
    Entry(
        name="with-lost-contrasts",
        about="in a quarter of the training slices copies of one contrast replace others",
        train={"lose_contrasts": 0.25},
        sets=("tcga-lgg", "trial"),  # the others have one contrast
    ),
    Entry(name="without-hide", about="nothing hidden in training", train={"hide": 0.0}),
    Entry(name="without-region", about="every pixel counts as evidence", train={"pool_region": "all"}),
    Entry(name="without-level", about="levels of the classes as trained", train={"level": False}),
    Entry(
        name="without-average",
        about="no averaged weights; those of the lowest validation loss",
        train={"ema": 0.0, "keep": "best"},
    ),
    Entry(
        name="without-soft-pooling",
        about="a logit is its heatmap's one highest pixel",
        train={"pooling": "top_k", "pool_k": 1},
    ),
    Entry(name="without-batch-norm", about="no normalisation layers", train={"norm": "none"}),
    Entry(
        name="without-one-vs-rest",
        about="cross entropy",
        train={"loss": "cross_entropy"},
        sets=("figshare",),  # elsewhere there is a tumour-free class, so that it is the recipe's loss already
    ),
)
ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(name="glioscope", about="GP-UNet, our recipe"),
        Entry(name="resnet18", about="ResNet-18, trained the same way, with its best CAM", method="resnet18"),
        Entry(name="without-guide", about="heatmap not filtered", reuses="glioscope", options={"guide": 0.0}),
        Entry(name="without-mirror", about="no mirror images", reuses="glioscope", options={"mirror": False}),
        *_ABLATIONS,
        Entry(name="glioscope-gp_shuffle_unet", about="GP-ShuffleUNet, our recipe", architecture="gp_shuffle_unet"),
        Entry(name="glioscope-gp_recon_resnet", about="GP-ReconResNet, our recipe", architecture="gp_recon_resnet"),
        *(
            Entry(
                name=f"paper-{architecture}",
                about="the authors' head and settings, narrower and shorter",
                architecture=architecture,
                recipe="paper",
                network={"width": width},
            )
            for architecture, width in zip(get_args(Architecture), (16, 8, 12), strict=True)
        ),
    )
}


def settings_of(data: DataSet, entry: Entry) -> TrainSettings:
    """Every choice of training ``entry``, or the entry that it reuses, on ``data``."""
    if entry.reuses:
        return settings_of(data, ENTRIES[entry.reuses])
    ours = entry.recipe == "glioscope"
    network = {**(data.networks.get(entry.architecture, {}) if ours else {}), **entry.network}
    values = {
        "recipe": entry.recipe,
        **(data.train if ours else data.paper),
        **entry.train,
    }
    return resolve(TrainParams.model_validate(values), entry.architecture, NetworkParams.model_validate(network))


def choices_of(data: DataSet, entry: Entry) -> dict[str, Any]:
    """What makes a run of ``entry`` on ``data`` what it is, as plain values to be compared with a finished run's."""
    about = {"method": entry.method, "size": data.size, "options": dict(entry.options)}
    return about | settings_of(data, entry).model_dump()


def applies(data: DataSet, entry: Entry) -> bool:
    """Whether ``entry`` makes sense on ``data`` and differs there from what "glioscope" is."""
    if (entry.sets and data.name not in entry.sets) or (data.entries and entry.name not in data.entries):
        return False
    return entry.name == OURS or choices_of(data, entry) != choices_of(data, ENTRIES[OURS])
