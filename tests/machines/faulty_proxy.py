"""An HTTP proxy before a server on loopback, for reading: it counts, and fails when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_LONGEST_STALL_SECONDS = 60.0
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True)
class Exchange:
    """A request and what was answered.

    Parameters
    ----------
    method, path : str
        Of the request; the path with its query.
    range : str
        The part that was asked for; empty for all.
    n_bytes : int
        Bytes sent to the client, head and body.
    fault : str
        What was done wrong; empty for nothing.
    """

    method: str
    path: str
    range: str
    n_bytes: int
    fault: str = ""

    @property
    def is_download(self) -> bool:
        """Return whether bytes of a file were asked for, not a list of names."""
        return self.method == "GET" and "list-type" not in self.path


@dataclass
class Fault:
    """What is to go wrong.

    Parameters
    ----------
    kind : {"status", "stall", "cut"}
        An answer with an error; no answer; the connection ends in the middle of the body.
    matches : callable
        Tells from method, path and range whether a request is to fail.
    times : int
        How many of them.
    status : int
        The answer of a ``status``.
    code : str
        What S3 calls it.
    after_bytes : int
        Where in the body it is ``cut``.
    """

    kind: str
    matches: Callable[[str, str, str], bool]
    times: int = 1
    status: int = 500
    code: str = "InternalError"
    after_bytes: int = 1000


@dataclass
class FaultyProxy:
    """The proxy; a context manager.

    Parameters
    ----------
    port : int
        Of the server on 127.0.0.1 that requests are passed to.
    """

    port: int
    exchanges: list[Exchange] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {}))
        self._server.RequestHandlerClass.proxy = self  # type: ignore[attr-defined]
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Return the endpoint for clients."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fail(self, kind: str, part_of_path: str, method: str = "GET", **how: Any) -> Fault:
        """Let requests of a method for a path fail."""
        fault = Fault(kind, lambda m, path, _: m == method and part_of_path in path, **how)
        self.faults.append(fault)
        return fault

    def forget(self) -> None:
        """Forget what was counted and what is to fail."""
        with self._lock:
            self.exchanges.clear()
            self.faults.clear()

    def n_bytes(self) -> int:
        """Return the bytes sent to clients."""
        return sum(exchange.n_bytes for exchange in list(self.exchanges))

    def downloads(self) -> list[Exchange]:
        """Return the requests for bytes of files."""
        return [exchange for exchange in list(self.exchanges) if exchange.is_download]

    def take_fault(self, method: str, path: str, range_: str) -> Fault | None:
        """Return what is to happen to a request."""
        with self._lock:
            for fault in self.faults:
                if fault.times and fault.matches(method, path, range_):
                    fault.times -= 1
                    return fault
        return None

    def stall(self) -> None:
        """Wait, longer than any client would."""
        self._ended.wait(_LONGEST_STALL_SECONDS)

    def count(self, exchange: Exchange) -> None:
        """Remember a request."""
        with self._lock:
            self.exchanges.append(exchange)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy

    def do_GET(self) -> None:
        range_ = self.headers.get("Range", "")
        fault = self.proxy.take_fault(self.command, self.path, range_)
        kind = "" if fault is None else fault.kind
        answer = b""
        if fault is None or fault.kind == "cut":
            answer = self._pass_on(None if fault is None else fault.after_bytes)
        elif fault.kind == "status":
            answer = self._refusal(fault)
        # Counted first: who has all of it may ask at once what it was.
        self.proxy.count(Exchange(self.command, self.path, range_, len(answer), kind))
        if kind == "stall":
            self.proxy.stall()
        self.close_connection = kind in ("cut", "stall")
        try:
            self.wfile.write(answer)
        except (BrokenPipeError, ConnectionResetError):  # the client had enough
            self.close_connection = True

    do_HEAD = do_GET  # noqa: N815

    def _pass_on(self, cut_after: int | None) -> bytes:
        upstream = HTTPConnection("127.0.0.1", self.proxy.port, timeout=30)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
            upstream.request(self.command, self.path, None, headers)
            response = upstream.getresponse()
            content = response.read()
        finally:
            upstream.close()
        kept = [(k, v) for k, v in response.getheaders() if k.lower() not in _HOP_BY_HOP]
        if not response.headers.get("Content-Length"):
            kept.append(("Content-Length", str(len(content))))
        return _head(response.status, kept) + content[:cut_after]

    def _refusal(self, fault: Fault) -> bytes:
        text = f"<Error><Code>{fault.code}</Code><Message>We are sorry.</Message></Error>"
        content = b"" if self.command == "HEAD" else text.encode()
        length = ("Content-Length", str(len(content)))
        return _head(fault.status, [("Content-Type", "application/xml"), length]) + content

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _head(status: int, headers: list[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
