"""Synthetic subjects in the layout of BraTS 2020: believable anatomy and gliomas, without a download."""

from glioscope.data.phantom.writer import write_phantom

__all__ = ["write_phantom"]
