"""A cluster of pods, which the Dask operator makes: asked for, waited for, reached, deleted."""

from __future__ import annotations

import asyncio
import os
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from amos_dask.engine.options import (
    DEFAULT_WORKERS,
    KUBERNETES,
    LOOPBACK,
    SECONDS_OF_SILENCE,
    ClusterOptions,
    configured,
    free_port,
    needing,
    patience_seconds,
)
from amos_dask.engine.pods import OPERATORS_API, cluster_spec, resource
from amos_dask.errors import ClusterError

# For a node to be added and the image to be pulled; and for the operator to take notice.
_START_SECONDS = 600
_OPERATOR_SECONDS = 60
_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 10.0
_REVIEWS_API, _REVIEWS = "authorization.k8s.io/v1", "selfsubjectaccessreviews"
_SCHEDULER_PORT, _DASHBOARD_PORT = 8786, 8787
_NOT_FOUND = 404
# What a client must be allowed to do, as deploy/README.md lists it. To forward a port, kr8s opens a
# websocket: that is a GET, where kubectl's way is a POST.
_RIGHTS = (
    "create daskclusters",
    "get daskclusters",
    "delete daskclusters",
    "list pods",
    "get services",
    "get persistentvolumeclaims",
)
_RIGHTS_TO_FORWARD = ("get pods/portforward", "create pods/portforward")
_RIGHTS_TO_SCALE = ("create daskautoscalers",)
# What a waiting container does not get over by itself. A first failed pull may be the network's.
_OBSTACLES = {
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
}
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
            "--tls is not for clusters of pods: there the network policy of deploy/kubernetes "
            "keeps others away."
        )
    with needing("--cluster kubernetes", "kubernetes"):
        import kr8s  # noqa: F401
        from anyio.from_thread import start_blocking_portal
    spec = cluster_spec(options)
    # An event loop in a thread of its own, since the caller's may have one already (a notebook).
    with start_blocking_portal() as portal, ExitStack() as stack:
        try:
            namespace = _Namespace(portal, *portal.call(_log_in))
            _create(namespace, spec, options, tell, stack)
            for component, seconds in (
                ("scheduler", _START_SECONDS),
                ("worker", patience_seconds(KUBERNETES)),
            ):
                _wait_for_pod(namespace, spec["metadata"]["name"], component, seconds, tell)
            places = _find_places(
                namespace, f"{spec['metadata']['name']}-scheduler", options, stack
            )
        except Exception as error:  # the libraries below raise their own kinds
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise ClusterError(
                f"no Dask cluster can be started on Kubernetes: {reason}."
            ) from error
        yield places


async def _log_in() -> tuple[Any, str]:
    """Return a connection to Kubernetes' API, and the namespace."""
    import kr8s.asyncio

    # What breaks connections that are forwarded is told by those who use them.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a version of Kubernetes that kr8s does not know
            api = await _within(kr8s.asyncio.api(), _ANSWER_SECONDS)
    except RuntimeError:
        raise
    except ValueError as error:  # from kr8s: no file, no context in it, not inside a pod
        raise RuntimeError(
            f"there is no kubeconfig that can be used here ({error}); 'kubectl version' must work"
        ) from error
    except Exception as error:
        raise RuntimeError(f"its API does not answer ({error})") from error
    return api, configured("kubernetes.namespace") or api.namespace


async def _within(answer: Coroutine[Any, Any, Any], seconds: float) -> Any:
    try:
        return await asyncio.wait_for(answer, seconds)
    except TimeoutError as error:
        raise RuntimeError(f"its API does not answer within {seconds:.0f} s") from error


@dataclass(frozen=True)
class _Namespace:
    """Where the pods are: questions to Kubernetes' API, asked in the portal's event loop."""

    portal: Any
    api: Any
    name: str

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Return the API's response, whatever its status, within a time limit."""
        future = self.portal.start_task_soon(self._answer, method, path, options)
        try:
            return future.result()
        except KeyboardInterrupt:  # what was asked for is made all the same
            with suppress(Exception):
                future.result()
            raise

    def require(self, method: str, path: str, if_missing: str = "", **options: Any) -> Any:
        """Return what the API says, as JSON; raise `RuntimeError` with the words of refusal."""
        response = self.ask(method, path, **options)
        if if_missing and response.status_code == _NOT_FOUND:
            raise RuntimeError(if_missing)
        if response.is_error:
            with suppress(ValueError, KeyError):
                raise RuntimeError(response.json()["message"])
            response.raise_for_status()
        return response.json()

    async def _answer(self, method: str, path: str, options: dict[str, Any]) -> Any:
        import kr8s

        where = {"version": OPERATORS_API if path.startswith("dask") else "v1"}
        where |= {"namespace": self.name, "url": path}
        if path == _REVIEWS:
            where = {"version": _REVIEWS_API, "url": path}

        async def ask() -> Any:
            try:
                async with self.api.call_api(method, **where, **options) as response:
                    return response
            except kr8s.ServerError as error:  # after logging in anew, where that was the matter
                return error.response

        return await _within(ask(), _ANSWER_SECONDS)

    def require_rights(self, *rights: str) -> None:
        """Raise `RuntimeError` with all rights, such as ``get pods/portforward``, that lack."""
        missing = []
        for right in rights:
            verb, resource = right.split()
            resource, _, subresource = resource.partition("/")
            asked = {"namespace": self.name, "verb": verb, "resource": resource}
            asked["group"] = OPERATORS_API.partition("/")[0] if resource.startswith("dask") else ""
            review = {
                "apiVersion": _REVIEWS_API,
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": asked | {"subresource": subresource}},
            }
            answer = self.ask("POST", _REVIEWS, json=review)
            if not answer.is_error and not answer.json()["status"]["allowed"]:
                missing.append(right)
        if missing:
            raise RuntimeError(f"you lack rights in namespace {self.name}: {', '.join(missing)}")

    def forward(self, service: Any, port: int, local_port: int, stack: ExitStack) -> int:
        """Return the port of this machine that leads to a service's, until the stack is closed."""
        future, found = self.portal.start_task(self._forward, service, port, local_port)
        stack.callback(future.cancel)
        return int(found)

    async def _forward(self, service: Any, port: int, local_port: int, *, task_status: Any) -> None:
        from kr8s.asyncio.objects import Service

        pods = Service(service, namespace=self.name, api=self.api)
        async with pods.portforward(port, local_port or "auto") as found:
            task_status.started(found)
            await asyncio.Event().wait()


