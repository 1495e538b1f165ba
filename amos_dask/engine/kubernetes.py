"""A cluster of pods, through the Dask operator."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.resources import files
from typing import Any

import yaml

from amos_dask.engine.options import (
    DEFAULT_WORKERS,
    ClusterOptions,
    configured,
    free_port,
    memory_bytes,
    needing,
)
from amos_dask.errors import ClusterError

_SMALLEST_MEMORY = "512MiB"
# Of the pod's memory: the rest is for the nanny, which watches over the worker.
_WORKERS_PART = 0.9
# For a node to be added and the image to be pulled; and for the operator to take notice.
_START_SECONDS = 600
_OPERATOR_SECONDS = 60
_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 10.0
_OPERATORS_API = "kubernetes.dask.org/v1"
_CLUSTERS = "daskclusters"
_FORBIDDEN, _NOT_FOUND = 403, 404
# What a waiting container does not get over by itself. A first failed pull may be the network's.
_OBSTACLES = {
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
}


def start_kubernetes(options: ClusterOptions) -> Any:
    """Return a started `dask_kubernetes.operator.KubeCluster`; closing it deletes its pods.

    Parameters
    ----------
    options : ClusterOptions
        Complete.

    Raises
    ------
    ClusterError
        When dask-kubernetes is missing, no Kubernetes with the operator can be reached, or the
        scheduler's pod does not start.
    """
    if options.tls:
        raise ClusterError(
            "--tls is not for clusters of pods: there the network policy of deploy/kubernetes "
            "keeps others away."
        )
    with needing("--cluster kubernetes", "kubernetes"):
        from dask_kubernetes.operator import KubeCluster
    spec = cluster_spec(options)
    name = spec["metadata"]["name"]
    namespace = _Namespace(configured("kubernetes.namespace"))
    try:
        # KubeCluster itself would wait for ever for an image that cannot be pulled.
        _create(namespace, spec)
        try:
            _wait_for_scheduler(namespace, name)
            cluster = KubeCluster(
                custom_cluster_spec=spec,
                namespace=namespace.name,
                shutdown_on_close=True,
                # Outside Kubernetes, looking up the service's name would take twenty seconds.
                port_forward_cluster_ip=None if "KUBERNETES_SERVICE_HOST" in os.environ else True,
                scheduler_forward_port=free_port(options.dashboard_port or 0) or None,
                quiet=True,
            )
            least = configured("kubernetes.minimum-workers")
            if least is not None:
                cluster.adapt(minimum=least, maximum=options.workers or DEFAULT_WORKERS)
        except BaseException:
            with suppress(Exception):
                namespace.ask("DELETE", f"{_CLUSTERS}/{name}")
            raise
    except Exception as error:  # the libraries below raise their own kinds
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ClusterError(f"no Dask cluster can be started on Kubernetes: {reason}.") from error
    return cluster


class _Namespace:
    """Where the pods go, by its name or, of the current context, None: questions to the API."""

    def __init__(self, name: str | None) -> None:
        self.name = name

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Return the API's response, whatever its status, within a time limit.

        In a thread of its own, since the caller's may have an event loop already (a notebook).
        """
        with ThreadPoolExecutor(1) as pool:
            answer = asyncio.wait_for(self._answer(method, path, options), _ANSWER_SECONDS)
            try:
                return pool.submit(asyncio.run, answer).result()
            except TimeoutError as error:
                reason = f"its API does not answer within {_ANSWER_SECONDS:.0f} s"
                raise RuntimeError(reason) from error

    async def _answer(self, method: str, path: str, options: dict[str, Any]) -> Any:
        import kr8s.asyncio

        try:
            api = await kr8s.asyncio.api()
        except TimeoutError:
            raise
        except ValueError as error:  # from kr8s: no file, no context in it, not inside a pod
            raise RuntimeError(
                f"there is no kubeconfig that can be used here ({error}); 'kubectl version' must "
                "work"
            ) from error
        except Exception as error:
            raise RuntimeError(f"its API does not answer ({error})") from error
        self.name = self.name or api.namespace
        where = {"version": _OPERATORS_API if path.startswith(_CLUSTERS) else "v1"}
        where |= {"namespace": self.name, "url": path}
        async with api.call_api(method, **where, raise_for_status=False, **options) as response:
            return response


