"""``demo``: a phantom archive, and the whole job on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amos_dask.archive.discover import discover
from amos_dask.datasets import AMOS22
from amos_dask.engine.events import Listener
from amos_dask.errors import AmosDaskError, number_of
from amos_dask.phantom import write_archive
from amos_dask.results import RunResult
from amos_dask.run import run


def demo(
    directory: str | Path,
    *,
    n_ct: int = 8,
    n_mri: int = 4,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> RunResult:
    """Make a phantom ``amos22.zip`` with the oddities of the real one and `run` on it.

    Parameters
    ----------
    directory : str or Path
        Gets ``download/amos22.zip``, which is kept when it is there already, and ``AMOS22``.
    n_ct, n_mri : int
        Number of scans.
    cluster, progress
        As for `run`.

    Returns
    -------
    RunResult
        As from `run`.

    Raises
    ------
    AmosDaskError
        When the archive that is there already holds another number of scans.

    Examples
    --------
    >>> result = amos_dask.demo("amos-dask-demo", n_ct=1, n_mri=0, progress="none")
    >>> result.exit_code.name, result.n_processed
    ('DONE', 1)
    """
    download = Path(directory) / "download"
    archive = download / "amos22.zip"
    if archive.exists():
        n_scans = len(discover([str(archive)], AMOS22).samples)
        if n_scans != n_ct + n_mri:
            raise AmosDaskError(
                f"{archive} of an earlier demo holds {number_of(n_scans, 'scan')}; choose another "
                "folder."
            )
    else:
        archive = write_archive(download, n_ct=n_ct, n_mri=n_mri, form="zip").path
    return run(Path(directory) / "AMOS22", archive, cluster=cluster, progress=progress)
