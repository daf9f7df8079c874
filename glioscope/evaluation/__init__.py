"""How good a model is, and whether its evidence lies where it should; the only part that may open masks."""

from glioscope.evaluation.evaluate import evaluate

__all__ = ["evaluate"]
