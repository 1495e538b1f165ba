"""100,000 samples whose processing is a stub: the client's memory, and tasks a second."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from amos_dask.engine.connect import connect
from amos_dask.engine.events import ignore
from amos_dask.engine.graph import run_tasks
from amos_dask.engine.options import ClusterOptions
from amos_dask.file_refs import FileRef
from amos_dask.issues import Issue, make_issue
from amos_dask.records import Metadata, Sample, SampleResult, Step, StepIssue
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
from benchmarks.outputs import archive_task
from benchmarks.settings import Settings

N_SAMPLES = 100_000
_SETTLED = 1_000
_OUR_WINDOW = 16
_LARGE_WINDOW = 1_000


@benchmark("simulated")
def bench_simulated(settings: Settings) -> Report:
    """Map a stub over many samples; watch this process, which holds client and scheduler."""
    n_samples = 60 if settings.tiny else N_SAMPLES
    n_rate = 20 if settings.tiny else 2_000
    n_kept = n_samples // 5
    tasks = _tasks(n_samples)
    options = ClusterOptions(
        workers=2, dashboard_port=0, local_directory=str(settings.work), memory="0"
    )
    with connect(options) as client:
        rates = compare(_sides(client, tasks[:n_rate]), settings.repeats)
        dropped = _watch(client, tasks, keep=False)
        kept = _watch(client, tasks[:n_kept], keep=True)
    rows = timing_rows(f"{n_rate} samples", rates, in_process=False)
    for row in rows:
        row["samples a second"] = 1e3 * n_rate / row["median ms"]
    return Report(
        [
            Table("Rate", rows, _RATE_NOTE),
            Table(f"Memory over {n_samples} samples, results dropped", dropped, _MEMORY_NOTE),
            Table(f"Memory over {n_kept} samples, results kept as run() does", kept),
        ],
        _claims(rates, dropped, kept),
    )


_RATE_NOTE = (
    "Two local workers; the stub returns a result such as a labelled CT has: one issue, the rest "
    "is in its receipt. Client.map submits a window, gathers it, and goes on."
)
_MEMORY_NOTE = (
    "Resident size of this process: client, scheduler and the list of tasks, which exists "
    "before the first mark."
)


def _sides(client: Any, tasks: Sequence[SampleTask]) -> dict[str, Side]:
    return {
        "run_tasks": Side(partial(_drain, client, tasks)),
        f"Client.map, windows of {_OUR_WINDOW}": Side(
            partial(_map_in_windows, client, tasks, _OUR_WINDOW)
        ),
        f"Client.map, windows of {_LARGE_WINDOW}": Side(
            partial(_map_in_windows, client, tasks, _LARGE_WINDOW)
        ),
    }


def _drain(client: Any, tasks: Sequence[SampleTask]) -> int:
    return sum(1 for _ in run_tasks(client, "sample", stub, tasks, ignore))


def _map_in_windows(client: Any, tasks: Sequence[SampleTask], window: int) -> int:
    n = 0
    for start in range(0, len(tasks), window):
        futures = client.map(stub, tasks[start : start + window], pure=False)
        n += len(client.gather(futures))
    return n


def stub(task: SampleTask) -> SampleResult:
    """Return what a labelled CT's task returns, without doing anything; nothing is shared."""
    seq, issue = task.name.removeprefix("amos_"), _issue()
    found = replace(issue, sample=task.name, file=f"labelsTr/amos_{seq}.nii.gz")
    return SampleResult(
        sample_id=task.name,
        folder=f"AMOS-CT/train/Aquilion ONE/amos_{seq}_F",
        digest=hashlib.sha256(seq.encode()).hexdigest(),
        n_changed=500,
        issues=(StepIssue(Step.CONFIRM_PAIRS, found),),
    )


@cache
def _issue() -> Issue:
    return make_issue("affine_repaired", "differs by 0.02")


def _tasks(n: int) -> list[SampleTask]:
    root = Path("/nowhere")
    metadata = Metadata(sex="F", manufacturer_model_name="Aquilion ONE")
    tasks = []
    for i in range(n):
        seq = f"{i:06d}"
        volume, mask = (
            FileRef(f"{kind}Tr/amos_{seq}.nii.gz", f"/archive/{kind}Tr/amos_{seq}.nii.gz", 20 << 20)
            for kind in ("images", "labels")
        )
        of = (seq, "amos", "train", "ct", "Aquilion ONE", metadata)
        sample = Sample(*of, (volume,), ((0, mask),))
        tasks.append(archive_task(sample, root))
    return tasks


def _watch(client: Any, tasks: Sequence[SampleTask], *, keep: bool) -> list[dict[str, Any]]:
    """Map the stub over the tasks; return a row of resident size at marks on the way."""
    marks = {_SETTLED, *(len(tasks) * i // 10 for i in range(1, 11))}
    kept, rows = [], []
    gc.collect()
    start = time.perf_counter()
    for n_done, outcome in enumerate(run_tasks(client, "sample", stub, tasks, ignore), 1):
        if keep:
            kept.append(outcome.value)
        if n_done in marks:
            elapsed = time.perf_counter() - start
            rows.append(
                {
                    "samples": n_done,
                    "resident MB": _resident_bytes() / 1e6,
                    "seconds": elapsed,
                    "samples a second": n_done / elapsed,
                }
            )
    return rows


def _resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError("VmRSS")


def _claims(
    rates: Comparison, dropped: list[dict[str, Any]], kept: list[dict[str, Any]]
) -> list[Claim]:
    fastest = min(timings.ratio for name, timings in rates.items() if name != "run_tasks")
    text = "memory this process keeps of a sample"
    return [
        Claim(f"{text}, results dropped", _growth(dropped), 1000.0, True, "bytes"),
        Claim(f"{text}, results kept as run() does", _growth(kept), 1000.0, True, "bytes"),
        Claim("rate over that of the fastest bare Client.map", fastest, 0.5),
    ]


def _growth(marks: list[dict[str, Any]]) -> float:
    """Return the bytes a sample by which the process grew after the first mark."""
    first, last = marks[0], marks[-1]
    grown = 1e6 * (last["resident MB"] - first["resident MB"])
    return grown / (last["samples"] - first["samples"])
