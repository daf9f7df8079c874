"""The objects of the endpoint fit together, and do what a rollout, a drain and a burst of scans need."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from manifests import ENDPOINTS, K8S, Object, build, container, containers, named, of_kind, render
from network import selects


def deployment(folder: str) -> Object:
    return named(render(folder), "Deployment", "glioscope")["spec"]


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_everything_is_in_its_namespace_which_refuses_more_than_restricted(folder: str) -> None:
    namespace = named(render(folder), "Namespace", "glioscope")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {one["metadata"].get("namespace", "glioscope") for one in render(folder)} == {"glioscope"}


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_whatever_selects_pods_selects_those_of_the_deployment(folder: str) -> None:
    labels = deployment(folder)["template"]["metadata"]["labels"]
    selectors = [one["spec"]["selector"] for one in of_kind(render(folder), "Service")]
    assert all(selector.items() <= labels.items() for selector in selectors)
    assert selects(deployment(folder)["selector"], labels)
    for budget in of_kind(render(folder), "PodDisruptionBudget"):
        assert selects(budget["spec"]["selector"], labels)
    for spread in deployment(folder)["template"]["spec"]["topologySpreadConstraints"]:
        assert selects(spread["labelSelector"], labels)


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_services_lead_to_ports_that_the_server_opens(folder: str) -> None:
    server = container(deployment(folder)["template"]["spec"], "glioscope")
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert ports == {"http": 8080, "management": 8081, "metrics": 8082, "gateway-metrics": 8083}
    for service in of_kind(render(folder), "Service"):
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
    assert f"--gateway-metrics-port={ports['gateway-metrics']}" in server["args"]


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_prometheus_finds_both_metrics_of_every_pod(folder: str) -> None:
    """Its Service comes with k8s/monitoring."""
    template = deployment(folder)["template"]
    (service,) = [
        one
        for one in of_kind(render("monitoring"), "Service")
        if one["metadata"]["namespace"] == "glioscope"
        and one["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    ]
    opened = {port["containerPort"] for port in container(template["spec"], "glioscope")["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == {8082, 8083} < opened


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_only_scans_have_a_service_that_balances(folder: str) -> None:
    """A deploy goes to every pod: that Service resolves to all of them, and to those that wait for a model."""
    public = named(render(folder), "Service", "glioscope")["spec"]
    assert {port["port"] for port in public["ports"]} == {8080}
    assert public.get("type", "ClusterIP") == "ClusterIP"
    assert not public.get("publishNotReadyAddresses")
    management = named(render(folder), "Service", "glioscope-management")["spec"]
    assert management["clusterIP"] == "None"
    assert management["publishNotReadyAddresses"] is True
    assert {port["port"] for port in management["ports"]} == {8080, 8081}


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_every_reference_has_what_it_refers_to(folder: str) -> None:
    spec = deployment(folder)["template"]["spec"]
    named(render(folder), "ServiceAccount", spec["serviceAccountName"])
    for volume in spec["volumes"]:
        if claim := volume.get("persistentVolumeClaim"):
            named(render(folder), "PersistentVolumeClaim", claim["claimName"])
    for one in containers(spec):
        for reference in (variable["valueFrom"].get("configMapKeyRef") for variable in one.get("env", [])):
            if reference:
                assert reference["key"] in named(render(folder), "ConfigMap", reference["name"])["data"]
        used = set(re.findall(r"\$\((\w+)\)", " ".join(one["args"])))
        assert used <= {variable["name"] for variable in one["env"]}


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_the_server_may_load_the_archives_and_nothing_else_in_their_bucket(folder: str) -> None:
    (settings,) = of_kind(render(folder), "ConfigMap")
    archives = settings["data"]["ARCHIVES"].removeprefix("s3://")
    assert archives.endswith("/archives")
    assert re.fullmatch(rf"https?://[^/]+/{re.escape(archives)}/", settings["data"]["ARCHIVES_FROM"])


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_the_archive_is_read_where_the_fetch_left_it_and_stores_are_not_shared(folder: str) -> None:
    spec = deployment(folder)["template"]["spec"]
    fetch, server = container(spec, "fetch"), container(spec, "glioscope")
    assert fetch["args"][fetch["args"].index("--out") + 1] == server["args"][0]
    mounts = {mount["mountPath"]: mount for mount in server["volumeMounts"]}
    assert mounts["/archive"]["readOnly"] is True
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert "emptyDir" in volumes[mounts["/models"]["name"]]
    assert "--optional" in server["args"], "or a pod without a model would end before the first deploy reaches it"


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_the_copy_on_the_claim_follows_every_deploy_of_the_same_shelf(folder: str) -> None:
    spec = deployment(folder)["template"]["spec"]
    fetch, shelf = container(spec, "fetch"), container(spec, "shelf")
    assert fetch in spec["initContainers"], "once, before the server starts"
    assert shelf in spec["containers"], "for as long as the pod lives"
    for key in ("image", "command", "env", "volumeMounts", "securityContext"):
        assert shelf[key] == fetch[key], key
    *same, option, seconds = shelf["args"]
    assert (same, option) == (fetch["args"], "--every")
    assert 10 <= int(seconds) <= 300
    assert not {"readinessProbe", "livenessProbe", "ports"} & shelf.keys(), "or S3 decides whether scans are answered"


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_the_server_cannot_write_where_archives_pass_on_their_way_to_the_claim(folder: str) -> None:
    spec = deployment(folder)["template"]["spec"]
    server = {mount["name"] for mount in container(spec, "glioscope")["volumeMounts"] if not mount.get("readOnly")}
    shelf = {mount["name"] for mount in container(spec, "shelf")["volumeMounts"]}
    assert not server & shelf


def test_the_gpu_overlay_leaves_it_to_the_limit_to_find_a_node() -> None:
    """A label that only NVIDIA's operator sets would keep pods away where the plug-in alone is."""
    spec = deployment("overlays/gpu")["template"]["spec"]
    assert container(spec, "glioscope")["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nodeSelector" not in spec


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_the_claim_can_be_mounted_by_as_many_pods_as_there_may_be(folder: str) -> None:
    claim = named(render(folder), "PersistentVolumeClaim", "archive")["spec"]
    most = max([1, *(one["spec"]["maxReplicas"] for one in of_kind(render(folder), "HorizontalPodAutoscaler"))])
    assert most == 1 or claim["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("folder", ["overlays/cpu", "overlays/gpu"])
def test_a_rollout_takes_nothing_away_and_the_autoscaler_is_slow_to(folder: str) -> None:
    assert deployment(folder)["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in deployment(folder), "applying again would undo what the autoscaler set"
    (scaler,) = of_kind(render(folder), "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "glioscope"}
    down, up = (scaler["spec"]["behavior"][way] for way in ("scaleDown", "scaleUp"))
    assert down["stabilizationWindowSeconds"] >= 300 > up["stabilizationWindowSeconds"]
    assert all(policy["type"] == "Pods" and policy["value"] == 1 for policy in down["policies"])


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_a_node_can_be_drained_whatever_the_number_of_replicas(folder: str) -> None:
    for budget in of_kind(render(folder), "PodDisruptionBudget"):
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_local_overlay_is_one_pod() -> None:
    assert deployment("overlays/local")["replicas"] == 1
    kinds = {one["kind"] for one in render("overlays/local")}
    assert not kinds & {"HorizontalPodAutoscaler", "PodDisruptionBudget"}


def test_the_runner_of_pipelines_may_read_no_secret_but_the_artifact_stores() -> None:
    role = named(render("kubeflow"), "Role", "glioscope-pipeline")
    rules: list[dict[str, Any]] = role["rules"]
    assert not any("*" in rule["verbs"] + rule["resources"] + rule["apiGroups"] for rule in rules)
    secrets = [rule for rule in rules if "secrets" in rule["resources"]]
    assert [rule["resourceNames"] for rule in secrets] == [["mlpipeline-minio-artifact"]]
    written = {
        what
        for rule in rules
        for what in rule["resources"]
        if {"create", "patch", "update", "delete"} & {*rule["verbs"]}
    }
    assert written == {"workflowtaskresults", "workflowtasksets/status"}


def test_the_archive_of_the_inference_service_is_the_one_that_its_server_opens() -> None:
    predictor = named(render("kserve"), "InferenceService", "glioscope")["spec"]["predictor"]
    name = predictor["model"]["storageUri"].rpartition("/")[2]
    assert predictor["model"]["args"] == [f"/mnt/models/{name}"]
    runtime = named(render("kserve"), "ServingRuntime", "glioscope")["spec"]
    assert predictor["model"]["modelFormat"]["name"] in {one["name"] for one in runtime["supportedModelFormats"]}
    assert "--management-host" not in str(runtime), "an InferenceService is changed, not deployed to"


def test_the_overlay_that_the_readme_shows_builds_and_says_what_it_says(tmp_path: Path) -> None:
    (text,) = re.findall(
        r"```yaml\n# k8s/overlays/mine/kustomization.yaml\n(.*?)```", (K8S / "README.md").read_text(), re.DOTALL
    )
    shutil.copytree(K8S, tmp_path / "k8s")
    (tmp_path / "k8s" / "overlays" / "mine").mkdir()
    (tmp_path / "k8s" / "overlays" / "mine" / "kustomization.yaml").write_text(text)
    objects = build(tmp_path / "k8s" / "overlays" / "mine")
    pod = named(objects, "Deployment", "glioscope")["spec"]["template"]["spec"]
    assert {one["image"].split(":")[0] for one in containers(pod)} == {"registry.example.com/glioscope-serving"}
    (settings,) = of_kind(objects, "ConfigMap")
    assert settings["data"]["ARCHIVES"] == "s3://ours/glioscope/archives"
    assert settings["data"]["ARCHIVES_FROM"] == "https://s3.example.com/ours/glioscope/archives/"
    (rule,) = named(objects, "NetworkPolicy", "management")["spec"]["ingress"]
    assert rule["from"][0]["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "our-profile"}}
    assert "podSelector" in rule["from"][0]


def test_the_account_of_runs_moves_with_its_namespace(tmp_path: Path) -> None:
    """The subject of a role binding names a namespace of its own."""
    shutil.copytree(K8S / "kubeflow", tmp_path / "kubeflow")
    file = tmp_path / "kubeflow" / "kustomization.yaml"
    file.write_text(file.read_text().replace("namespace: kubeflow-user", "namespace: our-profile"))
    (binding,) = of_kind(build(tmp_path / "kubeflow"), "RoleBinding")
    assert [one["namespace"] for one in binding["subjects"]] == [binding["metadata"]["namespace"]] == ["our-profile"]
