"""What a scan is reckoned to cost, by its header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from amos_dask.file_refs import file_ref
from amos_dask.sample.todo import ScanSize


def write(path: Path, dtype: Any, slope: float = 1.0, inter: float = 0.0) -> ScanSize:
    image = nib.Nifti1Image(np.zeros((4, 5, 6), dtype), np.eye(4))
    image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    return ScanSize.of(file_ref(path, path.name))


@pytest.mark.parametrize(
    ("dtype", "slope", "inter", "is_whole"),
    [
        (np.int16, 1, 0, True),
        (np.uint8, 1, 0, True),
        (np.uint16, 1, -1024, True),
        (np.int16, 0.5, 0, False),
        (np.int16, 1, 0.25, False),
        (np.int32, 1, 0, False),
        (np.float32, 1, 0, False),
        (np.float64, 1, 0, False),
    ],
)
def test_values_that_may_not_be_whole_are_reckoned_with(
    dtype: Any, slope: float, inter: float, is_whole: bool, tmp_path: Path
) -> None:
    size = write(tmp_path / "scan.nii.gz", dtype, slope, inter)
    assert size == ScanSize(120, is_whole)


def test_more_voxels_and_values_that_are_not_whole_take_more() -> None:
    nothing, whole, others = (ScanSize(*of) for of in ((), (10**8, True), (10**8, False)))
    assert nothing.peak_bytes >= 300e6
    assert whole.peak_bytes - nothing.peak_bytes >= 4 * 10**8
    assert others.peak_bytes - whole.peak_bytes >= 4 * 10**8


def test_what_cannot_be_read_is_reckoned_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"no image")
    assert ScanSize.of(file_ref(tmp_path / "scan.nii.gz", "scan.nii.gz")) == ScanSize()
    assert ScanSize.of(None) == ScanSize()
