"""A cluster of pods, which the Dask operator makes of the job's own manifest, as configured."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from amos_dask.engine.options import (
    DEFAULT_WORKERS,
    KUBERNETES,
    LOOPBACK,
    ClusterOptions,
    configured,
    free_port,
    memory_bytes,
    needing,
    patience_seconds,
)
from amos_dask.errors import ClusterError

# For a node to be added and the image to be pulled; and for the operator to take notice.
_START_SECONDS = 600
_OPERATOR_SECONDS = 60
_LOOK_SECONDS = 1.0
# What takes longer says what it waits for.
SECONDS_OF_SILENCE = 15
_ANSWER_SECONDS = 10.0
OPERATORS_API = "kubernetes.dask.org/v1"
_REVIEWS_API = "authorization.k8s.io/v1"
_SCHEDULER_PORT, _DASHBOARD_PORT = 8786, 8787
_NOT_FOUND = 404
# What a client must be allowed to do: deploy/kubernetes/client/role.yaml. To forward a port, kr8s
# opens a websocket: that is a GET, where kubectl's way is a POST.
RIGHTS = (
    "create daskclusters",
    "get daskclusters",
    "delete daskclusters",
    "get pods",
    "list pods",
    "get services",
    "get persistentvolumeclaims",
)
RIGHTS_TO_FORWARD = ("get pods/portforward", "create pods/portforward")
RIGHTS_TO_SCALE = ("create daskautoscalers",)
# What a waiting container does not get over by itself. A first failed pull may be the network's.
_OBSTACLES = {
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
}
_SMALLEST_MEMORY = "512MiB"
# Of the pod's memory: the rest is for the nanny, which watches over the worker.
_WORKERS_PART = 0.9
Tell = Callable[[str], None]


@contextmanager
def start_kubernetes(options: ClusterOptions, tell: Tell) -> Iterator[tuple[str, str]]:
    """Yield the addresses of a scheduler in a pod and of its dashboard; delete all pods in the end.

    Parameters
    ----------
    options : ClusterOptions
        Complete.
    tell : callable
        Is told what is waited for.

    Yields
    ------
    tuple of (str, str)
        The scheduler's and the dashboard's; a worker's pod runs as well.

    Raises
    ------
    ClusterError
        When kr8s is missing, no Kubernetes with the operator can be reached, a right is missing,
        or the pods do not start.
    """
    if options.tls:
        raise ClusterError(
            "--tls is not for clusters of pods: there the network policy in deploy/kubernetes "
            "of the repository keeps others away."
        )
    with needing("--cluster kubernetes", "kubernetes"):
        import kr8s  # noqa: F401
        from anyio.from_thread import start_blocking_portal
    pods = _run_pods(cluster_spec(options), options.workers or DEFAULT_WORKERS, tell)
    # An event loop in a thread of its own, since the caller's may have one already (a notebook).
    with start_blocking_portal() as portal, ExitStack() as stack:
        try:
            service = stack.enter_context(portal.wrap_async_context_manager(pods))
            host, ports = f"{service.name}.{service.namespace}", [_SCHEDULER_PORT, _DASHBOARD_PORT]
            if not _is_inside():
                host, wanted = LOOPBACK, (0, free_port(options.dashboard_port or 0))
                for number, local_port in enumerate(wanted):
                    forwarding = (_forward, service, ports[number], local_port)
                    future, ports[number] = portal.start_task(*forwarding)
                    stack.callback(future.cancel)
        except Exception as error:  # the libraries below raise their own kinds
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise ClusterError(
                f"no Dask cluster can be started on Kubernetes: {reason}."
            ) from error
        yield f"tcp://{host}:{ports[0]}", f"http://{host}:{ports[1]}/status"


def _is_inside() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ


async def _forward(service: Any, port: int, local_port: int, *, task_status: Any) -> None:
    """Lead a port of this machine, any one for 0, to the service's."""
    async with service.portforward(port, local_port or "auto") as found:
        task_status.started(found)
        await asyncio.Event().wait()


@asynccontextmanager
async def _run_pods(spec: dict[str, Any], n_workers: int, tell: Tell) -> AsyncIterator[Any]:
    """Yield the scheduler's service when it and a worker are ready; delete all in the end."""
    from kr8s.asyncio.objects import Service

    api, namespace = await _log_in()
    cluster = _Cluster(api, namespace, spec["metadata"]["name"], tell)
    least, claim = configured("kubernetes.minimum-workers"), configured("kubernetes.claim")
    await cluster.require_rights(
        (
            *RIGHTS,
            *(() if _is_inside() else RIGHTS_TO_FORWARD),
            *(() if least is None else RIGHTS_TO_SCALE),
        )
    )
    no_claim = (
        f"namespace {namespace} has no volume claim {claim} (kubernetes.claim in "
        "amos-dask's configuration)"
    )
    await cluster.ask("GET", f"persistentvolumeclaims/{claim}", no_claim)
    no_operator = "the Dask operator is not installed there"
    try:
        await cluster.ask("POST", "daskclusters", no_operator, OPERATORS_API, json=spec)
        if least is not None:
            limits = {"cluster": cluster.name, "minimum": max(1, least), "maximum": n_workers}
            scaler = resource("DaskAutoscaler", cluster.name, limits)
            await cluster.ask("POST", "daskautoscalers", version=OPERATORS_API, json=scaler)
        await cluster.wait_for_pod("scheduler", _START_SECONDS)
        await cluster.wait_for_pod("worker", patience_seconds(KUBERNETES))
        found = await cluster.ask("GET", f"services/{cluster.name}-scheduler")
        yield Service(found, namespace=namespace, api=api)
    finally:
        await cluster.delete()


