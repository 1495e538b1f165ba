"""The Python that has nnU-Net and MONAI: this one, or that of another virtual environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from required import missing

HERE = Path(__file__).parent


def python_with(package: str) -> str:
    """Return a Python that can import a package; skip the test when none is known."""
    venv = os.environ.get("AMOS_DASK_PEERS")
    if not venv:
        if find_spec(package) is None:
            missing(package, "install it, or name a virtual environment in AMOS_DASK_PEERS")
        return sys.executable
    python = Path(venv) / "bin" / "python"
    command = [str(python), "-c", f"import {package}"]
    if not python.exists() or subprocess.run(command, capture_output=True).returncode:
        missing(package, f"AMOS_DASK_PEERS={venv} has no Python that imports it")
    return str(python)


def check(package: str, script: str, *arguments: str | Path) -> tuple[dict[str, Any], str]:
    """Run a script of this folder; return its last line as JSON, and everything it said."""
    command = [python_with(package), HERE / script, *arguments]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stdout
