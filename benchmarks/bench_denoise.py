"""Denoising: ours, a vectorised scipy version, and the literal oracle of the tests."""

from __future__ import annotations

from functools import partial

import numpy as np

from amos_dask.kernels.slice_denoise import denoise_slices
from benchmarks import literal_denoise, vectorised_denoise
from benchmarks.harness import (
    Claim,
    Comparison,
    Report,
    Side,
    Table,
    benchmark,
    compare,
    timing_rows,
)
from benchmarks.scans import (
    CT_SPACING_MM,
    MR_SPACING_MM,
    TINY_SHAPE,
    Mask,
    checkerboard,
    ct_scan,
    mr_scan,
    random_labels,
)
from benchmarks.settings import Settings
from benchmarks.vectorised_denoise import Parameters

_EVERY = 9  # slices 0, 9, 18 ... of the CT are the ones the oracle gets several times
_CT = "CT, whole"


@benchmark("denoise")
def bench_denoise(settings: Settings) -> Report:
    """Time the three versions on CT, noisy CT and MR, and two on worst cases."""
    ct, mr = Parameters(CT_SPACING_MM[:2]), Parameters(MR_SPACING_MM[:2])
    mask = ct_scan(settings).mask
    few = np.asfortranarray(mask[:, :, ::_EVERY])
    noisy = ct_scan(settings, noisy=True).mask
    shape = TINY_SHAPE if settings.tiny else (512, 512, 10)
    n = settings.repeats
    comparisons = {
        _CT: _compare(mask, ct, n, oracle_runs=1),
        f"CT, {few.shape[2]} slices": _compare(few, ct, n, oracle_runs=3),
        "noisy CT, whole": _compare(noisy, ct, n, oracle_runs=0),
        "MR, whole": _compare(mr_scan(settings).mask, mr, n, oracle_runs=0),
        "checkerboard, 10 slices": _compare(checkerboard(shape), ct, n, oracle_runs=0),
        "random 17 labels, 10 slices": _compare(random_labels(shape, 17), ct, n, oracle_runs=0),
    }
    rows = [row for case, found in comparisons.items() for row in timing_rows(case, found)]
    note = (
        "Kernel 5x5, voting box 7x7, 10 mm²; results are checked to be equal. The oracle takes "
        "minutes for a CT: it runs once on the whole and three times on every ninth slice."
    )
    ratio = comparisons[_CT]["literal oracle"].ratio
    claim = Claim("whole CT: the oracle takes as long as ours times", ratio, 300.0)
    return Report([Table("Denoising a multi-label mask", rows, note)], [claim])


def _compare(mask: Mask, parameters: Parameters, repeats: int, oracle_runs: int) -> Comparison:
    sides = {
        "ours": Side(partial(denoise_slices, mask, *parameters)),
        "vectorised scipy": Side(partial(vectorised_denoise.denoise, mask, parameters), max_runs=3),
    }
    if oracle_runs:
        oracle = partial(literal_denoise.denoise, mask, parameters)
        sides["literal oracle"] = Side(oracle, max_runs=oracle_runs)
    return compare(sides, repeats, np.array_equal)
