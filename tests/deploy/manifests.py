"""Strict checks of Kubernetes resources, offline: each by its schema, and all of them together."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from dask_kubernetes.operator.controller import controller

Resource = dict[str, Any]
Pod = tuple[str, Resource, Resource]  # name, labels, spec

# A version of Kubernetes whose schemas of built-in resources are used; the oldest still common.
KUBERNETES = "1.32"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # which takes a tenth of the time
NAMESPACE = "amos-dask"
_CRDS = "operator/deployment/helm/dask-kubernetes-operator/crds"
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")


def read_documents(path: Path) -> list[Resource]:
    loaded = yaml.load_all(path.read_text(encoding="utf-8"), _LOADER)
    return [found for found in loaded if found]


# ---------------------------------------------------------------- each by its schema


def find_schema_errors(resource: Resource) -> list[str]:
    """Return what the API server would refuse, or drop without a word."""
    where = f"{resource.get('kind')} {resource.get('metadata', {}).get('name')}"
    kind = resource.get("apiVersion"), resource.get("kind")
    if kind not in custom_schemas():
        return [f"{where}: {error}" for error in _errors_of_built_in(resource)]
    validator = jsonschema.Draft202012Validator(custom_schemas()[kind])
    errors = [_say(error) for error in validator.iter_errors(_without_null(resource))]
    # A custom resource's schema says nothing of metadata: that is Kubernetes' own.
    bare = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": resource.get("metadata", {})}
    return [f"{where}: {error}" for error in (*errors, *_errors_of_built_in(bare))]


def _errors_of_built_in(resource: Resource) -> Iterator[str]:
    try:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield _say(error)
    except kubernetes_validate.SchemaNotFoundError as error:
        yield error.message
    except KeyError as error:
        yield f"{error} is missing"


def _say(error: jsonschema.ValidationError) -> str:
    return f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"


@cache
def custom_schemas() -> dict[tuple[str | None, str | None], Resource]:
    """Return the schemas of the operator's resources, in which unknown fields are errors."""
    found: dict[tuple[str | None, str | None], Resource] = {}
    for file in sorted(files("dask_kubernetes").joinpath(_CRDS).iterdir(), key=str):
        definition = yaml.load(file.read_text(encoding="utf-8"), _LOADER)["spec"]
        for version in definition["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"])
            schema["properties"] |= {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
            }
            schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
            name = f"{definition['group']}/{version['name']}", definition["names"]["kind"]
            found[name] = schema
    return found


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: _strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    open_ended = "additionalProperties" in schema or schema.get(
        "x-kubernetes-preserve-unknown-fields"
    )
    if isinstance(schema.get("properties"), dict) and not open_ended:
        schema["additionalProperties"] = False
    return schema


def _without_null(value: Any) -> Any:
    """Return it as the API server takes it: null is the same as not given."""
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- what the operator makes of them


def made_by_operator(resource: Resource) -> list[Resource]:
    """Return what the operator's own functions make of a DaskJob or a DaskCluster."""
    resource = copy.deepcopy(resource)
    name, spec = resource["metadata"]["name"], resource["spec"]
    labels = resource["metadata"].get("labels", {})
    marks = resource["metadata"].get("annotations", {})
    if resource["kind"] == "DaskJob":
        cluster = controller.build_cluster_spec(
            name,
            spec["cluster"]["spec"]["worker"],
            spec["cluster"]["spec"]["scheduler"],
            marks,
            labels,
        )
        notes = marks | spec["job"].get("metadata", {}).get("annotations", {})
        runner = controller.build_job_pod_spec(
            name, name, NAMESPACE, spec["job"]["spec"], notes, labels
        )
        return [runner, *made_by_operator(cluster)]
    if resource["kind"] != "DaskCluster":
        return []
    notes = marks | spec["scheduler"].get("metadata", {}).get("annotations", {})
    group = controller.build_default_worker_group_spec(name, spec["worker"], marks, labels)
    return [
        controller.build_scheduler_deployment_spec(name, spec["scheduler"]["spec"], notes, labels),
        controller.build_scheduler_service_spec(name, spec["scheduler"]["service"], notes, labels),
        group,
        controller.build_worker_deployment_spec(
            group["metadata"]["name"],
            NAMESPACE,
            name,
            "0123456789",
            spec["worker"]["spec"],
            marks,
            group["metadata"]["labels"],
        ),
    ]


def pods_of(resources: list[Resource]) -> Iterator[Pod]:
    """Yield name, labels and spec of every pod there would be."""
    for resource in resources:
        if resource["kind"] == "Pod":
            pod = resource
        elif resource["kind"] == "Deployment":
            pod = resource["spec"]["template"]
        else:
            continue
        yield resource["metadata"]["name"], pod["metadata"].get("labels", {}), pod["spec"]


def containers_of(pod: Resource) -> list[Resource]:
    return [*pod.get("initContainers", []), *pod["containers"]]


# ---------------------------------------------------------------- all of them together


def find_errors(documents: list[Resource], *, outside: tuple[str, ...] = ()) -> list[str]:
    """Return what is wrong with resources that are applied together.

    ``outside`` are volume claims that are made elsewhere.
    """
    errors = [error for document in documents for error in find_schema_errors(document)]
    if errors:
        return errors
    resources = documents + [made for found in documents for made in made_by_operator(found)]
    errors = [error for resource in resources for error in find_schema_errors(resource)]
    claims = {r["metadata"]["name"] for r in resources if r["kind"] == "PersistentVolumeClaim"}
    pods = list(pods_of(resources))
    for name, _, pod in pods:
        found = [*_errors_of_volumes(pod, claims | set(outside)), *_errors_of_security(pod)]
        found += [error for c in containers_of(pod) for error in _errors_of_container(c)]
        errors += [f"{name}: {error}" for error in found]
    for resource in resources:
        if resource["kind"] == "Service":
            errors += _errors_of_service(resource, pods)
        elif resource["kind"] == "NetworkPolicy":
            errors += _errors_of_policy(resource, pods)
        elif resource["kind"] == "DaskAutoscaler":
            errors += _errors_of_autoscaler(resource, resources)
    policies = [r["spec"]["podSelector"] for r in resources if r["kind"] == "NetworkPolicy"]
    if policies:
        errors += [
            f"{name}: no NetworkPolicy selects it"
            for name, labels, _ in pods
            if not any(matches(policy, labels) for policy in policies)
        ]
    images = {c["image"] for _, _, pod in pods for c in containers_of(pod)}
    return errors + ([f"several images: {sorted(images)}"] if len(images) > 1 else [])


def _errors_of_volumes(pod: Resource, claims: set[str]) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for volume in volumes.values():
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim is not None and claim not in claims:
            yield f"there is no volume claim {claim}"
    for container in containers_of(pod):
        mounts = container.get("volumeMounts", [])
        yield from (f"no volume {m['name']}" for m in mounts if m["name"] not in volumes)
        if "/tmp" not in {m["mountPath"] for m in mounts} and container in pod["containers"]:
            yield "nothing is mounted at /tmp, and the image is read-only"


def _errors_of_security(pod: Resource) -> Iterator[str]:
    """Yield offences against the "restricted" Pod Security Standard, and a bit more."""
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield "may run as root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "no seccomp profile"
    if pod.get("automountServiceAccountToken") is not False:
        yield "carries a token of Kubernetes' API"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield f"uses {key}"
    allowed = {"persistentVolumeClaim", "emptyDir"}
    yield from (
        f"volume {volume['name']} is neither a claim nor empty"
        for volume in pod.get("volumes", [])
        if not set(volume) - {"name"} <= allowed
    )


def _errors_of_container(container: Resource) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "may gain privileges"
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "keeps capabilities"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write into its image"
    if not re.search(r":[\w.-]+$|@sha256:", container["image"]) or ":latest" in container["image"]:
        yield f"image {container['image']} is not pinned"
    resources = container.get("resources", {})
    if not resources.get("limits", {}).keys() >= {"cpu", "memory"}:
        yield "no limits"
    if resources.get("requests", {}).get("memory") != resources.get("limits", {}).get("memory"):
        yield "may be evicted for memory that it has not requested"
    if "cpu" not in resources.get("requests", {}):
        yield "requests no cpu"
    amounts = resources.get("limits", {}).values()
    yield from (f"{amount} is no amount" for amount in amounts if not _QUANTITY.fullmatch(amount))
    ports = {port["name"] for port in container.get("ports", [])}
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        port = container.get(probe, {}).get("httpGet", {}).get("port")
        if isinstance(port, str) and port not in ports:
            yield f"{probe} asks port {port}, which it has not"


def matches(selector: Resource, labels: Resource) -> bool:
    assert set(selector) <= {"matchLabels"}
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def _errors_of_service(service: Resource, pods: list[Pod]) -> Iterator[str]:
    name = service["metadata"]["name"]
    wanted = {"matchLabels": service["spec"]["selector"]}
    behind = [pod for _, labels, pod in pods if matches(wanted, labels)]
    if len(behind) != 1:
        yield f"Service {name} selects {len(behind)} pods"
    ports = {port["name"] for pod in behind for c in pod["containers"] for port in c["ports"]}
    for port in service["spec"]["ports"]:
        if port["targetPort"] not in ports:
            yield f"Service {name} leads to port {port['targetPort']}, which its pod has not"


def _errors_of_policy(policy: Resource, pods: list[Pod]) -> Iterator[str]:
    name = policy["metadata"]["name"]
    selected = [pod for _, labels, pod in pods if matches(policy["spec"]["podSelector"], labels)]
    if not selected:
        yield f"NetworkPolicy {name} selects no pod"
    named = {
        p.get("name") for pod in selected for c in pod["containers"] for p in c.get("ports", [])
    }
    for rule in policy["spec"]["ingress"]:
        if not rule.get("from"):
            yield f"NetworkPolicy {name} lets everybody in"
        for port in rule.get("ports", []):
            if isinstance(port["port"], str) and port["port"] not in named:
                yield f"NetworkPolicy {name} is about port {port['port']}, which its pods have not"


def _errors_of_autoscaler(scaler: Resource, resources: list[Resource]) -> Iterator[str]:
    spec = scaler["spec"]
    clusters = {
        found["metadata"]["name"]
        for found in resources
        if found["kind"] in ("DaskCluster", "DaskJob")
    }
    if spec["cluster"] not in clusters:
        yield f"DaskAutoscaler is for {spec['cluster']}, which is not there"
    if not 0 <= spec["minimum"] <= spec["maximum"]:
        yield "DaskAutoscaler has no room"
