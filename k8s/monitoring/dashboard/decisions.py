"""What the model says, how sure it is, and from what evidence."""

from __future__ import annotations

from dashboard.panels import VERSION, Limit, Panel, lines

TITLE = "What it says"


def panels() -> list[Panel]:
    """Classes, confidence, drift, warnings, and where the evidence lies."""
    mean = f"sum by (ModelVersion) (increase(glioscope_confidence_%s{{{VERSION}}}[%s]))"
    hour, week = (f"{mean % ('sum', time)} / {mean % ('count', time)}" for time in ("1h", "7d"))
    return [
        lines(
            "Answers by class",
            (f"sum by (Class) (increase(glioscope_predictions_total{{{VERSION}}}[1h]))", "{{Class}}"),
            unit="none",
            stacked=True,
            about="In an hour.",
        ),
        lines(
            "Share of each class, last hour",
            ("model_class:glioscope_predictions:share1h", "{{Class}}"),
            ("model_class:glioscope_predictions:share7d", "{{Class}}, 7 days"),
            unit="percentunit",
            high=1,
        ),
        lines(
            "Class shares against 7 days",
            ("abs(model_class:glioscope_predictions:share1h - model_class:glioscope_predictions:share7d)", "{{Class}}"),
            unit="percentunit",
            limit=Limit("GlioscopeClassMixShift", 0.25),
            about="Counts from 50 answers an hour and 500 a week.",
        ),
        lines(
            "Mean confidence, last hour",
            (hour, "{{ModelVersion}}"),
            (week, "{{ModelVersion}}, 7 days"),
            unit="percentunit",
            high=1,
            about="Probability of the answered class.",
        ),
        lines(
            "Confidence against 7 days",
            (f"({hour}) / ({week})", "{{ModelVersion}}"),
            unit="percentunit",
            limit=Limit("GlioscopeConfidenceCollapse", 0.8),
            about="Trouble lies below the line.",
        ),
        lines(
            "Input drift",
            *_quantiles("glioscope_input_drift", 0.5, 0.95),
            unit="none",
            limit=Limit("GlioscopeInputDrift", 1),
            about="Distance from the training data in its standard deviations, 6 hours. The line is for the median.",
        ),
        lines(
            "Cautions by kind",
            ("max by (Kind) (version_kind:glioscope_warnings:share6h)", "{{Kind}}"),
            unit="percentunit",
            limit=Limit("GlioscopeInputDrift", 0.2),
            alerts=("GlioscopeEvidenceOutsideTissue",),
            about="Share of the answers of 6 hours with this warning; 5 % is usual. The line: drift, background_share.",
        ),
        lines(
            "Cautions",
            (f"sum by (Kind) (increase(glioscope_warnings_total{{{VERSION}}}[1h]))", "{{Kind}}"),
            unit="none",
            stacked=True,
            about="In an hour.",
        ),
        lines(
            "Evidence outside the tissue",
            *_quantiles("glioscope_background_share", 0.5, 0.95),
            unit="percentunit",
            high=1,
            limit=Limit("GlioscopeEvidenceOutsideTissue", 0.5),
            about="Share of the positive evidence where there is no tissue, 6 hours. The line is for the median.",
        ),
        lines(
            "Area of the mask",
            *_quantiles("glioscope_heatmap_area", 0.05, 0.5, 0.95),
            unit="percentunit",
            high=1,
            span=24,
            about="Share of the scan's pixels inside the mask, 6 hours. A sudden nothing or everything: broken input.",
        ),
    ]


def _quantiles(metric: str, *quantiles: float) -> list[tuple[str, str]]:
    rate = f"sum by (ModelVersion, le) (rate({metric}_bucket{{{VERSION}}}[6h]))"
    return [(f"histogram_quantile({q}, {rate})", f"{{{{ModelVersion}}}} p{q * 100:.0f}") for q in quantiles]
