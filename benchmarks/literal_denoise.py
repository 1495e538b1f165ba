"""The tests' oracle, loaded from its file: tests are no package that could be imported."""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from benchmarks.scans import Mask, labels_of
from benchmarks.vectorised_denoise import Parameters

_FILE = Path(__file__).parents[1] / "tests" / "oracle.py"
_NAME = "amos_dask_oracle"


def denoise(mask: Mask, parameters: Parameters) -> Mask:
    """Return the denoised (x, y, z) mask, computed as the tutorial's formulas say."""
    return _oracle().denoise(
        mask,
        parameters.spacing_xy_mm,
        parameters.area_threshold_mm2,
        parameters.kernel_size,
        parameters.filter_halfedge,
        labels_of(mask),
    )


@cache
def _oracle() -> ModuleType:
    spec = spec_from_file_location(_NAME, _FILE)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(_FILE)
    module = module_from_spec(spec)
    sys.modules[_NAME] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
