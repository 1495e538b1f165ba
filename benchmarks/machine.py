"""What a number depends on besides the code: the machine and the versions of the libraries."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "amos-dask",
    "numpy",
    "numba",
    "scipy",
    "nibabel",
    "isal",
    "deflate",
    "dask",
    "distributed",
    "pandas",
    "openpyxl",
    "click",
    "scikit-image",
    "connected-components-3d",
)


def describe_machine(work: Path) -> dict[str, Any]:
    """Return processor, memory, load, file system of the work folder, versions, commit, time."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _first_value(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": _usable_cores(),
        "memory_gib": _memory_gib(),
        "load_average": list(os.getloadavg()),
        "system": platform.platform(),
        "file_system": _file_system(work),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _first_value(path: Path, key: str) -> str:
    """Return the value of the first ``key : value`` line of a file; empty without one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((ln.partition(":")[2].strip() for ln in lines if ln.startswith(key)), "")


def _file_system(folder: Path) -> str:
    """Return the type of the mount that holds a folder, where the system tells."""
    try:
        mounts = [ln.split() for ln in Path("/proc/mounts").read_text("utf-8").splitlines()]
    except OSError:
        return "unknown"
    resolved = folder.resolve()
    holding = [m for m in mounts if resolved.is_relative_to(m[1])]
    return max(holding, key=lambda m: len(m[1]))[2] if holding else "unknown"


def _commit() -> str:
    """Return the commit of the checkout, with ``+`` when files differ from it."""
    root = Path(__file__).parent.parent
    commands = (["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain", "-uno"])
    try:
        head, changes = (
            subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
            for command in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.strip() + ("+" if changes.strip() else "")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
