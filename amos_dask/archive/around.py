"""Whether a path lies in an archive: a folder in which scans would be found."""

from __future__ import annotations

import os
from pathlib import Path

from amos_dask.datasets import AMOS22, PACKAGED, DatasetDefinition, find_definition
from amos_dask.errors import AmosDaskError

# In every folder of scans that an export of ours made: it is no archive.
EXPORT_MARK = "amos-dask.json"


def require_outside_archives(path: Path, definition: DatasetDefinition = AMOS22) -> None:
    """Raise `AmosDaskError` when an output would lie in a folder in which scans would be found.

    The folder is the one that holds ``imagesTr`` and the like with images in them, or, where a
    dataset has no such folders, its scans. An export of ours carries a mark and is none.

    Parameters
    ----------
    path : Path
        What is to be written: a file or folder, made or not.
    definition : DatasetDefinition
        The dataset whose names of scans count besides those of the datasets known here.
    """
    real = Path(os.path.realpath(path))
    for folder in (real, *real.parents):
        if _holds_scans(folder, definition) and not (folder / EXPORT_MARK).is_file():
            raise AmosDaskError(f"{path} lies inside the archive {folder}; write somewhere else.")


def _holds_scans(folder: Path, definition: DatasetDefinition) -> bool:
    rules = [rule for name in PACKAGED for rule in find_definition(name).files if rule.folder]
    if any(_names(folder / place, ".nii.gz") for place in {rule.folder for rule in rules}):
        return True
    own = {(rule.folder, rule.file_name) for rule in definition.files}
    return any(pattern.fullmatch(name) for place, pattern in own for name in _names(folder / place))


def _names(folder: Path, ending: str = "") -> list[str]:
    """Return the names in a folder with an ending; none where it cannot be listed."""
    try:
        names = os.listdir(folder)  # noqa: PTH208  (ten times as fast as Path.iterdir)
    except OSError:
        return []
    return [name for name in names if name.endswith(ending) and not name.startswith(".")]
