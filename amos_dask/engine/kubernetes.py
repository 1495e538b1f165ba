"""A cluster of pods, which the Dask operator makes: asked for, waited for, reached, deleted."""

from __future__ import annotations

import asyncio
import os
import time
import warnings
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from amos_dask.engine.options import (
    DEFAULT_WORKERS,
    KUBERNETES,
    LOOPBACK,
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
# What takes longer says what it waits for.
SECONDS_OF_SILENCE = 15
_ANSWER_SECONDS = 10.0
_REVIEWS_API, _REVIEWS = "authorization.k8s.io/v1", "selfsubjectaccessreviews"
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
    spec = cluster_spec(options)
    is_inside = "KUBERNETES_SERVICE_HOST" in os.environ
    # An event loop in a thread of its own, since the caller's may have one already (a notebook).
    with start_blocking_portal() as portal, ExitStack() as stack:
        try:
            api, namespace = portal.call(_log_in)
            cluster = _Cluster(portal, api, namespace, spec["metadata"]["name"], tell)
            least = configured("kubernetes.minimum-workers")
            cluster.require_rights(
                (
                    *RIGHTS,
                    *(() if is_inside else RIGHTS_TO_FORWARD),
                    *(() if least is None else RIGHTS_TO_SCALE),
                )
            )
            # Before it is made: a Ctrl-C may come meanwhile.
            stack.callback(cluster.delete)
            cluster.create(spec)
            if least is not None:
                cluster.scale(max(1, least), options.workers or DEFAULT_WORKERS)
            cluster.wait_for_pod("scheduler", _START_SECONDS)
            cluster.wait_for_pod("worker", patience_seconds(KUBERNETES))
            if is_inside:
                host = f"{cluster.name}-scheduler.{cluster.namespace}"
                ports = [_SCHEDULER_PORT, _DASHBOARD_PORT]
            else:
                host, wanted = LOOPBACK, free_port(options.dashboard_port or 0)
                ports = [
                    stack.enter_context(cluster.forwarding(_SCHEDULER_PORT, 0)),
                    stack.enter_context(cluster.forwarding(_DASHBOARD_PORT, wanted)),
                ]
        except Exception as error:  # the libraries below raise their own kinds
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise ClusterError(
                f"no Dask cluster can be started on Kubernetes: {reason}."
            ) from error
        yield f"tcp://{host}:{ports[0]}", f"http://{host}:{ports[1]}/status"


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
class _Cluster:
    """A DaskCluster in a namespace; the API's loop runs in the portal."""

    portal: Any
    api: Any
    namespace: str
    name: str
    tell: Tell

    def ask(self, method: str, path: str, missing: str = "", **options: Any) -> Any:
        """Return what the API says, within a time limit.

        Raises `RuntimeError` with the API's words of refusal, or with ``missing`` where it does
        not know the path.
        """
        future = self.portal.start_task_soon(self._answer, method, path, options)
        try:
            response = future.result()
        except KeyboardInterrupt:  # what was asked for is made all the same
            with suppress(Exception):
                future.result()
            raise
        if missing and response.status_code == _NOT_FOUND:
            raise RuntimeError(missing)
        if response.is_error:
            with suppress(ValueError, KeyError):
                raise RuntimeError(response.json()["message"])
            response.raise_for_status()
        return response.json()

    async def _answer(self, method: str, path: str, options: dict[str, Any]) -> Any:
        import kr8s

        if path == _REVIEWS:
            where = {"version": _REVIEWS_API, "url": path}
        else:
            version = OPERATORS_API if path.startswith("dask") else "v1"
            where = {"version": version, "namespace": self.namespace, "url": path}

        async def ask() -> Any:
            try:
                async with self.api.call_api(method, **where, **options) as response:
                    return response
            except kr8s.ServerError as error:  # after logging in anew, where that was the matter
                return error.response

        return await _within(ask(), _ANSWER_SECONDS)

    def require_rights(self, rights: Iterable[str]) -> None:
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
            if not self.ask("POST", _REVIEWS, json=review)["status"]["allowed"]:
                lacking.append(right)
        if lacking:
            words = ", ".join(lacking)
            raise RuntimeError(f"you lack rights in namespace {self.namespace}: {words}")

    def create(self, spec: dict[str, Any]) -> None:
        """Make it; its claim must be there."""
        claim = configured("kubernetes.claim")
        no_claim = (
            f"namespace {self.namespace} has no volume claim {claim} (kubernetes.claim in "
            "amos-dask's configuration)"
        )
        self.ask("GET", f"persistentvolumeclaims/{claim}", no_claim)
        self.ask("POST", "daskclusters", "the Dask operator is not installed there", json=spec)

    def scale(self, minimum: int, maximum: int) -> None:
        """Let the operator see to as many workers as there is work for."""
        limits = {"cluster": self.name, "minimum": minimum, "maximum": maximum}
        self.ask("POST", "daskautoscalers", json=resource("DaskAutoscaler", self.name, limits))

    def delete(self) -> None:
        """Delete it with its pods; say so where that cannot be."""
        gone = "it is gone"
        try:
            self.ask("DELETE", f"daskclusters/{self.name}", gone)
        except Exception as error:
            if str(error) != gone:
                self.tell(
                    f"the cluster is not deleted ({' '.join(str(error).split())}); 'kubectl delete "
                    f"daskcluster {self.name} --namespace {self.namespace}' does it"
                )

    def wait_for_pod(self, component: str, seconds: float) -> None:
        """Return when one of the component is ready; raise with the reason where that is late."""
        labels = f"dask.org/cluster-name={self.name},dask.org/component={component}"
        started, told = time.monotonic(), ""
        while True:
            pods = self.ask("GET", "pods", params={"labelSelector": labels})["items"]
            reasons = sorted((_why_not_ready(pod) for pod in pods), key=_is_passing)
            waited = time.monotonic() - started
            if "" in reasons:
                if not _is_passing(reasons[0]):
                    self.tell(f"some pods of the {component}s do not start: {reasons[0]}")
                return
            reason = reasons[0] if reasons else self._why_no_pod(waited)
            if reason.partition(":")[0] in _OBSTACLES:
                raise RuntimeError(f"the {component}'s pod does not start: {reason}")
            if waited > seconds:
                raise RuntimeError(f"the {component}'s pod is still not ready: {reason}")
            if waited > SECONDS_OF_SILENCE and reason != told:
                told = reason
                self.tell(f"waiting for the {component}'s pod: {reason}")
            time.sleep(_LOOK_SECONDS)

    def _why_no_pod(self, waited: float) -> str:
        """Return what keeps pods from being made; raise where that lasts."""
        deleted = "its cluster was deleted, perhaps after kubernetes.idle-timeout"
        found = self.ask("GET", f"daskclusters/{self.name}", deleted)
        if found.get("status", {}).get("phase"):
            return "it is not made; is there a quota? 'kubectl get events' says why"
        if waited > _OPERATOR_SECONDS:
            raise RuntimeError("the Dask operator does not act; is it running?")
        return "the Dask operator has not acted yet"

    @contextmanager
    def forwarding(self, port: int, local_port: int) -> Iterator[int]:
        """Yield the port of this machine that leads to the scheduler's, any one for 0."""
        service = self.ask("GET", f"services/{self.name}-scheduler")
        future, found = self.portal.start_task(self._forward, service, port, local_port)
        try:
            yield int(found)
        finally:
            future.cancel()

    async def _forward(self, service: Any, port: int, local_port: int, *, task_status: Any) -> None:
        from kr8s.asyncio.objects import Service

        pods = Service(service, namespace=self.namespace, api=self.api)
        async with pods.portforward(port, local_port or "auto") as found:
            task_status.started(found)
            await asyncio.Event().wait()


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
