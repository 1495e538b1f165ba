"""The resources that the Dask operator makes pods of: the job's own manifest, as configured."""

from __future__ import annotations

import math
import os
import secrets
from importlib.resources import files
from typing import Any

import yaml

from amos_dask.engine.options import DEFAULT_WORKERS, ClusterOptions, configured, memory_bytes
from amos_dask.errors import ClusterError

OPERATORS_API = "kubernetes.dask.org/v1"
_SMALLEST_MEMORY = "512MiB"
# Of the pod's memory: the rest is for the nanny, which watches over the worker.
_WORKERS_PART = 0.9


def cluster_spec(options: ClusterOptions) -> dict[str, Any]:
    """Return the DaskCluster resource: the pods of ``deploy/kubernetes/job.yaml``, as configured.

    Parameters
    ----------
    options : ClusterOptions
        Number of workers, their memory and local directory.

    Returns
    -------
    dict
        As YAML would have it, under a name of its own.

    Raises
    ------
    ClusterError
        When the memory cannot be understood, or no worker could start with it.
    """
    text = files("amos_dask.engine").joinpath("job.yaml").read_text(encoding="utf-8")
    spec: dict[str, Any] = yaml.safe_load(text)["spec"]["cluster"]["spec"]
    scheduler, worker = spec["scheduler"], spec["worker"]
    name = f"amos-dask-{secrets.token_hex(4)}"
    scheduler["service"]["selector"]["dask.org/cluster-name"] = name
    least = configured("kubernetes.minimum-workers")
    worker["replicas"] = options.workers or DEFAULT_WORKERS if least is None else max(1, least)
    for kind in ("scheduler", "worker"):
        _configure(spec[kind]["spec"], configured(f"kubernetes.{kind}-selector"))
    if options.memory not in (None, "auto"):
        _resize(worker["spec"], str(options.memory))
    if options.local_directory:
        worker["spec"]["containers"][0]["args"] += ["--local-directory", options.local_directory]
    spec["idleTimeout"] = configured("kubernetes.idle-timeout")
    return resource("DaskCluster", name, spec)


def resource(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return a resource of the operator's."""
    metadata = {"name": name, "labels": {"app.kubernetes.io/name": "amos-dask"}}
    return {"apiVersion": OPERATORS_API, "kind": kind, "metadata": metadata, "spec": spec}


def _configure(pod: dict[str, Any], selector: dict[str, str]) -> None:
    """Put what is configured, and who runs this, in place of what the job's manifest has."""
    for container in _containers(pod):
        container["image"] = configured("kubernetes.image")
        for mount in container["volumeMounts"]:
            if mount["name"] == "data":
                mount["mountPath"] = configured("kubernetes.mount")
    for volume in pod["volumes"]:
        if volume["name"] == "data":
            volume["persistentVolumeClaim"]["claimName"] = configured("kubernetes.claim")
    if secret := configured("kubernetes.image-pull-secret"):
        pod["imagePullSecrets"] = [{"name": secret}]
    if selector:
        pod["nodeSelector"] = dict(selector)
    user = configured("kubernetes.user")
    if user is not None or os.geteuid() != 0:  # Kubernetes is told that they are not root
        user, _, group = str(user or f"{os.geteuid()}:{os.getegid()}").partition(":")
        pod["securityContext"] |= {"runAsUser": int(user), "runAsGroup": int(group or user)}


def _resize(pod: dict[str, Any], memory: str) -> None:
    """Give a worker's pod so much memory, and its worker what the nanny leaves of it."""
    n_bytes = memory_bytes(memory)
    if n_bytes < memory_bytes(_SMALLEST_MEMORY):
        raise ClusterError(
            f"memory {memory!r} is too little for a pod; at least {_SMALLEST_MEMORY}."
        )
    for container in _containers(pod):
        for amounts in container["resources"].values():
            amounts["memory"] = f"{math.ceil(n_bytes / 2**20)}Mi"
    args = pod["containers"][0]["args"]
    args[args.index("--memory-limit") + 1] = f"{math.floor(_WORKERS_PART * n_bytes / 2**20)}MiB"


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]
