"""The columns of every manifest, in the tutorial's order, and what their cells say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from roots import write_workbook
from samples import amos_sample

from amos_dask.datasets import AMOS22
from amos_dask.file_refs import FileRef
from amos_dask.issues import CATALOGUE, make_issue
from amos_dask.labels import LabelMap
from amos_dask.records import (
    FileHeader,
    HeaderCheck,
    LabelChange,
    Metadata,
    Overlap,
    Region,
    Sample,
    SampleFiles,
)
from amos_dask.tables.manifests import (
    CHANGE_COLUMNS,
    OVERLAP_COLUMNS,
    archive_frame,
    changes_frame,
    dataset_frame,
    issues_frame,
    overlaps_frame,
    region_cell,
    region_frames,
    rows_below,
)

ARCHIVE_COLUMNS = [
    "file_path", "subset", "seq", "type", "szx", "szy", "szz", "spx", "spy", "spz",
    "orientation_from", "orientation_to", "dtype", "transform", "diff_trans_f_norm", "birth_date",
    "sex", "age", "manufacturer_model_name", "manufacturer", "acquisition_date", "site",
]  # fmt: skip
MASK_COLUMNS = [
    "mask_00_background", "mask_01_spleen", "mask_02_right_kidney", "mask_03_left_kidney",
    "mask_04_gall_bladder", "mask_05_esophagus", "mask_06_liver", "mask_07_stomach",
    "mask_08_aorta", "mask_09_postcava", "mask_10_pancreas", "mask_11_right_adrenal_gland",
    "mask_12_left_adrenal_gland", "mask_13_duodenum", "mask_14_bladder", "mask_15_prostate",
    "mask_16_uterus",
]  # fmt: skip
DATASET_COLUMNS = [
    "ID", "seq", "sex", "subset", "manufacturer_model_name", "manufacturer", "birth_date", "age",
    "acquisition_date", "site", "valid_labels", "info", "volume", "mask",
    *MASK_COLUMNS,
    "mask_00_background_existence", "mask_01_spleen_existence", "mask_02_right_kidney_existence",
    "mask_03_left_kidney_existence", "mask_04_gall_bladder_existence",
    "mask_05_esophagus_existence", "mask_06_liver_existence", "mask_07_stomach_existence",
    "mask_08_aorta_existence", "mask_09_postcava_existence", "mask_10_pancreas_existence",
    "mask_11_right_adrenal_gland_existence", "mask_12_left_adrenal_gland_existence",
    "mask_13_duodenum_existence", "mask_14_bladder_existence", "mask_15_prostate_existence",
    "mask_16_uterus_existence",
    "szx", "szy", "szz", "spx", "spy", "spz", "orientation_from", "orientation_to", "vol_dtype",
    "mask_dtype", "transform",
]  # fmt: skip
AFFINE = "[[-0.7, 0.0, 0.0, 1.0], [0.0, 0.7, 0.0, 2.0], [0.0, 0.0, 5.0, 3.0], [0, 0, 0, 1.0]]"
METADATA = Metadata(
    "19600131", "F", "062Y", "Aquilion ONE", "TOSHIBA", "20200229", "Longgang Central Hospital"
)
SMALL_MAP = LabelMap(((0, "background"), (2, "right kidney"), (16, "uterus")))


def sample(seq: str, metadata: Metadata = METADATA) -> Sample:
    ref = FileRef(f"imagesTr/amos_{seq}.nii.gz", "/a", 1)
    return amos_sample(seq, "train", "ct", "Aquilion ONE", metadata, ref, None)


def files(
    labels: tuple[int, ...] | None = (0, 2), binary: tuple[int, ...] = (0, 2, 16)
) -> SampleFiles:
    return SampleFiles(
        sample_id="amos_0004",
        seq="0004",
        subset="train",
        metadata=METADATA,
        folder="AMOS-CT/train/Aquilion ONE/amos_0004_F",
        labels_present=labels,
        binary_labels=binary,
        shape=(512, 511, 90),
        spacing_mm=(float(np.float32(0.7)), float(np.float32(0.7)), 5.0),
        orientation_from="RPI",
        orientation_to="LAS",
        vol_dtype="float32",
        mask_dtype=None if labels is None else "uint8",
        affine_json=AFFINE,
    )


# ---------------------------------------------------------------- archive manifest


def headers(seq: str = "0004") -> HeaderCheck:
    volume = FileHeader(
        f"imagesTr/amos_{seq}.nii.gz", "volume", (512, 511, 90),
        (float(np.float32(0.7)), float(np.float32(0.7)), 5.0), "RPI", "LAS", "int16", AFFINE, None,
    )  # fmt: skip
    mask = FileHeader(
        f"labelsTr/amos_{seq}.nii.gz", "mask", (512, 511, 90), (0.5, 0.5, 5.0), "RPI", "LAS",
        "uint8", AFFINE, 0.0,
    )  # fmt: skip
    return HeaderCheck(f"amos_{seq}", (volume, mask), ())


def test_archive_manifest_has_the_tutorials_columns_in_order() -> None:
    assert list(archive_frame([], []).columns) == ARCHIVE_COLUMNS
    assert list(archive_frame([sample("0004")], [headers()]).columns) == ARCHIVE_COLUMNS


def test_archive_manifest_has_the_volume_before_the_mask_of_each_sample() -> None:
    samples = [sample("0004"), sample("0011")]
    frame = archive_frame(samples, [headers(s.seq) for s in samples])
    rows = list(zip(frame["seq"], frame["type"], strict=True))
    assert rows == [("0004", "v3d"), ("0004", "m3d"), ("0011", "v3d"), ("0011", "m3d")]


def test_archive_manifest_shows_what_header_and_csv_say() -> None:
    volume, mask = archive_frame([sample("0004")], [headers()]).to_dict("records")
    assert volume["file_path"] == "imagesTr/amos_0004.nii.gz"
    assert [volume[name] for name in ("szx", "szy", "szz")] == [512, 511, 90]
    assert [volume[name] for name in ("spx", "spy", "spz")] == [0.7, 0.7, 5.0]
    assert volume["transform"] == AFFINE
    assert volume["diff_trans_f_norm"] is None
    assert mask["diff_trans_f_norm"] == 0.0
    assert mask["manufacturer_model_name"] == "Aquilion ONE"
    assert (mask["birth_date"], mask["age"], mask["sex"]) == ("19600131", "062Y", "F")


def test_unreadable_geometry_is_blank_but_the_row_stays() -> None:
    broken = HeaderCheck("amos_0004", (FileHeader("imagesTr/amos_0004.nii.gz", "volume"),), ())
    (row,) = archive_frame([sample("0004")], [broken]).to_dict("records")
    blank = ARCHIVE_COLUMNS[4:15]
    assert [row[name] for name in blank] == [None] * len(blank)
    assert (row["seq"], row["type"], row["site"]) == ("0004", "v3d", METADATA.site)


def test_seq_dates_and_age_are_text_cells(tmp_path: Path) -> None:
    path = tmp_path / "archive_manifest.xlsx"
    odd = Metadata("19600131", "F", "062", "16", "7", "20200229", "1")
    write_workbook(path, {"Manifest": archive_frame([sample("0004", odd)], [headers()])})
    sheet = openpyxl.load_workbook(path)["Manifest"]
    names = ("seq", "birth_date", "age", "acquisition_date", "manufacturer_model_name", "site")
    for name in names:
        cell = sheet.cell(2, ARCHIVE_COLUMNS.index(name) + 1)
        assert isinstance(cell.value, str), name
        assert cell.number_format == "@", name


# ---------------------------------------------------------------- dataset manifest


def test_dataset_manifest_has_the_tutorials_columns_in_order() -> None:
    assert list(dataset_frame([], AMOS22.label_map).columns) == DATASET_COLUMNS
    assert list(dataset_frame([files()], AMOS22.label_map).columns) == DATASET_COLUMNS


def test_dataset_manifest_columns_follow_the_label_map() -> None:
    columns = list(dataset_frame([], SMALL_MAP).columns)
    assert columns[14:20] == [
        "mask_00_background", "mask_02_right_kidney", "mask_16_uterus",
        "mask_00_background_existence", "mask_02_right_kidney_existence",
        "mask_16_uterus_existence",
    ]  # fmt: skip


def test_dataset_manifest_row_of_a_labelled_sample() -> None:
    (row,) = dataset_frame([files()], SMALL_MAP).to_dict("records")
    stem = "AMOS-CT/train/Aquilion ONE/amos_0004_F/amos_0004"
    assert (row["ID"], row["seq"], row["sex"], row["subset"]) == ("amos_0004", "0004", "F", "train")
    assert row["valid_labels"] == "0,2"
    assert row["info"] == f"{stem}_info.yaml"
    assert row["volume"] == f"{stem}_volume.nii.gz"
    assert row["mask"] == f"{stem}_mask.nii.gz"
    assert row["mask_02_right_kidney"] == f"{stem}_mask_02_right_kidney.nii.gz"
    assert row["mask_02_right_kidney_existence"] == 1
    assert row["mask_16_uterus"] == f"{stem}_mask_16_uterus.nii.gz"
    assert row["mask_16_uterus_existence"] == 0
    assert [row[name] for name in ("szx", "szy", "szz")] == [512, 511, 90]
    assert [row[name] for name in ("spx", "spy", "spz")] == [0.7, 0.7, 5.0]
    assert (row["vol_dtype"], row["mask_dtype"]) == ("float32", "uint8")
    assert (row["orientation_from"], row["orientation_to"]) == ("RPI", "LAS")
    assert row["transform"] == AFFINE


def test_dataset_manifest_row_without_mask_is_blank_there() -> None:
    (row,) = dataset_frame([files(None, ())], SMALL_MAP).to_dict("records")
    blank = [name for name in row if name.startswith(("mask", "valid"))]
    assert len(blank) == 9
    assert {row[name] for name in blank} == {None}
    assert row["volume"].endswith("amos_0004_volume.nii.gz")


def test_a_binary_mask_that_is_not_there_is_not_indexed() -> None:
    (row,) = dataset_frame([files((0, 2), (0,))], SMALL_MAP).to_dict("records")
    assert row["mask_02_right_kidney"] is None
    assert row["mask_02_right_kidney_existence"] == 1


def test_paths_can_be_relative_to_a_modalitys_folder() -> None:
    whole = dataset_frame([files()], SMALL_MAP)
    assert rows_below(whole, "AMOS-MRI/").empty
    (row,) = rows_below(whole, "AMOS-CT/").to_dict("records")
    assert row["volume"] == "train/Aquilion ONE/amos_0004_F/amos_0004_volume.nii.gz"


# ---------------------------------------------------------------- small regions


def region(label: int = 2, volume_mm3: float = 4.0, x: int = 1) -> Region:
    return Region(label, x, 22, 3, 7, volume_mm3)


@pytest.mark.parametrize(
    ("volume_mm3", "shown"),
    [(4.0, "4.00"), (99.999, "100.00"), (0.125, "0.12"), (0.375, "0.38"), (1.005, "1.00"),
     (0.004, "0.00"), (12345.678, "12345.68")],
)  # fmt: skip
def test_mm3_is_pythons_two_decimals(volume_mm3: float, shown: str) -> None:
    assert region_cell([region(volume_mm3=volume_mm3)]) == f"(1,22,3,{shown})"


def test_entries_are_joined_by_semicolon_and_space_only() -> None:
    assert region_cell([region(), region(x=10)]) == "(1,22,3,4.00); (10,22,3,4.00)"


def test_no_regions_is_a_blank_cell() -> None:
    assert region_cell([]) is None


# The entry (1,22,3,4.00) takes 13 characters and a separator 2: 15 n - 2 in all.
LARGEST_COMPLETE = (32_767 + 2) // 15


def test_a_cell_that_just_fits_is_complete() -> None:
    cell = region_cell([region()] * LARGEST_COMPLETE)
    assert cell is not None
    assert len(cell) == 15 * LARGEST_COMPLETE - 2
    assert cell.count("(") == LARGEST_COMPLETE
    assert cell.endswith("(1,22,3,4.00)")


@pytest.mark.parametrize("extra", [1, 2, 500, 20_000])
def test_a_cell_that_would_pass_excels_limit_keeps_whole_entries_and_says_so(extra: int) -> None:
    total = LARGEST_COMPLETE + extra
    cell = region_cell([region()] * total)
    assert cell is not None
    assert len(cell) <= 32_767
    match = re.fullmatch(r"(.*) … \((\d+) more; see Regions\)", cell)
    assert match is not None
    entries = match[1].split("; ")
    assert set(entries) == {"(1,22,3,4.00)"}
    assert len(entries) + int(match[2]) == total


@pytest.mark.parametrize("width", range(1, 18))
def test_the_limit_holds_wherever_the_last_entry_ends(width: int) -> None:
    regions = [region(x=10**width)] + [region(x=i) for i in range(4000)]
    cell = region_cell(regions)
    assert cell is not None
    kept = cell.split(" … ")[0].split("; ")
    assert kept == [f"({r.x},22,3,4.00)" for r in regions[: len(kept)]]
    tail = f" … ({len(regions) - len(kept)} more; see Regions)"
    assert cell.endswith(tail)
    assert len(cell) <= 32_767
    assert len(cell) > 31_000  # and not much is dropped that would have fitted


def test_region_manifest_has_a_row_a_sample_and_regions_a_row_a_region() -> None:
    found = [
        ("amos_0001", ()),
        ("amos_0004", (region(0), region(16, 0.125), region(16, 9.0, x=5))),
    ]
    manifest, regions = region_frames(found, SMALL_MAP)
    assert list(manifest.columns) == [
        "ID", "mask_00_background", "mask_02_right_kidney", "mask_16_uterus",
    ]  # fmt: skip
    assert manifest.to_numpy().tolist() == [
        ["amos_0001", None, None, None],
        ["amos_0004", "(1,22,3,4.00)", None, "(1,22,3,0.12); (5,22,3,9.00)"],
    ]
    assert list(regions.columns) == [
        "ID", "label_index", "label_name", "x", "y", "z", "n_voxels", "volume_mm3",
    ]  # fmt: skip
    assert regions.to_numpy().tolist() == [
        ["amos_0004", 0, "background", 1, 22, 3, 7, 4.0],
        ["amos_0004", 16, "uterus", 1, 22, 3, 7, 0.125],
        ["amos_0004", 16, "uterus", 5, 22, 3, 7, 9.0],
    ]


def test_region_manifest_of_the_default_map_names_all_labels() -> None:
    manifest, _ = region_frames([], AMOS22.label_map)
    assert list(manifest.columns) == ["ID", *MASK_COLUMNS]


def test_the_longest_region_cell_survives_the_workbook(tmp_path: Path) -> None:
    found = [("amos_0004", (region(),) * 30_000)]
    manifest, regions = region_frames(found, SMALL_MAP)
    path = tmp_path / "regions.xlsx"
    write_workbook(path, {"Manifest": manifest})
    cell = openpyxl.load_workbook(path)["Manifest"]["C2"].value
    assert cell == manifest["mask_02_right_kidney"][0]
    assert cell.endswith("more; see Regions)")
    assert len(regions) == 30_000


# ---------------------------------------------------------------- issues


def test_issue_worksheet_has_the_columns_of_the_json_lines() -> None:
    issue = make_issue("affine_repaired", "norm 0.5", sample="amos_0001", severity="warning")
    frame = issues_frame([issue])
    assert list(frame.columns) == ["code", "severity", "sample", "file", "message", "action"]
    assert frame.to_numpy().tolist() == [
        ["affine_repaired", "warning", "amos_0001", "", "norm 0.5", ""]
    ]


def test_issue_worksheet_without_issues_keeps_its_header() -> None:
    assert list(issues_frame([]).columns)[:3] == ["code", "severity", "sample"]


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_an_issue_takes_the_catalogues_severity(code: str) -> None:
    assert make_issue(code, "").severity == CATALOGUE[code]


# ---------------------------------------------------------------- what denoising changed


def test_changes_have_names_and_volumes() -> None:
    spacing = (0.5, 0.25, 5.0)
    found = [
        ("amos_0001", spacing, ()),
        ("amos_0002", spacing, (LabelChange(0, 6, 3), LabelChange(6, 99, 1))),
    ]
    frame = changes_frame(found, AMOS22.label_map)
    assert tuple(frame.columns) == CHANGE_COLUMNS
    assert [tuple(row) for row in frame.to_numpy(object)] == [
        ("amos_0002", 0, "background", 6, "liver", 3, 1.875),
        ("amos_0002", 6, "liver", 99, None, 1, 0.625),
    ]
    assert list(changes_frame([], AMOS22.label_map).columns) == list(CHANGE_COLUMNS)


def test_overlaps_have_names_and_volumes() -> None:
    found = [("amos_0002", (0.5, 0.25, 5.0), (Overlap(3, 6, 3), Overlap(6, 99, 1)))]
    frame = overlaps_frame(found, AMOS22.label_map)
    assert tuple(frame.columns) == OVERLAP_COLUMNS
    assert [tuple(row) for row in frame.to_numpy(object)] == [
        ("amos_0002", 3, "left kidney", 6, "liver", 3, 1.875),
        ("amos_0002", 6, "liver", 99, None, 1, 0.625),
    ]
    assert list(overlaps_frame([], AMOS22.label_map).columns) == list(OVERLAP_COLUMNS)
