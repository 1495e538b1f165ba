"""Fresh places to write to, and the tasks of the package on the benchmarks' archives."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from amos_dask.archive.discover import discover
from amos_dask.datasets import AMOS22
from amos_dask.params import Params
from amos_dask.records import Sample
from amos_dask.root.layout import Layout
from amos_dask.sample.source import ArchiveSource
from amos_dask.sample.todo import EVERY_STEP, SampleTask
from benchmarks.settings import Settings

_IN_MEMORY = Path("/dev/shm")
_OURS_IN_MEMORY = _IN_MEMORY / "amos-dask-benchmarks"
_ROOM_BYTES = 4 << 30


@dataclass
class FreshRoot:
    """A ROOT_DIR that is emptied before each run.

    Parameters
    ----------
    path : Path
        The folder.
    settle : bool
        Wait until all earlier writing has reached the disk: it would slow down our flushes.
    """

    path: Path
    settle: bool = True

    def clear(self) -> None:
        """Remove what the last run wrote."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        if self.settle:
            os.sync()


def fresh_root(settings: Settings, name: str, folder: Path | None = None) -> FreshRoot:
    """Return a root in the work folder, or in another."""
    return FreshRoot((folder or settings.work) / name, settle=not settings.tiny)


def memory_folder(settings: Settings) -> Path | None:
    """Return a folder in memory, where a flush costs nothing; None without room for it."""
    if settings.tiny or not _IN_MEMORY.is_dir():
        return None
    return _OURS_IN_MEMORY if shutil.disk_usage(_IN_MEMORY).free > _ROOM_BYTES else None


def samples_of(archive: Path) -> tuple[Sample, ...]:
    """Return the samples of an archive."""
    return discover([str(archive)], AMOS22).samples


def archive_task(sample: Sample, root: Path) -> SampleTask:
    """Return the task that ``run`` would have for a sample."""
    layout = Layout(root)
    target = layout.folder_for(layout.group(sample.modality), sample)
    params = Params(AMOS22, AMOS22.label_map)
    return SampleTask(ArchiveSource(sample, AMOS22), layout, target, EVERY_STEP, params)
