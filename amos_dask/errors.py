"""The exceptions users meet, exit codes, SIGTERM as one of them, and how numbers are told."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from types import FrameType


class ExitCode(IntEnum):
    """What the program's exit status says."""

    DONE = 0
    COULD_NOT_RUN = 1
    USAGE = 2
    SAMPLES_FAILED = 3


class AmosDaskError(Exception):
    """The run cannot go on; the message is one sentence that says what to do."""


class ArchiveError(AmosDaskError):
    """The archive or its metadata cannot be used as a whole."""


class DamagedArchiveError(ArchiveError):
    """There is a zip or tar file whose directory or headers cannot be read."""


class LabelMapError(AmosDaskError):
    """A label map file is not usable."""


class DatasetError(AmosDaskError):
    """A dataset's definition is not usable, or is not the one of a ROOT_DIR."""


class ExclusionsError(AmosDaskError):
    """A file of exclusions from denoising is not usable."""


class ManifestError(AmosDaskError):
    """A workbook is missing, is not one, or lacks a worksheet or column."""


class InconsistentDatasetError(ManifestError):
    """Files of a sample contradict each other; the message lists all of them."""


class ClusterError(AmosDaskError):
    """The Dask cluster could not be reached or started."""


class _FileInTheWayError(AmosDaskError):
    """A file may not be written over; nothing was touched.

    Parameters
    ----------
    path : Path
        The file.
    why : str
        What is the matter with it, without its name.
    """

    sentence: str

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(self.sentence.format(path=path, why=why))
        self.path = path
        self.why = why


class ForeignFileError(_FileInTheWayError):
    """A file that is not ours is where an output would go; nothing was touched."""

    sentence = "{path} {why}; move it elsewhere, or give --adopt to have it replaced."


class WorkbookLockedError(_FileInTheWayError):
    """A workbook that is to be written anew is open in another program; nothing was touched."""

    sentence = "{path} is open in another program ({why}); close it there and try again."


class Terminated(KeyboardInterrupt):
    """SIGTERM has arrived: the process was asked to end, by a batch system for example."""


class BadMaskError(Exception):
    """A readable mask that cannot be used, by an issue's code and what is wrong with it.

    Caught in the sample's task and turned into an Issue.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class InaccessibleFileError(Exception):
    """A file that could not be read at all, for whatever reason outside it: nothing is known of it.

    Unlike a damaged file it says nothing about the sample, so earlier output stays.
    """


class UnreadableImageError(Exception):
    """An image file is damaged or of an unsupported form; the message says how, without its name.

    Caught in the sample's task and turned into an ``unreadable_volume`` or ``unreadable_mask``.
    """


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Raise `Terminated` in the ``with`` block when SIGTERM arrives.

    Only the main thread can listen to signals; elsewhere this does nothing. A second SIGTERM while
    the first is answered ends the process as SIGTERM does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def terminate(number: int, _: FrameType | None) -> None:
        arrived.append(number)
        signal.signal(number, signal.SIG_DFL)
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except Exception as error:
        if arrived:  # what became of it on the way: Python makes some of it a RuntimeError
            raise Terminated from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def number_of(n: int, what: str, plural: str = "") -> str:
    """Return such as ``1 issue``, ``2 issues`` or ``1,234 patients``, with the plural where odd."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {plural or what + 's'}"


def first_of(names: Sequence[str], most: int) -> str:
    """Return such as ``amos_0001, amos_0004 and 6 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def number_are(n: int, what: str) -> str:
    """Return such as ``1 voxel is`` or ``2 voxels are``."""
    return f"{number_of(n, what)} {'is' if n == 1 else 'are'}"
