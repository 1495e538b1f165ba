"""Bytes of a file from an HTTP server, from anywhere in it on."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage, HTTPResponse, InvalidURL
from typing import IO, cast
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from amos_dask.errors import ArchiveError

BLOCK_BYTES = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
# Codes that another attempt may change: timeout, too early, too many requests, the server's own.
_PASSING = frozenset({408, 425, 429, *range(500, 600)})
_NOT_SATISFIABLE = 416
_NEVER_FOUND = (InvalidURL, ValueError)
# An ETag that stands for exactly these bytes; weak ones, with W/ in front, do not.
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')


class TransferError(Exception):
    """A transfer that failed in a way that another attempt may mend; the message says how.

    Parameters
    ----------
    message : str
        What happened, without the name of the file.
    wait_seconds : float or None
        How long the server asks to be left alone.
    """

    def __init__(self, message: str, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class WrongRangeError(Exception):
    """The server sent another part of the file than the one that it was asked for."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to try again.

    Parameters
    ----------
    n_attempts, n_first_attempts : int
        Attempts in a row that bring nothing new before it is given up; and while nothing at all
        has come.
    first_wait_seconds, longest_wait_seconds : float
        Pause after the first of them, which doubles from then on, and its limit.
    longest_asked_seconds : float
        The longest pause that is granted to a server that asks for one.
    timeout_seconds : float
        How long the server may be silent, whenever it is read from.
    sleep : callable
        Waits for so many seconds.
    """

    n_attempts: int = 8
    n_first_attempts: int = 5
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    longest_asked_seconds: float = 900.0
    timeout_seconds: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    def pause(self, n_failures: int, error: TransferError, *, first: bool) -> float | None:
        """Return how long to wait after so many failures in a row; None to give up."""
        asked = error.wait_seconds or 0.0
        n_attempts = self.n_first_attempts if first else self.n_attempts
        if n_failures >= n_attempts or asked > self.longest_asked_seconds:
            return None
        own = min(self.first_wait_seconds * 2.0 ** (n_failures - 1), self.longest_wait_seconds)
        return max(own, asked)


@dataclass(frozen=True)
class Reply:
    """What a server sends of a file.

    Parameters
    ----------
    start : int
        Where in the file it begins.
    n_bytes : int or None
        Size of the whole file, where the server tells.
    etag : str or None
        What changes whenever the file does, where the server tells.
    blocks : iterator of bytes
        The bytes as they come; raises `TransferError` when they end early.
    """

    start: int
    n_bytes: int | None
    etag: str | None
    blocks: Iterator[bytes]


class _OnlyHttp(HTTPRedirectHandler):
    """Follows redirects to http and https, and nowhere else."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        require_http(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = build_opener(_OnlyHttp)


def require_http(url: str) -> None:
    """Raise `ArchiveError` unless this is an http or https URL that can be asked for."""
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.scheme not in ("http", "https"):
        raise ArchiveError(
            f"{shown(url)}: only http:// and https:// URLs without user names can be downloaded."
        )


