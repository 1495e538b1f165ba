"""Two workers against one at equal work, and what Dask costs a sample."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import amos_dask
from amos_dask.engine.connect import connect
from amos_dask.engine.events import ignore
from amos_dask.engine.graph import run_tasks
from amos_dask.engine.options import ClusterOptions
from amos_dask.sample.make import make_sample
from amos_dask.sample.todo import SampleTask
from benchmarks.harness import (
    Claim,
    Comparison,
    Report,
    Side,
    Table,
    benchmark,
    compare,
    timing_rows,
)
from benchmarks.outputs import FreshRoot, archive_task, fresh_root, memory_folder, samples_of
from benchmarks.scans import ct_archive
from benchmarks.settings import Settings

N_SCANS = 12
_N_STUBS = 2000


@benchmark("scaling")
def bench_scaling(settings: Settings) -> Report:
    """Time 12 labelled CT with one and with two workers, and with no Dask in between."""
    archive = ct_archive(settings, 2 if settings.tiny else N_SCANS)
    n_stubs = 10 if settings.tiny else _N_STUBS
    with ExitStack() as stack:
        one, two = (stack.enter_context(connect(_options(settings, n))) for n in (1, 2))
        scaling = {
            "run()": _compare_runs(archive, settings, one, two),
            "the samples' tasks": _compare_tasks(archive, settings, one, two),
        }
        dask = _compare_dask(archive, settings, one)
        stubs = _compare_stubs(n_stubs, settings, one)
    rows = [
        row for case, found in scaling.items() for row in timing_rows(case, found, in_process=False)
    ]
    return Report(
        [
            Table(f"{len(samples_of(archive))} labelled CT", rows, _SCALING_NOTE),
            Table(
                "What Dask adds",
                timing_rows("the same CT on one worker", dask, in_process=False),
                _DASK_NOTE,
            ),
            Table(
                f"{n_stubs} empty tasks on one worker",
                timing_rows("empty", stubs, in_process=False),
            ),
        ],
        _claims(scaling, dask),
    )


_SCALING_NOTE = (
    "Both clusters are connected and warm, and run in turns on fresh folders. 'run()' includes "
    "what only the client does: listing, workbooks."
)
_DASK_NOTE = (
    "Written to memory where there is room, so that a disk does not blur a difference of percents. "
    "'plain calls' is a loop in a process that knows nothing of Dask; 'in one task' the same loop "
    "on the worker; 'run_tasks' is a task for each CT, as in a run."
)


def _options(settings: Settings, workers: int) -> ClusterOptions:
    return ClusterOptions(
        workers=workers, dashboard_port=0, local_directory=str(settings.work), memory="0"
    )


def _compare_runs(archive: Path, settings: Settings, one: Any, two: Any) -> Comparison:
    root = fresh_root(settings, "scaling")

    def run(client: Any) -> None:
        result = amos_dask.run(
            root.path, archive, statistics=False, report=False, cluster=client, progress="none"
        )
        if result.n_failed:
            raise RuntimeError(f"{result.n_failed} samples failed: {result.issues}")

    return _in_turns(run, root, settings, one, two)


def _compare_tasks(archive: Path, settings: Settings, one: Any, two: Any) -> Comparison:
    root = fresh_root(settings, "scaling")
    tasks = _tasks(archive, root)
    return _in_turns(partial(_map, tasks), root, settings, one, two)


def _in_turns(run: Any, root: FreshRoot, settings: Settings, one: Any, two: Any) -> Comparison:
    sides = {
        "two workers": Side(partial(run, two), root.clear),
        "one worker": Side(partial(run, one), root.clear),
    }
    try:
        return compare(sides, settings.repeats)
    finally:
        shutil.rmtree(root.path, ignore_errors=True)


def _compare_dask(archive: Path, settings: Settings, client: Any) -> Comparison:
    root = fresh_root(settings, "scaling", memory_folder(settings))
    tasks = _tasks(archive, root)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        sides = {
            "plain calls": Side(lambda: process.submit(_call_all, tasks).result(), root.clear),
            "plain calls in one task": Side(
                lambda: client.submit(_call_all, tasks, pure=False).result(), root.clear
            ),
            "run_tasks": Side(partial(_map, tasks, client), root.clear),
        }
        try:
            return compare(sides, settings.repeats)
        finally:
            shutil.rmtree(root.path, ignore_errors=True)


def _tasks(archive: Path, root: FreshRoot) -> list[SampleTask]:
    return [archive_task(sample, root.path) for sample in samples_of(archive)]


def _call_all(tasks: Sequence[SampleTask]) -> int:
    """Run on the worker: the samples one after the other."""
    return sum(make_sample(task).folder is not None for task in tasks)


def _map(tasks: Sequence[SampleTask], client: Any) -> None:
    for outcome in run_tasks(client, "sample", make_sample, tasks, ignore):
        if outcome.value is None:
            raise RuntimeError(f"{outcome.name}: {outcome.failure}")


@dataclass(frozen=True, slots=True)
class _Empty:
    name: str


def _return_name(item: _Empty) -> str:
    return item.name


def _compare_stubs(n: int, settings: Settings, client: Any) -> Comparison:
    items = [_Empty(str(i)) for i in range(n)]
    run = partial(_drain, client, items)
    return compare({"run_tasks": Side(run)}, settings.repeats)


def _drain(client: Any, items: Sequence[_Empty]) -> int:
    return sum(1 for _ in run_tasks(client, "empty", _return_name, items, ignore))


def _claims(scaling: dict[str, Comparison], dask: Comparison) -> list[Claim]:
    claims = [
        Claim(f"12 CT, {case}: one worker takes as long as two times", c["one worker"].ratio, 1.9)
        for case, c in scaling.items()
    ]
    added = 100 * (dask["run_tasks"].ratio - 1)
    text = "time of a CT through Dask beyond that of plain calls"
    return [*claims, Claim(text, added, 3.0, True, "%")]
