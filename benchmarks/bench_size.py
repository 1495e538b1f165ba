"""Time and memory of one labelled CT against its size, each size in a fresh worker."""

from __future__ import annotations

import contextlib
import math
import shutil
from pathlib import Path
from typing import Any

from amos_dask.engine.connect import connect
from amos_dask.engine.events import ignore
from amos_dask.engine.graph import run_tasks
from amos_dask.engine.options import ClusterOptions
from amos_dask.sample.make import make_sample
from amos_dask.sample.todo import SampleTask
from benchmarks.harness import Claim, Report, Table, benchmark, median_of
from benchmarks.outputs import FreshRoot, archive_task, fresh_root, samples_of
from benchmarks.scans import CT_SHAPE, Shape, sized_archive
from benchmarks.settings import Settings

SHAPES: tuple[Shape, ...] = (
    (64, 64, 64),
    (128, 128, 128),
    (256, 256, 128),
    CT_SHAPE,
    (768, 768, 128),
    (768, 768, 512),
)
_TINY_SHAPES: tuple[Shape, ...] = ((24, 20, 8),)
_SIDE_MEMORY = 1.3
_LARGEST_BYTES = 2e9
_STATUS = Path("/proc/self/status")


@benchmark("size")
def bench_size(settings: Settings) -> Report:
    """Process one CT of each size in a worker started for it."""
    shapes = _TINY_SHAPES if settings.tiny else SHAPES
    rows = [_measure(settings, shape) for shape in shapes]
    return Report([Table("One labelled CT, by size", rows, _NOTE)], _claims(rows))


_NOTE = (
    "Every size has a fresh worker process. 'idle' is its resident size with everything imported "
    "and the kernels loaded; 'peak' the largest since (VmHWM, reset before the first run); "
    "'above idle' their difference. Time is the median of the sample's task, flushes included."
)


def _measure(settings: Settings, shape: Shape) -> dict[str, Any]:
    sample = samples_of(sized_archive(settings, shape))[0]
    root = fresh_root(settings, "size")
    task = archive_task(sample, root.path)
    options = ClusterOptions(
        workers=1, dashboard_port=0, local_directory=str(settings.work), memory="0"
    )
    with connect(options) as client:
        idle = _on_worker(client, _idle_bytes)
        seconds = [_run_once(client, task, root) for _ in range(min(settings.repeats, 3))]
        peak = _on_worker(client, _peak_bytes)
    shutil.rmtree(root.path, ignore_errors=True)
    float32 = 4 * math.prod(shape)
    return {
        "shape": _name(shape),
        "float32 MB": float32 / 1e6,
        "median s": median_of(seconds),
        "ns a voxel": 1e9 * median_of(seconds) / math.prod(shape),
        "idle MB": idle / 1e6,
        "peak MB": peak / 1e6,
        "above idle MB": (peak - idle) / 1e6,
        "above idle / float32": (peak - idle) / float32,
    }


def _run_once(client: Any, task: SampleTask, root: FreshRoot) -> float:
    root.clear()
    (outcome,) = run_tasks(client, "sample", make_sample, [task], ignore)
    if outcome.value is None:
        raise RuntimeError(f"{outcome.name}: {outcome.failure}")
    return float(outcome.seconds)


def _on_worker(client: Any, function: Any) -> int:
    (value,) = client.run(function).values()
    return int(value)


def _idle_bytes() -> int:
    """Run on the worker: load everything a sample needs, tell its size, forget its peak."""
    import amos_dask.sample.make  # noqa: F401
    from amos_dask.kernels import warm_up

    warm_up()
    idle = _status_bytes("VmRSS")
    # The kernel's way to reset a process's peak; where it is refused the peak includes start-up.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return idle


def _peak_bytes() -> int:
    return _status_bytes("VmHWM")


def _status_bytes(field: str) -> int:
    """Return a line of this process's status; ru_maxrss would include its parent's size."""
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(field)


def _claims(rows: list[dict[str, Any]]) -> list[Claim]:
    by_shape = {row["shape"]: row for row in rows}
    claims = []
    if ct := by_shape.get(_name(CT_SHAPE)):
        text = "512x512x90: peak above the idle worker's, over the float32 size"
        ratio = ct["above idle / float32"]
        claims.append(Claim(text, ratio, _SIDE_MEMORY, at_most=True))
    if largest := by_shape.get(_name(SHAPES[-1])):
        peak = largest["peak MB"] / 1e3
        text = f"{largest['shape']}: peak of the worker"
        claims.append(Claim(text, peak, _LARGEST_BYTES / 1e9, at_most=True, unit="GB"))
        growth = largest["ns a voxel"] / ct["ns a voxel"] if ct else math.nan
        text = f"time a voxel, {largest['shape']} over 512x512x90"
        claims.append(Claim(text, growth, 1.5, at_most=True, note="linear time"))
    return claims


def _name(shape: Shape) -> str:
    return "x".join(map(str, shape))
