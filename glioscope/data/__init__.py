"""From scans on disk to a slice store: sources, slices, patient-wise split, store."""

from glioscope.data.store import SliceStore

__all__ = ["SliceStore"]
