"""The one description of every parameter: params.yaml, the CLI's options and the pipeline's inputs all come from here.

A field's name, default, range and description are stated once. ``None`` in :class:`TrainParams` and
:class:`NetworkParams` means "as the recipe says"; :mod:`glioscope.recipes` fills it in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from glioscope.errors import ConfigError

ARCHITECTURES = ("gp_unet", "gp_shuffle_unet", "gp_recon_resnet")
Architecture = Literal["gp_unet", "gp_shuffle_unet", "gp_recon_resnet"]
Kind = Literal["brats", "figshare", "manifest"]
Normalisation = Literal["max", "median"]
Pooling = Literal["max", "lse", "top_k", "top_fraction"]
PoolRegion = Literal["all", "tissue", "inner"]
Norm = Literal["none", "batch"]
Keep = Literal["best", "last"]
Loss = Literal["auto", "cross_entropy", "one_vs_rest"]


class Settings(BaseModel):
    """Base of all parameter groups: unknown names are refused, values cannot change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PhantomParams(Settings):
    """The synthetic data set."""

    subjects: int = Field(48, ge=1, le=100_000, description="Synthetic subjects to write")
    size: int = Field(64, ge=32, le=512, description="In-plane size of the volumes, pixels")
    slices: int = Field(24, ge=4, le=256, description="Axial slices per volume")
    seed: int = Field(0, ge=0, description="Seed of everything random")


class IngestParams(Settings):
    """From scans to a slice store."""

    kind: Kind = Field("brats", description="Layout of the source")
    size: int | None = Field(
        64, ge=16, le=1024, description="In-plane size of stored slices, pixels; none: as they come"
    )
    normalisation: Normalisation = Field(
        "median", description="max: by the maximum over all channels (paper); median: each channel by its tissue median"
    )
    healthy: str | None = Field(None, description="Name of the tumour-free class; none: recognised by its usual names")
    val_fraction: float = Field(0.15, gt=0, lt=1, description="Share of the patients for validation")
    test_fraction: float = Field(0.25, gt=0, lt=1, description="Share of the patients for the test")
    folds: int = Field(0, ge=0, le=20, description="k-fold split by patient; 0: one split by the fractions")
    fold: int = Field(0, ge=0, description="Which fold is the test, from 0")
    seed: int = Field(0, ge=0, description="Seed of the split")
    workers: int = Field(0, ge=0, description="Processes; 0: one per core, six at most (2 GB)")
    skip_bad: bool = Field(False, description="Leave bad subjects out (listed in left_out.csv) instead of refusing")

    @model_validator(mode="after")
    def _consistent(self) -> IngestParams:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must leave patients to train on")
        if self.folds in (1, 2):
            raise ValueError("folds must be 0 or at least 3 (one for test, one for validation, the rest to train)")
        if self.fold >= max(self.folds, 1):
            raise ValueError("fold must be below folds")
        return self


class NetworkParams(Settings):
    """Size of one network; none: as the recipe says."""

    width: int | None = Field(None, ge=1, le=512, description="Channels of the first level")
    depth: int | None = Field(None, ge=1, le=64, description="Levels (U-Nets) or residual blocks (ReconResNet)")


class TrainParams(Settings):
    """Training; a value of none is taken from the recipe."""

    recipe: Literal["glioscope", "paper"] = Field("glioscope", description="Named preset that fills what is not given")
    seed: int = Field(0, ge=0, description="Seed of weights, order and augmentation")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where the processor has it in hardware, else fp32"
    )
    compile: bool = Field(False, description="torch.compile the network")
    epochs: int | None = Field(None, ge=1, le=10_000, description="Passes over the training slices")
    batch_size: int | None = Field(None, ge=1, le=4096, description="Slices per step and process")
    accumulate: int | None = Field(None, ge=1, le=1024, description="Steps whose gradients are added before an update")
    optimizer: Literal["adam", "adamw"] | None = Field(None, description="Optimizer")
    learning_rate: float | None = Field(None, gt=0, le=1, description="Peak learning rate")
    weight_decay: float | None = Field(None, ge=0, le=1, description="Weight decay")
    schedule: Literal["constant", "one_cycle", "cosine"] | None = Field(None, description="Learning-rate schedule")
    clip_value: float | None = Field(None, ge=0, description="Clip each gradient to ± this; 0: off")
    clip_norm: float | None = Field(None, ge=0, description="Clip the gradient's norm; 0: off")
    loss: Loss | None = Field(None, description="auto: one_vs_rest where no class is tumour-free, else cross_entropy")
    class_weights: bool | None = Field(None, description="Balanced class weights in the loss")
    ema: float | None = Field(None, ge=0, lt=1, description="Decay of the averaged weights; 0: off")
    level: bool | None = Field(None, description="Set the classes' levels against one another on validation at the end")
    keep: Keep | None = Field(None, description="Weights kept: best by validation loss (paper), or last")
    patience: int | None = Field(
        None, ge=0, description="Stop after so many epochs without a better validation; 0: off"
    )
    rotation: float | None = Field(None, ge=0, le=360, description="Random rotation, ± degrees")
    flip: bool | None = Field(None, description="Random flips along both axes")
    scale: float | None = Field(None, ge=0, lt=1, description="Random zoom, ± this share")
    intensity: float | None = Field(None, ge=0, lt=1, description="Random gain and gamma per channel, ± this share")
    lose_contrasts: float | None = Field(
        None, ge=0, le=1, description="Share of slices in which copies of one contrast replace others in training"
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="Share of channels dropped in training")
    hide: float | None = Field(
        None,
        ge=0,
        le=0.5,
        description="Share of pixels marked as evidence and kept or hidden in training; 0: off (paper)",
    )
    views: int | None = Field(None, ge=1, le=2, description="2: train on a slice and itself turned and shrunk")
    norm: Norm | None = Field(None, description="Normalisation layers added to GP-UNet: none (paper) or batch")
    pooling: Pooling | None = Field(None, description="How the heatmap becomes logits; max is the paper's head")
    pool_region: PoolRegion | None = Field(
        None,
        description="Where evidence counts: all pixels (paper), tissue, or inner: without its rim, the skull",
    )
    pool_fraction: float | None = Field(None, gt=0, le=1, description="top_fraction: share of the pixels averaged")
    pool_k: int | None = Field(None, ge=1, description="top_k: number of pixels averaged")
    pool_sharpness: float | None = Field(None, gt=0, description="lse: sharpness, towards max as it grows")
    guide: float | None = Field(
        None, ge=0, le=0.5, description="Radius of the heatmap's filter along edges, share of the side; 0: off (paper)"
    )
    mirror: bool | None = Field(None, description="Decide from the mean of four mirror images, outside training")


