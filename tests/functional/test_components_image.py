"""The components' image: what is in it, and that components and training run in it without privileges."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from components_image import REVISION, build, run
from places import ROOT
from serving_image import docker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # the first test builds the image

PACKAGES = ("glioscope", "serving", "components")
IMPORT_ALL = """
import importlib, pkgutil, sys
for package in ("glioscope", "components"):
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not found.name.endswith("__main__") and "dicom" not in found.name:
            importlib.import_module(found.name)
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
DIGESTS = """
import hashlib, json, pathlib, sys, sysconfig
root = pathlib.Path(sysconfig.get_path("purelib"))
files = [file for package in sys.argv[1:] for file in (root / package).rglob("*.py")]
print(json.dumps({str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}))
"""
LOAD_PICKLE = """
import io, torch
stream = io.BytesIO()
torch.save(io.StringIO, stream)
stream.seek(0)
torch.load(stream, weights_only=False)
"""
TRAIN = """
glioscope phantom phantom --subjects 6 --size 32 --slices 4
glioscope ingest phantom --out store --size 32
torchrun --standalone --nproc-per-node 2 -m glioscope train store --model gp_unet --out model \\
  --width 4 --depth 2 --epochs 1
python -m serving.archive model --out glioscope.mar
"""
CLONE = """
mkdir origin
dvc --cd origin init --no-scm --quiet
git -C origin init --quiet
git -C origin add .
git -C origin -c user.name=test -c user.email=test@example.com commit --quiet --message first
git clone --quiet --depth 1 file:///tmp/origin clone
cat clone/.dvc/config
dvc --cd clone status
"""
PIPELINE = """
import json, sys
from pathlib import Path
from kfp import dsl, local
from components.refuse.component import refuse

root = Path(sys.argv[1])
(root / "gate.json").write_text(json.dumps({"reasons": ["macro-F1 is too low"]}))

@dsl.pipeline
def refused() -> str:
    decision = dsl.importer(artifact_uri=str(root / "gate.json"), artifact_class=dsl.Artifact)
    return refuse(decision=decision.output, storage=str(root / "storage")).output

hardened = dict(read_only=True, tmpfs={"/tmp": ""}, cap_drop=["ALL"], security_opt=["no-new-privileges"])
local.init(local.DockerRunner(environment={"GLIOSCOPE_RUN_ID": "one"}, **hardened), pipeline_root=str(root))
print("answer:", refused().output)
"""


def imported_by_components() -> set[str]:
    """The modules that our components import, be it at their top or inside their bodies."""
    modules: set[str] = set()
    for file in (ROOT / "components").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module)
    return modules - {"__future__"}


def test_it_runs_as_a_user_that_may_write_nothing_but_tmp() -> None:
    ids = run("sh", "-c", "id -u; id -g; pwd; echo $HOME").split()
    assert ids == ["10001", "10001", "/tmp", "/tmp"]
    # Where somebody runs it without --read-only, too.
    find = ("find", "/opt", "/usr", "-writable", "-not", "-type", "l")
    assert docker("run", "--rm", build(), *find) == ""


def test_the_code_in_it_is_the_trees() -> None:
    inside = json.loads(run("python", "-c", DIGESTS, *PACKAGES))
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    assert inside == {str(file.relative_to(ROOT)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_it_says_which_revision_it_was_made_from() -> None:
    label = '{{index .Config.Labels "org.opencontainers.image.revision"}}'
    assert docker("image", "inspect", "--format", label, build()) == REVISION
    ask = "from pathlib import Path; from glioscope.revision import git_revision; print(*git_revision(Path.cwd()))"
    assert run("python", "-c", ask) == f"{REVISION} False"


def test_kubeflow_may_bring_its_own_command() -> None:
    assert docker("image", "inspect", "--format", "{{json .Config.Entrypoint}}", build()) == "null"
    assert run("sh", "-ec", 'printf "%s" "$0"', "word") == "word"


def test_everything_that_components_import_is_in_it() -> None:
    run("python", "-W", "ignore", "-c", IMPORT_ALL, *sorted(imported_by_components()))


@pytest.mark.parametrize("user", ["10001", "54321"], ids=["its own user", "a user whom it does not know"])
def test_git_and_dvc_work_in_it(user: str) -> None:
    assert "analytics" not in run("sh", "-ec", CLONE, options=("--user", user))


def test_training_by_torchrun_and_packaging_run_in_it() -> None:
    assert "glioscope.mar" in run("sh", "-ec", f"{TRAIN} ls", options=("--env=OMP_NUM_THREADS=1",))


def test_torch_refuses_pickles_whatever_the_caller_says() -> None:
    assert "weights_only" in run("python", "-c", LOAD_PICKLE, check=False).lower()


def test_there_is_no_compiler_no_server_and_no_pickled_model_in_it() -> None:
    assert run("sh", "-c", "command -v gcc cc g++ c++ make java pip torchserve || true") == ""
    names = ("*.pt", "*.pth.tar", "*.ptl", "*.pkl", "*.pickle")
    pickled = [word for name in names for word in ("-o", "-name", name)][1:]
    assert run("find", "/opt/venv", *pickled) == ""


def test_a_component_runs_in_it_as_its_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)  # as a volume of a cluster would be, so that user 10001 may write there
    environment = {**os.environ, "GLIOSCOPE_COMPONENTS_IMAGE": build()}
    command = [sys.executable, "-c", PIPELINE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert "answer: macro-F1 is too low" in done.stdout, done.stdout + done.stderr
    record = tmp_path / "storage" / "runs" / "one" / "refuse.json"
    assert json.loads(record.read_text())["result"] == {"reasons": ["macro-F1 is too low"]}
    written = [path for path in tmp_path.rglob("*") if path.name != "gate.json"]
    assert {path.stat().st_uid for path in written} == {10001}


def test_lineage_in_it_names_the_lock_file() -> None:
    said = run(
        "python",
        "-c",
        "from glioscope.lineage import lineage; print(lineage(data_digest='', seed=0, parameters={})['lock_sha256'])",
    )
    assert said == hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()


def test_both_images_begin_with_the_same_stages() -> None:
    """Or a machine with both would install torch twice, and keep it twice."""
    begins = re.compile(
        r"^FROM \$\{BASE\} AS wanted\n.*?(?=\n\n# [^\n]*\nFROM core AS extras)", re.MULTILINE | re.DOTALL
    )
    stages = [begins.search((ROOT / package / "Dockerfile").read_text()) for package in ("serving", "components")]
    assert stages[0]
    assert stages[1]
    assert stages[0][0] == stages[1][0]
