"""The three networks of the paper, their heads, and the reading of published weights."""

from glioscope.models.create import create_model
from glioscope.models.output import NetworkOutput

__all__ = ["NetworkOutput", "create_model"]