class EvaluateParams(Settings):
    """Evaluation."""

    bootstrap: int = Field(1000, ge=10, le=100_000, description="Patient-bootstrap resamples behind each interval")
    seed: int = Field(0, ge=0, description="Seed of the bootstrap")
    faithfulness_slices: int = Field(48, ge=0, description="Slices for deletion, insertion and randomisation")
    gallery: int = Field(8, ge=0, le=100, description="Slices in each of the report's galleries")
    workers: int = Field(0, ge=0, description="Processes for heatmap to mask; 0: one per core")


class GateRule(Settings):
    """One condition on a number of metrics.json."""

    metric: str = Field(description="Dotted name, such as classification.f1_macro")
    bound: Literal["value", "ci_low", "ci_high"] = Field("value", description="The value or an end of its interval")
    min: float | None = Field(None, description="Refuse below")
    max: float | None = Field(None, description="Refuse above")

    @model_validator(mode="after")
    def _has_a_limit(self) -> GateRule:
        if self.min is None and self.max is None:
            raise ValueError(f"rule on {self.metric} needs min or max")
        return self


class ChampionRule(Settings):
    """When a challenger may replace the champion: it must not be worse by more than this."""

    metric: str = Field("classification.f1_macro", description="Metric compared")
    max_drop: float = Field(0.0, ge=0, description="Largest drop that is accepted")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Refuse when a larger drop is this certain")


def _default_rules() -> tuple[GateRule, ...]:
    return (
        GateRule(metric="classification.f1_macro", min=0.75),
        GateRule(metric="classification.f1_macro", bound="ci_low", min=0.65),
        GateRule(metric="segmentation.dice_median", min=0.5),
        GateRule(metric="explanation.pointing_game", min=0.7),
        GateRule(metric="explanation.background_share", max=0.1),
    )


class GateParams(Settings):
    """What a model must reach before it is packaged."""

    rules: tuple[GateRule, ...] = Field(default_factory=_default_rules, min_length=1, description="All must hold")
    champion: tuple[ChampionRule, ...] = Field(
        (ChampionRule(max_drop=0.02), ChampionRule(metric="segmentation.dice_median", max_drop=0.05)),
        description="Against the champion's metrics on the same slices, where a champion is given",
    )


class Params(Settings):
    """All of params.yaml."""

    source: str = Field("data/phantom", description="What `dvc repro` ingests; a path from the project's root")
    phantom: PhantomParams = PhantomParams()
    ingest: IngestParams = IngestParams()
    networks: dict[Architecture, NetworkParams] = Field(
        default_factory=lambda: dict.fromkeys(get_args(Architecture), NetworkParams())
    )
    train: TrainParams = TrainParams()
    evaluate: EvaluateParams = EvaluateParams()
    gate: GateParams = GateParams()


Group = TypeVar("Group", bound=Settings)


def read_params(path: Path) -> Params:
    """Read and check params.yaml.

    Raises
    ------
    ConfigError
        The file is missing, is not YAML, or a value is unknown or out of range; the message names the key.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError(
            f"cannot read: {error.strerror}", where=path, hint="Give the path of a params.yaml"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML: {error}", where=path, hint="Mend the line it names") from error
    return parse(Params, raw or {}, where=str(path))


def parse(group: type[Group], values: dict[str, Any], *, where: str) -> Group:
    """Check ``values`` against ``group``; raises :class:`ConfigError` naming the first wrong key."""
    try:
        return group.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"{key}: {reason}" if key else reason, where=where, hint="See `glioscope COMMAND --help` for the range"
        ) from error
