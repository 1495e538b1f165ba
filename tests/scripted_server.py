"""An HTTP server on loopback that does what a test wants, and remembers what it was asked."""

from __future__ import annotations

import re
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Plan:
    """How one request is answered; by default as a good server answers it."""

    status: int | None = None  # instead of the file
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None  # another file than usual
    etag: str | None = "same"
    knows_ranges: bool = True
    heeds_if_range: bool = True
    content_range: str | None = None  # instead of the true one
    longer_by: int = 0  # what Content-Length lies
    says_length: bool = True
    in_chunks: bool = False
    cut_after: int | None = None  # bytes of the body
    then_silent: bool = False  # instead of closing the connection


GOOD = Plan()


@dataclass(frozen=True)
class Asked:
    """A request."""

    path: str
    range: str | None
    if_range: str | None
    proxy_login: str | None = None


class ScriptedServer:
    """Files by path, and plans for the next requests of each."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = defaultdict(lambda: '"one"')
        self.asked: list[Asked] = []
        self.is_closing = threading.Event()
        self._plans: dict[str, deque[Plan]] = defaultdict(deque)
        self._always: dict[str, Plan] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def next(self, path: str, *plans: Plan) -> None:
        """Answer the next requests for a path by these plans, and those after them well."""
        self._plans[path].extend(plans)

    def always(self, path: str, plan: Plan) -> None:
        self._always[path] = plan

    def ranges(self, path: str) -> list[str | None]:
        """Return the ``Range`` of each request for a path."""
        return [asked.range for asked in self.asked if asked.path == path]

    @contextmanager
    def running(self) -> Iterator[ScriptedServer]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self.is_closing.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def plan_for(self, path: str) -> Plan:
        if self._plans[path]:
            return self._plans[path].popleft()
        return self._always.get(path, GOOD)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                headers = ("Range", "If-Range", "Proxy-Authorization")
                asked = Asked(path, *(self.headers[name] for name in headers))
                if self.command == "GET":
                    server.asked.append(asked)
                self.close_connection = True
                answer(self, server, asked, server.plan_for(path))

            def log_message(self, *args: object) -> None:
                pass

        return Handler


def answer(
    handler: BaseHTTPRequestHandler, server: ScriptedServer, asked: Asked, plan: Plan
) -> None:
    content = server.files.get(asked.path) if plan.content is None else plan.content
    if plan.status is not None or content is None:
        handler.send_response(plan.status or 404)
        for name, value in {"Content-Length": "0", "Connection": "close", **plan.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        return
    etag = server.etags[asked.path] if plan.etag == "same" else plan.etag
    part = begin(asked, etag, plan, len(content))
    if part is not None and part.start == len(content):
        handler.send_error(416)
        return
    handler.send_response(206 if part is not None else 200)
    if part is not None:
        true = f"bytes {part.start}-{part.stop - 1}/{len(content)}"
        handler.send_header("Content-Range", plan.content_range or true)
        content = content[part.start : part.stop]
    send(handler, server, content, plan, etag)


def begin(asked: Asked, etag: str | None, plan: Plan, n_bytes: int) -> range | None:
    """Return which bytes are a partial answer; None for the whole."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.range or "")
    is_other = asked.if_range is not None and asked.if_range != etag
    if match is None or not plan.knows_ranges or (is_other and plan.heeds_if_range):
        return None
    return range(min(int(match[1]), n_bytes), min(int(match[2] or n_bytes) + 1, n_bytes))


def send(
    handler: BaseHTTPRequestHandler,
    server: ScriptedServer,
    body: bytes,
    plan: Plan,
    etag: str | None,
) -> None:
    headers = dict(plan.headers)
    if etag is not None:
        headers["ETag"] = etag
    if plan.in_chunks:
        headers["Transfer-Encoding"] = "chunked"
        body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces(body)) + b"0\r\n\r\n"
    elif plan.says_length:
        headers["Content-Length"] = str(len(body) + plan.longer_by)
    for name, value in {"Connection": "close", **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body[: plan.cut_after])
    handler.wfile.flush()
    if plan.then_silent:
        server.is_closing.wait(20)


def pieces(body: bytes) -> Iterator[bytes]:
    for first in range(0, len(body), 50_000):
        yield body[first : first + 50_000]


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    with ScriptedServer().running() as server:
        yield server
