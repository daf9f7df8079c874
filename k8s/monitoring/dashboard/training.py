"""Training: how far, how well, how quick."""

from __future__ import annotations

from dashboard.panels import TRAINING, Limit, Panel, lines, number, progress

TITLE = "Training"


def panels() -> list[Panel]:
    """What glioscope.training.telemetry sends, each model its own series; values stay after the end."""
    name = f"glioscope_training_%s{{{TRAINING}}}"
    return [
        progress(
            "Progress",
            (f"{name % 'epoch'} / {name % 'epochs'}", "{{model}}"),
            about="The epoch now in training against those asked for. Training with patience may end early.",
        ),
        number(
            "Last sign of life",
            (f"time() - {name % 'updated_timestamp_seconds'}", "{{model}}"),
            unit="s",
            limit=Limit("GlioscopeTrainingStalled", 1800),
            nothing="never trained",
            span=8,
            height=8,
            about="Red is right for a training that ended; the alert knows the difference.",
        ),
        lines(
            "Epochs",
            (name % "epoch", "{{model}}"),
            (name % "epochs", "{{model}} asked for"),
            unit="none",
        ),
        lines(
            "Loss",
            (name % "loss", "{{model}} training"),
            (name % "validation_loss", "{{model}} validation"),
            unit="none",
        ),
        lines("Macro-F1 on validation", (name % "validation_f1_macro", "{{model}}"), unit="none", high=1),
        lines("Slices per second", (name % "slices_per_second", "{{model}}"), unit="none"),
        lines("Learning rate", (name % "learning_rate", "{{model}}"), unit="sci", span=24),
    ]