def shown(url: str) -> str:
    """Return a URL as it may be shown and kept: secrets stand before ``@`` or behind ``?``."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + re.sub(r"^[^/]*@", "", re.split(r"[?#]", rest, maxsplit=1)[0])


def url_of(base: str, name: str) -> str:
    """Return the URL of a file below a base URL.

    Raises
    ------
    ArchiveError
        When names cannot be appended to the base.
    """
    require_http(base)
    if re.search(r"[?#]", base):
        raise ArchiveError(f"{shown(base)}: must be a URL to which names of files can be added.")
    return f"{base.rstrip('/')}/{quote(name)}"


@contextmanager
def open_reply(
    url: str, *, start: int = 0, etag: str | None = None, timeout_seconds: float = 30.0
) -> Iterator[Reply]:
    """Ask a server for a file and yield its reply.

    Parameters
    ----------
    url : str
        The file, http or https.
    start : int
        First byte that is wanted; the reply may begin at 0 all the same.
    etag : str, optional
        The rest of the file is wanted only if it still has this; else the whole.
    timeout_seconds : float
        How long the server may be silent.

    Raises
    ------
    TransferError
        When another attempt may help.
    WrongRangeError
        When the server does not know how to send the rest of a file.
    ArchiveError
        When nothing helps.
    """
    require_http(url)
    # The file is wanted as it is: packed for the way, it could not be gone on with.
    headers = {"User-Agent": "amos-dask", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if etag and _STRONG_ETAG.fullmatch(etag):
            headers["If-Range"] = etag
    request = Request(url, headers=headers)  # noqa: S310  (the scheme has been looked at)
    try:
        response = cast(HTTPResponse, _OPENER.open(request, timeout=timeout_seconds))
    except HTTPError as error:
        with error:
            raise _refusal(url, error, start) from error
    except (OSError, HTTPException, *_NEVER_FOUND) as error:
        raise _failure(url, error) from error
    with response:
        reply = _understand(url, response, start)
        if reply.start and etag and reply.etag not in (etag, None):
            raise WrongRangeError("the rest of another file was sent")
        yield reply


def _understand(url: str, response: HTTPResponse, start: int) -> Reply:
    headers = response.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        raise ArchiveError(f"{shown(url)}: the server sends the file packed.")
    if headers.get_content_type() == "text/html":  # a log-in page, of a hotel for example
        raise ArchiveError(f"{shown(url)}: a web page was sent instead of the file.")
    length = headers.get("Content-Length", "")
    left = int(length) if length.isdecimal() else None
    n_bytes, begins_at = left, 0
    if response.status == 206 and start:
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != start:
            raise WrongRangeError("another part of the file was sent")
        begins_at, n_bytes = start, None if match[3] == "*" else int(match[3])
        if n_bytes is not None and start + (left or 0) > n_bytes:
            raise WrongRangeError("more than the rest of the file was sent")
    elif response.status != 200:
        raise ArchiveError(f"{shown(url)}: the server answers {response.status} without a file.")
    return Reply(begins_at, n_bytes, _strong_etag(headers), _blocks(response, left))


def _strong_etag(headers: HTTPMessage) -> str | None:
    etag = (headers.get("ETag") or "").strip()
    return etag if _STRONG_ETAG.fullmatch(etag) else None


def _blocks(response: HTTPResponse, left: int | None) -> Iterator[bytes]:
    while left is None or left > 0:
        try:
            # What has come is taken at once: a cut loses nothing of it.
            block = response.read1(BLOCK_BYTES)
        except (OSError, HTTPException) as error:
            raise TransferError(_words(error)) from error
        if not block:
            if left is None:  # nobody has said how much there is
                return
            raise TransferError("the connection was cut")
        left = None if left is None else left - len(block)
        yield block


def _refusal(url: str, error: HTTPError, start: int) -> Exception:
    if error.code == _NOT_SATISFIABLE and start:
        return WrongRangeError("the server has no such part of the file")
    answer = f"the server answers {error.code} {error.reason or ''}".strip()
    if error.code not in _PASSING:
        return ArchiveError(f"{shown(url)}: {answer}.")
    wait_seconds = _retry_after(error.headers.get("Retry-After", ""))
    if wait_seconds:
        answer += f" and asks to wait {wait_seconds:.0f} s"
    return TransferError(answer, wait_seconds)


def _retry_after(value: str) -> float | None:
    """Return the seconds of a Retry-After header, which may be a date."""
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _failure(url: str, error: Exception) -> Exception:
    reason = error.reason if isinstance(error, URLError) else error
    words = _words(reason) if isinstance(reason, Exception) else str(reason)
    if isinstance(reason, (ssl.SSLCertVerificationError, *_NEVER_FOUND)):
        return ArchiveError(f"{shown(url)}: cannot be reached ({words}).")
    return TransferError(f"{urlsplit(url).netloc} cannot be reached ({words})")


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "the server is silent"
    if isinstance(error, (ConnectionError, HTTPException)) and not getattr(error, "strerror", ""):
        return "the connection was cut"
    return str(getattr(error, "strerror", "") or error)
