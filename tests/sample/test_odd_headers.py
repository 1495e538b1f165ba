"""A sample whose headers or order of voxels are odd gives the files of its plain twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import from_matvec
from numpy.typing import NDArray
from roots import archive_task
from samples import amos_sample

from amos_dask.file_refs import file_ref
from amos_dask.nifti import header as nifti_header
from amos_dask.records import Metadata, Sample, SampleRecord
from amos_dask.root.layout import Layout
from amos_dask.root.receipts import EVERY_OUTPUT, Output, Receipts
from amos_dask.sample.make import make_sample
from amos_dask.sample.todo import find_misread
from amos_dask.steps.header_check import check_headers

Array = NDArray[Any]
SHAPE = (24, 20, 6)
AFFINE = from_matvec(np.diag([-0.8, -0.8, 5.0]), [20, 30, -100])


def organs() -> Array:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:10, 3:12, 1:5], mask[14:22, 8:18, 1:4], mask[12, 3, 2] = 6, 1, 6
    return mask


def scan() -> Array:
    noise = np.random.default_rng(0).integers(-50, 50, SHAPE)
    return np.asarray((noise + 300 * (organs() > 0)).astype(np.int16))


def image(
    voxels: Array,
    affine: Array = AFFINE,
    units: str = "mm",
    sform: Array | None = None,
    qform: Array | None = None,
) -> Any:
    made = nib.Nifti1Image(voxels, affine)
    made.set_qform(affine if qform is None else qform, 1)
    made.set_sform(affine if sform is None else sform, 1)
    made.header.set_xyzt_units(units)
    return made


def make(folder: Path, volume: Any, mask: Any) -> tuple[dict[str, bytes], set[str], Sample]:
    """Make a sample; return its files, the codes of its issues, and the sample."""
    folder.mkdir()
    for name, content in (("volume", volume), ("mask", mask)):
        nib.save(content, folder / f"{name}.nii.gz")
    names = ["volume.nii.gz", "mask.nii.gz"]
    refs = [file_ref(folder / name, name) for name in names]
    sample = amos_sample("0001", "train", "ct", "Aquilion ONE", Metadata(sex="M"), *refs)
    result = make_sample(archive_task(sample, folder / "root"))
    issues = [*check_headers(sample).issues, *(found.issue for found in result.issues)]
    paths = (path for path in (folder / "root" / "grouped").rglob("*") if path.is_file())
    return {path.name: path.read_bytes() for path in paths}, {i.code for i in issues}, sample


def record(folder: Path) -> SampleRecord:
    receipt = Receipts(Layout(folder / "root")).read("amos_0001")
    assert receipt is not None
    return receipt.record


def scaled(factor: float) -> Array:
    affine = AFFINE.copy()
    affine[:3] *= factor
    return affine


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, bytes]:
    files, codes, _ = make(tmp_path / "plain", image(scan()), image(organs()))
    assert (len(files), codes) == (3 + 17, set())
    return files


@pytest.mark.parametrize(("units", "per_mm"), [("micron", 1e3), ("meter", 1e-3)])
def test_lengths_in_other_units(
    tmp_path: Path, plain: dict[str, bytes], units: str, per_mm: float
) -> None:
    affine = scaled(per_mm)
    made = image(scan(), affine, units), image(organs(), affine, units)
    files, codes, _ = make(tmp_path / "odd", *made)
    assert codes == {"units_converted"}
    assert files == plain
    assert record(tmp_path / "odd") == record(tmp_path / "plain")  # regions in mm3 and all else


def test_the_mask_alone_in_metres(tmp_path: Path, plain: dict[str, bytes]) -> None:
    made = image(scan()), image(organs(), scaled(1e-3), "meter")
    files, codes, _ = make(tmp_path / "odd", *made)
    assert (files, codes) == (plain, {"units_converted"})


def test_units_that_nobody_believes(tmp_path: Path, plain: dict[str, bytes]) -> None:
    made = image(scan(), units="meter"), image(organs(), units="micron")
    files, codes, _ = make(tmp_path / "odd", *made)
    assert (files, codes) == (plain, {"units_implausible"})


def test_a_placeholder_sform(tmp_path: Path, plain: dict[str, bytes]) -> None:
    unit = np.diag([-1.0, -1, 1, 1])
    made = image(scan(), sform=unit), image(organs(), sform=unit)
    files, codes, _ = make(tmp_path / "odd", *made)
    assert (files, codes) == (plain, {"forms_disagree"})


def test_a_contradicting_qform_is_overruled(tmp_path: Path, plain: dict[str, bytes]) -> None:
    shifted = AFFINE.copy()
    shifted[0, 3] += 30
    made = image(scan(), qform=shifted), image(organs(), qform=shifted)
    files, codes, _ = make(tmp_path / "odd", *made)
    assert (files, codes) == (plain, {"forms_disagree"})


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (0, 1, 2)], ids=str)
def test_a_turned_mask(tmp_path: Path, plain: dict[str, bytes], order: tuple[int, ...]) -> None:
    to_scan = np.eye(4)[:, [*order, 3]]
    flip = np.diag([-1.0, 1, 1, 1])
    stored = organs().transpose(order)
    flip[0, 3] = stored.shape[0] - 1
    made = image(scan()), image(stored[::-1].copy(), AFFINE @ to_scan @ flip)
    files, codes, _ = make(tmp_path / "odd", *made)
    assert (files, codes) == (plain, {"mask_turned"})


@pytest.mark.parametrize("factor", [0.9999999, 0.998, 1.008])
def test_labels_off_whole_numbers(tmp_path: Path, plain: dict[str, bytes], factor: float) -> None:
    made = image(scan()), image((organs() * np.float32(factor)).astype(np.float32))
    files, codes, _ = make(tmp_path / "odd", *made)
    assert (files, codes) == (plain, {"labels_rounded"})


def test_a_scan_with_a_constant_volume_and_one_with_empty_slices(tmp_path: Path) -> None:
    _, codes, _ = make(tmp_path / "one", image(np.full(SHAPE, 7, np.int16)), image(organs()))
    assert codes == {"constant_volume"}
    ends = scan()
    ends[:, :, -1] = -1024
    _, codes, _ = make(tmp_path / "ends", image(ends), image(organs()))
    assert codes == {"empty_slices"}


def test_what_was_made_before_units_were_looked_at_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [image(voxels, scaled(1e3), "micron") for voxels in (scan(), organs())]
    monkeypatch.setattr(nifti_header, "_UNITS", {})
    _, _, sample = make(tmp_path / "odd", *made)
    assert find_misread(record(tmp_path / "odd"), check_headers(sample)) == frozenset()
    monkeypatch.undo()
    assert find_misread(record(tmp_path / "odd"), check_headers(sample)) == EVERY_OUTPUT


def test_masks_that_lie_turned_are_made_again_once(tmp_path: Path, plain: dict[str, bytes]) -> None:
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = SHAPE[0] - 1
    _, _, sample = make(tmp_path / "odd", image(scan()), image(organs()[::-1], AFFINE @ flip))
    headers = check_headers(sample)
    assert find_misread(record(tmp_path / "odd"), headers) == {Output.MASKS}
    _, _, sample = make(tmp_path / "again", image(scan()), image(organs()))
    assert find_misread(record(tmp_path / "again"), check_headers(sample)) == frozenset()
