"""What every worker process does first: keep to one thread, leave Ctrl-C to the parent, and end with the parent."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading

from threadpoolctl import threadpool_limits


def start_worker() -> None:
    """Initialiser of a process pool: a worker whose parent was killed would otherwise write on, or wait for ever."""
    threadpool_limits(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
