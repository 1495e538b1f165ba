"""MONAI's Orientationd and Spacingd give the grid and the values of ``export arrays``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
from peers.peers import check, python_with

from amos_dask import export_arrays, run
from amos_dask.geometry import is_oblique

GRIDS = [("RAS", (1.5, 1.5, 2.0)), ("LPS", (3.1, 2.3, 7.0)), ("SPL", (4.0, 0.9, 1.7))]


def compare(root: Path, folder: Path, **options: Any) -> dict[str, Any]:
    """Return the largest differences of all labelled samples on all grids."""
    cases = []
    for number, (orientation, spacing) in enumerate(GRIDS):
        to = folder / str(number)
        export_arrays(root, to, orientation=orientation, spacing=spacing, **options)
        for label in to.rglob("*_mask.nii.gz"):
            image = label.with_name(label.name.replace("_mask", "_volume"))
            sources = [next(root.rglob(path.name)) for path in (image, label)]
            if is_oblique(nib.load(sources[0]).affine):
                continue  # README.md tells why MONAI may place such a grid elsewhere
            cases.append(
                {
                    **dict(zip(("image", "label"), map(str, sources), strict=True)),
                    "our_image": str(image),
                    "our_label": str(label),
                    "orientation": orientation,
                    "spacing": spacing,
                }
            )
    (folder / "cases.json").write_text(json.dumps(cases))
    found, _ = check("monai", "check_spacing.py", folder / "cases.json")
    assert found["cases"] == len(cases) > 0
    return found


def assert_alike(found: dict[str, Any]) -> None:
    assert found["affine"] < 1e-3  # ours is stored as float32
    assert found["value_inside"] < 1e-3
    assert found["n_other_labels"] == 0


def test_monai_has_the_same_grid_values_and_labels(
    processed_root: Path, cluster_address: str, tmp_path: Path
) -> None:
    python_with("monai")
    found = compare(processed_root, tmp_path, cluster=cluster_address, progress="none")
    assert_alike(found)


def test_monai_has_the_same_of_real_scans(cluster_address: str, tmp_path: Path) -> None:
    scans = os.environ.get("AMOS_DASK_REAL_SCANS")
    if not scans:
        pytest.skip("AMOS_DASK_REAL_SCANS names no real scans")
    python_with("monai")
    options: dict[str, Any] = {"cluster": cluster_address, "progress": "none"}
    run(tmp_path / "root", scans, report=False, statistics=False, **options)
    volumes = [*(tmp_path / "root").rglob("*_volume.nii.gz")]
    assert {nib.load(path).ndim for path in volumes} == {3}
    found = compare(tmp_path / "root", tmp_path / "arrays", **options)
    print(found)  # noqa: T201  (recorded in README.md)
    assert_alike(found)
