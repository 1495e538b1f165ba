"""Starting: ``amos-dask --help``, and compiling the kernels on a fresh machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, Report, Side, Table, benchmark, compare, timing_rows
from benchmarks.scans import mixed_archive
from benchmarks.settings import Settings

_WARM_UP = """
import time
start = time.perf_counter()
from amos_dask.kernels import warm_up
imported = time.perf_counter()
warm_up()
print(imported - start, time.perf_counter() - imported)
"""
_SAYS_IT_COMPILES = "compiling kernels"


@benchmark("startup")
def bench_startup(settings: Settings) -> Report:
    """Time the help, then a first and a second process on a machine without a kernel cache."""
    help_times = compare(_sides(), settings.repeats)
    ratio = help_times["amos-dask --help"].ratio
    tables = [Table("Starting", timing_rows("process", help_times, in_process=False))]
    claims = [Claim("--help over python -c 'import click'", ratio, 4.0, at_most=True)]
    if not settings.tiny:  # compiling takes a quarter of a minute whatever the data
        with tempfile.TemporaryDirectory() as cache:
            rows = _compile(cache)
        tables.append(Table("Kernels, in seconds", rows, _COMPILE_NOTE))
        claims.append(_compile_claim(rows))
        runs = _runs(settings)
        tables.append(Table("amos-dask run on a tiny archive", runs, _RUN_NOTE))
        says = [bool(row["says that it compiles"]) for row in runs]
        right = float(says == [True, False])
        claims.append(Claim("the first run says that it compiles, the second not", right, 1.0))
    return Report(tables, claims)


_COMPILE_NOTE = "Fresh processes; numba's cache is an empty folder before the first."
_RUN_NOTE = "The program itself with one worker, cluster started and stopped; an empty cache first."


def _sides() -> dict[str, Side]:
    python = sys.executable
    commands = {
        "python -c 'import click'": [python, "-c", "import click"],
        "amos-dask --help": [*_program(), "--help"],
        "amos-dask run --help": [*_program(), "run", "--help"],
        "python -c pass": [python, "-c", "pass"],
        "python -c 'import amos_dask'": [python, "-c", "import amos_dask"],
        "python -c 'import numpy'": [python, "-c", "import numpy"],
    }
    return {name: Side(partial(_run, command)) for name, command in commands.items()}


def _program() -> list[str]:
    script = Path(sys.executable).with_name("amos-dask")
    return [str(script)] if script.exists() else [sys.executable, "-m", "amos_dask"]


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Run a command; return what it wrote to both outputs."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        check=True,
    )
    return done.stdout


def _compile(cache: str) -> list[dict[str, Any]]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    rows = []
    for process in ("first", "second", "third"):
        output = _run([sys.executable, "-c", _WARM_UP], environment)
        imported, warmed = map(float, output.split())
        rows.append({"process": process, "import": imported, "kernels": warmed})
    return rows


def _compile_claim(rows: list[dict[str, Any]]) -> Claim:
    ratio = rows[0]["kernels"] / min(row["kernels"] for row in rows[1:])
    return Claim("kernels of the first process over those of a later one", ratio, 20.0)


def _runs(settings: Settings) -> list[dict[str, Any]]:
    archive = mixed_archive(Settings(settings.work, tiny=True))
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        return [
            {"process": process, **_run_program(settings, archive, environment)}
            for process in ("first", "second")
        ]


def _run_program(settings: Settings, archive: Path, environment: dict[str, str]) -> dict[str, Any]:
    root = settings.work / "startup"
    shutil.rmtree(root, ignore_errors=True)
    command = [*_program(), "run", str(root), "--archive", str(archive), "--workers", "1"]
    command += ["--dashboard_port", "0"]
    start = time.perf_counter()
    output = _run(command, environment)
    seconds = time.perf_counter() - start
    shutil.rmtree(root, ignore_errors=True)
    return {"seconds": seconds, "says that it compiles": _SAYS_IT_COMPILES in output}
