"""A mask whose grid is its scan's turned over: the order that fits the scan's values is taken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from numpy.typing import NDArray
from samples import amos_sample

from amos_dask.datasets import AMOS22, MaskGeometry, find_definition
from amos_dask.file_refs import file_ref
from amos_dask.issues import Issue
from amos_dask.nifti import open_image, read_info
from amos_dask.records import Metadata
from amos_dask.sample.source import ArchiveSource
from amos_dask.steps.mask import Fit, choose_order, measure_fits

Array = NDArray[Any]
REAL_SCANS = os.environ.get("AMOS_DASK_REAL_SCANS", "")
SHAPE = (12, 10, 8)
ALIGNED = from_matvec(np.diag([-0.8, -0.8, 5.0]), [20, 30, -100])
OBLIQUE = from_matvec(euler2mat(0.2, 0.1) @ np.diag([-0.8, 0.7, 5.0]), [20, 30, -100])
quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def organ() -> Array:
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:5, 2:6, 1:4], mask[8:11, 1:4, 5:7] = 6, 1
    return mask


def scan_of(mask: Array, contrast: float) -> Array:
    noise = np.random.default_rng(1).integers(-50, 50, mask.shape)
    return np.asarray((noise + contrast * (mask > 0)).astype(np.int16))


def save(path: Path, voxels: Array, affine: Array) -> Path:
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, 1)
    nib.save(image, path)
    return path


def open_mask(
    folder: Path, scan: Array, mask: Array, affines: tuple[Array, Array], rule: MaskGeometry
) -> tuple[Array | None, list[Issue]]:
    refs = [
        file_ref(save(folder / f"{name}.nii.gz", voxels, affine), f"{name}.nii.gz")
        for name, voxels, affine in zip(("scan", "mask"), (scan, mask), affines, strict=True)
    ]
    sample = amos_sample("0001", "train", "ct", "UND", Metadata(), *refs)
    opened, issues = ArchiveSource(sample, replace(AMOS22, mask_geometry=rule)).open_mask(
        read_info(refs[0])
    )
    return (None if opened is None else opened.labels), issues


def turns() -> Iterator[tuple[tuple[int, ...], tuple[bool, ...]]]:
    for order, flips in product(permutations(range(3)), product([False, True], repeat=3)):
        if order != (0, 1, 2) or any(flips):
            yield order, flips


def turn(
    voxels: Array, affine: Array, order: tuple[int, ...], flips: tuple[bool, ...]
) -> tuple[Array, Array]:
    """Return voxels in another order of axes, and the affine that says so."""
    ornt = np.array([[order.index(axis), -1 if flips[axis] else 1] for axis in range(3)])
    turned = nib.orientations.apply_orientation(voxels, ornt)
    return turned, affine @ nib.orientations.inv_ornt_aff(ornt, voxels.shape)


@pytest.mark.parametrize("affine", [ALIGNED, OBLIQUE], ids=["aligned", "oblique"])
@pytest.mark.parametrize(("order", "flips"), list(turns()), ids=str)
def test_a_mask_that_lies_as_its_affine_says_is_turned(
    tmp_path: Path, affine: Array, order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    mask = organ()
    stored, stored_affine = turn(mask, affine, order, flips)
    affines = (affine, stored_affine)
    found, issues = open_mask(tmp_path, scan_of(mask, 300), stored, affines, "stored")
    assert found is not None
    np.testing.assert_array_equal(found, mask)
    assert found.flags.f_contiguous
    found = [(i.code, i.severity, i.file) for i in issues]
    assert found == [("mask_turned", "warning", "mask.nii.gz")]
    assert ("%" in issues[0].message) == (order == (0, 1, 2))  # else only one order has the shape


@pytest.mark.parametrize("flips", list(product([False, True], repeat=3))[1:], ids=str)
@pytest.mark.parametrize("rule", ["stored", "world"])
def test_a_mask_whose_header_alone_is_turned_stays(
    tmp_path: Path, flips: tuple[bool, ...], rule: MaskGeometry
) -> None:
    mask = organ()
    _, other_affine = turn(mask, ALIGNED, (0, 1, 2), flips)
    affines = (ALIGNED, other_affine)
    found, issues = open_mask(tmp_path, scan_of(mask, 300), mask, affines, rule)
    np.testing.assert_array_equal(found, mask)
    assert [(issue.code, issue.severity) for issue in issues] == [("affine_repaired", "warning")]
    assert issues[0].message.count("%") == 2
    assert rule not in issues[0].message


@pytest.mark.parametrize("rule", ["stored", "world"])
def test_the_definition_decides_where_the_scan_does_not(tmp_path: Path, rule: MaskGeometry) -> None:
    mask = organ()
    stored, affine = turn(mask, ALIGNED, (0, 1, 2), (True, False, False))
    found, (issue,) = open_mask(tmp_path, scan_of(mask, 0), stored, (ALIGNED, affine), rule)
    np.testing.assert_array_equal(found, mask if rule == "world" else stored)
    assert issue.code == ("mask_turned" if rule == "world" else "affine_repaired")
    assert f"mask_geometry is {rule}" in issue.message
    assert "%" in issue.message


def test_a_scan_that_cannot_be_read_leaves_it_to_the_definition(tmp_path: Path) -> None:
    mask = organ()
    save(tmp_path / "whole.nii.gz", scan_of(mask, 300), ALIGNED)
    stored, affine = turn(mask, ALIGNED, (0, 1, 2), (True, False, False))
    save(tmp_path / "mask.nii.gz", stored, affine)
    cut = (tmp_path / "whole.nii.gz").read_bytes()[:-40]
    (tmp_path / "scan.nii.gz").write_bytes(cut)
    refs = [file_ref(tmp_path / f"{name}.nii.gz", f"{name}.nii.gz") for name in ("scan", "mask")]
    sample = amos_sample("0001", "train", "ct", "UND", Metadata(), *refs)
    opened, (issue,) = ArchiveSource(sample, AMOS22).open_mask(read_info(refs[0]))
    assert opened is not None
    assert (issue.code, opened.labels.tolist()) == ("affine_repaired", stored.tolist())


def test_which_order_datasets_prefer() -> None:
    preferred = {n: find_definition(n).mask_geometry for n in ("amos22", "decathlon", "ct-org")}
    assert preferred == {"amos22": "stored", "decathlon": "stored", "ct-org": "world"}


@pytest.mark.parametrize(
    ("stored", "world", "order"),
    [
        (Fit(100, 10), Fit(95, 10.5), "world"),
        (Fit(100, 10), Fit(95.1, 20), None),  # varies too little less
        (Fit(100, 10), Fit(50, 10.4), None),  # steps are too little larger
        (Fit(100, 10), Fit(50, 9), None),  # the two contradict each other
        (Fit(95, 10.5), Fit(100, 10), "stored"),
        (Fit(0, 0), Fit(0, 0), None),  # a scan of one value
        (Fit(100, float("nan")), Fit(50, float("nan")), None),  # background only
        (Fit(100, 0), Fit(0, 5), "world"),
    ],
)
def test_both_measures_must_say_so(stored: Fit, world: Fit, order: str | None) -> None:
    for rule in ("stored", "world"):
        found, why = choose_order((stored, world), rule)
        assert found == (order or rule)
        assert ("does not decide" in why) == (order is None)


@quick
@given(
    data=st.data(),
    shape=hnp.array_shapes(min_dims=3, max_dims=3, max_side=5),
    dtype=st.sampled_from(["<i2", "<f4", ">f8"]),
)
def test_what_is_measured(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    shape: tuple[int, int, int],
    dtype: str,
) -> None:
    is_float = dtype[1] == "f"
    special = st.sampled_from([np.nan, np.inf, -np.inf] if is_float else [0, 1])
    values = st.one_of(st.integers(-999, 999), special)
    scan = data.draw(hnp.arrays(dtype, shape, elements=values))
    labels = [
        np.asfortranarray(data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 3))))
        for _ in range(2)
    ]
    path = save(tmp_path_factory.getbasetemp() / "scan.nii.gz", scan, ALIGNED)
    with open_image(file_ref(path, path.name)) as image:
        found = measure_fits(image, *labels)
    for fit, mask in zip(found, labels, strict=True):
        expected = measured(scan.astype(np.float64), mask)
        np.testing.assert_allclose(fit, expected, rtol=1e-9, atol=1e-6)


def measured(values: Array, mask: Array) -> tuple[float, float]:
    """The definition, label by label and neighbour by neighbour."""
    variation, steps = 0.0, []
    for label in np.unique(mask):
        own = values[mask == label]
        own = own[np.isfinite(own)]
        variation += float(((own - own.mean()) ** 2).sum()) if own.size else 0.0
    for axis in range(3):
        places = [np.moveaxis(array, axis, 0) for array in (values, mask)]
        one, other = places[0][:-1], places[0][1:]
        differ = places[1][:-1] != places[1][1:]
        known = np.isfinite(one) & np.isfinite(other)
        steps += np.abs(np.where(known, one, 0) - np.where(known, other, 0))[
            differ & known
        ].tolist()
    return variation, float(np.mean(steps)) if steps else float("nan")


@pytest.mark.skipif(not REAL_SCANS, reason="AMOS_DASK_REAL_SCANS names no folder of real scans")
def test_no_order_of_a_real_scan_is_taken_wrongly() -> None:
    n_decided = 0
    for path in sorted(Path(REAL_SCANS).glob("imagesTr/*.nii.gz")):
        mask = np.asarray(nib.load(path.parents[1] / "labelsTr" / path.name).dataobj)
        mask = np.asfortranarray(mask.astype(np.uint8))
        for label in (None, *np.unique(mask)[1:]):
            alone = mask if label is None else np.where(mask == label, mask, np.uint8(0))
            for axes in (axes for n in (1, 2, 3) for axes in combinations(range(3), n)):
                turned = np.asfortranarray(np.flip(alone, axes))
                with open_image(file_ref(path, path.name)) as image:
                    right, wrong = measure_fits(image, np.asfortranarray(alone), turned)
                assert not wrong.is_better_than(right), (path.name, label, axes)
                n_decided += label is None and right.is_better_than(wrong)
    assert n_decided > 0
