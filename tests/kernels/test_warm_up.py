"""``warm_up``: afterwards no kernel is left to be compiled when the first scan comes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# What is compiled compiles what it calls as well; what is loaded from a cache says nothing of that.
_SCRIPT = """
import importlib, pkgutil, sys
import amos_dask.kernels as kernels
from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher
told = []
was_compiled = kernels.are_compiled()
kernels.warm_up(lambda: told.append("compiling"))
assert was_compiled == (not told)
assert kernels.are_compiled()
print(len(told), file=sys.stderr)
for module in pkgutil.iter_modules(kernels.__path__, "amos_dask.kernels."):
    for name, value in vars(importlib.import_module(module.name)).items():
        if isinstance(value, Dispatcher) and not isinstance(value._cache, NullCache):
            print(value.__module__, name, len(value.signatures))
"""


@pytest.mark.integration
@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")
def test_every_kernel_is_compiled(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = [line.rsplit(maxsplit=1) for line in done.stdout.splitlines()]
    assert len(found) > 5
    assert [name for name, n_signatures in found if n_signatures == "0"] == []
    assert int(done.stderr) > 5
    again = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, env=environment
    )
    assert again.stderr.strip() == "0"  # nothing was compiled that the cache holds
