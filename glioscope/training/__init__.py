"""Training: from a slice store to a model directory. :mod:`glioscope.training.loop` is the place to begin reading."""

from glioscope.training.augment import augment
from glioscope.training.loop import train

__all__ = ["augment", "train"]
