"""One synthetic scan: does it look enough like a real one to test on?"""

from __future__ import annotations

import numpy as np
import pytest
from isal import isal_zlib
from scipy import ndimage

from amos_dask.phantom.painting import Scan, make_scan, plant_specks

SPACING_MM = (0.78125, 0.78125, 5.0)
CUBE = np.ones((3, 3, 3), bool)
SQUARE = np.pad(np.ones((3, 3, 1), bool), ((0, 0), (0, 0), (1, 1)))


def small_components(scan: Scan, structure: np.ndarray, size: float, limit: float) -> int:
    """Components of all labels with fewer than `limit` mm3 (mm2), where a voxel has `size`."""
    found = 0
    boxes = [(slice(None),) * 3, *ndimage.find_objects(scan.mask, 15)]
    for label, box in enumerate(boxes):
        components, _ = ndimage.label(scan.mask[box] == label, structure)
        found += int((np.bincount(components.ravel())[1:] * size < limit).sum())
    return found


@pytest.fixture(scope="module")
def large_ct() -> Scan:
    return make_scan("ct", (320, 320, 40), (1.125, 1.125, 5.0), 3)


@pytest.mark.parametrize("modality", ["ct", "mri"])
@pytest.mark.parametrize("sex", ["F", "M"])
@pytest.mark.parametrize("shape", [(16, 14, 6), (48, 40, 16), (64, 56, 12), (128, 100, 30)])
def test_all_organs_are_there(modality: str, sex: str, shape: tuple[int, int, int]) -> None:
    for seed in range(3):
        scan = make_scan(modality, shape, SPACING_MM, seed, sex=sex)
        assert scan.volume.shape == scan.mask.shape == shape
        assert scan.volume.dtype == np.int16
        assert scan.mask.dtype == np.uint8
        assert scan.volume.flags.f_contiguous
        assert scan.mask.flags.f_contiguous
        assert np.unique(scan.mask).tolist() == list(range(16))


def test_same_arguments_same_scan() -> None:
    first, again, other = (make_scan("ct", (48, 40, 16), SPACING_MM, seed) for seed in (5, 5, 6))
    assert np.array_equal(first.volume, again.volume)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.mask, other.mask)


def test_sex_changes_label_15_only_in_the_pelvis() -> None:
    female, male = (make_scan("ct", (64, 56, 40), SPACING_MM, 2, sex=sex) for sex in "FM")
    height = [np.argwhere(scan.mask == 15)[:, 2].mean() for scan in (female, male)]
    assert height[0] > height[1]


def test_organs_lie_where_they_belong(large_ct: Scan) -> None:
    centre = dict(
        enumerate(np.argwhere(large_ct.mask == label).mean(axis=0) for label in range(16))
    )
    spleen, liver, aorta, postcava = centre[1], centre[6], centre[8], centre[9]
    right_kidney, left_kidney, bladder = centre[2], centre[3], centre[14]
    assert spleen[0] < aorta[0] < postcava[0] < liver[0], "x runs to the patient's right"
    assert left_kidney[0] < aorta[0] < right_kidney[0]
    assert bladder[2] < right_kidney[2] < liver[2], "z runs to the head"
    assert right_kidney[1] < bladder[1], "y runs to the front"
    n_voxels = np.bincount(large_ct.mask.ravel(), minlength=16)
    assert 0.04 < n_voxels[1] / n_voxels[6] < 0.3, "spleen against liver"
    assert n_voxels[11] / n_voxels[6] < 0.01, "an adrenal gland is a few millilitres"


def test_organs_touch(large_ct: Scan) -> None:
    mask = large_ct.mask
    pairs = set()
    for axis in range(3):
        here = np.moveaxis(mask, axis, 0)
        a, b = here[:-1], here[1:]
        meet = (a != b) & (a > 0) & (b > 0)
        codes = np.unique(a[meet].astype(np.uint16) * 16 + b[meet])
        pairs |= {frozenset(divmod(int(code), 16)) for code in codes}
    assert frozenset((6, 9)) in pairs, "postcava in the liver"
    assert len(pairs) >= 8


def test_intensities_are_those_of_a_ct(large_ct: Scan) -> None:
    volume, mask = large_ct.volume, large_ct.mask
    inside = ndimage.binary_erosion(mask == 6, iterations=3)
    assert 40 < np.median(volume[inside]) < 130
    core = volume[inside].astype(float)
    spread = (np.percentile(core, 75) - np.percentile(core, 25)) / 1.349
    assert 10 < spread < 22
    above = volume[150:170, -10:, :]
    assert abs(above.mean() + 1000) < 5
    assert 1 < above.std() < 8
    assert volume.min() == -1024
    assert volume.max() > 400


def test_a_float32_ct_is_as_hard_to_compress_as_a_real_one(large_ct: Scan) -> None:
    raw = large_ct.volume.astype(np.float32).tobytes(order="F")
    ratio = len(raw) / len(isal_zlib.compress(raw, 1))
    assert 3.2 < ratio < 4.2


def test_mr_is_a_magnitude() -> None:
    scan = make_scan("mri", (96, 80, 20), (1.2, 1.2, 5.0), 1)
    assert scan.volume.min() >= 0
    assert scan.volume.max() > 300


def test_masks_have_as_many_specks_as_real_ones(large_ct: Scan) -> None:
    dx, dy, dz = large_ct.spacing_mm
    assert 10 <= small_components(large_ct, CUBE, dx * dy * dz, 100.0) <= 60
    assert 40 <= small_components(large_ct, SQUARE, dx * dy, 10.0) <= 250
    assert ndimage.label(large_ct.mask == 0, CUBE)[1] > 1, "pinholes"


def test_more_specks_can_be_planted() -> None:
    spacing = (1.4, 1.4, 4.0)
    scan = make_scan("ct", (192, 192, 40), spacing, 3)
    before = small_components(scan, CUBE, np.prod(spacing), 100.0)
    plant_specks(scan.mask, spacing, np.random.default_rng(0), times=19)
    after = small_components(scan, CUBE, np.prod(spacing), 100.0)
    assert after > 100
    assert after > 5 * before


@pytest.mark.parametrize(
    ("modality", "shape"), [("pet", (48, 40, 16)), ("ct", (8, 40, 16)), ("ct", (48, 40, 2))]
)
def test_impossible_requests_are_refused(modality: str, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError):
        make_scan(modality, shape, SPACING_MM, 0)
