r"""Schemas of custom resources, taken from packages of the projects that own them; run again for a new version.

    python -m pip install pydantic kubernetes-validate==1.37.0 kubeflow-trainer-api==2.3.0
    python -m pip download --no-deps --python-version 3.14 --only-binary=:all: \
        kserve==0.21.0 cloudcoil-models-prometheus-operator==0.93.1.1
    python tests/k8s/schemas/extract.py FOLDER_WITH_THE_WHEELS

KServe's package is read and not installed for it asks for fifty others; the one for Prometheus asks for Python 3.14.
Descriptions, titles and defaults are left out. Types of Kubernetes itself are references to ``kubernetes-validate``.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
import zipfile
from importlib import resources
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DEFINITIONS = (
    resources.files("kubernetes_validate") / "kubernetes-json-schema" / "v1.37.0-local-strict/_definitions.json"
)
KUBERNETES = json.loads(DEFINITIONS.read_text())["$defs"]
SCALARS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
PYDANTIC_HEADER = """
from __future__ import annotations
from typing import *
from pydantic import AwareDatetime, BaseModel, Field, RootModel
class Resource(BaseModel): ...
class ObjectMeta(BaseModel): ...
"""


def kubernetes(name: str) -> dict[str, Any]:
    """A reference to the one definition whose name ends in ``.v1.Container`` and the like; core before others."""
    found = sorted((key for key in KUBERNETES if key.endswith(name)), key=lambda key: "api.core." not in key)
    # Nothing at all is allowed where the package names a type that it does not ship.
    return {"$ref": f"_definitions.json#/$defs/{found[0]}"} if found else {"not": {}}


def trainer() -> dict[str, Any]:
    """kubeflow-trainer-api: pydantic models."""
    model = importlib.import_module("kubeflow_trainer_api.models.trainer_v1alpha1_train_job")
    camel = {"".join(part[:1].upper() + part[1:] for part in re.split(r"[.-]", key)): key for key in KUBERNETES}
    return strict(model.TrainerV1alpha1TrainJob.model_json_schema(by_alias=True), camel)


def prometheus(wheel: Path, kind: str) -> dict[str, Any]:
    """cloudcoil's models of the operator's custom resources: pydantic again, behind a library of its own."""
    source = zipfile.ZipFile(wheel).read("cloudcoil/models/prometheus_operator/v1.py")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    for one in classes:
        one.body = [node for node in one.body if isinstance(node, ast.AnnAssign)] or [ast.Pass()]
        one.body = [node for node in one.body if "__cloudcoil_api__" not in ast.unparse(node)] or [ast.Pass()]
        one.decorator_list, one.keywords = [], []
    wanted = [one for one in classes if one.name.startswith((kind, "NativeHistogram"))]
    names: dict[str, Any] = {"__name__": "extracted"}
    sys.modules["extracted"] = type(sys)("extracted")
    exec(PYDANTIC_HEADER + "\n".join(map(ast.unparse, wanted)), names)
    vars(sys.modules["extracted"]).update(names)
    schema = names[kind].model_json_schema(by_alias=True)
    return strict(schema, {"ObjectMeta": "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"})


def kserve(wheel: Path, name: str) -> dict[str, Any]:
    """kserve: classes of an OpenAPI generator, with a table of types each."""
    found: dict[str, Any] = {}
    waiting = [name]
    with zipfile.ZipFile(wheel) as package:
        modules = {path.split("/")[-1][:-3].replace("_", ""): path for path in package.namelist() if "/models/" in path}
        while waiting:
            one = waiting.pop()
            if one in found:
                continue
            text = package.read(modules[one.lower()]).decode()
            types, keys = (
                ast.literal_eval(re.search(rf"    {table} = (\{{.*?\}})", text, re.DOTALL)[1])  # type: ignore[index]
                for table in ("openapi_types", "attribute_map")
            )
            required = re.findall(r"Invalid value for `(\w+)`, must not be `None`", text)
            found[one] = {
                "type": "object",
                "additionalProperties": False,
                "properties": {keys[field]: openapi(kind, modules, waiting) for field, kind in types.items()},
                "required": [keys[field] for field in dict.fromkeys(required)],
            }
    return {"$ref": f"#/$defs/{name}", "$defs": found}


def openapi(kind: str, modules: dict[str, str], waiting: list[str]) -> dict[str, Any]:
    """One type as the generator writes it: ``list[V1Container]``, ``dict(str, str)``, ``V1alpha1ModelSpec``."""
    if kind.startswith("list["):
        return {"type": "array", "items": openapi(kind[5:-1], modules, waiting)}
    if kind.startswith("dict("):
        return {"type": "object", "additionalProperties": openapi(kind[5:-1].split(", ", 1)[1], modules, waiting)}
    if kind in SCALARS:
        return {"type": SCALARS[kind]}
    if kind == "object":
        return {}
    if kind.lower() in modules:
        waiting.append(kind)
        return {"$ref": f"#/$defs/{kind}"}
    if kind in ("ResourceQuantity", "IntOrString", "KnativeVolatileTime"):
        return {"type": ["string", "integer", "number"]}
    named = re.fullmatch(r"(?:K8sIoApi\w+?)?(V\d(?:(?:alpha|beta)\d)?)(\w+)", kind)
    return kubernetes(f".{named[1].lower()}.{named[2]}" if named else kind)


def strict(schema: dict[str, Any], outside: dict[str, str]) -> dict[str, Any]:
    """Pydantic's schema with unknown fields refused, without prose, and without what ``outside`` maps to Kubernetes."""
    prefix = "#/$defs/"

    def clean(node: Any) -> Any:
        if isinstance(node, list):
            return [clean(one) for one in node]
        if not isinstance(node, dict):
            return node
        if (name := str(node.get("$ref", "")).removeprefix(prefix)) in outside:
            return {"$ref": f"_definitions.json#/$defs/{outside[name]}"}
        choices = [one for one in node.get("anyOf", []) if one != {"type": "null"}]
        if len(choices) == 1:  # optional: may be left out, which is not the same as null
            return clean({key: value for key, value in node.items() if key != "anyOf"} | choices[0])
        kept = {key: clean(value) for key, value in node.items() if key not in ("title", "description", "default")}
        if str(node.get("pattern")).startswith("^(?i)"):  # Go lets flags stand anywhere
            kept["pattern"] = "(?i)^" + node["pattern"].removeprefix("^(?i)")
        if "properties" in node:
            kept["properties"] = {key: clean(value) for key, value in node["properties"].items()}
            kept["additionalProperties"] = False
        return kept

    whole = clean({key: value for key, value in schema.items() if key != "$defs"})
    left = {key: value for key, value in schema.get("$defs", {}).items() if key not in outside}
    return whole | {"$defs": {key: clean(value) for key, value in used(schema, left, prefix).items()}}


def used(root: dict[str, Any], definitions: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Those definitions that can be reached from the root."""
    reached: dict[str, Any] = {}
    waiting = [{key: value for key, value in root.items() if key != "$defs"}]
    while waiting:
        for name in re.findall(rf'"{re.escape(prefix)}([^"]+)"', json.dumps(waiting.pop())):
            if name in definitions and name not in reached:
                reached[name] = definitions[name]
                waiting.append(definitions[name])
    return dict(sorted(reached.items()))


def main() -> None:
    folder = Path(sys.argv[1])
    one_wheel = {
        name: next(folder.glob(f"{name}-*.whl")) for name in ("kserve", "cloudcoil_models_prometheus_operator")
    }
    schemas = {"trainjob": trainer()}
    for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule"):
        schemas[kind.lower()] = prometheus(one_wheel["cloudcoil_models_prometheus_operator"], kind)
    for kind, name in (("servingruntime", "V1alpha1ServingRuntime"), ("inferenceservice", "V1beta1InferenceService")):
        schemas[kind] = kserve(one_wheel["kserve"], name)
    for kind, schema in schemas.items():
        (HERE / f"{kind}.json").write_text(json.dumps(schema, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
