"""Receipts come back as they were kept."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amos_dask.issues import CATALOGUE, make_issue
from amos_dask.labels import LabelMap
from amos_dask.records import (
    DenoiseParams,
    Metadata,
    Params,
    Region,
    SampleFiles,
    SampleRecord,
    SampleRegions,
    Step,
    StepIssue,
)
from amos_dask.store.layout import SampleFolder
from amos_dask.store.receipts import Receipts

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
size = st.floats(0, 1e6, allow_nan=False)
small = st.integers(0, 600)
labels = st.lists(st.integers(0, 255), max_size=4).map(tuple)
regions = st.builds(Region, small, small, small, small, st.integers(1, 2**40), size)
by_threshold = st.lists(
    st.tuples(size, st.builds(SampleRegions, st.just("amos_0001"), st.lists(regions).map(tuple))),
    max_size=2,
).map(tuple)
sample_files = st.builds(
    SampleFiles,
    sample_id=st.just("amos_0001"),
    seq=st.just("0001"),
    subset=st.sampled_from(["train", "val", "test"]),
    metadata=st.builds(Metadata, text, text, text, text, text, text, text),
    folder=text,
    labels_present=st.none() | labels,
    binary_labels=labels,
    shape=st.tuples(small, small, small),
    spacing_mm=st.tuples(size, size, size),
    orientation_from=text,
    orientation_to=text,
    vol_dtype=text,
    mask_dtype=st.none() | text,
    affine_json=text,
)
issues = st.builds(
    lambda step, code, message, file: StepIssue(
        step, make_issue(code, message, sample="amos_0001", file=file)
    ),
    st.sampled_from(list(Step)),
    st.sampled_from(sorted(CATALOGUE)),
    text,
    text,
)
records = st.builds(
    SampleRecord,
    sample_id=st.just("amos_0001"),
    files=st.none() | sample_files,
    before=by_threshold,
    after=by_threshold,
    n_changed=st.integers(0, 2**40),
    issues=st.lists(issues, max_size=3).map(tuple),
)
EMPTY = SampleRecord("amos_0001", None, (), (), 0, ())


PARAMS = Params(region_volume_thresh=())


def a_folder(path: Path) -> SampleFolder:
    """Return a sample folder with a volume and an info file."""
    folder = SampleFolder(path / "amos_0001_F", "0001")
    folder.path.mkdir(exist_ok=True)
    folder.volume.write_bytes(gzip.compress(b"voxels", mtime=0))
    folder.info.write_text("seq: '0001'\n")
    return folder


@quick
@given(record=records)
def test_a_record_comes_back_equal(
    tmp_path_factory: pytest.TempPathFactory, record: SampleRecord
) -> None:
    folder = a_folder(tmp_path_factory.getbasetemp())
    receipts = Receipts(tmp_path_factory.getbasetemp() / "receipts")
    receipts.write(record, PARAMS, folder)
    restored = receipts.read(PARAMS, folder)
    assert restored == record
    assert hash(restored) == hash(record)  # tuples all the way down, no lists
    assert restored is not None
    assert [type(found.step) for found in restored.issues] == [Step] * len(record.issues)


def test_a_sample_without_a_receipt_has_none(tmp_path: Path) -> None:
    receipts = Receipts(tmp_path / "receipts")
    assert receipts.read(PARAMS, a_folder(tmp_path)) is None
    receipts.forget("amos_0001")


def test_a_receipt_can_be_forgotten(tmp_path: Path) -> None:
    receipts, folder = Receipts(tmp_path / "receipts"), a_folder(tmp_path)
    receipts.write(EMPTY, PARAMS, folder)
    receipts.forget("amos_0001")
    assert receipts.read(PARAMS, folder) is None


def test_a_later_receipt_replaces_the_earlier(tmp_path: Path) -> None:
    receipts, folder = Receipts(tmp_path / "receipts"), a_folder(tmp_path)
    receipts.write(EMPTY, PARAMS, folder)
    later = SampleRecord("amos_0001", None, (), (), 7, ())
    receipts.write(later, PARAMS, folder)
    assert receipts.read(PARAMS, folder) == later
    assert [path.name for path in receipts.folder.iterdir()] == ["amos_0001.json"]


def change_a_voxel(folder: SampleFolder) -> None:
    folder.volume.write_bytes(gzip.compress(b"voxelz", mtime=0))


CHANGES: dict[str, Callable[[SampleFolder], object]] = {
    "a file is gone": lambda folder: folder.volume.unlink(),
    "a voxel is another": change_a_voxel,
    "the info file is another": lambda folder: folder.info.write_text("seq: '0002'\n"),
    "there is one more file": lambda folder: folder.mask.write_bytes(gzip.compress(b"mask")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_receipt_does_not_speak_for_changed_files(
    tmp_path: Path, change: Callable[[SampleFolder], object]
) -> None:
    receipts, folder = Receipts(tmp_path / "receipts"), a_folder(tmp_path)
    receipts.write(EMPTY, PARAMS, folder)
    assert receipts.read(PARAMS, folder) == EMPTY
    change(folder)
    assert receipts.read(PARAMS, folder) is None


OTHER_PARAMS = {
    "label map": Params(LabelMap(((0, "background"), (1, "liver"))), region_volume_thresh=()),
    "kernel": Params(denoise=DenoiseParams((3, 5)), region_volume_thresh=()),
    "threshold": Params(region_volume_thresh=(300.0,)),
}


@pytest.mark.parametrize("params", OTHER_PARAMS.values(), ids=OTHER_PARAMS)
def test_a_receipt_does_not_speak_for_other_parameters(tmp_path: Path, params: Params) -> None:
    receipts, folder = Receipts(tmp_path / "receipts"), a_folder(tmp_path)
    receipts.write(FULL, PARAMS, folder)
    assert receipts.read(PARAMS, folder) == FULL
    assert receipts.read(params, folder) is None


FULL = SampleRecord(
    "amos_0001",
    SampleFiles(
        "amos_0001",
        "0001",
        "train",
        Metadata(),
        "train/x/amos_0001_F",
        (0, 1),
        (0, 1),
        (2, 3, 4),
        (0.8, 0.8, 5.0),
        "RPI",
        "LAS",
        "float32",
        "uint8",
        "[]",
    ),
    ((100.0, SampleRegions("amos_0001", (Region(1, 2, 3, 4, 5, 6.0),))),),
    (),
    3,
    (StepIssue(Step.DENOISE, make_issue("empty_mask", "found", sample="amos_0001")),),
)


def test_a_receipt_cut_anywhere_is_no_receipt(tmp_path: Path) -> None:
    receipts, folder = Receipts(tmp_path / "receipts"), a_folder(tmp_path)
    receipts.write(FULL, PARAMS, folder)
    content = (receipts.folder / "amos_0001.json").read_bytes()
    for n_bytes in range(0, len(content), 3):
        (receipts.folder / "amos_0001.json").write_bytes(content[:n_bytes])
        assert receipts.read(PARAMS, folder) is None


@pytest.mark.parametrize("value", [None, 5, "text", [], {}, [1], [[1, 2]], {"a": 1}, True])
def test_a_receipt_with_another_content_is_none_or_a_record(tmp_path: Path, value: Any) -> None:
    receipts, folder = Receipts(tmp_path / "receipts"), a_folder(tmp_path)
    receipts.write(FULL, PARAMS, folder)
    path = receipts.folder / "amos_0001.json"
    content = json.loads(path.read_text())
    for key in content:
        path.write_text(json.dumps({**content, key: value}))
        found = receipts.read(PARAMS, folder)
        assert found is None or isinstance(found, SampleRecord)
    path.write_text(json.dumps(value))
    assert receipts.read(PARAMS, folder) is None


def test_a_receipt_of_another_format_is_none(tmp_path: Path) -> None:
    receipts, folder = Receipts(tmp_path / "receipts"), a_folder(tmp_path)
    receipts.write(FULL, PARAMS, folder)
    path = receipts.folder / "amos_0001.json"
    content = json.loads(path.read_text())
    for form in (0, 2, "1", None):
        path.write_text(json.dumps({**content, "format": form}))
        assert receipts.read(PARAMS, folder) is None
    del content["format"]
    path.write_text(json.dumps(content))
    assert receipts.read(PARAMS, folder) is None


def test_bytes_that_are_no_text_are_no_receipt(tmp_path: Path) -> None:
    receipts, folder = Receipts(tmp_path / "receipts"), a_folder(tmp_path)
    receipts.write(FULL, PARAMS, folder)
    (receipts.folder / "amos_0001.json").write_bytes(b"\xff\xfe\x00")
    assert receipts.read(PARAMS, folder) is None
