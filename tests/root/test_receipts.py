"""Receipts come back as they were kept, and tell which files are not as they were written."""

from __future__ import annotations

import gzip
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from roots import truncate

from amos_dask.issues import CATALOGUE, make_issue
from amos_dask.records import (
    FileHeader,
    HeaderCheck,
    LabelChange,
    Metadata,
    Region,
    SampleFiles,
    SampleRecord,
    Step,
    StepIssue,
)
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.receipts import EVERY_OUTPUT, Origin, Output, Receipt, Receipts

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
size = st.floats(0, 1e6, allow_nan=False)
small = st.integers(0, 600)
labels = st.lists(st.integers(0, 255), max_size=4).map(tuple)
regions = st.builds(Region, small, small, small, small, st.integers(1, 2**40), size)
by_threshold = st.lists(st.tuples(size, st.lists(regions).map(tuple)), max_size=2).map(tuple)
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
    changes=st.lists(st.builds(LabelChange, small, small, st.integers(1, 2**40)), max_size=3).map(
        tuple
    ),
    issues=st.lists(issues, max_size=3).map(tuple),
)
headers = st.builds(
    HeaderCheck,
    sample_id=st.just("amos_0001"),
    files=st.lists(
        st.builds(
            FileHeader,
            text,
            st.sampled_from(["volume", "mask"]),
            st.none() | st.tuples(small, small, small),
            st.none() | st.tuples(size, size, size | st.just(math.inf)),
            *[st.none() | text] * 4,
            st.none() | size,
        ),
        max_size=2,
    ).map(tuple),
    issues=st.lists(issues.map(lambda found: found.issue), max_size=2).map(tuple),
    version=small,
)
known = st.none() | text
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | size | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)


def by_output(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[Output, Any]]:
    return st.fixed_dictionaries(dict.fromkeys(Output, values))


receipts_of_samples = st.builds(
    Receipt,
    origin=st.builds(Origin, st.lists(text, max_size=10).map(tuple), by_output(known)),
    made_with=by_output(json_values),
    outputs=by_output(st.dictionaries(text, text, max_size=3)),
    record=records,
    headers=st.none() | headers,
    seconds=st.dictionaries(text, size, max_size=3),
)