def _create(
    namespace: _Namespace,
    spec: dict[str, Any],
    options: ClusterOptions,
    tell: Tell,
    stack: ExitStack,
) -> None:
    """Make a DaskCluster that the stack deletes; raise `RuntimeError` where none can be."""
    name, least = spec["metadata"]["name"], configured("kubernetes.minimum-workers")
    namespace.require_rights(
        *_RIGHTS,
        *(() if _is_inside() else _RIGHTS_TO_FORWARD),
        *(() if least is None else _RIGHTS_TO_SCALE),
    )
    claim = configured("kubernetes.claim")
    namespace.require(
        "GET",
        f"persistentvolumeclaims/{claim}",
        f"namespace {namespace.name} has no volume claim {claim} (kubernetes.claim in amos-dask's "
        "configuration)",
    )
    # Before the cluster is asked for: a Ctrl-C may come while it is being made.
    stack.callback(_delete, namespace, name, tell)
    namespace.require("POST", "daskclusters", "the Dask operator is not installed there", json=spec)
    if least is not None:
        limits = {"minimum": max(1, least), "maximum": options.workers or DEFAULT_WORKERS}
        scaler = resource("DaskAutoscaler", name, {"cluster": name} | limits)
        namespace.require("POST", "daskautoscalers", json=scaler)


def _delete(namespace: _Namespace, name: str, tell: Tell) -> None:
    try:
        response = namespace.ask("DELETE", f"daskclusters/{name}")
        if response.status_code != _NOT_FOUND:
            response.raise_for_status()
    except Exception as error:
        reason = " ".join(str(error).split())
        tell(
            f"the cluster is not deleted ({reason}); 'kubectl delete daskcluster {name} "
            f"--namespace {namespace.name}' does it"
        )


def _wait_for_pod(
    namespace: _Namespace, name: str, component: str, seconds: float, tell: Tell
) -> None:
    """Return when a pod of the component is ready; a lasting obstacle is raised with its reason."""
    labels = {"labelSelector": f"dask.org/cluster-name={name},dask.org/component={component}"}
    started, told = time.monotonic(), ""
    while True:
        pods = namespace.require("GET", "pods", params=labels)["items"]
        reasons = sorted((_why_not_ready(pod) for pod in pods), key=_is_passing)
        waited = time.monotonic() - started
        if "" in reasons:
            if not _is_passing(reasons[0]):
                tell(f"some pods of the {component}s do not start: {reasons[0]}")
            return
        reason = reasons[0] if reasons else _why_no_pod(namespace, name, waited)
        if reasons and reason.partition(":")[0] in _OBSTACLES:
            raise RuntimeError(f"the {component}'s pod does not start: {reason}")
        if waited > seconds:
            raise RuntimeError(f"the {component}'s pod is still not ready: {reason}")
        if waited > SECONDS_OF_SILENCE and reason != told:
            told = reason
            tell(f"waiting for the {component}'s pod: {reason}")
        time.sleep(_LOOK_SECONDS)


def _why_no_pod(namespace: _Namespace, name: str, waited: float) -> str:
    """Return what keeps pods from being made; raise where that lasts."""
    found = namespace.require(
        "GET",
        f"daskclusters/{name}",
        "its cluster was deleted, perhaps after kubernetes.idle-timeout",
    )
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


def _find_places(
    namespace: _Namespace, service: str, options: ClusterOptions, stack: ExitStack
) -> tuple[str, str]:
    """Return the addresses of scheduler and dashboard, as seen from here."""
    if _is_inside():
        host = f"{service}.{namespace.name}"
        return f"tcp://{host}:{_SCHEDULER_PORT}", f"http://{host}:{_DASHBOARD_PORT}/status"
    found = namespace.require("GET", f"services/{service}")
    port = namespace.forward(found, _SCHEDULER_PORT, 0, stack)
    wanted = free_port(options.dashboard_port or 0)
    dashboard = namespace.forward(found, _DASHBOARD_PORT, wanted, stack)
    return f"tcp://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{dashboard}/status"


def _is_inside() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ
