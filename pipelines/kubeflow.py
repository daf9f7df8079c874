"""Kubeflow Pipelines' API through kfp's client: upload, start, look; every failure is one line with a hint."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import kfp_server_api
import urllib3

from glioscope.errors import ConfigError, GlioscopeError, InputError
from pipelines.compiled import Compiled
from pipelines.connection import Access, Connection

_HINTS = {
    401: "Log in: give a token (--token-env, --token-file) or a session's cookie (--cookie-env)",
    403: "This account may not do that there: check --namespace, and the account's role in it",
    404: "Check --host: in a whole Kubeflow the API's address ends with /pipeline",
}
_OF_SERVER = "The API server is in trouble: see its log (deployment ml-pipeline)"

_REACH = "Check --host, and that the cluster is reachable from here (kubectl port-forward, VPN)"


class KubeflowError(GlioscopeError):
    """Kubeflow does not answer, or refuses; ``passing`` where asking again later may help."""

    code = "kubeflow"
    passing = False


@dataclass(frozen=True)
class Version:
    """A version of the pipeline in Kubeflow; ``uploaded`` is False where it was there already."""

    pipeline_id: str
    version_id: str
    name: str
    uploaded: bool


class Kubeflow:
    """A connection; each method raises :class:`KubeflowError` where the API does not answer or refuses."""

    def __init__(self, access: Access) -> None:
        if not access.host.startswith(("http://", "https://")):
            raise ConfigError("no address", where=f"--host {access.host}", hint="Give http://… or https://…")
        for file in (access.token_file, access.ca_cert):
            if file is not None and not file.is_file():
                raise InputError("no such file", where=file)
        self._host = access.host.rstrip("/")
        with self._asking("connecting"):
            self.api = Connection(access)
            several = self.api.get_kfp_healthz().multi_user
        if several and not self.namespace:
            raise ConfigError("Kubeflow has a namespace for each user", where=self._host, hint="Give --namespace")
        if self.namespace and not several:
            raise ConfigError("Kubeflow has no namespaces for users", where=self._host, hint="Leave --namespace out")

    @property
    def namespace(self) -> str | None:
        """The user's namespace; None where Kubeflow has no such thing."""
        return self.api.get_user_namespace() or None

    def link(self, run_id: str) -> str:
        """Where a browser shows the run."""
        return f"{self._host}/#/runs/details/{run_id}"

    def publish(self, compiled: Compiled) -> Version:
        """The version of the pipeline that is this very file; it is uploaded unless it is there."""
        pipeline_id = self._pipeline(compiled.name)
        with self._asking("looking for the version"):
            found = self.api.list_pipeline_versions(pipeline_id, filter=named(compiled.version)).pipeline_versions or ()
        for version in found:
            return Version(pipeline_id, version.pipeline_version_id, compiled.version, uploaded=False)
        with self._asking("uploading the pipeline"):
            version = self.api.upload_pipeline_version(
                str(compiled.path), compiled.version, pipeline_id=pipeline_id, description=f"sha256 {compiled.digest}"
            )
        return Version(pipeline_id, version.pipeline_version_id, compiled.version, uploaded=True)

    def experiment(self, name: str) -> str:
        """Id of the experiment of this name, which is made where there is none."""
        with self._asking("opening the experiment"):
            made: str = self.api.create_experiment(name, namespace=self.namespace).experiment_id
        return made

    def start(
        self, version: Version, values: dict[str, Any], *, experiment_id: str, name: str, service_account: str = ""
    ) -> str:
        """Start a run, whose pods have this account (empty: Kubeflow's own choice); its id."""
        with self._asking("starting the run"):
            run: str = self.api.run_pipeline(
                experiment_id,
                name,
                params=values,
                pipeline_id=version.pipeline_id,
                version_id=version.version_id,
                service_account=service_account or None,
            ).run_id
        return run

    def run(self, run_id: str) -> Any:
        """What Kubeflow knows of a run (kfp_server_api.V2beta1Run)."""
        with self._asking("looking at the run"):
            return self.api.get_run(run_id)

    def ask(self, doing: str, call: Callable[[], Any]) -> Any:
        """What ``call`` returns; its errors as those of this class, which say ``doing``."""
        with self._asking(doing):
            return call()

    def _pipeline(self, name: str) -> str:
        with self._asking("looking for the pipeline"):
            found = self.api.list_pipelines(filter=named(name), namespace=self.namespace).pipelines or ()
            for pipeline in found:
                known: str = pipeline.pipeline_id
                return known
            # Not by uploading the file: that would call its first version by the pipeline's name.
            body = kfp_server_api.V2beta1Pipeline(name=name, display_name=name, namespace=self.namespace)
            made: str = self.api.pipelines.pipeline_service_create_pipeline(pipeline=body).pipeline_id
        return made

    @contextlib.contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        # kfp's client prints links of its own on stdout, which is for results here, and warns of its age.
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
                yield
        except kfp_server_api.ApiException as error:
            hint = _HINTS.get(error.status, _OF_SERVER if error.status >= 500 else "")
            failure = KubeflowError(f"{doing} failed: {_reason(error)}", where=self._host, hint=hint)
            failure.passing = error.status >= 500 or error.status == 429
            raise failure from error
        except urllib3.exceptions.HTTPError as error:
            reason, hint = _network(error)
            failure = KubeflowError(f"{doing} failed: {reason}", where=self._host, hint=hint)
            failure.passing = True
            raise failure from error
        except ValueError as error:
            raise KubeflowError(f"{doing} failed: {error}", where=self._host) from error


def named(name: str) -> str:
    """The API's filter for things of this name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _network(error: urllib3.exceptions.HTTPError) -> tuple[str, str]:
    """Why nobody was reached, and what to do."""
    cause = getattr(error, "reason", None) or error
    text = str(cause)
    if isinstance(cause, urllib3.exceptions.SSLError):
        return text, "Give the cluster's certificates with --ca-cert; or is its address http://…?"
    # A refused connection counts as a time-out to urllib3. What stands before the colon describes the connection.
    timed_out = isinstance(cause, urllib3.exceptions.TimeoutError) and "Errno" not in text
    return "no answer in time" if timed_out else text.partition(": ")[2] or text, _REACH


def _reason(error: kfp_server_api.ApiException) -> str:
    try:
        body = json.loads(error.body)
        said = body.get("message") or body.get("error") or ""
    except (TypeError, ValueError, AttributeError):
        said = ""
    return " ".join(f"{error.status} {said or error.reason}".split())[:400]
