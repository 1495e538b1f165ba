"""The command: choose benchmarks, run each in a process of its own, print and save tables."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.harness import REGISTRY, Report
from benchmarks.machine import describe_machine
from benchmarks.report import save, save_summary, to_markdown
from benchmarks.settings import Settings

HERE = Path(__file__).resolve().parent
MODULES = (
    "bench_components",
    "bench_denoise",
    "bench_voxelwise",
    "bench_merge",
    "bench_arrays",
    "bench_nifti",
    "bench_run",
    "bench_scaling",
    "bench_end",
    "bench_memory",
    "bench_size",
    "bench_simulated",
    "bench_many",
    "bench_startup",
)


def load_all() -> tuple[str, ...]:
    """Import every benchmark and return their names in the order they run."""
    for module in MODULES:
        import_module(f"benchmarks.{module}")
    return tuple(REGISTRY)


def run_one(name: str, settings: Settings, output: Path | None) -> Report:
    """Run one benchmark in this process, print its tables and save them."""
    machine = describe_machine(settings.work)
    report = REGISTRY[name](settings)
    print(to_markdown(name, report, machine), flush=True)
    if output is not None:
        save(name, report, machine, output)
        save_summary(output)
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse arguments and run what they name."""
    names = load_all()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--tiny", action="store_true", help="smallest sizes; not saved by default")
    parser.add_argument("--repeats", type=int, help="runs of each side (7; tiny: 2)")
    parser.add_argument("--output", type=Path, help="where tables go (benchmarks/results)")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "amos-dask-benchmarks"
    )
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    chosen = options.only or names
    if len(chosen) > 1:
        return _each_alone(chosen, sys.argv[1:] if arguments is None else list(arguments))
    output = options.output or (None if options.tiny else HERE / "results")
    repeats = options.repeats or (2 if options.tiny else 7)
    run_one(chosen[0], Settings(options.work, options.tiny, repeats), output)
    return 0


def _each_alone(names: Sequence[str], arguments: list[str]) -> int:
    """Run every benchmark in a process of its own: none inherits memory or threads of another."""
    kept = [*arguments]
    if "--only" in kept:
        start = kept.index("--only")
        end = start + 1
        while end < len(kept) and not kept[end].startswith("--"):
            end += 1
        del kept[start:end]
    failed = []
    for name in names:
        command = [sys.executable, "-m", "benchmarks", "--only", name, *kept]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    for name in failed:
        print(f"{name}: failed", file=sys.stderr)
    return 1 if failed else 0
