"""A stand-in for Kubeflow Pipelines' API server, which needs a cluster to run.

It speaks the v2beta1 calls that kfp 2.17's client makes for uploading, running, looking and scheduling, over real HTTP,
with these rules of the real one: an upload must parse as KFP's PipelineSpec; names of pipelines and versions are there
once; a run's parameters are checked for name and type against that spec; with several namespaces one
must be given, and be the caller's; errors are gRPC's status in JSON. What a run does is told by the test, one step a
look; its tasks are listed as the real one lists them, with drivers, loops and executors between. It schedules and
executes nothing, so it shows nothing about what a cluster makes of the pipeline.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import multipart
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

INVALID, NOT_FOUND, EXISTS, DENIED, UNAUTHENTICATED = (400, 3), (404, 5), (409, 6), (403, 7), (401, 16)
_Type = pipeline_spec_pb2.ParameterType.ParameterTypeEnum
_JSON_TYPES = {
    "STRING": str,
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}


class Refused(Exception):
    """An answer with an error."""

    def __init__(self, status: tuple[int, int], message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass
class Call:
    """A request as the routes see it."""

    query: dict[str, str]
    body: Any
    file: bytes


@dataclass
class KubeflowApi:
    """The server's state, and what a test may set.

    Attributes
    ----------
    namespaces:
        Those of the caller, where there are several; empty: a Kubeflow without.
    token, cookie:
        What a caller must have; empty: nothing.
    steps:
        What a run does: at each look at it the next step, the last one for ever. Keys ``state``, ``tasks`` (list of
        ``(name, state, message)``) and ``message``.
    down:
        How many of the next looks at a run are answered by 503.
    page:
        HTML that everything is answered with, as by a login page in front.
    after_each_look:
        Called when a run has been looked at.
    """

    namespaces: tuple[str, ...] = ()
    token: str = ""
    cookie: str = ""
    steps: list[dict[str, Any]] = field(default_factory=lambda: [{"state": "SUCCEEDED"}])
    down: int = 0
    page: str = ""
    after_each_look: Callable[[], None] | None = None
    url: str = ""
    pipelines: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    recurring: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def health(self, call: Call) -> Any:
        return {"multi_user": bool(self.namespaces)}

    def list_pipelines(self, call: Call) -> Any:
        return self._listed("pipelines", self.pipelines, call)

    def create_pipeline(self, call: Call) -> Any:
        return self._make(self.pipelines, "pipeline_id", call.body, unique="display_name")

    def list_versions(self, call: Call, pipeline_id: str) -> Any:
        mine = {key: one for key, one in self.versions.items() if one["pipeline_id"] == pipeline_id}
        return {"pipeline_versions": _filtered(mine, call)}

    def upload_version(self, call: Call) -> Any:
        _found(self.pipelines, call.query["pipelineid"])
        try:
            spec, *platform = yaml.safe_load_all(call.file)
            json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
            for document in platform:
                json_format.ParseDict(document, pipeline_spec_pb2.PlatformSpec())
        except (yaml.YAMLError, json_format.ParseError, ValueError) as error:
            raise Refused(INVALID, f"InvalidInputError: {error}") from error
        made = {"pipeline_id": call.query["pipelineid"], "display_name": call.query["name"], "pipeline_spec": spec}
        return self._make(self.versions, "pipeline_version_id", made, unique="display_name")

    def list_experiments(self, call: Call) -> Any:
        return self._listed("experiments", self.experiments, call)

    def create_experiment(self, call: Call) -> Any:
        return self._make(self.experiments, "experiment_id", call.body, unique="display_name")

    def create_run(self, call: Call) -> Any:
        self._check(call.body)
        made: dict[str, Any] = self._make(self.runs, "run_id", call.body | {"state": "PENDING"})
        return made

    def get_run(self, call: Call, run_id: str) -> Any:
        run = _found(self.runs, run_id)
        if self.down:
            self.down -= 1
            raise Refused((503, 14), "upstream connect error")
        looks = run["looks"] = run.get("looks", 0) + 1
        step = self.steps[min(looks, len(self.steps)) - 1]
        tasks = [_task(run_id, number, *task) for number, task in enumerate(step.get("tasks", ()))]
        answer = {key: value for key, value in run.items() if key != "looks"} | {"state": step["state"]}
        answer["run_details"] = {"task_details": tasks}
        if message := step.get("message"):
            answer["error"] = {"code": 2, "message": message}
        if self.after_each_look is not None:
            self.after_each_look()
        return answer

    def list_recurring(self, call: Call) -> Any:
        return self._listed("recurringRuns", self.recurring, call)

    def create_recurring(self, call: Call) -> Any:
        self._check(call.body)
        return self._make(self.recurring, "recurring_run_id", call.body)

    def delete_recurring(self, call: Call, recurring_run_id: str) -> Any:
        _found(self.recurring, recurring_run_id)
        del self.recurring[recurring_run_id]
        return {}

    def _check(self, run: dict[str, Any]) -> None:
        _found(self.experiments, run["experiment_id"])
        version = _found(self.versions, run["pipeline_version_reference"]["pipeline_version_id"])
        spec = json_format.ParseDict(version["pipeline_spec"], pipeline_spec_pb2.PipelineSpec())
        given = run.get("runtime_config", {}).get("parameters", {})
        parameters = spec.root.input_definitions.parameters
        for name, parameter in parameters.items():
            if name not in given:
                if not parameter.is_optional and not parameter.HasField("default_value"):
                    raise Refused(INVALID, f"parameter {name} is not optional, yet has neither default nor user value")
                continue
            kind = _Type.Name(parameter.parameter_type)
            if not _fits(kind, given[name]):
                raise Refused(INVALID, f"input parameter {name} requires type {kind}")
        if extra := sorted(set(given) - set(parameters)):
            raise Refused(INVALID, f"parameter(s) provided are not required by pipeline: {', '.join(extra)}")

    def _listed(self, key: str, stock: dict[str, dict[str, Any]], call: Call) -> Any:
        self._allow(call.query.get("namespace", ""))
        return {key: _filtered(stock, call)}

    def _make(self, stock: dict[str, dict[str, Any]], key: str, body: dict[str, Any], *, unique: str = "") -> Any:
        if key in ("pipeline_id", "experiment_id"):
            self._allow(body.get("namespace", ""))
        if unique and any(one[unique] == body[unique] for one in stock.values()):
            raise Refused(EXISTS, f"AlreadyExist: {body[unique]} already exists")
        made = body | {key: str(uuid.uuid4())}
        stock[made[key]] = made
        return made

    def _allow(self, namespace: str) -> None:
        if not self.namespaces and namespace:
            raise Refused(INVALID, "In single-user mode, namespace cannot be set")
        if self.namespaces and not namespace:
            raise Refused(INVALID, "In multi-user mode, namespace must be set")
        if self.namespaces and namespace not in self.namespaces:
            raise Refused(DENIED, f"PermissionDenied: User 'doctor' is not authorized in namespace {namespace}")


_API = "/apis/v2beta1"
_ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("GET", "/healthz", KubeflowApi.health),
    ("GET", "/pipelines", KubeflowApi.list_pipelines),
    ("POST", "/pipelines", KubeflowApi.create_pipeline),
    ("GET", "/pipelines/([^/]+)/versions", KubeflowApi.list_versions),
    ("POST", "/pipelines/upload_version", KubeflowApi.upload_version),
    ("GET", "/experiments", KubeflowApi.list_experiments),
    ("POST", "/experiments", KubeflowApi.create_experiment),
    ("POST", "/runs", KubeflowApi.create_run),
    ("GET", "/runs/([^/]+)", KubeflowApi.get_run),
    ("GET", "/recurringruns", KubeflowApi.list_recurring),
    ("POST", "/recurringruns", KubeflowApi.create_recurring),
    ("DELETE", "/recurringruns/([^/]+)", KubeflowApi.delete_recurring),
]


def _fits(kind: str, value: Any) -> bool:
    return isinstance(value, _JSON_TYPES[kind]) and isinstance(value, bool) == (kind == "BOOLEAN")


def _filtered(stock: dict[str, dict[str, Any]], call: Call) -> list[dict[str, Any]]:
    found = list(stock.values())
    for predicate in json.loads(call.query.get("filter") or "{}").get("predicates", ()):
        if predicate.get("operation") not in (1, "EQUALS") or predicate.get("key") != "display_name":
            raise Refused(INVALID, f"no such filter here: {predicate}")
        found = [one for one in found if one["display_name"] == predicate["stringValue"]]
    return found


def _found(stock: dict[str, dict[str, Any]], key: str) -> dict[str, Any]:
    if key not in stock:
        raise Refused(NOT_FOUND, f"ResourceNotFoundError: {key} not found")
    return stock[key]


def _task(run_id: str, number: int, name: str, state: str, message: str = "") -> dict[str, Any]:
    when = f"2026-01-02T03:04:{number:02d}Z"
    error = {"error": {"code": 2, "message": message}} if message else {}
    return {
        "run_id": run_id,
        "task_id": f"task-{number}",
        "display_name": name,
        "create_time": when,
        "state": state,
        "state_history": [{"update_time": when, "state": state} | error],
    }


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(api: KubeflowApi) -> Iterator[KubeflowApi]:
    """Serve ``api`` on a free port; its address is ``api.url``."""
    with make_server("127.0.0.1", 0, lambda environ, start: _answer(api, environ, start), _Server, _Quiet) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield api
        server.shutdown()
        thread.join()


def _answer(api: KubeflowApi, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
    try:
        if api.page:
            start("200 OK", [("Content-Type", "text/html")])
            return [api.page.encode()]
        status, body = 200, _route(api, environ)
    except Refused as error:
        (status, code), message = error.status, error.message
        body = {"error": message, "code": code, "message": message, "details": []}
    start(f"{status} X", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]


def _route(api: KubeflowApi, environ: dict[str, Any]) -> Any:
    if api.token and environ.get("HTTP_AUTHORIZATION") != f"Bearer {api.token}":
        raise Refused(UNAUTHENTICATED, "Unauthenticated: request header error")
    if api.cookie and environ.get("HTTP_COOKIE") != api.cookie:
        raise Refused(UNAUTHENTICATED, "Unauthenticated: no session")
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(_API)
    query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    body, file = None, b""
    if environ.get("CONTENT_TYPE", "").startswith("multipart/"):
        _, files = multipart.parse_form_data(environ, strict=True)
        file = files["uploadfile"].raw
    elif length := int(environ.get("CONTENT_LENGTH") or 0):
        body = json.loads(environ["wsgi.input"].read(length))
    for known, pattern, handle in _ROUTES:
        if known == method and (match := re.fullmatch(pattern, path)):
            api.calls.append(f"{method} {path}")
            return handle(api, Call(query, body, file), *match.groups())
    raise Refused(NOT_FOUND, f"no route {method} {path}")
