"""What each stage's pod asks for and may take, and what else all pods share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfp import kubernetes
from kfp.dsl import PipelineTask

from components.image import IMAGE
from components.ingest import git_address
from components.stage import RUN_ID

SECRET = "glioscope-s3"  # noqa: S105 - its name
"""Kubernetes secret of the pipeline's namespace with the keys below (k8s/kubeflow)."""

REQUIRED_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
OPTIONAL_KEYS = ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")
GIT_SECRET = "glioscope-git"  # noqa: S105 - its name
"""Kubernetes secret for a private repository; need not be there."""

GIT_KEYS = (git_address.USER, git_address.TOKEN)
USER = 10001
GPU = "nvidia.com/gpu"
_RUN_LABEL = "metadata.labels['pipeline/runid']"


@dataclass(frozen=True)
class Resources:
    """CPU in cores and memory as Kubernetes writes them; ``hours`` is when a pod that hangs is ended."""

    cpu: tuple[str, str]
    memory: tuple[str, str]
    hours: float


RESOURCES = {
    "settings": Resources(("100m", "1"), ("512Mi", "2Gi"), 0.25),
    "pin": Resources(("100m", "1"), ("512Mi", "2Gi"), 0.25),
    "ingest": Resources(("1", "4"), ("2Gi", "8Gi"), 12),
    "prepare": Resources(("2", "8"), ("4Gi", "8Gi"), 12),
    "merge": Resources(("1", "2"), ("2Gi", "8Gi"), 4),
    "champion": Resources(("2", "8"), ("4Gi", "16Gi"), 6),
    "train": Resources(("4", "16"), ("8Gi", "32Gi"), 72),
    "evaluate": Resources(("2", "8"), ("4Gi", "16Gi"), 6),
    "select": Resources(("100m", "1"), ("512Mi", "2Gi"), 0.5),
    "gate": Resources(("500m", "2"), ("1Gi", "4Gi"), 0.5),
    "archive": Resources(("500m", "2"), ("1Gi", "4Gi"), 0.5),
    "deploy": Resources(("500m", "2"), ("1Gi", "4Gi"), 1),
    "refuse": Resources(("100m", "1"), ("512Mi", "2Gi"), 0.25),
    "notify": Resources(("100m", "1"), ("512Mi", "2Gi"), 0.25),
}
RETRIES = {"ingest": 2, "train": 3} | dict.fromkeys(RESOURCES.keys() - {"settings", "ingest", "train"}, 1)
"""A pod may be evicted or run out of memory at any stage. KFP tries again whatever the reason was."""

CACHED = {"ingest", "prepare", "merge", "train", "evaluate", "select"}
"""Stages whose inputs say all: ``ingest`` gets the digest of what it fetches. Others look at the world or change it."""

WITH_GPU = {"train", "evaluate", "champion"}
WITH_GIT = {"pin", "ingest"}
_SHM = "8Gi"


def equip(task: PipelineTask, *, gpus: Any = None) -> PipelineTask:
    """Give a task what its stage has above: resources, retries, caching, secret, run id, user, time-out.

    Parameters
    ----------
    gpus:
        The pipeline's parameter, for the stages that can use a GPU.
    """
    name = task.component_spec.name
    known = RESOURCES[name]
    seconds = int(known.hours * 3600)
    task.set_cpu_request(known.cpu[0]).set_cpu_limit(known.cpu[1])
    task.set_memory_request(known.memory[0]).set_memory_limit(known.memory[1])
    task.set_caching_options(name in CACHED)
    if name in RETRIES:
        # To Argo the "maximum" is a deadline for all tries together, not a cap on the pause between two.
        task.set_retry(
            RETRIES[name],
            backoff_duration="10s",
            backoff_factor=2,
            backoff_max_duration=f"{seconds * (RETRIES[name] + 1)}s",
        )
    if name in WITH_GPU:
        task.set_accelerator_type(GPU).set_accelerator_limit(gpus)
        kubernetes.add_toleration(task, key=GPU, operator="Exists", effect="NoSchedule")
        # Processes of one training talk through shared memory, of which a pod has 64 MiB.
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=_SHM)  # noqa: S108
    kubernetes.use_secret_as_env(task, SECRET, {key: key for key in REQUIRED_KEYS})
    kubernetes.use_secret_as_env(task, SECRET, {key: key for key in OPTIONAL_KEYS}, optional=True)
    if name in WITH_GIT:
        kubernetes.use_secret_as_env(task, GIT_SECRET, {key: key for key in GIT_KEYS}, optional=True)
    kubernetes.use_field_path_as_env(task, RUN_ID, _RUN_LABEL)
    if "@" in IMAGE:
        task.set_env_variable("GLIOSCOPE_IMAGE_DIGEST", IMAGE.rpartition("@")[2])
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.set_timeout(task, seconds=seconds)
    return task
