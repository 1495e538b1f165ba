"""Room on a disk, looked at before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from amos_dask.errors import AmosDaskError


def require_room(folder: Path, n_bytes: int, what: str = "to be written") -> None:
    """Raise `AmosDaskError` unless so many bytes can be written below a folder, made or not.

    Parameters
    ----------
    folder : Path
        Where they go.
    n_bytes : int
        How many.
    what : str
        What becomes of them, for the message.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    n_free = shutil.disk_usage(existing).free
    if n_bytes > n_free:
        raise AmosDaskError(
            f"{folder}: {n_bytes / 1e9:.2f} GB are {what} and {n_free / 1e9:.2f} GB of disk are "
            "free; make room or choose another folder."
        )
