"""The way to Kubeflow Pipelines' API: kfp's client with what is given here, and nothing from elsewhere."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kfp_server_api
from kfp import Client
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

_TIMEOUT_S = (5, 60)
"""Seconds to connect, and to wait for an answer; kfp's client itself would wait for ever."""
_NOT_THE_API = (
    "this is not the API but some other page. Give the address of Kubeflow Pipelines (a whole Kubeflow's ends with "
    "/pipeline), and log in by --token-env, --token-file or --cookie-env"
)


@dataclass(frozen=True)
class Access:
    """Where Kubeflow Pipelines is and who asks.

    Attributes
    ----------
    namespace:
        Of the user, where Kubeflow has several; empty for one without.
    token, cookie:
        A bearer token, or the ``Cookie`` header of a logged-in session; empty: none.
    token_file:
        File with a token that something renews, such as a pod's projected one.
    ca_cert:
        Certificates to trust, where the cluster's are not those of the web.
    """

    host: str
    namespace: str = ""
    token: str = field(default="", repr=False)
    cookie: str = field(default="", repr=False)
    token_file: Path | None = None
    ca_cert: Path | None = None


class Connection(Client):
    """kfp's client, but it asks once, with a time limit, and neither reads nor writes ~/.config/kfp."""

    def __init__(self, access: Access) -> None:
        self._namespace = access.namespace
        super().__init__(
            host=access.host,
            namespace=access.namespace,
            existing_token=access.token or None,
            cookies=access.cookie or None,
            credentials=ServiceAccountTokenVolumeCredentials(str(access.token_file)) if access.token_file else None,
            ssl_ca_cert=str(access.ca_cert) if access.ca_cert else None,
        )
        connection = self._run_api.api_client
        connection.request = functools.partial(_within_limit, connection.request)

    def _load_context_setting_or_default(self) -> None:
        self._context_setting = {"namespace": self._namespace}

    def set_user_namespace(self, namespace: str) -> None:
        self._context_setting["namespace"] = namespace

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        answer = self._healthz_api.healthz_service_get_healthz(_preload_content=False, _request_timeout=_TIMEOUT_S)
        try:
            health = json.loads(answer.data)
            return kfp_server_api.V2beta1GetHealthzResponse(multi_user=bool(health.get("multi_user")))
        except (ValueError, AttributeError):
            # A login page, say. Left alone, the client would take it for an answer in which everything is empty.
            raise ValueError(_NOT_THE_API) from None


def _within_limit(request: Callable[..., Any], *given: Any, _request_timeout: Any = None, **named: Any) -> Any:
    return request(*given, _request_timeout=_request_timeout or _TIMEOUT_S, **named)
