"""A stand-in for Kubernetes' API with the Dask operator, on loopback, for one namespace.

It keeps DaskClusters and DaskAutoscalers, and in place of pods there is one real scheduler that
runs already: the Service leads there.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from deploy.manifests import Resource, made_by_operator

NAMESPACE = "team"
_OPERATORS = f"/apis/kubernetes.dask.org/v1/namespaces/{NAMESPACE}/"
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_BUILT_IN = f"/api/v1/namespaces/{NAMESPACE}/"
READY: Resource = {
    "phase": "Running",
    "conditions": [
        {"type": "Ready", "status": "True"},
        {"type": "ContainersReady", "status": "True"},
    ],
}


def _kinds(*kinds: str) -> Resource:
    names = [{"name": f"{kind.lower()}s", "singularName": kind.lower()} for kind in kinds]
    return {
        "resources": [
            {**name, "kind": kind, "namespaced": True}
            for kind, name in zip(kinds, names, strict=True)
        ]
    }


# What an API server says of itself.
_ABOUT: dict[str, Resource] = {
    "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.0"},
    "/api": {"versions": ["v1"]},
    "/api/v1": _kinds("Pod", "Service", "PersistentVolumeClaim"),
    "/apis": {
        "groups": [
            {
                "name": "kubernetes.dask.org",
                "versions": [{"groupVersion": "kubernetes.dask.org/v1"}],
            }
        ]
    },
    "/apis/kubernetes.dask.org/v1": _kinds("DaskCluster", "DaskAutoscaler"),
}


class FakeKubernetes:
    """The API. What tests set is what it says; what clients made is in ``objects``.

    Parameters
    ----------
    scheduler : tuple of (str, int, int)
        Host, port and dashboard's port of a running scheduler.
    """

    def __init__(self, scheduler: tuple[str, int, int] = ("127.0.0.1", 9, 9)) -> None:
        self.scheduler = scheduler
        self.objects: dict[str, dict[str, Resource]] = {"daskclusters": {}, "daskautoscalers": {}}
        self.deleted: list[str] = []
        self.claims = {"amos-data"}
        self.has_operator = True
        self.operator_acts = True
        self.denied: set[str] = set()
        self.refusal = ""
        self.answers = threading.Event()
        self.answers.set()
        self.pod_status = {"scheduler": READY, "worker": READY}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def write_kubeconfig(self, path: Path) -> Path:
        """Write the file that leads here."""
        context = {"cluster": "fake", "user": "tester", "namespace": NAMESPACE}
        url = f"http://127.0.0.1:{self._server.server_port}"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": url}}],
            "users": [{"name": "tester", "user": {"token": "none"}}],
            "contexts": [{"name": "fake", "context": context}],
            "current-context": "fake",
        }
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def answer(self, method: str, path: str, query: str, body: Any) -> tuple[int, Any]:
        """Return the status and what is said."""
        if path in _ABOUT:
            return 200, _ABOUT[path]
        if path == _REVIEWS:
            asked = body["spec"]["resourceAttributes"]
            resource = f"{asked['resource']}/{asked['subresource']}".rstrip("/")
            return 201, {"status": {"allowed": f"{asked['verb']} {resource}" not in self.denied}}
        options = {key: values[0] for key, values in parse_qs(query).items()}
        if path.startswith(_OPERATORS):
            if not self.has_operator:
                return 404, "404 page not found"
            if method == "POST" and self.refusal:
                return 403, {"message": self.refusal}
            return self._custom(method, path.removeprefix(_OPERATORS), options, body)
        if method == "GET" and path.startswith(_BUILT_IN):
            return self._built_in(path.removeprefix(_BUILT_IN), options)
        return 404, {"message": f"{method} {path}"}

    def _custom(
        self, method: str, path: str, options: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        plural, _, name = path.partition("/")
        found = self.objects.get(plural, {})
        if method == "POST":
            status = {"phase": "Running"} if self.operator_acts else {}
            found[body["metadata"]["name"]] = body | {"status": status}
            return 201, body
        if not name:
            return 200, {"kind": "List", "items": _selected(list(found.values()), options)}
        if name not in found:
            return 404, {"message": f"{name} not found"}
        if method == "DELETE":
            self.deleted.append(name)
            return 200, found.pop(name)
        if method == "PATCH":
            found[name]["spec"] |= body["spec"]
        return 200, found[name]

    def _built_in(self, path: str, options: dict[str, str]) -> tuple[int, Any]:
        kind, _, name = path.partition("/")
        if kind == "persistentvolumeclaims":
            return (200, {}) if name in self.claims else (404, {"message": f"{name} not found"})
        items: list[Resource] = []
        if self.operator_acts:
            for cluster in self.objects["daskclusters"].values():
                scheduler, service, _, worker = made_by_operator(cluster)
                pods = [self._pod(scheduler, "scheduler"), self._pod(worker, "worker")]
                items += pods if kind == "pods" else [service]
        if name:
            items = [i for i in items if i["metadata"]["name"] == name]
            return (200, items[0]) if items else (404, {"message": f"{name} not found"})
        return 200, {"kind": "List", "items": _selected(items, options)}

    def _pod(self, deployment: Resource, component: str) -> Resource:
        metadata = deployment["spec"]["template"]["metadata"] | {"namespace": NAMESPACE}
        spec = deployment["spec"]["template"]["spec"]
        return {"metadata": metadata, "spec": spec, "status": self.pod_status[component]}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def reply(self) -> None:
                api.answers.wait(60)
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                parts = urlsplit(self.path)
                status, said = api.answer(self.command, parts.path.rstrip("/"), parts.query, body)
                content = (said if isinstance(said, str) else json.dumps(said)).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = reply  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Say nothing."""

        return Handler


def _selected(items: list[Resource], options: dict[str, str]) -> list[Resource]:
    """Return the items that fit labelSelector and fieldSelector, both ``name=value,...``."""
    labels = dict(_terms(options.get("labelSelector", "")))
    fields = _terms(options.get("fieldSelector", ""))
    return [
        item
        for item in items
        if labels.items() <= item["metadata"].get("labels", {}).items()
        and all(_field(item, name) == value for name, value in fields)
    ]


def _terms(selector: str) -> list[tuple[str, str]]:
    return [
        (name, value) for name, _, value in (t.partition("=") for t in selector.split(",") if t)
    ]


def _field(item: Resource, path: str) -> Any:
    found: Any = item
    for name in path.split("."):
        found = found.get(name, {})
    return found
