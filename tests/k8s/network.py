"""Who reaches whom, worked out from NetworkPolicies as the API's documentation defines them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Policy = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """A pod, or with an empty namespace whatever else has an address.

    ``namespace_labels`` need not hold the label with the name that Kubernetes gives every namespace.
    """

    address: str = "10.0.0.9"
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)


def reaches(policies: Iterable[Policy], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection gets through: out of the source, and into the target."""
    policies = list(policies)
    out = _passes(policies, source, target, "Egress", port, protocol, target.ports)
    return out and _passes(policies, target, source, "Ingress", port, protocol, target.ports)


def _passes(
    policies: list[Policy],
    pod: Peer,
    other: Peer,
    direction: str,
    port: int,
    protocol: str,
    ports: Mapping[str, int],
) -> bool:
    applying = [one for one in policies if pod.namespace and _applies(one, pod, direction)]
    if not applying:
        return True  # a pod that no policy selects is open
    peers = {"Ingress": "from", "Egress": "to"}[direction]
    rules = [(one, rule) for one in applying for rule in one["spec"].get(direction.lower()) or []]
    return any(
        _any_port(rule.get("ports"), port, protocol, ports) and _any_peer(rule.get(peers), policy, other)
        for policy, rule in rules
    )


def _applies(policy: Policy, pod: Peer, direction: str) -> bool:
    spec = policy["spec"]
    default = ["Ingress"] + ["Egress"] * ("egress" in spec)
    chosen = policy["metadata"]["namespace"] == pod.namespace and selects(spec["podSelector"], pod.labels)
    return chosen and direction in spec.get("policyTypes", default)


def _any_port(ports: list[dict[str, Any]] | None, port: int, protocol: str, names: Mapping[str, int]) -> bool:
    if not ports:
        return True
    for one in ports:
        first = names.get(one["port"], -1) if isinstance(one.get("port"), str) else one.get("port", port)
        if one.get("protocol", "TCP") == protocol and first <= port <= one.get("endPort", first):
            return True
    return False


def _any_peer(peers: list[dict[str, Any]] | None, policy: Policy, other: Peer) -> bool:
    return not peers or any(_is_peer(one, policy, other) for one in peers)


def _is_peer(peer: dict[str, Any], policy: Policy, other: Peer) -> bool:
    if block := peer.get("ipBlock"):
        address = ipaddress.ip_address(other.address)
        within = [address in ipaddress.ip_network(one) for one in (block["cidr"], *block.get("except", []))]
        return within[0] and not any(within[1:])
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        labels = {"kubernetes.io/metadata.name": other.namespace, **other.namespace_labels}
        there = selects(peer["namespaceSelector"], labels)
    else:
        there = other.namespace == policy["metadata"]["namespace"]
    return there and selects(peer.get("podSelector", {}), other.labels)


def selects(selector: dict[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector chooses something with these labels; an empty one chooses everything."""
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return exact and all(_expression(one, labels) for one in selector.get("matchExpressions", []))


def _expression(one: dict[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = one["key"], one.get("values", [])
    return {
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
        "In": key in labels and labels[key] in values,
        "NotIn": labels.get(key) not in values,
    }[str(one["operator"])]
