"""A cluster of pods, through the Dask operator."""

from __future__ import annotations

import math
import os
import secrets
import time
from contextlib import suppress
from typing import Any

from amos_dask.engine.environment import WORKER_ENVIRONMENT, free_port
from amos_dask.engine.options import ClusterOptions, configured
from amos_dask.errors import ClusterError

DEFAULT_WORKERS = 4
# Twice the peak on the largest scan of AMOS22: 0.25 GB, and 2 bytes for each voxel of 768x768x512.
_MEMORY = "2GiB"
_SMALLEST_MEMORY = "512MiB"
_SCHEDULER_MEMORY = "2Gi"
# Of the pod's memory: the rest is for the nanny, which watches over the worker.
_WORKERS_PART = 0.9
# The operator asks the scheduler over HTTP which workers to take away; Dask leaves this route off.
_ROUTES = [
    "distributed.http.scheduler.prometheus",
    "distributed.http.scheduler.info",
    "distributed.http.scheduler.json",
    "distributed.http.scheduler.api",
    "distributed.http.health",
    "distributed.http.proxy",
    "distributed.http.statics",
]
SCHEDULER_ENVIRONMENT = {"DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": repr(_ROUTES)}
# Labels by which clouds mark nodes that they may take away. A node without them is a match.
_NODES_THAT_GO_AWAY = {
    "cloud.google.com/gke-preemptible": "true",
    "cloud.google.com/gke-spot": "true",
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
# The user of the image, whose files the group can read and write.
_USER = 10001
_DATA, _SCRATCH, _KERNELS = "data", "scratch", "kernels"
_KERNELS_OF_IMAGE = "/opt/kernels"
_KERNELS_FOR_COPY = "/kernels"
# For a node to be added and the image to be pulled; and for the operator to take notice.
_START_SECONDS = 600
_OPERATOR_SECONDS = 60
_LOOK_SECONDS = 1.0


def start_kubernetes(options: ClusterOptions) -> Any:
    """Return a started `dask_kubernetes.operator.KubeCluster`; closing it deletes its pods.

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
    try:
        from dask_kubernetes.operator import KubeCluster

        from amos_dask.engine.kubernetes_api import Pods
    except ImportError as error:
        raise ClusterError(
            "--cluster kubernetes needs 'pip install \".[kubernetes]\"' in the checkout of "
            "amos-dask."
        ) from error
    spec = cluster_spec(options)
    name = spec["metadata"]["name"]
    try:
        # KubeCluster itself would wait for ever for an image that cannot be pulled.
        pods = Pods.of_namespace(configured("kubernetes.namespace"), configured("kubernetes.claim"))
        pods.create(spec)
    except Exception as error:  # the libraries below raise their own kinds
        raise ClusterError(_sentence(error)) from error
    try:
        _wait_for_scheduler(pods, name)
        cluster = KubeCluster.from_name(
            name,
            namespace=pods.namespace,
            shutdown_on_close=True,
            # Outside Kubernetes, looking up the service's name would take twenty seconds.
            port_forward_cluster_ip=None if "KUBERNETES_SERVICE_HOST" in os.environ else True,
            scheduler_forward_port=free_port(options.dashboard_port or 0) or None,
            quiet=True,
        )
        least = configured("kubernetes.minimum-workers")
        if least is not None:
            cluster.adapt(minimum=least, maximum=options.workers or DEFAULT_WORKERS)
    except BaseException as error:
        with suppress(Exception):
            pods.delete(name)
        if isinstance(error, Exception):
            raise ClusterError(_sentence(error)) from error
        raise
    return cluster


def _wait_for_scheduler(pods: Any, name: str) -> None:
    """Return when the scheduler is ready; a lasting obstacle is raised with its reason."""
    started = time.monotonic()
    while not (state := pods.scheduler_state(name)).ready:
        waited = time.monotonic() - started
        if state.obstacle:
            raise RuntimeError(f"the scheduler's pod does not start: {state.obstacle}")
        if not state.exists and waited > _OPERATOR_SECONDS:
            raise RuntimeError("the Dask operator does not act; is it running?")
        if waited > _START_SECONDS:
            raise RuntimeError(f"the scheduler's pod is still not ready: {state.reason}")
        time.sleep(_LOOK_SECONDS)


def _sentence(error: Exception) -> str:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return f"no Dask cluster can be started on Kubernetes: {reason}."


def cluster_spec(options: ClusterOptions) -> dict[str, Any]:
    """Return the DaskCluster resource: scheduler and workers that share the data's volume.

    ``deploy/kubernetes/job.yaml`` has the same pods; a test compares them.

    Raises
    ------
    ClusterError
        When the memory cannot be understood, or no worker could start with it.
    """
    from dask_kubernetes.operator import make_cluster_spec

    kubernetes = configured("kubernetes")
    n_bytes = _memory_bytes(options.memory)
    least = kubernetes["minimum-workers"]
    spec: dict[str, Any] = make_cluster_spec(
        name=f"amos-dask-{secrets.token_hex(4)}",
        image=kubernetes["image"],
        n_workers=(options.workers or DEFAULT_WORKERS) if least is None else least,
        resources=_resources("1", f"{math.ceil(n_bytes / 2**20)}Mi"),
        env={name: str(value) for name, value in WORKER_ENVIRONMENT.items()},
        worker_command=_worker_command(n_bytes, options.local_directory),
        idle_timeout=kubernetes["idle-timeout"],
    )
    spec["metadata"]["labels"] = {"app.kubernetes.io/name": "amos-dask"}
    _complete_scheduler(spec["spec"]["scheduler"], kubernetes)
    _complete_worker(spec["spec"]["worker"], kubernetes)
    return spec


def _memory_bytes(memory: str | None) -> int:
    from dask.utils import parse_bytes

    try:
        n_bytes = int(parse_bytes(_MEMORY if memory in (None, "auto") else memory))
    except ValueError as error:
        raise ClusterError(f"memory {memory!r} is not an amount such as {_MEMORY}.") from error
    if n_bytes < parse_bytes(_SMALLEST_MEMORY):
        raise ClusterError(
            f"memory {memory!r} is too little for a pod; at least {_SMALLEST_MEMORY}."
        )
    return n_bytes


def _worker_command(n_bytes: int, local_directory: str | None) -> list[str]:
    limit = math.floor(_WORKERS_PART * n_bytes / 2**20)
    one = ["--nthreads", "1", "--nworkers", "1", "--memory-limit", f"{limit}MiB"]
    return ["dask", "worker", *one] + (
        ["--local-directory", local_directory] if local_directory else []
    )


def _complete_scheduler(scheduler: dict[str, Any], kubernetes: dict[str, Any]) -> None:
    keep = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    scheduler["metadata"] = {"annotations": keep}
    pod = scheduler["spec"]
    container = pod["containers"][0]
    # dask-kubernetes still says "dask-scheduler", which Dask no longer has.
    container["args"] = ["dask", "scheduler", *container["args"][1:]]
    container["resources"] = _resources("1", _SCHEDULER_MEMORY)
    container["env"] = [{"name": k, "value": v} for k, v in SCHEDULER_ENVIRONMENT.items()]
    _complete_pod(pod, kubernetes, kubernetes["scheduler-selector"])
    stays = [
        {"key": label, "operator": "NotIn", "values": [value]}
        for label, value in _NODES_THAT_GO_AWAY.items()
    ]
    terms = {"nodeSelectorTerms": [{"matchExpressions": stays}]}
    pod["affinity"] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms},
    }


def _complete_worker(worker: dict[str, Any], kubernetes: dict[str, Any]) -> None:
    pod = worker["spec"]
    container = pod["containers"][0]
    _complete_pod(pod, kubernetes, kubernetes["worker-selector"])
    # numba takes machine code only from where it can write; the image itself is read-only.
    pod["volumes"].append({"name": _KERNELS, "emptyDir": {}})
    container["volumeMounts"].append({"name": _KERNELS, "mountPath": _KERNELS_OF_IMAGE})
    pod["initContainers"] = [
        {
            "name": "kernels",
            "image": container["image"],
            "command": ["cp", "-r", f"{_KERNELS_OF_IMAGE}/.", _KERNELS_FOR_COPY],
            "resources": container["resources"],
            "securityContext": container["securityContext"],
            "volumeMounts": [{"name": _KERNELS, "mountPath": _KERNELS_FOR_COPY}],
        }
    ]


def _complete_pod(
    pod: dict[str, Any], kubernetes: dict[str, Any], selector: dict[str, str]
) -> None:
    """Add the volumes, and take away all that the processes do not need."""
    container = pod["containers"][0]
    container["command"], container["args"] = container["args"][:1], container["args"][1:]
    container["volumeMounts"] = [
        {"name": _DATA, "mountPath": kubernetes["mount"]},
        {"name": _SCRATCH, "mountPath": "/tmp"},  # noqa: S108
    ]
    container["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    pod["securityContext"] = {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "fsGroup": _USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod["automountServiceAccountToken"] = False
    pod["enableServiceLinks"] = False
    pod["volumes"] = [
        {"name": _DATA, "persistentVolumeClaim": {"claimName": kubernetes["claim"]}},
        {"name": _SCRATCH, "emptyDir": {}},
    ]
    if kubernetes["image-pull-secret"]:
        pod["imagePullSecrets"] = [{"name": kubernetes["image-pull-secret"]}]
    if selector:
        pod["nodeSelector"] = dict(selector)


def _resources(cpu: str, memory: str) -> dict[str, dict[str, str]]:
    """Return requests equal to limits: such pods are the last to be evicted."""
    amounts = {"cpu": cpu, "memory": memory}
    return {"requests": dict(amounts), "limits": dict(amounts)}
