"""What we say of headers is what SimpleITK's NIfTI reader does with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from numpy.typing import NDArray
from peers.peers import check, python_with

from amos_dask import geometry
from amos_dask.file_refs import file_ref
from amos_dask.nifti import open_image, read_info
from amos_dask.steps.volume import convert_volume

SHAPE = (6, 5, 4)
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(autouse=True)
def _needs_simpleitk() -> None:
    python_with("SimpleITK")


def write(path: Path, affine: NDArray[np.float64], units: str = "mm", qform: int = 0) -> Path:
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, qform)
    image.header.set_xyzt_units(units)
    nib.save(image, path)
    return path


def read(*paths: Path) -> list[Any]:
    found: Any = check("SimpleITK", "check_simpleitk.py", *paths)[0]
    return list(found)


def skewed(seed: int, by: float) -> NDArray[np.float64]:
    """Return an affine of a random rotation, whose axes are off right angles by so much."""
    rng = np.random.default_rng(seed)
    rotation = euler2mat(*rng.uniform(-3, 3, 3)) @ np.diag([rng.choice([-1, 1]), 1, 1])
    shear = np.triu(rng.uniform(-1, 1, (3, 3)), 1)

    def axes(scale: float) -> NDArray[np.float64]:
        found = rotation @ (np.eye(3) + scale * shear)
        return np.asarray(found / np.sqrt((found**2).sum(axis=0)))

    scale = by
    for _ in range(20):
        found = axes(scale)
        scale *= by / np.abs(found @ found.T - np.eye(3)).max()
    return from_matvec(axes(scale) @ np.diag(rng.uniform(0.5, 5, 3)), rng.uniform(-300, 300, 3))


def test_it_refuses_what_we_say_it_refuses(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{seed}_{by}.nii.gz", skewed(seed, by))
        for seed in range(12)
        for by in (0.99e-4, 1.01e-4, 0.02)
    ]
    ours = [
        geometry.has_right_angles(read_info(file_ref(path, path.name)).affine) for path in paths
    ]
    assert [found is not None for found in read(*paths)] == ours
    assert ours == [True, False, False] * 12


def test_it_reads_our_volume_of_a_scan_that_it_refuses(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a.nii.gz", skewed(1, 0.02)), tmp_path / "b.nii.gz"
    with open_image(file_ref(source, source.name)) as image:
        convert_volume(image, target)
    by_qform = write(tmp_path / "c.nii.gz", skewed(1, 0.02), qform=1)
    found = read(source, target, by_qform)
    assert [place is not None for place in found] == [False, True, True]


@pytest.mark.parametrize(("units", "per_mm"), [("micron", 1e3), ("meter", 1e-3), ("mm", 1.0)])
def test_units_are_those_that_it_reads(tmp_path: Path, units: str, per_mm: float) -> None:
    affine = from_matvec(euler2mat(0.2, 0.1) @ np.diag([-0.8, 0.7, 5]), [20, 30, -100])
    affine[:3] *= per_mm
    path = write(tmp_path / "a.nii.gz", affine, units, qform=1)
    info = read_info(file_ref(path, path.name))
    ((spacing, origin, direction),) = read(path)
    theirs = from_matvec(np.reshape(direction, (3, 3)) @ np.diag(spacing), origin)
    np.testing.assert_allclose(TO_LPS @ info.affine, theirs, rtol=0, atol=1e-4)
    np.testing.assert_allclose(info.spacing_mm, [0.8, 0.7, 5], rtol=1e-6)
