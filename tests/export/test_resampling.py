"""Grids, and volumes and masks on them: against plain definitions, and against each other."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from amos_dask import AmosDaskError, geometry
from amos_dask.export.resampling import (
    find_body_box,
    find_label_box,
    plan_grid,
    resample_mask,
    resample_volume,
    scale_to_window,
)

ORIENTATIONS = [
    "".join(codes) for axes in permutations(("LR", "PA", "IS")) for codes in product(*axes)
]
AFFINE = np.array([[-0.8, 0, 0, 20], [0, 1.2, 0, -31], [0, 0, 3.0, 7], [0, 0, 0, 1.0]])
sizes = st.floats(0.4, 4).map(lambda size: round(size, 2))
spacings = st.tuples(sizes, sizes, sizes)
orientations = st.sampled_from(ORIENTATIONS)


def rotated(degrees: float) -> NDArray[np.float64]:
    """Return the affine with its axes turned about z, so that none is aligned but z."""
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ AFFINE


def at(voxels: NDArray[Any], place: NDArray[np.float64]) -> float:
    """Return the linearly interpolated value at a place in voxels, by its definition."""
    place = np.clip(place, 0, np.array(voxels.shape) - 1)
    value = 0.0
    for corner in product(*({int(np.floor(p)), int(np.ceil(p))} for p in place)):
        value += np.prod(1 - np.abs(place - corner)) * voxels[corner]
    return float(value)


def places(grid: Any) -> dict[tuple[int, ...], NDArray[np.float64]]:
    """Return voxel of a grid -> where it lies in the turned scan."""
    return {index: (np.array(index) + grid.start) * grid.step for index in np.ndindex(*grid.shape)}


def test_there_are_48_orientations_and_each_can_be_asked_for() -> None:
    assert len(set(ORIENTATIONS)) == 48
    for codes in ORIENTATIONS:
        grid = plan_grid((5, 6, 7), rotated(10), codes, (1, 2, 3))
        assert geometry.axis_codes(grid.affine) == codes
        assert np.allclose(geometry.voxel_sizes_mm(grid.affine), (1, 2, 3))


@pytest.mark.parametrize("codes", ["RAL", "RA", "RASS", "XYZ", ""])
def test_what_is_no_orientation_is_refused(codes: str) -> None:
    with pytest.raises(AmosDaskError, match="RAS"):
        geometry.pointing_to(codes)


@settings(max_examples=40, deadline=None)
@given(orientations, spacings, st.integers(0, 2**32 - 1))
def test_values_and_labels_are_those_of_the_definition(
    codes: str, spacing: tuple[float, ...], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 6, 3))
    volume = np.asfortranarray(rng.normal(size=shape).astype(np.float32))
    mask = np.asfortranarray(rng.integers(0, 4, shape).astype(np.uint8) * 5)
    grid = plan_grid(shape, rotated(10), codes, spacing)
    box = tuple((int(n) // 3, int(n) - 1) for n in geometry.turned_shape(grid.turn, shape))
    for part in (grid, grid.cut(box, 0.5)):
        turned_volume = geometry.turned(part.turn, volume)
        turned_mask = geometry.turned(part.turn, mask)
        found = resample_volume(turned_volume, part)
        labels = resample_mask(turned_mask, part)
        assert found.shape == labels.shape == part.shape
        for index, place in places(part).items():
            assert found[index] == pytest.approx(at(turned_volume, place), abs=1e-5)
            shares = {n: at(turned_mask == n, place) for n in np.unique(turned_mask)}
            assert shares[labels[index]] >= max(shares.values()) - 1e-5


def test_the_lowest_of_labels_with_equal_shares_is_taken() -> None:
    mask = np.array([7, 3, 0, 3], np.uint8).reshape(4, 1, 1)
    grid = plan_grid(mask.shape, np.eye(4), None, (0.5, 1, 1))
    assert resample_mask(mask, grid).ravel().tolist() == [7, 3, 3, 0, 0, 0, 3]


@settings(max_examples=48, deadline=None)
@given(orientations, spacings, st.floats(-40, 40), st.sampled_from([None, "labels", "body"]))
def test_volume_and_mask_stay_where_they_were(
    codes: str, spacing: tuple[float, ...], degrees: float, crop: str | None
) -> None:
    """A bright ellipsoid and its mask keep their centre in the world, to half a voxel."""
    shape, affine = (30, 24, 14), rotated(degrees)
    index = np.indices(shape).reshape(3, -1).T
    centre = np.array([12.3, 13.1, 6.2])
    radius = np.linalg.norm((index - centre) * (0.8, 1.2, 3.0) / 9, axis=1).reshape(shape)
    volume = np.asfortranarray(np.clip(1000 - 1000 * radius, -1000, 1000), dtype=np.float32)
    mask = np.asfortranarray((volume > 0).astype(np.uint8))
    grid = plan_grid(shape, affine, codes, spacing)
    turned_volume, turned_mask = (geometry.turned(grid.turn, a) for a in (volume, mask))
    if crop == "labels":
        grid = grid.cut(find_label_box(turned_mask) or (), 4)
    if crop == "body":
        grid = grid.cut(find_body_box(turned_volume, "ct") or (), 4)
    made = resample_volume(turned_volume, grid)
    labels = resample_mask(turned_mask, grid)
    expected = affine[:3] @ [*centre, 1]
    sizes_mm = geometry.voxel_sizes_mm(grid.affine)
    half = max(sizes_mm.max(), (sizes_mm / grid.step).max()) / 2
    centres = [np.argwhere(which).mean(axis=0) for which in (made > 0, labels > 0)]
    in_world = [grid.affine[:3] @ [*index, 1] for index in centres]
    assert np.abs(np.array(in_world) - expected).max() <= half + 0.1
    assert np.abs(in_world[0] - in_world[1]).max() <= half
    # What both are alike in is alike on every grid: the label is where its own volume is.
    as_volume = resample_volume(np.asfortranarray(turned_mask, np.float32), grid)
    assert np.array_equal(as_volume > 0.5, labels > 0)


@settings(max_examples=30, deadline=None)
@given(orientations, spacings, st.sampled_from(["linear", "cubic"]))
def test_a_cut_grid_holds_a_part_of_the_whole(
    codes: str, spacing: tuple[float, ...], interpolation: str
) -> None:
    rng = np.random.default_rng(1)
    volume = np.asfortranarray(rng.normal(size=(12, 9, 7)).astype(np.float32))
    whole = plan_grid(volume.shape, AFFINE, codes, spacing)
    turned = geometry.turned(whole.turn, volume)
    cut = whole.cut(tuple((1, n - 3) for n in turned.shape), 0.7)
    part = tuple(slice(a, a + n) for a, n in zip(cut.start, cut.shape, strict=True))
    of_whole = resample_volume(turned, whole, interpolation)[part]
    assert np.array_equal(of_whole, resample_volume(turned, cut, interpolation))
    corner = whole.affine @ [*cut.start, 1]
    assert np.allclose(corner, cut.affine @ [0, 0, 0, 1])


def test_the_grid_as_it_is_changes_no_value() -> None:
    volume = np.asfortranarray(np.random.default_rng(1).normal(size=(5, 6, 7)).astype(np.float32))
    almost = tuple(float(np.float32(size)) for size in (0.8, 1.2, 3.0))
    for spacing in (None, (0.8, 1.2, 3.0), almost):
        grid = plan_grid(volume.shape, AFFINE, None, spacing)
        assert np.array_equal(resample_volume(volume, grid, "cubic"), volume)
        assert np.allclose(grid.affine, AFFINE)


def test_the_body_is_the_largest_region_and_not_its_table() -> None:
    volume = np.full((20, 20, 4), -1000, np.float32, order="F")
    volume[4:12, 3:15, :] = 40
    volume[2:18, 18, :] = 200
    assert find_body_box(volume, "ct") == ((4, 11), (3, 14), (0, 3))
    assert find_body_box(volume[:, :3], "ct") is None
    assert find_body_box(volume + 1000, "mri") == ((4, 11), (3, 14), (0, 3))


def test_a_window_becomes_0_to_1() -> None:
    volume = np.array([[[-1000, -160, 40, 240, 900]]], np.float32)
    assert scale_to_window(volume, -160, 240).ravel().tolist() == [0, 0, 0.5, 1, 1]
    assert np.isfinite(scale_to_window(volume, 7, 7)).all()


@pytest.mark.parametrize(
    ("n", "before", "after", "n_after"),
    [(20, 5, 2, 48), (34, 0.75, 1.5, 18), (58, 0.75, 1.5, 30), (60, 0.75, 1.5, 30)],
)
def test_where_a_voxel_is_half_outside_their_number_is_even(
    n: int, before: float, after: float, n_after: int
) -> None:
    for origin in (0.0, 17.3, -1234.567):
        affine = np.diag([before, 1, 1, 1])
        affine[0, 3] = origin
        shape = plan_grid((n, 5, 5), affine, "RAS", (after, 1, 1)).shape
        assert shape[0] == n_after
