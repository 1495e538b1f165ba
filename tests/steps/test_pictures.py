"""Pictures show the slices that changed most, turned as radiologists look at them."""

from __future__ import annotations

import base64
import io
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from amos_dask.labels import label_colour
from amos_dask.records import find_difference
from amos_dask.steps.pictures import PictureTaker, choose_slices, halo_png, labels_png, to_grey

Mask = NDArray[np.uint8]
MOST, USUAL = 6, 3
EDGES = {"axial": "RA", "coronal": "RS", "sagittal": "AS"}
OPPOSITE = dict(zip("LRPAIS", "RLAPSI", strict=True))


def decode(picture: str, mode: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert(mode))


def take(
    before: Mask, after: Mask, volume: NDArray[np.float32], affine: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Take pictures while the volume streams by in odd chunks."""
    difference = find_difference(before, after)
    taker = PictureTaker(after, difference, affine, "ct")
    values = volume.ravel(order="F")
    for start in range(0, values.size, 777):
        taker.add(values[start : start + 777])
    return taker.result()


@given(data=st.data(), shape=st.tuples(*[st.integers(1, 6)] * 2, st.integers(1, 12)))
def test_slices_are_those_that_changed_most_and_every_label_is_seen(
    data: st.DataObject, shape: tuple[int, int, int]
) -> None:
    labels = hnp.arrays(np.uint8, shape, elements=st.integers(0, 5))
    before, after = data.draw(labels), data.draw(labels)
    difference = find_difference(before, after)
    chosen = choose_slices(difference, shape)
    n_changed = {k: int((before[..., k] != after[..., k]).sum()) for k in range(shape[2])}
    assert len(set(chosen)) == len(chosen) <= MOST
    assert all(n_changed[k] for k in chosen)
    assert [n_changed[k] for k in chosen] == sorted((n_changed[k] for k in chosen), reverse=True)
    most = sorted((n for n in n_changed.values() if n), reverse=True)[:USUAL]
    assert [n_changed[k] for k in chosen][: len(most)] == most
    if len(chosen) < MOST:
        changed = before != after
        involved = set(before[changed]) | set(after[changed])
        seen: set[int] = set()
        for k in chosen:
            there = changed[..., k]
            seen |= set(before[..., k][there]) | set(after[..., k][there])
        assert involved - {0} <= seen


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PSR", "ASL", "SRA", "IPL", "RSA", "LIP"])
def test_a_picture_is_what_nibabel_gives_after_reorienting(codes: str) -> None:
    rng = np.random.default_rng(7)
    shape = (130, 140, 5)
    spacing = (0.5, 2.0, 3.0)
    target = nib.orientations.axcodes2ornt(codes)
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(target):
        affine[int(world), axis] = sign * spacing[axis]
    affine[3, 3] = 1
    after = (rng.random(shape) < 0.6).astype(np.uint8) * 3
    before = after.copy()
    before[20:25, 30:40, 2] = 7
    volume = rng.integers(-160, 240, shape).astype(np.float32)
    (picture,) = take(before, after, volume, affine)
    plane = picture["plane"]
    assert plane == {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal"}.get(
        codes[2], "sagittal"
    )
    left, top = EDGES[plane]
    assert picture["letters"] == [left, top]
    # Turned so that columns run away from the left edge, rows away from the top one.
    wanted = OPPOSITE[left] + OPPOSITE[top] + codes[2]
    turn = nib.orientations.ornt_transform(target, nib.orientations.axcodes2ornt(wanted))
    expected = nib.orientations.apply_orientation(before, turn)[..., 2].T
    colours = decode(picture["before"], "RGBA")
    assert colours.shape[:2] == expected.shape == (picture["height"], picture["width"])
    assert (colours[..., 3] > 0).tolist() == (expected > 0).tolist()
    is_seven = (colours[..., :3] == label_colour(7)).all(axis=2) & (colours[..., 3] > 0)
    assert is_seven.tolist() == (expected == 7).tolist()
    grey = decode(picture["image"], "L").astype(int)
    expected_grey = nib.orientations.apply_orientation(volume, turn)[..., 2].T
    error = np.abs(grey - np.rint((expected_grey + 160) / 400 * 255))
    assert error.mean() < 12  # JPEG of noise
    sizes = dict(zip((codes[0], codes[1]), spacing, strict=False))
    across = next(sizes[c] for c in sizes if c in (left, OPPOSITE[left]))
    down = next(sizes[c] for c in sizes if c in (top, OPPOSITE[top]))
    assert picture["mm"] == [across, down]


def test_a_picture_tells_its_changes_and_shows_them_before_and_after() -> None:
    after = np.zeros((40, 40, 3), np.uint8)
    after[10:20, 10:20, 1] = 6
    before = after.copy()
    before[30, 30, 1] = 6
    before[12, 12, 1] = 0
    (picture,) = take(before, after, np.zeros(after.shape, np.float32), np.diag([-1.0, -1, 1, 1]))
    assert picture["k"] == 1
    assert picture["changes"] == [[0, 6, 1], [6, 0, 1]]
    old, new = decode(picture["before"], "RGBA"), decode(picture["after"], "RGBA")
    assert np.argwhere((old != new).any(axis=2)).tolist() == [[12, 12], [30, 30]]
    halo = decode(picture["halo"], "RGBA")[..., 3] > 0
    assert halo[[30, 27, 12], [27, 30, 9]].all()
    assert not halo[28:33, 28:33].any()  # what is marked can be seen


def test_pictures_are_the_same_however_the_volume_arrives() -> None:
    rng = np.random.default_rng(3)
    after = rng.integers(0, 4, (30, 20, 9), dtype=np.uint8)
    before = after.copy()
    before[rng.random(after.shape) < 0.05] = 2
    volume = rng.normal(0, 300, after.shape).astype(np.float32)
    difference = find_difference(before, after)
    taker = PictureTaker(after, difference, np.eye(4), "ct")
    taker.add(volume.ravel(order="F"))
    assert taker.result() == take(before, after, volume, np.eye(4))


def test_a_large_slice_is_cut_to_what_is_labelled() -> None:
    after = np.zeros((512, 512, 1), np.uint8)
    before = after.copy()
    before[5, 500, 0] = 1
    (picture,) = take(before, after, np.zeros(after.shape, np.float32), np.diag([-1.0, -1, 1, 1]))
    assert 96 <= picture["width"] <= 130
    assert 96 <= picture["height"] <= 130


@pytest.mark.parametrize("modality", ["ct", "mri"])
@pytest.mark.parametrize("values", [[np.nan, np.inf, -np.inf], [5.0, 5.0], [-2000.0, 0, 3e38]])
def test_any_value_has_a_grey(values: list[float], modality: str) -> None:
    grey = to_grey(np.array(values, np.float32), modality)
    assert grey.dtype == np.uint8


def test_ct_is_shown_in_the_abdominal_window() -> None:
    grey = to_grey(np.array([-1000, -160, 40, 240, 3000], np.float32), "ct")
    assert grey.tolist() == [0, 0, 128, 255, 255]


@given(marked=hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_a_halo_surrounds_what_is_marked(marked: NDArray[np.bool_]) -> None:
    found = np.asarray(Image.open(io.BytesIO(halo_png(marked))).convert("RGBA"))[..., 3] > 0
    places = np.argwhere(marked)
    for place in np.ndindex(marked.shape):
        near = min((int(np.abs(place - other).max()) for other in places), default=99)
        assert found[place] == (near == 3)


def test_every_label_has_a_colour_of_its_own_near_it() -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    shown = np.asarray(Image.open(io.BytesIO(labels_png(labels))).convert("RGBA"))
    assert shown[0, 0, 3] == 0
    assert (shown[..., 3].ravel()[1:] == 255).all()
    assert [tuple(pixel[:3]) for pixel in shown.reshape(-1, 4)[1:]] == [
        label_colour(label) for label in range(1, 256)
    ]
    assert len({label_colour(label) for label in range(18)}) == 18
