"""What is told of work on Dask: how each task ended, and the events on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """How one task ended.

    Parameters
    ----------
    name : str
        The item's name, such as ``amos_0004``.
    value : T or None
        What the function returned; None when it failed.
    failure : str or None
        One sentence, when the function raised or its worker died.
    stops_run : bool
        Whether the failure concerns the whole run, not this item alone.
    details : str
        Traceback, or the last words of the worker that died.
    seconds : float
        Wall time of the function.
    peak_memory_bytes : int
        Largest resident size its process has had.
    """

    name: str
    value: T | None
    failure: str | None = None
    stops_run: bool = False
    details: str = ""
    seconds: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WorkStarted:
    """Event: work of a kind, such as ``sample``, begins, with so many tasks."""

    work: str
    total: int


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """Event: a task of the work ended."""

    work: str
    name: str
    failed: bool
    n_issues: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BytesDone:
    """Event: so many bytes of a task's file are done, of so many if that is known."""

    work: str
    name: str
    n_bytes: int
    n_bytes_total: int | None


@dataclass(frozen=True, slots=True)
class WorkEnded:
    """Event: the work is over."""

    work: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Event: one line for people, such as the dashboard's address."""

    message: str


Event = WorkStarted | TaskEnded | BytesDone | WorkEnded | Notice
Listener = Callable[[Event], None]
