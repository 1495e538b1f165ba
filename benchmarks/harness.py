"""Comparisons: sides run in turns (A B A B ...), timed, compared pair by pair."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Side:
    """One way to do the work of a comparison.

    Parameters
    ----------
    run : callable
        What is timed; takes nothing. Its first result goes to the comparison's check.
    prepare : callable, optional
        Called before each run, not timed.
    max_runs : int, optional
        For sides that take minutes: at most so many runs. With 1 there is no warm-up run.
    peer : bool
        False for what is measured beside (it bounds or explains) and need not give the same.
    """

    run: Callable[[], Any]
    prepare: Callable[[], Any] | None = None
    max_runs: int | None = None
    peer: bool = True


@dataclass
class Timings:
    """The runs of one side.

    ``ratios[i]`` is its i-th run over the first side's i-th run, just before it.
    """

    side: str
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    cpu_ratios: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median wall time, in seconds."""
        return statistics.median(self.seconds)

    @property
    def ratio(self) -> float:
        """Median of the ratios pair by pair."""
        return statistics.median(self.ratios)


Comparison = dict[str, Timings]


class DifferentResultsError(AssertionError):
    """Two sides of a comparison did not give the same: their times cannot be compared."""


def compare(
    sides: Mapping[str, Side],
    repeats: int,
    same: Callable[[Any, Any], bool] | None = None,
) -> Comparison:
    """Run the sides in turns and time them; the first is what the others are compared with.

    Every side runs once before it is timed, which compiles and fills caches; there ``same`` is
    asked about its result and the first side's. Wall time is taken around the call; CPU time is
    this process's, all threads, and leaves out processes it starts.

    Raises
    ------
    DifferentResultsError
        When a side that is a peer does not give the same as the first.
    """
    timings = {name: Timings(name) for name in sides}
    gc.collect()
    _warm_up(sides, timings, same)
    for _ in range(repeats):
        pair: dict[str, tuple[float, float]] = {}
        for name, side in sides.items():
            n_done = len(timings[name].seconds)
            if side.max_runs is None or n_done < side.max_runs:
                pair[name] = _time(side)[:2]
        _add(timings, pair, next(iter(sides)))
    return timings


def _warm_up(
    sides: Mapping[str, Side],
    timings: Comparison,
    same: Callable[[Any, Any], bool] | None,
) -> None:
    """Run every side once; a side that is to run only once is timed here."""
    first_name = next(iter(sides))
    expected: Any = None
    for name, side in sides.items():
        reference = _time(sides[first_name]) if side.max_runs == 1 else None
        wall, cpu, result = _time(side)
        if reference is not None:
            single = timings[name]
            single.seconds.append(wall)
            single.cpu_seconds.append(cpu)
            single.ratios.append(wall / reference[0])
            single.cpu_ratios.append(cpu / max(reference[1], 1e-9))
        if name == first_name:
            expected = result
        elif same is not None and side.peer and not same(expected, result):
            raise DifferentResultsError(f"{name!r} does not give what {first_name!r} gives")


def _time(side: Side) -> tuple[float, float, Any]:
    if side.prepare is not None:
        side.prepare()
    cpu, wall = time.process_time(), time.perf_counter()
    result = side.run()
    wall = time.perf_counter() - wall
    return wall, time.process_time() - cpu, result


def _add(timings: Comparison, pair: Mapping[str, tuple[float, float]], first: str) -> None:
    for name, (wall, cpu) in pair.items():
        side = timings[name]
        side.seconds.append(wall)
        side.cpu_seconds.append(cpu)
        side.ratios.append(wall / pair[first][0])
        side.cpu_ratios.append(cpu / max(pair[first][1], 1e-9))


@dataclass(frozen=True, slots=True)
class Claim:
    """A threshold of "It holds when" and what was measured against it."""

    text: str
    measured: float
    limit: float
    at_most: bool = False
    unit: str = ""
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the threshold is kept."""
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit


@dataclass
class Table:
    """Rows of one table of a report; all rows have the same columns."""

    title: str
    rows: list[dict[str, Any]]
    note: str = ""


@dataclass
class Report:
    """What a benchmark found."""

    tables: list[Table] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)


def timing_rows(
    case: str, comparison: Comparison, *, in_process: bool = True, **extra: Any
) -> list[dict[str, Any]]:
    """Return a row a side: median, least and largest time, ratios to the first side.

    ``in_process`` is False where sides work in other processes: their CPU time is not known.
    """
    return [
        {
            "case": case,
            "side": timings.side,
            "median ms": 1e3 * timings.median,
            "min ms": 1e3 * min(timings.seconds),
            "max ms": 1e3 * max(timings.seconds),
            "CPU ms": 1e3 * statistics.median(timings.cpu_seconds) if in_process else None,
            "x first": timings.ratio,
            "x min": min(timings.ratios),
            "x max": max(timings.ratios),
            "CPU x first": statistics.median(timings.cpu_ratios) if in_process else None,
            "runs": len(timings.seconds),
            **extra,
        }
        for timings in comparison.values()
    ]


Benchmark = Callable[..., Report]
REGISTRY: dict[str, Benchmark] = {}


def benchmark(name: str) -> Callable[[Benchmark], Benchmark]:
    """Register a function that takes `Settings` and returns a `Report`."""

    def register(function: Benchmark) -> Benchmark:
        REGISTRY[name] = function
        return function

    return register


def median_of(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)
