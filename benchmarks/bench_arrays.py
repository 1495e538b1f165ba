"""A CT and its mask turned to RAS and resampled, as `export arrays` does: ours, and MONAI's."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from amos_dask import geometry
from amos_dask.export.resampling import plan_grid, resample_mask, resample_volume
from benchmarks.harness import Report, Side, Table, benchmark, compare, timing_rows
from benchmarks.scans import CT_SPACING_MM, N_LABELS, ct_scan
from benchmarks.settings import Settings

_SPACING_MM = (1.5, 1.5, 2.0)
_AFFINE = np.diag([-1.0, -1, 1, 1]) * [*CT_SPACING_MM, 1]  # LPS


@benchmark("arrays")
def bench_arrays(settings: Settings) -> Report:
    """Time both in memory; MONAI takes part where it can be imported."""
    scan = ct_scan(settings)
    volume = np.asfortranarray(scan.volume, np.float32)
    sides = {"ours": Side(partial(_ours, volume, scan.mask))}
    if find_spec("monai") is not None:
        sides["MONAI, one-hot masks"] = Side(partial(_monai, volume, scan.mask), max_runs=3)
    found = compare(sides, settings.repeats, _same)
    shape = "x".join(map(str, volume.shape))
    note = "Reading and writing are left out. MONAI, with torch on all cores, where installed."
    return Report([Table(f"{shape} on a grid of 1.5 x 1.5 x 2 mm", timing_rows("CT", found), note)])


def _ours(volume: Any, mask: Any) -> tuple[Any, Any]:
    grid = plan_grid(volume.shape, _AFFINE, "RAS", _SPACING_MM)
    return (
        resample_volume(geometry.turned(grid.turn, volume), grid),
        resample_mask(geometry.turned(grid.turn, mask), grid),
    )


def _monai(volume: Any, mask: Any) -> tuple[Any, Any]:
    import torch
    from monai.data import MetaTensor
    from monai.transforms import Compose, Orientation, Spacing

    to_grid = Compose(
        [
            Orientation("RAS", labels=None),
            Spacing(_SPACING_MM, mode="bilinear", padding_mode="border", dtype=torch.float32),
        ]
    )
    affine = torch.tensor(_AFFINE)
    shares = np.stack([mask == label for label in range(N_LABELS)]).astype(np.float32)
    made = to_grid(MetaTensor(torch.from_numpy(volume[None].copy()), affine=affine))
    labels = to_grid(MetaTensor(torch.from_numpy(shares), affine=affine)).argmax(dim=0)
    return made.numpy()[0], labels.numpy()


def _same(ours: Any, theirs: Any) -> bool:
    """Tell whether values agree to 1e-3 of their range, and labels but for shares that are even."""
    difference = np.abs(ours[0] - theirs[0]).max() / np.ptp(ours[0])
    return bool(difference < 1e-3 and (ours[1] != theirs[1]).mean() < 0.01)
