"""What a web server answers when it is asked for a file."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3 import exceptions as faults

from amos_dask.archive.faults import scrubbed
from amos_dask.archive.locations import shown
from amos_dask.errors import ArchiveError

TIMEOUT_SECONDS = 30.0  # that a server may be silent
WHOLE, REST, NO_SUCH_PART = 200, 206, 416
# Another attempt may change: a timeout, too early, too many requests, what is the server's fault.
_PASSING = frozenset({408, 425, 429, *range(500, 600)})
_ONLY_REDIRECTS = urllib3.Retry(
    None, connect=0, read=0, status=0, other=0, redirect=10, respect_retry_after_header=False
)


class PassingError(Exception):
    """What another attempt may mend, after as many seconds as the server asks for."""

    def __init__(self, message: str, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


@contextmanager
def open_url(
    url: str, headers: Mapping[str, str] = MappingProxyType({})
) -> Iterator[urllib3.BaseHTTPResponse]:
    """Ask a server for a file, and yield its reply.

    Raises
    ------
    PassingError
        When another attempt may help, in the ``with`` block as well.
    ArchiveError
        When none will.
    """
    # The file is wanted as it is: packed for the way, it could not be gone on with.
    headers = {"User-Agent": "amos-dask", "Accept-Encoding": "identity", **headers}
    try:
        with (
            _connections(url) as pool,
            pool.request("GET", url, headers=headers, preload_content=False) as reply,
        ):
            _require_file(url, reply)
            yield reply
    except faults.HTTPError as error:
        _raise_failure(url, error)


def _connections(url: str) -> urllib3.PoolManager:
    """Return what connects to a server, by the proxy that the environment names."""
    parts = urlsplit(url)
    how: dict[str, Any] = {"timeout": TIMEOUT_SECONDS, "retries": _ONLY_REDIRECTS}
    proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    if not proxy:
        return urllib3.PoolManager(**how)
    known = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
    login = urllib3.make_headers(proxy_basic_auth=unquote(known.auth)) if known.auth else None
    return urllib3.ProxyManager(known.url, proxy_headers=login, **how)


def _require_file(url: str, reply: urllib3.BaseHTTPResponse) -> None:
    """Raise unless the answer is a file, or that there is no such part of it."""
    answer = f"the server answers {reply.status} {reply.reason or ''}".strip()
    if reply.status in _PASSING:
        try:
            wait_seconds = _ONLY_REDIRECTS.get_retry_after(reply) or 0.0
        except faults.InvalidHeader:
            wait_seconds = 0.0
        if wait_seconds:
            answer += f" and asks to wait {wait_seconds:.0f} s"
        raise PassingError(answer, wait_seconds)
    if reply.status == NO_SUCH_PART:
        return
    if reply.status not in (WHOLE, REST):
        raise ArchiveError(f"{shown(url)}: {answer}.")
    if reply.headers.get("Content-Encoding", "identity") != "identity":
        raise ArchiveError(f"{shown(url)}: the server sends the file packed.")
    if "text/html" in reply.headers.get("Content-Type", "").lower():  # of a hotel, for example
        raise ArchiveError(f"{shown(url)}: a web page was sent instead of the file.")


def _raise_failure(url: str, error: faults.HTTPError) -> NoReturn:
    reason = (isinstance(error, faults.MaxRetryError) and error.reason) or error
    cause: BaseException = reason
    if isinstance(reason, faults.SSLError) and isinstance(reason.args[0], ssl.SSLError):
        cause = reason.args[0]
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, TimeoutError):
        raise PassingError("the server is silent") from error
    if isinstance(reason, faults.ProtocolError):
        raise PassingError("the connection was cut") from error
    is_final = isinstance(reason, faults.LocationValueError | faults.ResponseError)
    if is_final or isinstance(cause, ssl.SSLCertVerificationError):
        raise ArchiveError(f"{shown(url)}: cannot be reached ({scrubbed(cause)}).") from error
    raise PassingError(f"{urlsplit(url).netloc} cannot be reached ({scrubbed(cause)})") from error
