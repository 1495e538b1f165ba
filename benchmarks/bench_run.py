"""The whole run: against the floor, and against the straightforward way."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import amos_dask
from amos_dask.engine.connect import connect
from amos_dask.engine.options import ClusterOptions
from amos_dask.records import Sample
from amos_dask.root.receipts import Receipts
from amos_dask.sample.make import make_sample
from amos_dask.sample.masks import Clock
from benchmarks import straightforward
from benchmarks.floor import Plan, plan, run_floor
from benchmarks.harness import (
    Claim,
    Comparison,
    Report,
    Side,
    Table,
    benchmark,
    compare,
    median_of,
    timing_rows,
)
from benchmarks.outputs import FreshRoot, archive_task, fresh_root, memory_folder, samples_of
from benchmarks.scans import ct_archive, mixed_archive, noisy_ct_archive
from benchmarks.settings import Settings

_FLOOR_LIMIT = 1.10
_WHOLE = "whole"
_WITH_EVERYTHING = "ours, statistics and report too"
_EVERYTHING_LIMIT = 1.25


@benchmark("run")
def bench_run(settings: Settings) -> Report:
    """Compare one CT and the archive S, on disk and in memory."""
    one, mixed = ct_archive(settings, 1), mixed_archive(settings)
    comparisons: dict[str, Comparison] = {}
    with _one_worker(settings) as client:
        for place, folder in _places(settings).items():
            task, run = (f"one CT, {what}, {place}" for what in ("the sample's task", "run()"))
            comparisons[task] = _compare_task(samples_of(one)[0], settings, folder)
            comparisons[run] = _compare_run(one, settings, folder, client)
        comparisons["one noisy CT, the sample's task, disk"] = _compare_task(
            samples_of(noisy_ct_archive(settings))[0], settings, settings.work
        )
        comparisons["S, run(), disk"] = _compare_run(mixed, settings, settings.work, client)
        times = _time_tables(samples_of(one)[0], settings)
    rows = [
        row
        for case, found in comparisons.items()
        for row in timing_rows(case, found, in_process="task" in case)
    ]
    return Report([Table("Whole runs", rows, _NOTE), *times], _claims(comparisons))


_NOTE = (
    "Ratios are to the floor: the same bytes unpacked and packed with the fastest library, the "
    "same kernels, as many files flushed. 'The sample's task' is `make_sample` called in this "
    "process; 'run()' is `amos_dask.run` with a connected client of one warm worker: "
    "listing the archive, reading headers, the task through Dask, and all workbooks, without "
    "statistics and report unless it says so. The straightforward way does not flush."
)


@contextmanager
def _one_worker(settings: Settings) -> Iterator[Any]:
    options = ClusterOptions(
        workers=1, dashboard_port=0, local_directory=str(settings.work), memory="0"
    )
    with connect(options) as client:
        yield client


def _places(settings: Settings) -> dict[str, Path]:
    """Return where to write: on disk, and in memory, where a flush costs nothing."""
    in_memory = None if settings.tiny else memory_folder(settings)
    return {"disk": settings.work} | ({"memory": in_memory} if in_memory else {})


def _compare_task(sample: Sample, settings: Settings, folder: Path) -> Comparison:
    ours, floor = (fresh_root(settings, name, folder) for name in ("ours", "floor"))
    sides = {
        "floor": Side(partial(_floors, [plan(sample)], floor.path), floor.clear),
        "ours": Side(partial(make_sample, archive_task(sample, ours.path)), ours.clear),
    }
    try:
        return compare(sides, settings.repeats)
    finally:
        _remove(ours, floor)


def _compare_run(archive: Path, settings: Settings, folder: Path, client: Any) -> Comparison:
    names = ("ours", "floor", "straightforward")
    ours, floor, plain = (fresh_root(settings, name, folder) for name in names)
    plans = [plan(sample) for sample in samples_of(archive)]
    sides = {
        "floor": Side(partial(_floors, plans, floor.path), floor.clear),
        "ours": Side(partial(_run_ours, archive, ours.path, client), ours.clear),
        _WITH_EVERYTHING: Side(
            partial(_run_ours, archive, ours.path, client, everything=True), ours.clear
        ),
    }
    if folder == settings.work:  # does not flush: the same in memory
        slow = partial(straightforward.run, archive, plain.path)
        sides["straightforward"] = Side(slow, plain.clear, max_runs=1)
    try:
        return compare(sides, settings.repeats)
    finally:
        _remove(ours, floor, plain)


def _remove(*roots: FreshRoot) -> None:
    for root in roots:
        shutil.rmtree(root.path, ignore_errors=True)


def _floors(plans: list[Plan], root: Path) -> None:
    for number, work in enumerate(plans):
        run_floor(work, root / str(number))


def _run_ours(archive: Path, root: Path, client: Any, *, everything: bool = False) -> None:
    result = amos_dask.run(
        root,
        archive,
        statistics=everything,
        report=everything,
        cluster=client,
        progress="none",
    )
    if result.n_failed:
        raise RuntimeError(f"{result.n_failed} samples failed: {result.issues}")


def _time_tables(sample: Sample, settings: Settings) -> list[Table]:
    """Return where the time goes in the floor and in our task, on disk."""
    floor, ours = (fresh_root(settings, name) for name in ("floor", "ours"))
    work, task = plan(sample), archive_task(sample, ours.path)
    runs: dict[str, list[dict[str, float]]] = {"floor": [], "ours": []}
    for _ in range(settings.repeats):
        floor.clear()
        whole, clock = Clock(), Clock()
        run_floor(work, floor.path / "0", clock)
        whole.lap(_WHOLE)
        runs["floor"].append({**clock.seconds, **whole.seconds})
        ours.clear()
        whole = Clock()
        make_sample(task)
        whole.lap(_WHOLE)
        receipt = Receipts(task.layout).read(task.name)
        if receipt is None:
            raise RuntimeError(f"{task.name} has left no receipt")
        runs["ours"].append({**receipt.seconds, **whole.seconds})
    _remove(floor, ours)
    return [
        Table(f"Where one CT's time goes: {side}", _time_rows(found), "On disk; medians.")
        for side, found in runs.items()
    ]


def _time_rows(runs: list[dict[str, float]]) -> list[dict[str, Any]]:
    medians = {name: median_of([run[name] for run in runs]) for name in runs[0]}
    whole = medians.pop(_WHOLE)
    medians["unaccounted"] = whole - sum(medians.values())
    rows = [
        {"what": name, "ms": 1e3 * seconds, "% of whole": 100 * seconds / whole}
        for name, seconds in sorted(medians.items(), key=lambda item: -item[1])
    ]
    return [*rows, {"what": _WHOLE, "ms": 1e3 * whole, "% of whole": 100.0}]


def _claims(comparisons: dict[str, Comparison]) -> list[Claim]:
    claims = [
        Claim(f"{case}: ours over the floor", comparison["ours"].ratio, _FLOOR_LIMIT, at_most=True)
        for case, comparison in comparisons.items()
    ]
    for case, comparison in comparisons.items():
        if _WITH_EVERYTHING in comparison:
            share = comparison[_WITH_EVERYTHING].ratio / comparison["ours"].ratio
            text = f"{case}: with statistics and report over without"
            claims.append(Claim(text, share, _EVERYTHING_LIMIT, at_most=True))
    return claims
