"""Affines against nibabel, and the promises about spacing, orientation and exact text."""

from __future__ import annotations

import json
import math
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from nibabel.eulerangles import euler2mat
from numpy.typing import NDArray

from amos_dask import geometry

Affine = NDArray[np.float64]

quick = settings(max_examples=80, deadline=None, derandomize=True, database=None)
angles = st.floats(-3.2, 3.2)
sizes = st.floats(0.05, 20.0)
offsets = st.floats(-2000, 2000)
finite = st.floats(allow_nan=False, allow_infinity=False)


def affine_of(
    rotation: NDArray[np.float64], zooms: tuple[float, ...], origin: tuple[float, ...] = (0, 0, 0)
) -> Affine:
    return nib.affines.from_matvec(rotation @ np.diag(zooms), origin)


def turned(radians: float, about: str = "z") -> Affine:
    """An LAS affine of 0.8 x 0.8 x 5 mm voxels, turned about one world axis."""
    rotation = euler2mat(**{about: radians})
    return affine_of(rotation @ np.diag([-1.0, 1.0, 1.0]), (0.8, 0.8, 5.0))


@st.composite
def affines(draw: st.DrawFn) -> Affine:
    rotation = euler2mat(draw(angles), draw(angles), draw(angles))
    signs = np.diag(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    zooms = draw(st.tuples(sizes, sizes, sizes))
    return affine_of(rotation @ signs, zooms, draw(st.tuples(offsets, offsets, offsets)))


def aligned(permutation: tuple[int, ...], signs: tuple[float, ...]) -> Affine:
    columns = np.eye(3)[:, list(permutation)] * np.array(signs)
    return affine_of(columns, (0.7, 1.3, 5.0), (10, -20, 30))


ALIGNED = [
    aligned(permutation, signs)
    for permutation in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    for signs in [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, -1, -1)]
]


# ---------------------------------------------------------------- spacing


@quick
@given(affine=affines())
def test_spacing_is_nibabels_voxel_sizes_as_float32(affine: Affine) -> None:
    spacing = geometry.spacing_mm(affine)
    assert spacing == pytest.approx(tuple(voxel_sizes(affine)), rel=2e-7)
    assert [float(np.float32(size)) for size in spacing] == list(spacing)


def test_spacing_is_plain_python_floats_along_the_stored_axes() -> None:
    affine = aligned((2, 0, 1), (1, -1, 1))
    spacing = geometry.spacing_mm(affine)
    assert [type(size) for size in spacing] == [float] * 3
    assert spacing == tuple(float(np.float32(size)) for size in (0.7, 1.3, 5.0))


@pytest.mark.parametrize("text", ["0.8", "0.1", "5.0", "1.25", "0.78125", "0.7031250", "1e-05"])
def test_the_shortest_decimal_of_a_float32_is_what_people_wrote(text: str) -> None:
    widened = float(np.float32(text))
    assert geometry.shortest_decimal(widened) == float(text)


@quick
@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_the_shortest_decimal_restores_the_float32(value: float) -> None:
    shown = geometry.shortest_decimal(value)
    assert isinstance(shown, float)
    assert np.float32(shown) == np.float32(value)
    digits = repr(shown).replace(".", "").replace("-", "").lstrip("0").split("e")[0].rstrip("0")
    assert len(digits) <= 9  # nine digits always tell float32 values apart


# ---------------------------------------------------------------- orientation


@quick
@given(affine=affines())
def test_axis_codes_are_nibabels(affine: Affine) -> None:
    assert geometry.axis_codes(affine) == "".join(nib.aff2axcodes(affine))


@pytest.mark.parametrize("affine", ALIGNED, ids=geometry.axis_codes)
def test_a_permuted_but_aligned_affine_is_not_oblique(affine: Affine) -> None:
    codes = "".join(nib.aff2axcodes(affine))
    opposite = codes.translate(str.maketrans("LRAPSI", "RLPAIS"))
    assert geometry.orientation_to(affine) == codes
    assert geometry.describe(affine)["orientation_from"] == opposite


@pytest.mark.parametrize("about", ["x", "y", "z"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_obliquity_counts_only_above_the_threshold(about: str, sign: int) -> None:
    assert not geometry.is_oblique(turned(sign * 0.99e-4, about))
    assert geometry.is_oblique(turned(sign * 1.01e-4, about))


@pytest.mark.parametrize("about", ["x", "y", "z"])
def test_a_quarter_turn_is_aligned_and_its_neighbours_are_judged_alike(about: str) -> None:
    assert not geometry.is_oblique(turned(math.pi / 2, about))
    assert not geometry.is_oblique(turned(math.pi / 2 + 0.9e-4, about))
    assert geometry.is_oblique(turned(math.pi / 2 + 1.1e-4, about))


def test_the_oblique_text_names_the_closest_codes_and_their_opposites() -> None:
    affine = turned(0.1)
    assert geometry.orientation_to(affine) == "Oblique(closest to LAS)"
    assert geometry.describe(affine)["orientation_from"] == "Oblique(closest to RPI)"


def test_orientation_does_not_depend_on_voxel_size() -> None:
    tiny = affine_of(np.diag([-1.0, 1.0, 1.0]), (1e-6, 1e-6, 1e-6))
    assert geometry.orientation_to(tiny) == "LAS"


# ---------------------------------------------------------------- usable or not


@quick
@given(affine=affines())
def test_rotated_scaled_and_flipped_affines_are_usable(affine: Affine) -> None:
    assert geometry.is_usable(affine)


@pytest.mark.parametrize("size", [1e-9, 1e-4, 1.0, 1e4, 1e9])
def test_voxel_size_alone_does_not_make_an_affine_unusable(size: float) -> None:
    assert geometry.is_usable(affine_of(euler2mat(0.3, 0.2, 0.1), (size, size, 5 * size)))


@pytest.mark.parametrize(
    "columns",
    [
        np.zeros((3, 3)),
        np.diag([1.0, 1.0, 0.0]),
        np.ones((3, 3)),
        np.array([[1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]]),
    ],
    ids=["zero", "flat", "all-one", "parallel"],
)
def test_a_singular_affine_is_not_usable(columns: NDArray[np.float64]) -> None:
    assert np.linalg.matrix_rank(columns) < 3
    assert not geometry.is_usable(nib.affines.from_matvec(columns))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (1, 2), (2, 3)])