FOLDER = "AMOS-CT/train/x/amos_0001_F"
FULL = SampleRecord(
    "amos_0001",
    SampleFiles(
        "amos_0001",
        "0001",
        "train",
        Metadata(),
        FOLDER,
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
    ((100.0, (Region(1, 2, 3, 4, 5, 6.0),)),),
    (),
    (LabelChange(1, 0, 2), LabelChange(1, 6, 1)),
    (StepIssue(Step.DENOISE, make_issue("empty_mask", "found", sample="amos_0001")),),
)
NO_FILES: dict[Output, dict[str, str]] = {output: {} for output in Output}


def a_receipt(
    record: SampleRecord = FULL, outputs: dict[Output, dict[str, str]] = NO_FILES
) -> Receipt:
    """Return a receipt of amos_0001."""
    origin = Origin(("train", "ct", "x"), {Output.VOLUME: "12-ab", Output.MASKS: None})
    made_with = {Output.VOLUME: [1, 1], Output.MASKS: [[1], 2.5]}
    headers = HeaderCheck("amos_0001", (FileHeader("a", "volume", (2, 3, 4)),), (), 1)
    return Receipt(origin, made_with, outputs, record, headers, {"volume": 0.25})


@pytest.fixture
def receipts(tmp_path: Path) -> Receipts:
    return Receipts(Layout(tmp_path))


def path_of(receipts: Receipts) -> Path:
    return receipts.layout.receipts / "amos_0001.json"


# ---------------------------------------------------------------- kept and had back


@quick
@given(receipt=receipts_of_samples)
def test_a_receipt_comes_back_equal(
    tmp_path_factory: pytest.TempPathFactory, receipt: Receipt
) -> None:
    receipts = Receipts(Layout(tmp_path_factory.getbasetemp()))
    receipts.write(receipt)
    restored = receipts.read("amos_0001")
    assert restored == receipt
    assert restored is not None
    assert hash(restored.record) == hash(receipt.record)  # tuples all the way down, no lists
    assert {type(change) for change in restored.record.changes} <= {LabelChange}
    assert restored.record.n_changed == receipt.record.n_changed
    assert [type(i.step) for i in restored.record.issues] == [Step] * len(receipt.record.issues)
    assert {type(key) for key in (*restored.outputs, *restored.made_with)} == {Output}


def test_the_digest_is_of_what_the_tables_get(receipts: Receipts) -> None:
    receipt = a_receipt()
    receipts.write(receipt)
    restored = receipts.read("amos_0001")
    assert restored is not None
    assert restored.digest == receipt.digest == replace(receipt, seconds={"volume": 3.0}).digest
    assert receipt.digest != a_receipt(replace(FULL, changes=())).digest


def test_a_voxel_size_that_is_no_number_is_kept(receipts: Receipts) -> None:
    header = FileHeader("a", "volume", (2, 3, 4), (math.nan, 1.0, -math.inf))
    receipts.write(replace(a_receipt(), headers=HeaderCheck("amos_0001", (header,), (), 1)))
    restored = receipts.read("amos_0001")
    assert restored is not None
    assert repr(restored.headers) == repr(HeaderCheck("amos_0001", (header,), (), 1))


def test_headers_are_added_to_a_receipt(receipts: Receipts) -> None:
    headers = HeaderCheck("amos_0001", (FileHeader("b", "mask"),), (), 1)
    receipts.keep_headers(headers)
    assert receipts.read("amos_0001") is None  # headers alone are no finished sample
    receipt = replace(a_receipt(), headers=None)
    receipts.write(receipt)
    receipts.keep_headers(headers)
    assert receipts.read("amos_0001") == replace(receipt, headers=headers)


def test_a_sample_without_a_receipt_has_none(receipts: Receipts) -> None:
    assert receipts.read("amos_0001") is None
    receipts.forget("amos_0001")


def test_a_receipt_can_be_forgotten(receipts: Receipts) -> None:
    receipts.write(a_receipt())
    receipts.forget("amos_0001")
    assert receipts.read("amos_0001") is None


def test_a_later_receipt_replaces_the_earlier(receipts: Receipts) -> None:
    receipts.write(a_receipt())
    later = a_receipt(replace(FULL, changes=(LabelChange(1, 0, 3),)))
    receipts.write(later)
    assert receipts.read("amos_0001") == later
    assert [path.name for path in receipts.layout.receipts.iterdir()] == ["amos_0001.json"]


# ---------------------------------------------------------------- files as they are


def a_folder(layout: Layout) -> SampleFolder:
    """Return a sample folder with info, volume, mask and a binary mask."""
    folder = SampleFolder(layout.grouped / FOLDER, "0001", "amos")
    folder.path.mkdir(parents=True)
    folder.volume.write_bytes(gzip.compress(b"voxels", mtime=0))
    folder.info.write_text("seq: '0001'\n")
    for path in (folder.mask, folder.binary_mask("mask_01_spleen")):
        path.write_bytes(gzip.compress(b"labels", mtime=0))
    return folder


@pytest.fixture
def folder(receipts: Receipts) -> SampleFolder:
    return a_folder(receipts.layout)


@pytest.fixture
def of_files(receipts: Receipts, folder: SampleFolder) -> Receipt:
    """Return a receipt that speaks for the files in the folder and for restore data."""
    layout = receipts.layout
    restore = layout.restore / "amos_0001-00.npz"
    restore.parent.mkdir(parents=True)
    restore.write_bytes(b"restore")
    masks = (folder.mask, *folder.binary_masks(), restore)
    volume = receipts.identities(folder.info, folder.volume)
    return a_receipt(FULL, {Output.VOLUME: volume, Output.MASKS: receipts.identities(*masks)})


def test_identities_are_of_all_files_by_path_below_the_root(of_files: Receipt) -> None:
    assert [list(of_files.outputs[output]) for output in Output] == [
        [f"grouped/{FOLDER}/amos_0001_{name}" for name in ("info.yaml", "volume.nii.gz")],
        [
            f"grouped/{FOLDER}/amos_0001_mask.nii.gz",
            f"grouped/{FOLDER}/amos_0001_mask_01_spleen.nii.gz",
            ".amos-dask/restore/amos_0001-00.npz",
        ],
    ]


def test_files_as_they_were_are_not_altered(receipts: Receipts, of_files: Receipt) -> None:
    assert receipts.find_altered(of_files) == frozenset()


def other_voxels(folder: SampleFolder) -> None:
    folder.volume.write_bytes(gzip.compress(b"voxelz", mtime=0))


CHANGES: dict[str, tuple[Output, Callable[[SampleFolder], object]]] = {
    "no volume": (Output.VOLUME, lambda folder: folder.volume.unlink()),
    "other voxels": (Output.VOLUME, other_voxels),
    "a volume cut short": (Output.VOLUME, lambda folder: truncate(folder.volume)),
    "no info": (Output.VOLUME, lambda folder: folder.info.unlink()),
    "another info": (Output.VOLUME, lambda folder: folder.info.write_text("seq: '0002'\n")),
    "no mask": (Output.MASKS, lambda folder: folder.mask.unlink()),
    "an empty mask": (Output.MASKS, lambda folder: folder.mask.write_bytes(b"")),
    "no binary mask": (Output.MASKS, lambda folder: folder.binary_mask("mask_01_spleen").unlink()),
    "a folder instead": (Output.MASKS, lambda folder: put_a_folder(folder.mask)),
}


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", CHANGES)
def test_the_output_of_an_altered_file_is_found(
    receipts: Receipts, folder: SampleFolder, of_files: Receipt, change: str
) -> None:
    output, make = CHANGES[change]
    make(folder)
    assert receipts.find_altered(of_files) == {output}


@pytest.mark.parametrize("make", [Path.unlink, lambda path: path.write_bytes(b"restor3")])
def test_restore_data_belongs_to_the_masks(
    receipts: Receipts, of_files: Receipt, make: Callable[[Path], object]
) -> None:
    make(receipts.layout.restore / "amos_0001-00.npz")
    assert receipts.find_altered(of_files) == {Output.MASKS}


def test_a_folder_that_is_gone_alters_everything(
    receipts: Receipts, folder: SampleFolder, of_files: Receipt
) -> None:
    shutil.rmtree(folder.path)
    assert receipts.find_altered(of_files) == EVERY_OUTPUT


def test_files_that_are_not_the_samples_do_not_matter(
    receipts: Receipts, folder: SampleFolder, of_files: Receipt
) -> None:
    (folder.path / "notes.txt").write_text("mine")
    assert receipts.find_altered(of_files) == frozenset()


# ---------------------------------------------------------------- receipts that are none


def test_a_receipt_cut_anywhere_is_no_receipt(receipts: Receipts) -> None:
    receipts.write(a_receipt())
    content = path_of(receipts).read_bytes()
    for n_bytes in range(0, len(content), 3):
        path_of(receipts).write_bytes(content[:n_bytes])
        assert receipts.read("amos_0001") is None


@pytest.mark.parametrize("value", [None, 5, "text", [], {}, [1], [[1, 2]], {"a": 1}, True])
def test_a_receipt_with_another_content_is_none_or_a_receipt(
    receipts: Receipts, value: Any
) -> None:
    receipts.write(a_receipt())
    content = json.loads(path_of(receipts).read_text())
    others = [{**content, key: value} for key in content]
    others += [
        {**content, field: {**content[field], key: value}}
        for field in ("origin", "made_with", "outputs", "record", "headers", "seconds")
        for key in content[field]
    ]
    for other in others:
        path_of(receipts).write_text(json.dumps(other))
        found = receipts.read("amos_0001")
        assert found is None or isinstance(found, Receipt)
    path_of(receipts).write_text(json.dumps(value))
    assert receipts.read("amos_0001") is None


@pytest.mark.parametrize("key", ["format", "origin", "made_with", "outputs", "record"])
def test_a_receipt_that_lacks_something_is_none(receipts: Receipts, key: str) -> None:
    receipts.write(a_receipt())
    content = json.loads(path_of(receipts).read_text())
    path_of(receipts).write_text(json.dumps({k: v for k, v in content.items() if k != key}))
    assert receipts.read("amos_0001") is None


@pytest.mark.parametrize("key", ["made_with", "outputs"])
def test_a_receipt_that_knows_nothing_of_an_output_is_none(receipts: Receipts, key: str) -> None:
    receipts.write(a_receipt())
    content = json.loads(path_of(receipts).read_text())
    path_of(receipts).write_text(json.dumps({**content, key: {"volume": {}}}))
    assert receipts.read("amos_0001") is None


def test_a_receipt_of_another_format_is_none(receipts: Receipts) -> None:
    receipts.write(a_receipt())
    content = json.loads(path_of(receipts).read_text())
    for form in (0, content["format"] - 1, content["format"] + 1, "1", None):
        path_of(receipts).write_text(json.dumps({**content, "format": form}))
        assert receipts.read("amos_0001") is None


def test_bytes_that_are_no_text_are_no_receipt(receipts: Receipts) -> None:
    receipts.write(a_receipt())
    path_of(receipts).write_bytes(b"\xff\xfe\x00")
    assert receipts.read("amos_0001") is None
