"""glioscope: brain-tumour classifiers that decide from their own heatmap, made operable. Research use only."""

from importlib.metadata import version

__version__ = version("glioscope")
