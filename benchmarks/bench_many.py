"""Many scans from end to end, their processing a stub: time, CPU and the client's memory a scan."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, Report, Table, benchmark
from benchmarks.settings import Settings

_SIZES = (2_000, 10_000)
_MADE = "sample end"
_MEMORY_NOTE = (
    "Of the client's process, which holds the scheduler as well: memory in use, its resident size, "
    "and the largest so far. Python keeps for itself a part of what was in use for a moment."
)


@benchmark("many")
def bench_many(settings: Settings) -> Report:
    """Run over archives of two sizes, each in a process of its own, and compare."""
    sizes = (8, 40) if settings.tiny else _SIZES
    runs = {n: _run(n, settings.work / f"many-{n}") for n in sizes}
    few, many = sizes
    tables = [Table(f"{n} scans", _rows(marks), _MEMORY_NOTE) for n, marks in runs.items()]
    claims = []
    for text, mark, key, limit in (
        ("memory in use a scan when samples are made", _MADE, "held", 1000.0),
        ("resident size a scan when samples are made", _MADE, "resident", 1000.0),
        ("largest resident size a scan, with the end of the run", "end", "peak", 50_000.0),
    ):
        sizes_then = {n: _at(marks, mark)[key] for n, marks in runs.items()}
        grown = (sizes_then[many] - sizes_then[few]) / (many - few)
        claims.append(Claim(text, grown, limit, at_most=True, unit="bytes"))
    return Report(tables, claims)


def _run(n_scans: int, folder: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.simulated_run", str(n_scans), str(folder)]
    # The archive in a process of its own: what making it takes would be counted.
    subprocess.run([*command, "--archive_only"], check=True, stdout=subprocess.DEVNULL)
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    marks: list[dict[str, Any]] = json.loads(told)
    return marks


def _rows(marks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    first = marks[0]["seconds"]
    return [
        {
            "mark": mark["mark"],
            "wall s": mark["seconds"] - first,
            "CPU s, all processes": mark["cpu_seconds"],
            "in use MB": mark["held"] / 1e6,
            "resident MB": mark["resident"] / 1e6,
            "largest MB": mark["peak"] / 1e6,
        }
        for mark in marks[:-1]
    ]


def _at(marks: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(mark for mark in marks if mark["mark"] == name)
