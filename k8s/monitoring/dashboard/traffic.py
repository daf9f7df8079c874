"""Requests: how many, how they end, and where their time goes."""

from __future__ import annotations

from dashboard.panels import ENDPOINT, VERSION, Limit, Panel, lines

TITLE = "Requests and latency by stage"


def panels() -> list[Panel]:
    """From what clients see, through the queue, to the network's time for one slice."""
    return [*_counts(), *_latency(), *_stages()]


def _counts() -> list[Panel]:
    endpoint = f"{{{ENDPOINT}}}"
    gateway = f"glioscope_gateway_requests_total{{{ENDPOINT}"
    errors = f'(sum(increase({gateway}, status=~"5.."}}[15m])) or vector(0))'
    handler = f"glioscope_requests_total{{{VERSION}"
    served = f"sum(increase(ts_inference_requests_total{endpoint}[15m]))"
    return [
        lines(
            "Requests by status",
            (f"60 * sum by (status) (rate({gateway}}}[$__rate_interval]))", "{{status}}"),
            unit="reqpm",
            stacked=True,
            about="What clients saw. 499: the client went away before its answer.",
        ),
        lines(
            "Errors",
            (f"{errors} / sum(increase({gateway}}}[15m]))", "clients see"),
            (f'sum(increase({handler}, Outcome="failed"}}[15m])) / sum(increase({handler}}}[15m]))', "handler failed"),
            (f"(sum(increase(Requests5XX{endpoint}[15m])) or vector(0)) / {served}", "TorchServe 5xx"),
            unit="percentunit",
            limit=Limit("GlioscopeFailures", 0.01),
            alerts=("GlioscopeServerErrors", "GlioscopeGatewayErrors"),
            about="Clients see more than the handler fails: time-outs, lost workers, a full queue.",
        ),
        lines(
            "Refused",
            ("model:glioscope_refused:share1h", "last hour"),
            ("model:glioscope_refused:share7d", "last 7 days"),
            unit="percentunit",
            high=1,
            limit=Limit("GlioscopeRefusals", 0.5),
            about="Refused as bad input, all versions. Also fires above 10 % at twice the week's share.",
        ),
        lines(
            "Refusals by code",
            (f'sum by (Code) (increase({handler}, Outcome="refused"}}[1h]))', "{{Code}}"),
            unit="none",
            stacked=True,
            about="In an hour. One code points to one client that changed what it sends.",
        ),
        lines(
            "TorchServe's answers",
            *(
                (f"60 * sum(rate(Requests{status}XX{endpoint}[$__rate_interval])) or vector(0)", f"{status}xx")
                for status in (2, 4, 5)
            ),
            (f"60 * sum(rate(ts_inference_requests_total{endpoint}[$__rate_interval]))", "inference requests"),
            (f'60 * sum(rate({handler}, Outcome="answered"}}[$__rate_interval]))', "handler answered"),
            unit="reqpm",
            alerts=("GlioscopeNoAnswers",),
            about="Inference requests without answers of the handler: the workers are dead or hang.",
        ),
        lines(
            "Bytes",
            (f"sum by (direction) (rate(glioscope_gateway_bytes_total{endpoint}[$__rate_interval]))", "{{direction}}"),
            unit="binBps",
        ),
    ]


def _latency() -> list[Panel]:
    clients = f"rate(glioscope_gateway_seconds_bucket{{{ENDPOINT}}}[15m])"
    answered = f'glioscope_request_seconds_bucket{{{VERSION}, Outcome="answered"}}[15m]'
    slices = f"glioscope_network_slice_seconds_bucket{{{VERSION}}}[15m]"
    return [
        lines(
            "Time until clients had their answer",
            *((f"histogram_quantile({q}, sum by (le) ({clients}))", f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)),
            unit="s",
            about="From the request's head to the answer's end, transfer and queue included; buckets reach 330 s.",
        ),
        lines(
            "Time in the handler, p95",
            (f"histogram_quantile(0.95, sum by (ModelVersion, le) (rate({answered})))", "{{ModelVersion}}"),
            unit="s",
            limit=Limit("GlioscopeRequestsSlow", 10),
            about="Answered requests; the buckets end at 10 s, so the line means that or longer.",
        ),
        lines(
            "Network time per slice, p95",
            (f"histogram_quantile(0.95, sum by (ModelVersion, le) (rate({slices})))", "{{ModelVersion}}"),
            unit="s",
            limit=Limit("GlioscopeSlicesSlow", 0.25),
            about="Does not depend on the size of the scan.",
        ),
    ]


def _stages() -> list[Panel]:
    phase = f"glioscope_phase_seconds_%s{{{VERSION}}}[15m]"
    answered = f'sum(rate(glioscope_requests_total{{{VERSION}, Outcome="answered"}}[15m]))'
    waited = f"sum by (instance) (rate(ts_queue_latency_microseconds{{{ENDPOINT}}}[10m]))"
    worked = f"sum by (instance) (rate(ts_inference_latency_microseconds{{{ENDPOINT}}}[10m]))"
    requests = f"sum by (instance) (rate(ts_inference_requests_total{{{ENDPOINT}}}[10m]))"
    return [
        lines(
            "Mean time by stage",
            (f"sum by (Phase) (rate({phase % 'sum'})) / sum by (Phase) (rate({phase % 'count'}))", "{{Phase}}"),
            unit="s",
            stacked=True,
            about="Where a request's time in the handler goes: decode, preprocess, network, heatmap, encode.",
        ),
        lines(
            "Waiting and working, mean",
            (f"{waited} / {requests} / 1e6", "{{instance}} waits for a worker"),
            (f"{worked} / {requests} / 1e6", "{{instance}} whole inference"),
            unit="s",
            limit=Limit("GlioscopeQueueLong", 5),
            about="TorchServe's counters. The line is for the wait.",
        ),
        lines(
            "Slices per scan",
            (f"sum(rate(glioscope_slices_total{{{VERSION}}}[15m])) / {answered}", "slices"),
            unit="none",
            about="Larger scans explain longer answers.",
        ),
        lines(
            "The latest request, as TorchServe took it",
            *(
                (f"max by (instance) ({name}{{{ENDPOINT}}})", f"{{{{instance}}}} {name}")
                for name in ("QueueTime", "WorkerThreadTime", "PredictionTime")
            ),
            unit="ms",
            span=12,
            about="Gauges of TorchServe: each holds the value of the last request only. WorkerThreadTime is the front "
            "end's own part.",
        ),
        lines(
            "In flight, by gateway",
            (f"sum by (instance) (glioscope_gateway_in_flight{{{ENDPOINT}}})", "{{instance}}"),
            unit="none",
            span=12,
            about="Predictions being passed through by each gateway.",
        ),
    ]
