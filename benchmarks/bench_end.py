"""The end of a run: from the last sample to the exit, for as many scans as AMOS22 has."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

import amos_dask
from amos_dask.engine.events import Event, TaskEnded, WorkEnded, WorkStarted
from benchmarks.harness import Claim, Report, Table, benchmark
from benchmarks.outputs import fresh_root
from benchmarks.settings import Settings

_WHOLE, _TINY = (500, 100), (3, 1)  # CT and MR


@benchmark("end")
def bench_end(settings: Settings) -> Report:
    """Run on tiny scans, whose own work is short, and look at what comes after the last one."""
    archive = _tiny_archive(settings)
    root = fresh_root(settings, "end")
    runs = []
    for _ in range(settings.repeats):
        root.clear()
        runs.append(_run(archive, root.path, settings))
    shutil.rmtree(root.path, ignore_errors=True)
    works = list(dict.fromkeys(name for run in runs for name in run))
    rows = [{"part": name, **_median([run[name] for run in runs if name in run])} for name in works]
    total = next(row for row in rows if row["part"] == "all")
    n_scans = sum(_TINY if settings.tiny else _WHOLE)
    per_scan = 1e3 * total["wall s"] / n_scans
    return Report(
        [Table(f"{n_scans} tiny scans, two local workers", rows, _NOTE)],
        [Claim("from the last sample to the exit, wall time a scan", per_scan, 4.0, True, "ms")],
    )


_NOTE = (
    "From the end of the last sample's task. CPU is that of all processes, up to the end of the "
    "last kind of work. 'known': what is known of scans that may be alike. What is in none of the "
    "rows is the client's own: receipts, frames, putting workbooks in their places, report."
)


def _tiny_archive(settings: Settings) -> Path:
    n_ct, n_mri = _TINY if settings.tiny else _WHOLE
    folder = settings.work / f"tiny-{n_ct + n_mri}"
    path = folder / "amos22"
    if not path.exists():
        amos_dask.write_archive(folder, n_ct=n_ct, n_mri=n_mri, size="tiny", quirks=False)
    return path


def _run(archive: Path, root: Path, settings: Settings) -> dict[str, tuple[float, float]]:
    """Run once; return part -> wall and CPU seconds."""
    marks = list[tuple[Event, float, float]]()
    options = amos_dask.ClusterOptions(
        workers=2, dashboard_port=0, local_directory=str(settings.work)
    )

    def listen(event: Event) -> None:
        if isinstance(event, (TaskEnded, WorkStarted, WorkEnded)):
            marks.append((event, time.perf_counter(), _cpu_seconds()))

    result = amos_dask.run(root, archive, cluster=options, progress=listen)
    if result.n_failed:
        raise RuntimeError(f"{result.n_failed} samples failed")
    end = time.perf_counter()
    return _parts(marks, end)


def _parts(
    marks: Sequence[tuple[Event, float, float]], end: float
) -> dict[str, tuple[float, float]]:
    """Return the time of each kind of work after the last sample, and of all."""
    last = max(k for k, (event, *_) in enumerate(marks) if _is_sample(event))
    _, begin, cpu_begin = marks[last]
    parts, started = dict[str, tuple[float, float]](), dict[str, tuple[float, float]]()
    for event, wall, cpu in marks[last:]:
        if isinstance(event, WorkStarted):
            started[event.work] = (wall, cpu)
        elif isinstance(event, WorkEnded) and event.work in started:
            before, cpu_before = started[event.work]
            known, cpu_known = parts.get(event.work, (0.0, 0.0))
            parts[event.work] = (known + wall - before, cpu_known + cpu - cpu_before)
    return {**parts, "all": (end - begin, marks[-1][2] - cpu_begin)}


def _is_sample(event: Event) -> bool:
    return isinstance(event, TaskEnded) and event.work == "sample"


def _median(found: Sequence[tuple[float, float]]) -> dict[str, Any]:
    walls, cpus = zip(*found, strict=True)
    return {
        "wall s": statistics.median(walls),
        "min s": min(walls),
        "max s": max(walls),
        "CPU s": statistics.median(cpus),
    }


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of those it has started."""
    total, here = 0.0, psutil.Process()
    for process in (here, *here.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:  # it has just ended
            continue
        total += times.user + times.system
    return total
