"""Parameters of the steps: what the outcome of a sample depends on besides its files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from amos_dask.datasets import AMOS22
from amos_dask.errors import AmosDaskError
from amos_dask.labels import LabelMap


@dataclass(frozen=True, slots=True)
class DenoiseParams:
    """Parameters of the denoising step.

    Parameters
    ----------
    kernel_size : (int, int)
        Pixels of the structuring element along x and y.
    filter_halfedge : int
        Half-width h of the voting box, which is 2h + 1 pixels wide.
    region_area_thresh : float
        Slice regions below this area in mm2 are small.
    """

    kernel_size: tuple[int, int] = (5, 5)
    filter_halfedge: int = 3
    region_area_thresh: float = 10.0

    @classmethod
    def of(
        cls, kernel_size: Sequence[int], filter_halfedge: int, region_area_thresh: float
    ) -> DenoiseParams:
        """Return parameters as people give them; raise AmosDaskError when they cannot be used."""
        sizes = [int(size) for size in kernel_size]
        if len(sizes) != 2 or min(sizes) < 1:
            raise AmosDaskError(f"kernel_size must be two sizes of at least 1, not {kernel_size}.")
        if int(filter_halfedge) < 0:
            raise AmosDaskError(f"filter_halfedge must be at least 0, not {filter_halfedge}.")
        area = require_threshold("region_area_thresh", region_area_thresh)
        return cls((sizes[0], sizes[1]), int(filter_halfedge), area)


@dataclass(frozen=True, slots=True)
class Params:
    """What the outcome of a sample depends on besides its files and metadata.

    Parameters
    ----------
    label_map : LabelMap
        The labels a mask may hold.
    denoise : DenoiseParams
        Of the denoising step.
    region_volume_thresh : tuple of float
        Regions below these volumes in mm3 are listed.
    excluded : frozenset of int
        Labels that denoising leaves as they were in this sample.
    splits_prostate_uterus : bool
        Whether label 15 becomes 16 for female patients.
    """

    label_map: LabelMap = AMOS22.label_map
    denoise: DenoiseParams = field(default_factory=DenoiseParams)
    region_volume_thresh: tuple[float, ...] = (100.0,)
    excluded: frozenset[int] = frozenset()
    splits_prostate_uterus: bool = AMOS22.splits_prostate_uterus


def require_threshold(name: str, value: float) -> float:
    """Return a threshold as a float; raise AmosDaskError unless it is finite and not negative."""
    if not (math.isfinite(value) and value >= 0):
        raise AmosDaskError(f"{name} must be a finite number of at least 0, not {value}.")
    return float(value)