def _create(namespace: _Namespace, spec: dict[str, Any]) -> None:
    """Make a DaskCluster; raise `RuntimeError` with the reason where none can be."""
    claim = configured("kubernetes.claim")
    if namespace.ask("GET", f"persistentvolumeclaims/{claim}").status_code == _NOT_FOUND:
        raise RuntimeError(
            f"namespace {namespace.name} has no volume claim {claim} (kubernetes.claim in "
            "amos-dask's configuration)"
        )
    response = namespace.ask("POST", _CLUSTERS, json=spec)
    if response.status_code == _NOT_FOUND:
        raise RuntimeError("the Dask operator is not installed there")
    if response.status_code == _FORBIDDEN:
        raise RuntimeError(f"you may not use {_CLUSTERS} in namespace {namespace.name}")
    response.raise_for_status()


def _wait_for_scheduler(namespace: _Namespace, name: str) -> None:
    """Return when the scheduler is ready; a lasting obstacle is raised with its reason."""
    started = time.monotonic()
    labels = f"dask.org/cluster-name={name},dask.org/component=scheduler"
    while True:
        response = namespace.ask("GET", "pods", params={"labelSelector": labels})
        pods = response.raise_for_status().json()["items"]
        reason = _why_not_ready(pods[0]) if pods else "there is no pod"
        waited = time.monotonic() - started
        if not reason:
            return
        if reason.partition(":")[0] in _OBSTACLES:
            raise RuntimeError(f"the scheduler's pod does not start: {reason}")
        if not pods and waited > _OPERATOR_SECONDS:
            raise RuntimeError("the Dask operator does not act; is it running?")
        if waited > _START_SECONDS:
            raise RuntimeError(f"the scheduler's pod is still not ready: {reason}")
        time.sleep(_LOOK_SECONDS)


def _why_not_ready(pod: dict[str, Any]) -> str:
    """Return why a pod is not ready, in Kubernetes' words; empty when it is."""
    status = pod.get("status", {})
    conditions = status.get("conditions", [])
    unready = [found for found in conditions if found.get("status") != "True"]
    if "Ready" in {found["type"] for found in conditions if found not in unready}:
        return ""
    waiting = [
        container["state"]["waiting"]
        for kind in ("initContainerStatuses", "containerStatuses")
        for container in status.get(kind, [])
        if "waiting" in container.get("state", {})
    ]
    waiting.sort(key=lambda found: found.get("reason") not in _OBSTACLES)
    reasons = [
        ": ".join(found[key] for key in ("reason", "message") if found.get(key))
        for found in (*waiting, *unready)
        if found.get("reason")
    ]
    return reasons[0] if reasons else str(status.get("phase", "unknown"))


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
    kubernetes = configured("kubernetes")
    text = files("amos_dask.engine").joinpath("job.yaml").read_text(encoding="utf-8")
    spec: dict[str, Any] = yaml.safe_load(text)["spec"]["cluster"]["spec"]
    scheduler, worker = spec["scheduler"], spec["worker"]
    name = f"amos-dask-{secrets.token_hex(4)}"
    scheduler["service"]["selector"]["dask.org/cluster-name"] = name
    least = kubernetes["minimum-workers"]
    worker["replicas"] = (options.workers or DEFAULT_WORKERS) if least is None else least
    for kind, pod in (("scheduler", scheduler["spec"]), ("worker", worker["spec"])):
        _configure(pod, kubernetes, kubernetes[f"{kind}-selector"])
    [container] = worker["spec"]["containers"]
    if options.memory not in (None, "auto"):
        _resize(worker["spec"], str(options.memory))
    if options.local_directory:
        container["args"] += ["--local-directory", options.local_directory]
    return {
        "apiVersion": _OPERATORS_API,
        "kind": "DaskCluster",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "amos-dask"}},
        "spec": spec | {"idleTimeout": kubernetes["idle-timeout"]},
    }


def _configure(pod: dict[str, Any], kubernetes: dict[str, Any], selector: dict[str, str]) -> None:
    """Put what is configured in place of what the job's manifest has."""
    for container in _containers(pod):
        container["image"] = kubernetes["image"]
        for mount in container["volumeMounts"]:
            if mount["name"] == "data":
                mount["mountPath"] = kubernetes["mount"]
    for volume in pod["volumes"]:
        if volume["name"] == "data":
            volume["persistentVolumeClaim"]["claimName"] = kubernetes["claim"]
    if kubernetes["image-pull-secret"]:
        pod["imagePullSecrets"] = [{"name": kubernetes["image-pull-secret"]}]
    if selector:
        pod["nodeSelector"] = dict(selector)


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
