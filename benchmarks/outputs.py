"""Fresh places to write to, and the tasks of the package on the benchmarks' archives."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from amos_dask.archive.discover import discover
from amos_dask.recipe.fused import RunTask
from amos_dask.records import Params, Sample
from amos_dask.store.layout import Layout


@dataclass
class FreshRoot:
    """A ROOT_DIR that is emptied before each run, with all earlier writing settled on disk."""

    path: Path
    n_runs: int = field(default=0)

    def clear(self) -> None:
        """Remove what the last run wrote and wait until the disk is quiet."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        os.sync()
        self.n_runs += 1


def samples_of(archive: Path) -> tuple[Sample, ...]:
    """Return the samples of an archive."""
    return discover(str(archive)).samples


def run_task(sample: Sample, root: Path) -> RunTask:
    """Return the task that ``run`` would make for a sample."""
    return RunTask(sample, Layout(root), Params())
