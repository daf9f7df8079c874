"""The three networks of the paper, their heads, and the reading of published weights."""

from glioscope.models.create import create_model
from glioscope.models.layout import memory_format_for
from glioscope.models.output import NetworkOutput
from glioscope.models.published import load_published_weights

__all__ = ["NetworkOutput", "create_model", "load_published_weights", "memory_format_for"]
