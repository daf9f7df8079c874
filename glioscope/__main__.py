"""``python -m glioscope``, which torchrun needs."""

from glioscope.cli import main

main()