def test_a_non_finite_affine_is_not_usable(value: float, place: tuple[int, int]) -> None:
    affine = np.eye(4)
    affine[place] = value
    assert not geometry.is_usable(affine)


# ---------------------------------------------------------------- comparison and text


def _pairs(first: Affine, second: Affine) -> list[tuple[float, float]]:
    return list(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True))


@quick
@given(first=affines(), second=affines())
def test_difference_norm_is_the_frobenius_norm(first: Affine, second: Affine) -> None:
    by_hand = math.sqrt(math.fsum((a - b) ** 2 for a, b in _pairs(first, second)))
    assert geometry.difference_norm(first, second) == pytest.approx(by_hand, rel=1e-12)
    assert geometry.difference_norm(first, first) == 0.0


@quick
@given(values=st.lists(finite, min_size=12, max_size=12))
def test_json_gives_the_affine_back_exactly(values: list[float]) -> None:
    affine = np.vstack([np.array(values).reshape(3, 4), [0, 0, 0, 1]])
    restored = json.loads(geometry.to_json(affine))
    assert np.array(restored).tobytes() == affine.tobytes()
    assert [len(row) for row in restored] == [4] * 4


@pytest.mark.parametrize(
    ("pixdim", "same"),
    [
        ((0.8, 0.8, 5.0), True),
        ((0.80001, 0.8, 5.0), True),
        ((0.0, 0.8, 5.0), False),
        ((0.8, -0.8, 5.0), False),
        ((0.8, 0.8, 5.5), False),
        ((0.8, 0.8, math.nan), False),
        ((math.inf, 0.8, 5.0), False),
        ((5.0, 0.8, 0.8), False),
    ],
)
def test_pixdim_agrees_with_the_spacing_or_not(
    pixdim: tuple[float, float, float], same: bool
) -> None:
    assert geometry.same_spacing(pixdim, (0.8, 0.8, 5.0)) is same


# ---------------------------------------------------------------- grids turned over


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product([False, True], repeat=3)))
@pytest.mark.parametrize("is_oblique", [False, True])
def test_a_turned_grid_is_turned_back(
    order: tuple[int, ...], flips: tuple[bool, ...], is_oblique: bool
) -> None:
    axes = euler2mat(0.3, 0.2, -0.1) if is_oblique else np.eye(3)
    volume = from_matvec(axes @ np.diag([-0.8, 0.7, 5]), [100, 20, -300])
    voxels = np.arange(24).reshape(2, 3, 4)
    stored, to_volume = voxels.transpose(order), np.zeros((4, 4))
    to_volume[[*order, 3], range(4)] = 1
    for axis in (axis for axis in range(3) if flips[axis]):
        flip = np.eye(4)
        flip[axis, axis], flip[axis, 3] = -1, stored.shape[axis] - 1
        stored, to_volume = np.flip(stored, axis), to_volume @ flip
    affine = (volume @ to_volume).astype(np.float32).astype(np.float64)
    turn = geometry.find_turn(volume, affine, stored.shape)
    if turn is None:
        assert (order, any(flips)) == ((0, 1, 2), False)
        return
    assert geometry.turned_shape(turn, stored.shape) == voxels.shape
    np.testing.assert_array_equal(geometry.turned(turn, stored), voxels)
    affine[0, 3] += 0.01
    assert geometry.find_turn(volume, affine, stored.shape) is None


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 3, 2), (512, 512, 120)])
def test_how_far_apart_corners_are(shape: tuple[int, int, int]) -> None:
    one = from_matvec(np.diag([-0.8, 0.8, 5.0]), [1, 2, 3])
    other = from_matvec(euler2mat(0.1, 0.05) @ one[:3, :3], [4, 2, 3])
    corners = np.array(list(product(*((-0.5, n - 0.5) for n in shape))))
    apart = np.linalg.norm(apply_affine(one, corners) - apply_affine(other, corners), axis=1)
    distance, diagonal = geometry.farthest_apart(one, other, shape)
    assert distance == pytest.approx(apart.max())
    assert diagonal == pytest.approx(np.linalg.norm(np.array([0.8, 0.8, 5]) * shape), rel=1e-6)
