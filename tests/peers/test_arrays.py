"""Arrays lie on the grid that MONAI's Spacingd gives, and have its values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
from peers.peers import check, python_with

import amos_dask
from amos_dask import geometry


@pytest.mark.parametrize(("orientation", "spacing"), [("RAS", (1.5, 1.5, 2.0)), ("LPI", (5, 4, 9))])
def test_arrays_are_those_of_monai(
    processed_root: Path,
    tmp_path: Path,
    cluster_address: str,
    orientation: str,
    spacing: tuple[float, float, float],
) -> None:
    python_with("monai")
    amos_dask.export_arrays(
        processed_root,
        tmp_path / "arrays",
        orientation=orientation,
        spacing=spacing,
        cluster=cluster_address,
        progress="none",
    )
    listed = json.loads((tmp_path / "arrays" / "dataset.json").read_text())
    pairs = []
    for sample in (*listed["train"], *listed["val"], *listed["test"]):
        (volume,) = processed_root.rglob(f"{sample['id']}_volume.nii.gz")
        # Of oblique scans, whose affines are rounded, MONAI may put the centres on each other.
        if not geometry.is_oblique(nib.load(volume).affine):
            pairs.append(f"{volume},{tmp_path / 'arrays' / sample['image']}")
    assert len(pairs) > 5
    found: Any = check("monai", "check_arrays.py", orientation, ",".join(map(str, spacing)), *pairs)
    for is_same_shape, affines_apart, values_apart in found[0]:
        assert is_same_shape
        assert affines_apart < 1e-4
        assert values_apart < 1e-3
