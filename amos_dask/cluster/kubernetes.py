"""A cluster of pods, through the Dask operator."""

from __future__ import annotations

import math
import secrets
from typing import Any

from amos_dask.cluster.environment import WORKER_ENVIRONMENT
from amos_dask.cluster.options import ClusterOptions, configured
from amos_dask.errors import ClusterError

_WORKERS = 4
_MEMORY = "4GB"
_SCHEDULER_MEMORY = "2Gi"
_VOLUME = "data"


def start_kubernetes(options: ClusterOptions) -> Any:
    """Return a started `dask_kubernetes.operator.KubeCluster`.

    Raises
    ------
    ClusterError
        When dask-kubernetes is missing or no cluster with the operator can be reached.
    """
    try:
        from dask_kubernetes.operator import KubeCluster
    except ImportError as error:
        raise ClusterError(
            "--cluster kubernetes needs 'pip install \"amos-dask[kubernetes]\"'."
        ) from error
    spec = cluster_spec(options)
    try:
        return KubeCluster(
            custom_cluster_spec=spec, namespace=configured("kubernetes.namespace"), quiet=True
        )
    except Exception as error:  # the libraries below raise their own kinds
        raise ClusterError(
            f"no Dask cluster can be started on Kubernetes: {error} (is the Dask operator there, "
            "and does 'kubectl get daskclusters' work?)"
        ) from error


def cluster_spec(options: ClusterOptions) -> dict[str, Any]:
    """Return the DaskCluster resource: scheduler and workers that share the data's volume."""
    from dask.utils import parse_bytes
    from dask_kubernetes.operator import make_cluster_spec

    kubernetes = configured("kubernetes")
    memory = f"{math.ceil(parse_bytes(options.memory or _MEMORY) / 2**20)}Mi"
    spec: dict[str, Any] = make_cluster_spec(
        name=f"amos-dask-{secrets.token_hex(4)}",
        image=kubernetes["image"],
        n_workers=options.workers or _WORKERS,
        resources=_resources("1", memory),
        env={name: str(value) for name, value in WORKER_ENVIRONMENT.items()},
        worker_command=["dask", "worker", "--nthreads", "1", "--nworkers", "1"],
    )
    scheduler, worker = spec["spec"]["scheduler"]["spec"], spec["spec"]["worker"]["spec"]
    scheduler["containers"][0]["resources"] = _resources("1", _SCHEDULER_MEMORY)
    for pod, selector in ((scheduler, "scheduler-selector"), (worker, "worker-selector")):
        _mount(pod, kubernetes["claim"], kubernetes["mount"])
        if kubernetes[selector]:
            pod["nodeSelector"] = dict(kubernetes[selector])
    return spec


def _resources(cpu: str, memory: str) -> dict[str, dict[str, str]]:
    """Return requests equal to limits: such pods are the last to be evicted."""
    amounts = {"cpu": cpu, "memory": memory}
    return {"requests": dict(amounts), "limits": dict(amounts)}


def _mount(pod: dict[str, Any], claim: str, path: str) -> None:
    pod["volumes"] = [{"name": _VOLUME, "persistentVolumeClaim": {"claimName": claim}}]
    pod["containers"][0]["volumeMounts"] = [{"name": _VOLUME, "mountPath": path}]
