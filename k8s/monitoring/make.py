"""``python k8s/monitoring/make.py [FOLDER]``: write prometheusrule.yaml and dashboard.json from what they are made of.

The alerts have one truth, alerts.yaml, which promtool tests; the runbook has one, README.md. A test fails when the
committed files are no longer what this writes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from dashboard.board import board

HERE = Path(__file__).resolve().parent
_MADE = "# Made from alerts.yaml by k8s/monitoring/make.py: change it there.\n"


class _Readable(yaml.SafeDumper):
    """Expressions of several lines stay so."""


def _text(dumper: _Readable, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Readable.add_representer(str, _text)


def prometheus_rule() -> str:
    """The PrometheusRule that holds alerts.yaml, as YAML."""
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "glioscope", "namespace": "monitoring"},
        "spec": yaml.safe_load((HERE / "alerts.yaml").read_text()),
    }
    return _MADE + yaml.dump(rule, Dumper=_Readable, sort_keys=False, width=110, allow_unicode=True)


def runbook() -> str:
    """The sections of README.md that say what to do about each alert."""
    readme = (HERE / "README.md").read_text()
    return readme[readme.index("## GlioscopeDown") :]


def main() -> None:
    """Write both files into a folder, the one of this script unless another is given."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    (folder / "prometheusrule.yaml").write_text(prometheus_rule())
    (folder / "dashboard.json").write_text(board(runbook()))


if __name__ == "__main__":
    main()
