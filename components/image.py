"""The image that every component runs in (components/Dockerfile)."""

from __future__ import annotations

import os

import glioscope

IMAGE = os.environ.get("GLIOSCOPE_COMPONENTS_IMAGE") or f"glioscope-components:{glioscope.__version__}"
"""Name in the compiled pipeline; the environment variable puts a registry before it, or another tag or digest."""
