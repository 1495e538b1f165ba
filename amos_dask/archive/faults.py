"""What fails when a driver of fsspec is asked: tried again if in passing, and said in a few words.

Each driver raises errors of its own. Here they become errors of the operating system's kind, whose
``strerror`` tells neither URLs nor secrets.
"""

from __future__ import annotations

import errno
import io
import itertools
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from amos_dask.archive.locations import shown
from amos_dask.errors import ArchiveError

# One attempt after the other; pauses double. What takes long is not tried as often.
ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 120.0

_URL = re.compile(r"\w+://[^\s'\"()<>]+")
_LONGEST_MESSAGE = 200
_PASSING_STATUS = frozenset({408, 425, 429})
_DENIED_STATUS = frozenset({401, 403})
_ABSENT_STATUS = 404
_CHANGED_STATUS = 412
# By name, as the libraries behind fsspec's drivers are not all here.
_PASSING_NAMES = frozenset(
    {
        "HTTPClientError",  # botocore
        "IncompleteReadError",
        "ResponseParserError",
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "ServiceRequestError",  # Azure
        "ServiceResponseError",
        "TransportError",  # Google
        "IncompleteRead",  # http.client
    }
)
_NO_CREDENTIALS_NAMES = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}
)

_T = TypeVar("_T")


class TransientError(OSError):
    """What may be otherwise at another time: it failed as often as it was tried."""


def persist(action: Callable[[], _T]) -> _T:
    """Return what an action returns; it is tried again, with pauses, when it fails in passing.

    Raises
    ------
    TransientError
        When it fails in passing as often as it may be tried.
    OSError
        When it fails otherwise; ``strerror`` says why, without URLs.
    ArchiveError
        As the action raises it.
    """
    start = time.monotonic()
    for attempt in itertools.count(1):
        try:
            return action()
        except ArchiveError:
            raise
        except Exception as error:  # each driver raises its own
            waited = time.monotonic() - start
            if not _is_passing(error) or attempt >= ATTEMPTS or waited > PATIENCE_SECONDS:
                raise _as_oserror(error, attempt) from error
        # Workers that were turned away together do not come back together.
        pause = FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1)
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
    raise AssertionError("not reached")


def once(action: Callable[[], _T]) -> _T:
    """Return what an action returns that cannot be tried again.

    Raises
    ------
    OSError
        When it fails; ``strerror`` says why, without URLs.
    """
    try:
        return action()
    except Exception as error:
        raise _as_oserror(error, 1) from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that a driver's error tells of; None where it got no answer."""
    for cause in _chain(error):
        if _is_broken_off(cause):
            return None
        response = getattr(cause, "response", None)
        if isinstance(response, Mapping):  # botocore
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return status if isinstance(status, int) else None
        for name in ("status", "status_code", "code"):  # aiohttp, Azure, Google
            value = getattr(cause, name, None)
            if isinstance(value, int):
                return value
    return None


def _is_broken_off(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(names & _PASSING_NAMES)


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for cause in _chain(error) for kind in type(cause).__mro__}


def _is_passing(error: BaseException) -> bool:
    status = _status(error)
    if status is not None:
        return status >= 500 or status in _PASSING_STATUS
    return any(map(_is_broken_off, _chain(error)))


def _as_oserror(error: BaseException, attempts: int) -> OSError:
    """Return an error of the operating system's kind that says in a few words what happened."""
    status, names = _status(error), _names(error)
    if _is_passing(error):
        what = "the connection fails"
        if status is not None:
            what = f"the server answers {status}"
        elif any("Timeout" in name for name in names):
            what = "the server does not answer in time"
        again = f", at {attempts} attempts" if attempts > 1 else ""
        return TransientError(errno.EIO, what + again)
    if names & _NO_CREDENTIALS_NAMES:
        return PermissionError(errno.EACCES, "no credentials were found")
    if status in _DENIED_STATUS or "PermissionError" in names:
        return PermissionError(errno.EACCES, f"access is denied{_code(error)}")
    if status == _CHANGED_STATUS:
        return OSError(errno.EIO, "it was replaced while it was read")
    if status == _ABSENT_STATUS or "FileNotFoundError" in names:
        what = "bucket" if "NoSuchBucket" in _code(error) else "file"
        return FileNotFoundError(errno.ENOENT, f"there is no such {what}")
    if isinstance(error, ValueError) and "range" in str(error):
        return no_parts()
    return OSError(errno.EIO, scrubbed(error))


def no_parts() -> io.UnsupportedOperation:
    """Return the error of a file that comes only as a whole."""
    return io.UnsupportedOperation(errno.ESPIPE, "the server does not send parts of files")


def _code(error: BaseException) -> str:
    """Return what S3 calls the fault, in brackets."""
    for cause in _chain(error):
        response = getattr(cause, "response", None)
        if isinstance(response, Mapping):
            return f" ({response.get('Error', {}).get('Code', '')})"
    return ""


def scrubbed(error: BaseException) -> str:
    """Return what an error says, in one line and without the secrets of URLs."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = _URL.sub(lambda match: shown(match[0]), " ".join(str(text).split()))
    return text[:_LONGEST_MESSAGE].rstrip(".")
