"""What fails when a driver of fsspec is asked: tried again if in passing, and said in a few words.

Each driver raises errors of its own. Here they become errors of the operating system's kind, whose
``strerror`` tells neither URLs nor secrets.
"""

from __future__ import annotations

import errno
import io
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic, sleep
from typing import TypeVar

from amos_dask.archive.locations import shown
from amos_dask.errors import ArchiveError

# Between the attempts. What takes long is not tried as often.
PAUSES_SECONDS = (0.5, 1, 2, 4, 8)
PATIENCE_SECONDS = 120.0
_LONGEST_MESSAGE = 200
_URL = re.compile(r"\w+://[^\s'\"()<>]+")
# By name, as the libraries behind fsspec's drivers are not all here.
_BROKEN_OFF = frozenset(
    {
        *("HTTPClientError", "IncompleteReadError", "ResponseParserError"),  # botocore
        *("ClientConnectionError", "ClientPayloadError"),  # aiohttp
        *("ServiceRequestError", "ServiceResponseError"),  # Azure
        *("TransportError", "IncompleteRead"),  # Google, http.client
    }
)
_NO_CREDENTIALS = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}
)

_T = TypeVar("_T")


class TransientError(OSError):
    """What may be otherwise at another time: it failed as often as it was tried."""


def persist(action: Callable[[], _T], *, only_once: bool = False) -> _T:
    """Return what an action returns; it is tried again, with pauses, when it fails in passing.

    Parameters
    ----------
    action : callable
        What to do.
    only_once : bool
        It cannot be done a second time.

    Raises
    ------
    TransientError
        When it fails in passing as often as it may be tried.
    OSError
        When it fails otherwise; ``strerror`` says why, without URLs.
    ArchiveError
        As the action raises it.
    """
    start = monotonic()
    pauses: Sequence[float] = () if only_once else PAUSES_SECONDS
    n_attempts = 0
    while True:
        n_attempts += 1
        try:
            return action()
        except ArchiveError:
            raise
        except Exception as error:  # each driver raises its own
            is_late = n_attempts > len(pauses) or monotonic() - start > PATIENCE_SECONDS
            if is_late or not _diagnose(error)[0]:
                raise _as_oserror(error, n_attempts) from error
        # Workers that were turned away together do not come back together.
        sleep(pauses[n_attempts - 1] * random.uniform(0.5, 1.0))  # noqa: S311


def no_parts() -> io.UnsupportedOperation:
    """Return the error of a file that comes only as a whole."""
    return io.UnsupportedOperation(errno.ESPIPE, "the server does not send parts of files")


def scrubbed(error: BaseException) -> str:
    """Return what an error says, in one line and without the secrets of URLs."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = _URL.sub(lambda match: shown(match[0]), " ".join(str(text).split()))
    return text[:_LONGEST_MESSAGE].rstrip(".")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _diagnose(error: BaseException) -> tuple[bool, int | None]:
    """Return whether another attempt may help, and the HTTP status where there was an answer."""
    for cause in _chain(error):
        if isinstance(cause, ConnectionError | TimeoutError) or _names(cause) & _BROKEN_OFF:
            return True, None
        status = _status(cause)
        if status is not None:
            return status >= 500 or status in (408, 425, 429), status
    return False, None


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status if isinstance(status, int) else None
    for name in ("status", "status_code", "code"):  # aiohttp, Azure, Google
        status = getattr(error, name, None)
        if isinstance(status, int):
            return status
    return None


def _as_oserror(error: BaseException, n_attempts: int) -> OSError:
    """Return an error of the operating system's kind that says in a few words what happened."""
    is_passing, status = _diagnose(error)
    names = set[str]().union(*map(_names, _chain(error)))
    if is_passing:
        what = "the connection fails"
        if status is not None:
            what = f"the server answers {status}"
        elif any("Timeout" in name for name in names):
            what = "the server does not answer in time"
        again = f", at {n_attempts} attempts" if n_attempts > 1 else ""
        return TransientError(errno.EIO, what + again)
    if names & _NO_CREDENTIALS:
        return PermissionError(errno.EACCES, "no credentials were found")
    if status in (401, 403) or "PermissionError" in names:
        return PermissionError(errno.EACCES, "access is denied")
    if status == 412:
        return OSError(errno.EIO, "it was replaced while it was read")
    if status == 404 or "FileNotFoundError" in names:
        what = "bucket" if any("NoSuchBucket" in str(cause) for cause in _chain(error)) else "file"
        return FileNotFoundError(errno.ENOENT, f"there is no such {what}")
    if isinstance(error, ValueError) and "range" in str(error):
        return no_parts()
    return OSError(errno.EIO, scrubbed(error))
