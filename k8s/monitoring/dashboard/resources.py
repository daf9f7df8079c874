"""Processor, memory, disk and GPU of the machines the endpoint runs on."""

from __future__ import annotations

from dashboard.panels import ENDPOINT, VERSION, Panel, lines

TITLE = "Resources"


def panels() -> list[Panel]:
    """TorchServe's system metrics (of the node, not of the pod's limits) and the worker's own memory."""
    memory = f"min_over_time(glioscope_worker_memory_bytes{{{VERSION}}}[1h]%s)"
    return [
        lines(
            "Memory of the worker",
            (f"glioscope_worker_memory_bytes{{{VERSION}}}", "{{instance}} {{ModelVersion}}"),
            (memory % "", "{{instance}} lowest of an hour"),
            (f"1.5 * {memory % ' offset 6h'}", "{{instance}} alert"),
            unit="bytes",
            alerts=("GlioscopeMemoryGrows",),
            about="Resident memory of the worker that answered last. Alert: 1.5 times the lowest of 6 hours ago.",
        ),
        lines(
            "Utilisation",
            *((f"{name}Utilization{{{ENDPOINT}}}", f"{{{{instance}}}} {name}") for name in ("CPU", "Memory", "Disk")),
            unit="percent",
            high=100,
            about="Of the whole node.",
        ),
        lines(
            "Memory of the node",
            (f"MemoryUsed{{{ENDPOINT}}}", "{{instance}} used"),
            (f"MemoryAvailable{{{ENDPOINT}}}", "{{instance}} available"),
            unit="mbytes",
        ),
        lines(
            "Disk",
            (f"DiskUsage{{{ENDPOINT}}}", "{{instance}} used"),
            (f"DiskAvailable{{{ENDPOINT}}}", "{{instance}} available"),
            unit="gbytes",
        ),
        lines(
            "GPU",
            (f"GPUUtilization{{{ENDPOINT}}}", "{{instance}} {{DeviceId}} compute"),
            (f"GPUMemoryUtilization{{{ENDPOINT}}}", "{{instance}} {{DeviceId}} memory"),
            unit="percent",
            high=100,
            about="Empty without a GPU.",
        ),
        lines(
            "Memory of the GPU",
            (f"GPUMemoryUsed{{{ENDPOINT}}}", "{{instance}} {{DeviceId}}"),
            unit="mbytes",
            about="Empty without a GPU.",
        ),
    ]
