"""Named presets of training: what `--recipe` fills in wherever no value was given."""

from __future__ import annotations

from typing import Any, Literal

from glioscope.config import Architecture, Keep, Loss, NetworkParams, Norm, Pooling, PoolRegion, Settings, TrainParams

# The authors' recipe: Chatterjee et al., arXiv 2206.05148, section 2.5, and their released configuration.
_PAPER: dict[str, Any] = {
    "epochs": 300,
    "batch_size": 8,
    "accumulate": 16,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "weight_decay": 5e-4,
    "schedule": "constant",
    "clip_value": 1.0,
    "clip_norm": 0.0,
    "loss": "cross_entropy",
    "class_weights": True,
    "ema": 0.0,
    "level": False,
    "keep": "best",
    "patience": 0,
    "rotation": 330.0,
    "flip": True,
    "scale": 0.0,
    "intensity": 0.0,
    "lose_contrasts": 0.0,
    "hide": 0.0,
    "views": 1,
    "norm": "none",
    "pooling": "max",
    "pool_region": "all",
    "pool_fraction": 0.02,
    "pool_k": 32,
    "pool_sharpness": 4.0,
    "guide": 0.0,
    "mirror": False,
}

# Ours: evidence only where there is tissue, pixel-wise normalisation, a heatmap that follows the slice's edges, a short
# schedule that a laptop finishes; docs/decisions/0026-glioscope-recipe.md says what each ingredient brings.
_GLIOSCOPE: dict[str, Any] = _PAPER | {
    "epochs": 12,
    "batch_size": 16,
    "accumulate": 1,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 1e-2,
    "schedule": "one_cycle",
    "clip_value": 0.0,
    "clip_norm": 1.0,
    "loss": "auto",
    "ema": 0.99,
    "level": True,
    "keep": "last",
    "rotation": 180.0,
    "scale": 0.1,
    "intensity": 0.1,
    "lose_contrasts": 0.0,
    "hide": 0.1,
    "views": 2,
    "norm": "batch",
    "pooling": "top_fraction",
    "pool_region": "tissue",
    "guide": 0.1,
    "mirror": True,
}

RECIPES: dict[str, dict[str, Any]] = {"paper": _PAPER, "glioscope": _GLIOSCOPE}

# Each network's width, depth and dropout under each recipe. Dropping half of the bottleneck's channels lets the
# evidence drift to anatomy (docs/decisions/0014-no-dropout.md), so ours drops none.
_NETWORKS: dict[str, dict[str, tuple[int, int, float]]] = {
    "paper": {"gp_unet": (64, 3, 0.5), "gp_shuffle_unet": (64, 3, 0.5), "gp_recon_resnet": (64, 14, 0.2)},
    "glioscope": {"gp_unet": (16, 3, 0.0), "gp_shuffle_unet": (6, 3, 0.0), "gp_recon_resnet": (12, 3, 0.0)},
}


class TrainSettings(Settings):
    """Every choice of one training run, nothing left open."""

    architecture: Architecture
    recipe: Literal["glioscope", "paper"]
    width: int
    depth: int
    dropout: float
    norm: Norm
    pooling: Pooling
    pool_region: PoolRegion
    pool_fraction: float
    pool_k: int
    pool_sharpness: float
    guide: float
    mirror: bool
    seed: int
    device: str
    precision: Literal["auto", "fp32", "bf16"]
    compile: bool
    epochs: int
    batch_size: int
    accumulate: int
    optimizer: Literal["adam", "adamw"]
    learning_rate: float
    weight_decay: float
    schedule: Literal["constant", "one_cycle", "cosine"]
    clip_value: float
    clip_norm: float
    loss: Loss
    class_weights: bool
    ema: float
    level: bool
    keep: Keep
    patience: int
    rotation: float
    flip: bool
    scale: float
    intensity: float
    lose_contrasts: float
    hide: float
    views: int

    def network_options(self) -> dict[str, Any]:
        """The keywords of :func:`glioscope.models.create_model` beside the channels and classes."""
        pooling = ("pooling", "pool_region", "pool_fraction", "pool_k", "pool_sharpness", "guide")
        names = ("width", "depth", "dropout", "norm", *pooling, "mirror")
        return {name: getattr(self, name) for name in names}


def resolve(train: TrainParams, architecture: Architecture, network: NetworkParams) -> TrainSettings:
    """Fill what ``train`` and ``network`` leave open from the recipe that ``train`` names."""
    width, depth, dropout = _NETWORKS[train.recipe][architecture]
    values = RECIPES[train.recipe] | {"width": width, "depth": depth, "dropout": dropout, "architecture": architecture}
    given = train.model_dump(exclude_none=True) | network.model_dump(exclude_none=True)
    return TrainSettings.model_validate(values | given)
