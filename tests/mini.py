"""Tiny archives for definitions of one's own: any names, any voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phantoms.planting import nifti_gz, write_file
from roots import issues

import amos_dask

SHAPE = (14, 12, 5)
AFFINE = np.diag([1.5, 1.5, 3.0, 1.0])
QUIET: dict[str, Any] = {"statistics": False, "report": False, "progress": "none"}


def scan(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.int16]:
    """Return values that no other seed gives."""
    values = np.random.default_rng(seed).integers(-500, 500, shape)
    return np.asarray(values, np.int16, order="F")


def mask(values: int | tuple[int, ...], seed: int = 0) -> NDArray[np.int16]:
    """Return blocks of values, and 0 between them."""
    found = np.zeros(SHAPE, np.int16, order="F")
    values = (values,) if isinstance(values, int) else values
    for n, value in enumerate(values):
        x, y = 1 + 4 * (n % 3), 1 + 5 * (n // 3)
        found[x : x + 3, y : y + 4, seed % 2 : 4] = value
    return found


def write(
    folder: Path, name: str, voxels: NDArray[Any] | None = None, affine: Any = AFFINE
) -> Path:
    """Write an image, by default a scan; the name is a path below the folder."""
    values = scan(sum(name.encode())) if voxels is None else voxels
    write_file(folder / name, nifti_gz(values, affine))
    return folder / name


class Own:
    """A definition of one's own with its archive and ROOT_DIR."""

    def __init__(self, folder: Path, client: Any, definition: str) -> None:
        self.archive, self.root, self.client = folder / "archive", folder / "root", client
        self.definition = folder / "own.yaml"
        self.definition.write_text(f"name: Own\nprefix: own\nmodality: ct\n{definition}\n")

    def write(self, name: str, voxels: NDArray[Any] | None = None, affine: Any = AFFINE) -> Path:
        """Write an image of the archive."""
        return write(self.archive, name, voxels, affine)

    def run(self, archive: Any = None, **how: Any) -> amos_dask.RunResult:
        """Run, without statistics and report."""
        how = {"dataset": self.definition, "cluster": self.client} | QUIET | how
        return amos_dask.run(self.root, self.archive if archive is None else archive, **how)

    def found(self, *besides: str) -> list[tuple[str, str, str]]:
        """Return sample, code and file of issues, but for some codes."""
        said = issues(self.root)
        return [(i["sample"], i["code"], i["file"]) for i in said if i["code"] not in besides]

    def said(self, code: str) -> str:
        """Return the message of the only issue of a code."""
        (message,) = (i["message"] for i in issues(self.root) if i["code"] == code)
        return message

    def path(self, end: str) -> Path:
        """Return the only file under ``grouped`` whose path ends so."""
        paths = (self.root / "grouped").rglob("*.*")
        (found,) = (path for path in paths if path.as_posix().endswith(end))
        return found

    def there(self) -> list[str]:
        """Return the names of the samples' folders."""
        found = self.root.glob("grouped/OWN-CT/*/*/own_*/")
        return sorted(path.name for path in found)
