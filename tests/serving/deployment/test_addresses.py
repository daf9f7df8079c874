"""Whom a management address leads to, and what is asked of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glioscope.errors import ConfigError
from serving.deployment.addresses import addresses, plans
from serving.deployment.job import Plan


@pytest.fixture
def no_servers(tmp_path: Path) -> dict[str, Any]:
    """What a plan needs that is never carried out."""
    return {"mar": tmp_path / "one.mar", "management": "http://replicas:8081", "inference": "http://endpoint:8080/x"}


def test_every_replica_is_asked_at_its_own_address(no_servers: dict[str, Any]) -> None:
    two = plans(Plan(**no_servers), lambda _: ["10.0.0.1", "fd00::1"])
    assert {one: (plan.management, plan.inference) for one, plan in two.items()} == {
        "10.0.0.1": ("http://10.0.0.1:8081", "http://10.0.0.1:8080/x"),
        "fd00::1": ("http://[fd00::1]:8081", "http://[fd00::1]:8080/x"),
    }


def test_a_single_server_is_asked_as_it_was_given(no_servers: dict[str, Any]) -> None:
    plan = Plan(**no_servers)
    assert plans(plan, lambda _: ["10.0.0.1"]) == {"10.0.0.1": plan}
    assert plans(plan, lambda _: []) == {"": plan}
    secure = replace(plan, management="https://replicas")
    assert plans(secure, lambda _: ["10.0.0.1", "10.0.0.2"]) == {"": secure}
    # Another may come under its name while TorchServe downloads.
    (moving,) = plans(replace(plan, bucket="s3://b", from_bucket=True), lambda _: ["10.0.0.1"]).values()
    assert moving.management == "http://10.0.0.1:8081"


def test_plans_for_a_single_server_are_refused(no_servers: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--from-bucket"):
        plans(Plan(**no_servers, model_store=tmp_path), lambda _: ["10.0.0.1", "10.0.0.2"])
    with pytest.raises(ConfigError, match="without TLS"):
        plans(Plan(**no_servers | {"inference": "https://endpoint"}), lambda _: ["10.0.0.1", "10.0.0.2"])


def test_addresses() -> None:
    assert addresses("127.0.0.1") == ["127.0.0.1"]
    assert addresses("localhost") == ["127.0.0.1"], "and not its address in IPv6 as another replica"
    assert addresses("no-such-host.invalid") == []