async def _log_in() -> tuple[Any, str]:
    """Return a connection to Kubernetes' API, and the namespace."""
    import kr8s.asyncio

    # What breaks connections that are forwarded is told by those who use them.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    try:
        with warnings.catch_warnings(), _limiting_time():
            warnings.simplefilter("ignore")  # of a version of Kubernetes that kr8s does not know
            api = await kr8s.asyncio.api()
    except RuntimeError:
        raise
    except ValueError as error:  # from kr8s: no file, no context in it, not inside a pod
        raise RuntimeError(
            f"there is no kubeconfig that can be used here ({error}); 'kubectl version' must work"
        ) from error
    except Exception as error:
        raise RuntimeError(f"its API does not answer ({error})") from error
    return api, configured("kubernetes.namespace") or api.namespace


@contextmanager
def _limiting_time() -> Iterator[None]:
    """Wait for an answer so long and no longer, also after Ctrl-C: what is asked for is done."""
    from anyio import fail_after

    try:
        with fail_after(_ANSWER_SECONDS, shield=True):
            yield
    except TimeoutError as error:
        raise RuntimeError(f"its API does not answer within {_ANSWER_SECONDS:.0f} s") from error


@dataclass(frozen=True)
class _Cluster:
    """A DaskCluster in a namespace."""

    api: Any
    namespace: str
    name: str
    tell: Tell

    async def ask(
        self, method: str, path: str, missing: str = "", version: str = "v1", **options: Any
    ) -> Any:
        """Return what the API says, within a time limit.

        Raises `RuntimeError` with the API's words of refusal, or with ``missing`` where it does
        not know the path.
        """
        import kr8s

        asked = {"url": path, "version": version, "namespace": self.namespace} | options
        try:
            with _limiting_time():
                async with self.api.call_api(method, **asked) as response:
                    return response.json()
        except kr8s.ServerError as error:  # after logging in anew, where that was the matter
            if missing and error.response.status_code == _NOT_FOUND:
                raise RuntimeError(missing) from error
            with suppress(ValueError, KeyError):
                raise RuntimeError(error.response.json()["message"]) from error
            raise

    async def require_rights(self, rights: Iterable[str]) -> None:
        """Raise `RuntimeError` with all of the rights that lack, before anything is made."""
        lacking = []
        for right in rights:
            verb, resource = right.split()
            name, _, subresource = resource.partition("/")
            group = OPERATORS_API.partition("/")[0] if name.startswith("dask") else ""
            asked = {"verb": verb, "group": group, "resource": name, "subresource": subresource}
            review = {
                "apiVersion": _REVIEWS_API,
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": asked | {"namespace": self.namespace}},
            }
            path, to = "selfsubjectaccessreviews", {"namespace": None, "json": review}
            found = await self.ask("POST", path, "", _REVIEWS_API, **to)
            if not found["status"]["allowed"]:
                lacking.append(right)
        if lacking:
            words = ", ".join(lacking)
            raise RuntimeError(f"you lack rights in namespace {self.namespace}: {words}")

    async def delete(self) -> None:
        """Delete it with its pods; say so where that cannot be."""
        gone = "it is gone"
        try:
            await self.ask("DELETE", f"daskclusters/{self.name}", gone, OPERATORS_API)
        except Exception as error:
            if str(error) != gone:
                self.tell(
                    f"the cluster is not deleted ({' '.join(str(error).split())}); 'kubectl delete "
                    f"daskcluster {self.name} --namespace {self.namespace}' does it"
                )

    async def wait_for_pod(self, component: str, seconds: float) -> None:
        """Return when one of the component is ready; raise with the reason where that is late."""
        labels = f"dask.org/cluster-name={self.name},dask.org/component={component}"
        started, told = time.monotonic(), ""
        while True:
            pods = (await self.ask("GET", "pods", params={"labelSelector": labels}))["items"]
            reasons = sorted((_why_not_ready(pod) for pod in pods), key=_is_passing)
            waited = time.monotonic() - started
            if "" in reasons:
                if not _is_passing(reasons[0]):
                    self.tell(f"some pods of the {component}s do not start: {reasons[0]}")
                return
            reason = reasons[0] if reasons else await self._why_no_pod(waited)
            if reason.partition(":")[0] in _OBSTACLES:
                raise RuntimeError(f"the {component}'s pod does not start: {reason}")
            if waited > seconds:
                raise RuntimeError(f"the {component}'s pod is still not ready: {reason}")
            if waited > SECONDS_OF_SILENCE and reason != told:
                told = reason
                self.tell(f"waiting for the {component}'s pod: {reason}")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _why_no_pod(self, waited: float) -> str:
        """Return what keeps pods from being made; raise where that lasts."""
        deleted = "its cluster was deleted, perhaps after kubernetes.idle-timeout"
        found = await self.ask("GET", f"daskclusters/{self.name}", deleted, OPERATORS_API)
        if found.get("status", {}).get("phase"):
            return "it is not made; is there a quota? 'kubectl get events' says why"
        if waited > _OPERATOR_SECONDS:
            raise RuntimeError("the Dask operator does not act; is it running?")
        return "the Dask operator has not acted yet"


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
        ": ".join(found[key] for key in ("reason", "message") if found.get(key)).rstrip(".")
        for found in (*waiting, *unready)
        if found.get("reason")
    ]
    return reasons[0] if reasons else str(status.get("phase", "unknown"))


def _is_passing(reason: str) -> bool:
    """Return whether it is neither an obstacle nor a pod that no node takes."""
    return reason.partition(":")[0] not in _OBSTACLES | {"Unschedulable"}


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
