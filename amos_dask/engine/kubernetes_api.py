"""What is asked of Kubernetes while a cluster of pods starts, each question with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import kr8s.asyncio

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

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class PodState:
    """How far a pod is.

    Parameters
    ----------
    exists, ready : bool
        Whether there is a pod, and whether it is ready.
    reason : str
        Why it is not, in Kubernetes' words.
    obstacle : str
        The same, when waiting does not help.
    """

    exists: bool = False
    ready: bool = False
    reason: str = "there is no pod"
    obstacle: str = ""


@dataclass(frozen=True)
class Pods:
    """The clusters of pods in one namespace.

    Parameters
    ----------
    namespace : str
        Where they are.
    """

    namespace: str

    @staticmethod
    def of_namespace(namespace: str | None, claim: str) -> Pods:
        """Look whether clusters can be made, and the claim is there; None is the context's.

        Raises
        ------
        RuntimeError
            With the reason why not.
        """

        async def look(api: Any) -> Pods:
            pods = Pods(namespace or api.namespace)
            status = await pods._status(api, _OPERATORS_API, _CLUSTERS)
            if status == _NOT_FOUND:
                raise RuntimeError("the Dask operator is not installed there")
            if status == _FORBIDDEN:
                raise RuntimeError(f"you may not use {_CLUSTERS} in namespace {pods.namespace}")
            status = await pods._status(api, "v1", f"persistentvolumeclaims/{claim}")
            if status == _NOT_FOUND:
                raise RuntimeError(
                    f"namespace {pods.namespace} has no volume claim {claim} (kubernetes.claim in "
                    "amos-dask's configuration)"
                )
            return pods

        return _ask(look)

    def create(self, spec: dict[str, Any]) -> None:
        """Make a DaskCluster resource."""

        async def post(api: Any) -> None:
            resource = self._call(api, "POST", _OPERATORS_API, _CLUSTERS, json=spec)
            async with resource:
                pass

        _ask(post)

    def delete(self, name: str) -> None:
        """Delete a DaskCluster resource; the operator removes its pods."""

        async def delete(api: Any) -> None:
            async with self._call(api, "DELETE", _OPERATORS_API, f"{_CLUSTERS}/{name}"):
                pass

        _ask(delete)

    def scheduler_state(self, name: str) -> PodState:
        """Return how far the scheduler's pod of a DaskCluster is."""
        labels = f"dask.org/cluster-name={name},dask.org/component=scheduler"

        async def get(api: Any) -> PodState:
            options = {"params": {"labelSelector": labels}}
            async with self._call(api, "GET", "v1", "pods", **options) as response:
                pods = response.json()["items"]
            return state_of(pods[0]) if pods else PodState()

        return _ask(get)

    async def _status(self, api: Any, version: str, path: str) -> int:
        options = {"params": {"limit": 1}, "raise_for_status": False}
        async with self._call(api, "GET", version, path, **options) as response:
            return int(response.status_code)

    def _call(self, api: Any, method: str, version: str, path: str, **options: Any) -> Any:
        return api.call_api(method, version=version, namespace=self.namespace, url=path, **options)


def state_of(pod: dict[str, Any]) -> PodState:
    """Return how far a pod is, from its resource."""
    status = pod.get("status", {})
    conditions = {found["type"]: found for found in status.get("conditions", [])}
    if conditions.get("Ready", {}).get("status") == "True":
        return PodState(exists=True, ready=True, reason="")
    waiting = [
        container["state"]["waiting"]
        for kind in ("initContainerStatuses", "containerStatuses")
        for container in status.get(kind, [])
        if "waiting" in container.get("state", {})
    ]
    for found in waiting:
        if found.get("reason") in _OBSTACLES:
            return PodState(exists=True, reason=_said(found), obstacle=_said(found))
    unready = [found for found in conditions.values() if found.get("status") != "True"]
    reasons = [_said(found) for found in (*waiting, *unready) if found.get("reason")]
    return PodState(exists=True, reason=reasons[0] if reasons else status.get("phase", "unknown"))


def _said(found: dict[str, str]) -> str:
    return ": ".join(found[key] for key in ("reason", "message") if found.get(key))


def _ask(question: Callable[[Any], Awaitable[_Answer]]) -> _Answer:
    """Return the answer to a question to the API, or raise when there is none in time.

    In a thread of its own, since the caller's may have an event loop already (a notebook).
    """

    async def answer() -> _Answer:
        try:
            return await asyncio.wait_for(_connect_and(question), _ANSWER_SECONDS)
        except TimeoutError as error:
            raise RuntimeError(f"its API does not answer within {_ANSWER_SECONDS:.0f} s") from error

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, answer()).result()


async def _connect_and(question: Callable[[Any], Awaitable[_Answer]]) -> _Answer:
    try:
        api = await kr8s.asyncio.api()
    except TimeoutError:
        raise
    except ValueError as error:  # from kr8s: no file, no context in it, not inside a pod
        raise RuntimeError(
            f"there is no kubeconfig that can be used here ({error}); 'kubectl version' must work"
        ) from error
    except Exception as error:
        raise RuntimeError(f"its API does not answer ({error})") from error
    return await question(api)
