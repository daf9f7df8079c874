"""Who reaches which port of the endpoint, and whom the endpoint reaches."""

from __future__ import annotations

import copy

import pytest
from manifests import ENDPOINTS, named, of_kind, render
from network import Peer, Policy, reaches

RUN = {"pipeline/runid": "8f6d", "pipelines.kubeflow.org/v2_component": "true"}
CALLERS = {
    "a pod of a pipeline run": Peer(namespace="PIPELINES", labels=RUN),
    "a notebook beside the pipelines": Peer(namespace="PIPELINES", labels={"notebook-name": "mine"}),
    "a pod elsewhere that says it is of a run": Peer(namespace="default", labels=RUN),
    "Prometheus": Peer(namespace="monitoring", labels={"app.kubernetes.io/name": "prometheus"}),
    "the gateway of the cluster": Peer(namespace="istio-system", labels={"app": "istio-ingressgateway"}),
    "a client in a labelled namespace": Peer(namespace="clinic", namespace_labels={"glioscope/may-predict": "true"}),
    "a client in a namespace that is not": Peer(
        namespace="clinic", namespace_labels={"glioscope/may-predict": "false"}
    ),
    "another pod of the endpoint": Peer(namespace="glioscope", labels={"app.kubernetes.io/name": "glioscope"}),
    "any other pod in its namespace": Peer(namespace="glioscope"),
    "the world outside": Peer(address="93.184.215.14"),
}
MAY_REACH = {
    "a pod of a pipeline run": {8080, 8081},
    "Prometheus": {8082, 8083},
    "the gateway of the cluster": {8080},
    "a client in a labelled namespace": {8080},
}
# Those that listen, and some that must not matter: TorchServe's gRPC, ssh, a debugger
PORTS = (22, 5678, 7070, 7071, 8080, 8081, 8082, 8083, 8084)


def policies(folder: str) -> list[Policy]:
    return of_kind(render(folder), "NetworkPolicy")


def pipelines(folder: str) -> str:
    return "kubeflow" if folder == "overlays/local" else "kubeflow-user"


def endpoint(folder: str) -> Peer:
    labels = named(render(folder), "Deployment", "glioscope")["spec"]["template"]["metadata"]["labels"]
    return Peer(namespace="glioscope", labels=labels)


def caller(name: str, folder: str) -> Peer:
    one = CALLERS[name]
    return one if one.namespace != "PIPELINES" else Peer(namespace=pipelines(folder), labels=one.labels)


@pytest.mark.parametrize("folder", ENDPOINTS)
@pytest.mark.parametrize("name", CALLERS)
def test_each_caller_reaches_the_ports_meant_for_it_and_no_other(name: str, folder: str) -> None:
    reached = {port for port in PORTS if reaches(policies(folder), caller(name, folder), endpoint(folder), port)}
    assert reached == MAY_REACH.get(name, set())


def test_udp_gets_nowhere() -> None:
    source, target = caller("a pod of a pipeline run", "overlays/cpu"), endpoint("overlays/cpu")
    assert not any(reaches(policies("overlays/cpu"), source, target, port, "UDP") for port in PORTS)


def test_only_the_pipelines_of_the_own_cluster_count() -> None:
    """The namespace of the other kind of installation is a stranger."""
    for folder, stranger in (("overlays/cpu", "kubeflow"), ("overlays/local", "kubeflow-user")):
        source = Peer(namespace=stranger, labels=RUN)
        assert not any(reaches(policies(folder), source, endpoint(folder), port) for port in PORTS)


DNS = Peer(namespace="kube-system", labels={"k8s-app": "kube-dns"})
PUBLIC, METADATA = Peer(address="52.216.10.10"), Peer(address="169.254.169.254")
SEAWEED = Peer(namespace="kubeflow", labels={"app": "seaweedfs"})


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_the_endpoint_reaches_dns_and_the_archives_and_nothing_else(folder: str) -> None:
    def to(target: Peer, port: int, protocol: str = "TCP") -> bool:
        return reaches(policies(folder), endpoint(folder), target, port, protocol)

    local = folder == "overlays/local"
    assert to(DNS, 53)
    assert to(DNS, 53, "UDP")
    assert to(PUBLIC, 443) is not local
    assert to(SEAWEED, 8333) is local
    for target, port in (
        (PUBLIC, 80),
        (PUBLIC, 22),
        (METADATA, 80),
        (METADATA, 443),
        (DNS, 443),
        (Peer(address="10.96.0.1"), 443),  # the Kubernetes API
        (Peer(namespace="kubeflow", labels={"app": "ml-pipeline"}), 8888),
        (Peer(namespace="kubeflow", labels={"app": "ml-pipeline"}), 8333),
        (Peer(namespace="glioscope", labels=endpoint(folder).labels), 8081),
    ):
        assert not to(target, port), f"{target} {port}"


def test_a_pod_that_somebody_else_starts_there_reaches_nothing() -> None:
    stranger = Peer(namespace="glioscope", labels={"app": "shell"})
    assert not any(reaches(policies("overlays/cpu"), stranger, to, 443) for to in (PUBLIC, METADATA, DNS))


def test_pods_under_kserve_are_under_the_same_policies() -> None:
    runtime = named(render("kserve"), "ServingRuntime", "glioscope")
    pod = Peer(namespace="glioscope", labels=runtime["spec"]["labels"])
    assert reaches(policies("kserve"), CALLERS["the gateway of the cluster"], pod, 8080)
    assert reaches(policies("kserve"), CALLERS["Prometheus"], pod, 8083)
    assert reaches(policies("kserve"), pod, PUBLIC, 443), "or the storage initializer gets no archive"
    assert not reaches(policies("kserve"), CALLERS["any other pod in its namespace"], pod, 8080)


def test_without_its_policy_each_of_these_answers_would_be_another() -> None:
    """The tests above see what they should: each policy matters to one of them."""
    for without in policies("overlays/cpu"):
        left = [one for one in policies("overlays/cpu") if one is not without]
        target = endpoint("overlays/cpu")
        seen = {
            name: {port for port in PORTS if reaches(left, caller(name, "overlays/cpu"), target, port)}
            for name in CALLERS
        }
        out = [reaches(left, target, DNS, 53), reaches(left, target, PUBLIC, 443)]
        stranger = reaches(left, Peer(namespace="glioscope", labels={"app": "shell"}), PUBLIC, 80)
        expected = {name: MAY_REACH.get(name, set()) for name in CALLERS}
        assert (seen, out, stranger) != (expected, [True, True], False), without["metadata"]["name"]


@pytest.mark.parametrize("name", CALLERS)
def test_pods_of_runs_and_prometheus_reach_the_pushgateway_and_nobody_else(name: str) -> None:
    pod = named(render("monitoring"), "Deployment", "glioscope-pushgateway")["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    opened = {port["name"]: port["containerPort"] for port in container["ports"]}
    pushgateway = Peer(namespace="monitoring", labels=pod["metadata"]["labels"], ports=opened)
    reached = {
        port
        for port in (22, 9090, 9091)
        if reaches(policies("monitoring"), caller(name, "monitoring"), pushgateway, port)
    }
    assert reached == ({9091} if name in ("a pod of a pipeline run", "Prometheus") else set())


def test_the_pushgateway_reaches_nothing() -> None:
    labels = named(render("monitoring"), "Deployment", "glioscope-pushgateway")["spec"]["template"]["metadata"][
        "labels"
    ]
    source = Peer(namespace="monitoring", labels=labels)
    targets = (PUBLIC, METADATA, DNS, endpoint("overlays/cpu"))
    assert not any(reaches(policies("monitoring"), source, to, port) for to in targets for port in (53, 80, 443, 8081))


def test_a_rule_with_both_selectors_is_not_read_as_either() -> None:
    """The trap of the API: two list entries in place of one open management to the whole namespace."""
    wrong = copy.deepcopy(policies("overlays/cpu"))
    rule = named(wrong, "NetworkPolicy", "management")["spec"]["ingress"][0]
    (both,) = rule["from"]
    rule["from"] = [{key: value} for key, value in both.items()]
    notebook = caller("a notebook beside the pipelines", "overlays/cpu")
    assert reaches(wrong, notebook, endpoint("overlays/cpu"), 8081)
