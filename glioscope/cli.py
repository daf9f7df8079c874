"""``glioscope …``: one command per stage; dvc.yaml and the pipeline's components call the same functions."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from glioscope.config import (
    Architecture,
    EvaluateParams,
    GateParams,
    IngestParams,
    NetworkParams,
    PhantomParams,
    TrainParams,
    read_params,
)
from glioscope.errors import ConfigError, GlioscopeError
from glioscope.options import with_params

BUG, BAD_INPUT, REFUSED = 1, 2, 3

app = typer.Typer(
    name="glioscope",
    help="Brain-tumour classifiers that decide from their own heatmap. Research use only, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)

Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON on stdout")]
Out = Annotated[Path, typer.Option("--out", help="Where to write; replaced only once the new result is whole")]
Store = Annotated[Path, typer.Argument(help="Slice store that `glioscope ingest` wrote")]


@app.command()
@with_params(phantom=PhantomParams)
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write")], phantom: PhantomParams, json: Json = False
) -> None:
    """Write a BraTS-2020 layout of synthetic subjects, so that everything runs with no download."""
    from glioscope.data.phantom import write_phantom

    write_phantom(out, phantom)
    _done(f"{phantom.subjects} synthetic subjects in {out}", {"out": str(out), "subjects": phantom.subjects}, json)


@app.command()
@with_params(ingest=IngestParams)
def ingest(
    source: Annotated[Path, typer.Argument(help="Folder of subjects, or a manifest.csv")],
    out: Out,
    ingest: IngestParams,
    json: Json = False,
) -> None:
    """Turn scans into a slice store: normalised slices, image-level labels, a split by patient."""
    from glioscope.data import ingest as stage
    from glioscope.data.source import open_source

    opened = open_source(source, kind=ingest.kind, healthy=ingest.healthy)
    report = stage.ingest(opened, ingest, out)
    _done(f"slice store in {out}: {report['slices']} slices of {report['patients']} patients", report, json)


@app.command()
@with_params(train=TrainParams, network=NetworkParams)
def train(
    store: Store,
    *,
    out: Out,
    model: Annotated[Architecture, typer.Option("--model", help="Which of the three networks")],
    train: TrainParams,
    network: NetworkParams,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint, where there is one")
    ] = False,
    or_restart: Annotated[
        bool, typer.Option("--or-restart", help="With --resume: begin anew where the checkpoint is of another run")
    ] = False,
    json: Json = False,
) -> None:
    """Train one network from image-level labels; the result is a model directory."""
    from glioscope.data import SliceStore
    from glioscope.model_directory import read_description
    from glioscope.recipes import resolve
    from glioscope.training import train as run
    from glioscope.training.run import OTHER_RUN

    settings = resolve(train, model, network)
    try:
        run(SliceStore.open(store), settings, out, resume=resume)
    except ConfigError as error:
        if not (or_restart and error.code == OTHER_RUN):
            raise
        print(f"begins anew: {error.what}", file=sys.stderr)
        run(SliceStore.open(store), settings, out)
    description = read_description(out)
    _done(f"model directory in {out}", {"out": str(out), "weights_sha256": description.weights_sha256}, json)


@app.command()
@with_params(evaluate=EvaluateParams)
def evaluate(
    store: Store,
    *,
    out: Out,
    model: Annotated[Path, typer.Option("--model", help="Model directory")],
    evaluate: EvaluateParams,
    split: Annotated[str, typer.Option("--split", help="test, val or all")] = "test",
    json: Json = False,
) -> None:
    """Score a model, with intervals by patient bootstrap: metrics.json, plots, report.html, model_card.md, model/."""
    from glioscope.data import SliceStore
    from glioscope.evaluation import evaluate as run

    metrics = run(SliceStore.open(store), model, out, evaluate, split=split)
    _done(f"report: {out / 'report.html'}", metrics, json)


@app.command()
def select(
    evaluations: Annotated[list[Path], typer.Argument(help="Folders that `glioscope evaluate` wrote")],
    out: Out,
    json: Json = False,
) -> None:
    """Take the model that is best on validation; the test plays no part in the choice."""
    from glioscope.select import copy_selected
    from glioscope.select import select as choose

    choice = choose(evaluations)
    copy_selected(choice, out)
    _done(choice.reason, {"selected": str(choice.folder), "out": str(out)}, json)


@app.command()
def gate(
    metrics: Annotated[Path, typer.Argument(help="metrics.json of the challenger")],
    out: Out,
    rules: Annotated[Path, typer.Option("--rules", help="params.yaml whose `gate` holds the rules")] = Path(
        "params.yaml"
    ),
    champion: Annotated[Path | None, typer.Option("--champion", help="metrics.json of the model in service")] = None,
    json: Json = False,
) -> None:
    """Decide whether a model may be packaged: exit 0 if every rule holds, 3 with the reasons on stderr if not."""
    from glioscope.gate import gate as decide

    params: GateParams = read_params(rules).gate
    decision = decide(metrics, params, out, champion=champion)
    if not decision.passed:
        for reason in decision.reasons:
            print(f"refused: {reason}", file=sys.stderr)
        _done("", decision.summary(), json)
        raise typer.Exit(REFUSED)
    _done(f"passed: {len(decision.checks)} rules hold", decision.summary(), json)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Model directory")],
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="One file per channel, one file, or a subject's folder")
    ],
    *,
    out: Out,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N")] = "auto",
    series: Annotated[
        list[str] | None,
        typer.Option("--series", help="Which DICOM series a contrast is, as t1=NUMBER, UID or description; repeatable"),
    ] = None,
    json: Json = False,
) -> None:
    """Classify a scan and show why: prediction.json, heatmap and mask in the scan's geometry, overlay.png."""
    from glioscope.answer import save_prediction
    from glioscope.predict import Predictor
    from glioscope.scan_files import read_scan

    predictor = Predictor.load(model, device=device)
    named = [one.partition("=") for one in series or []]
    if not all(contrast and wanted for contrast, _, wanted in named):
        raise ConfigError("--series is no CONTRAST=SERIES", hint="Give, for example, --series t1=3")
    scan = read_scan(inputs, predictor.model, series={contrast: wanted for contrast, _, wanted in named})
    prediction = predictor.predict(scan.image)
    answer = save_prediction(prediction, scan, predictor.model, out)
    for warning in answer["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    _done(f"{prediction.label} ({prediction.probabilities[prediction.label]:.3f}) · {out}", answer, json)


@app.command("import-weights")
def import_weights(
    checkpoint: Annotated[Path, typer.Argument(help="Published checkpoint: .bin, .pt, .ckpt or .safetensors")],
    model: Annotated[Architecture, typer.Option("--model", help="Which of the three networks")],
    out: Out,
    json: Json = False,
) -> None:
    """Turn the authors' published weights into a model directory, without running any code they carry."""
    from glioscope.import_weights import import_weights as run

    description = run(checkpoint, model, out)
    _done(
        f"model directory in {out}: {description.architecture}, {len(description.channels)} channels",
        {"out": str(out), "weights_sha256": description.weights_sha256},
        json,
    )


def _done(line: str, result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, default=str))
    elif line:
        print(line)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit 0 success, 2 wrong usage or bad input (one line), 3 refused by the gate, 1 a bug."""
    try:
        code = app(args=arguments, standalone_mode=False)
    except GlioscopeError as error:
        _end(BAD_INPUT, f"error: {error}")
    except typer.TyperException as error:
        _end(BAD_INPUT, _usage(error))
    except (typer.Abort, KeyboardInterrupt):
        _end(130, "stopped")
    except OSError as error:
        _end(
            BAD_INPUT,
            f"error: {error.filename or 'input or output'}: {error.strerror or error}. Check the path and the disk",
        )
    except Exception:
        traceback.print_exc()
        _end(BUG, "error: this is a bug in glioscope; please report it with the lines above")
    sys.exit(code if isinstance(code, int) else 0)


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if type(error).__name__ == "NoArgsIsHelpError":
        return message
    command = context.command_path if context is not None else "glioscope"
    return f"error: {' '.join(message.split())} See `{command} --help`"


def _end(code: int, line: str) -> None:
    print(line, file=sys.stderr)
    sys.exit(code)
