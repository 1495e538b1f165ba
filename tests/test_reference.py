"""The reference of the pipeline, held to facts computed by hand.

The archives are made here, a few voxels each; `write_root` writes a ROOT_DIR straight from an
expectation, so that the comparisons can be seen to accept it and to notice every change.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import openpyxl
import pytest
import reference as ref
import yaml
from numpy.typing import NDArray

TITLES = ["amos_id", *ref.METADATA_COLUMNS.values()]
SHAPE = (12, 10, 4)


def affine_of(*diagonal: float) -> NDArray[np.float64]:
    affine = np.diag([*diagonal, 1.0])
    affine[:3, 3] = (-20.0, 10.5, 3.25)
    return affine


def save(
    path: Path,
    voxels: NDArray[Any],
    affine: NDArray[np.float64] | None = None,
    scaling: tuple[float, float] = (1.0, 0.0),
    only_qform: bool = False,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, affine_of(0.7, 0.8, 5.0) if affine is None else affine)
    image.set_qform(image.affine, 1)
    if only_qform:
        image.set_sform(None, 0)
    else:
        image.set_sform(image.affine, 2)
    nib.save(image, path)
    if scaling != (1.0, 0.0):
        patch(path, 112, struct.pack("<ff", *scaling))


def patch(path: Path, offset: int, data: bytes) -> None:
    """Change bytes of a header."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[offset : offset + len(data)] = data
    path.write_bytes(gzip.compress(bytes(raw)))


def write_csv(path: Path, rows: Sequence[tuple[str, str, str]]) -> Path:
    """Write rows of amos_id, sex and scanner."""
    lines = [",".join(TITLES)]
    for amos_id, sex, scanner in rows:
        lines.append(f"{amos_id},19500101,{sex},069Y,{scanner},maker,20190115,center")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def labels_with(*values: int) -> NDArray[np.uint8]:
    """Make a mask with a block of 3x3x2 for each value, along x."""
    mask = np.zeros(SHAPE, np.uint8)
    for number, value in enumerate(values):
        mask[4 * number : 4 * number + 3, 2:5, 1:3] = value
    return mask


def row_of(expected: ref.Expected, file_path: str) -> ref.Row:
    (row,) = (row for row in expected.archive_manifest if row["file_path"] == file_path)
    return row


@pytest.fixture(scope="module")
def image() -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, image: NDArray[np.int16]) -> Path:
    """An archive nested twice with an oddity in nearly every scan; returns the folder to give."""
    top = tmp_path_factory.mktemp("archive")
    root = top / "amos22" / "amos22"
    save(root / "imagesTr/amos_0001.nii.gz", image)
    save(root / "labelsTr/amos_0001.nii.gz", labels_with(6, 15))
    save(root / "imagesTr/amos_0004_0000.nii.gz", image, scaling=(0.5, 3.0))
    save(root / "labelsTr/amos_0004.nii.gz", labels_with(6, 15).astype(np.int16))
    flipped = affine_of(-0.7, 0.8, 5.0)
    save(root / "imagesTr/amos_0508.nii.gz", image.astype(np.int32) * 180, only_qform=True)
    save(root / "labelsTr/amos_0508.nii.gz", labels_with(1).astype(np.float64), flipped)
    save(root / "imagesVa/amos_0008.nii.gz", image[..., np.newaxis])
    save(root / "labelsVa/amos_0008.nii.gz", labels_with(99))
    save(root / "imagesVa/amos_0009.nii.gz", image)
    save(root / "labelsVa/amos_0009.nii.gz", labels_with(1)[:, :, :3])
    save(root / "imagesTs/amos_0002.nii.gz", image)
    save(root / "imagesTs/amos_0700.nii.gz", image)
    damaged = root / "imagesTs/amos_0601.nii.gz"
    save(damaged, image)
    damaged.write_bytes(damaged.read_bytes()[:-300])
    (root / "imagesTr/._amos_0001.nii.gz").write_bytes(b"junk")
    (root / "imagesTr/amos_0011.nii.gz.part").write_bytes(b"part")
    (top / "__MACOSX/imagesTr").mkdir(parents=True)
    (top / "__MACOSX/imagesTr/amos_0012.nii.gz").write_bytes(b"junk")
    entries = {
        "training": [
            {"image": f"./imagesTr/amos_{seq}.nii.gz", "label": f"./labelsTr/amos_{seq}.nii.gz"}
            for seq in ("0001", "0004", "0508")
        ],
        "validation": [{"image": "./imagesVa/amos_0008.nii.gz"}],
        "test": ["./imagesTs/amos_0002.nii.gz", {"image": "./imagesTs/amos_0009.nii.gz"}],
    }
    (root / "dataset.json").write_text(json.dumps(entries), encoding="utf-8")
    write_csv(
        root / "labeled_data_meta_0000_0599.csv",
        [
            ("1", "M", "Brilliance16"),
            ("2", "F", "Prisma"),
            ("4", "F", "Aquilion ONE"),
            ("8", "", "Some/Scanner"),
            ("500", "M", "Optima CT660"),
            ("500", "F", "Achieva"),
            ("507", "F", "Prisma"),
            ("508", "M", "Ingenia"),
        ],
    )
    return top


@pytest.fixture(scope="module")
def expected(archive: Path) -> ref.Expected:
    return ref.expected(archive, ref.find_metadata_csv(archive))


def test_samples_and_folders(expected: ref.Expected) -> None:
    folders = {seq: sample.folder for seq, sample in expected.samples.items()}
    assert folders == {
        "0001": "grouped/AMOS-CT/train/Brilliance16/amos_0001_M",
        "0002": "grouped/AMOS-CT/test/Prisma/amos_0002_F",
        "0004": "grouped/AMOS-CT/train/Aquilion ONE/amos_0004_F",
        "0008": "grouped/AMOS-CT/val/UND/amos_0008_UND",
        # dataset.json wins over the folder imagesVa.
        "0009": "grouped/AMOS-CT/test/UND/amos_0009_UND",
        "0508": "grouped/AMOS-MRI/train/Prisma/amos_0508_F",
        "0601": "grouped/AMOS-UND/test/UND/amos_0601_UND",
        "0700": "grouped/AMOS-UND/test/UND/amos_0700_UND",
    }
    assert expected.samples["0008"].metadata["manufacturer_model_name"] == "Some/Scanner"


def test_mr_scan_508_of_a_shifted_csv_takes_row_507(expected: ref.Expected) -> None:
    assert expected.mr_metadata_offset == -1
    assert expected.samples["0508"].metadata["manufacturer_model_name"] == "Prisma"


def test_tree(expected: ref.Expected) -> None:
    volume_only = "grouped/AMOS-CT/test/Prisma/amos_0002_F"
    assert {path for path in expected.tree if path.startswith(volume_only)} == {
        f"{volume_only}/amos_0002_info.yaml",
        f"{volume_only}/amos_0002_volume.nii.gz",
    }
    assert len([path for path in expected.tree if "amos_0001_M" in path]) == 3 + 17
    unknown_label = [path.split("/")[-1] for path in expected.tree if "amos_0008_UND" in path]
    assert sorted(unknown_label) == [
        "amos_0008_info.yaml",
        "amos_0008_mask.nii.gz",
        "amos_0008_volume.nii.gz",
    ]
    assert not [path for path in expected.tree if "amos_0601" in path]
    assert "grouped/splits/split01_standard/split01_standard_train_val.xlsx" in expected.tree
    assert "grouped/AMOS-MRI/splits/split01_standard/split01_standard_train.xlsx" in expected.tree
    assert "grouped/AMOS-MRI/splits/split01_standard/split01_standard_val.xlsx" not in expected.tree
    assert not expected.optional & expected.tree
    assert {path for path in expected.optional if "AMOS-UND" not in path} == {
        "grouped/AMOS-MRI/splits/split01_standard/split01_standard_train_val.xlsx"
    }


def test_archive_manifest(expected: ref.Expected) -> None:
    names = [row["file_path"].removeprefix("amos22/amos22/") for row in expected.archive_manifest]
    assert names == [
        "imagesTr/amos_0001.nii.gz",
        "labelsTr/amos_0001.nii.gz",
        "imagesTs/amos_0002.nii.gz",
        "imagesTr/amos_0004_0000.nii.gz",
        "labelsTr/amos_0004.nii.gz",
        "imagesVa/amos_0008.nii.gz",
        "labelsVa/amos_0008.nii.gz",
        "imagesVa/amos_0009.nii.gz",
        "labelsVa/amos_0009.nii.gz",
        "imagesTr/amos_0508.nii.gz",
        "labelsTr/amos_0508.nii.gz",
        "imagesTs/amos_0601.nii.gz",
        "imagesTs/amos_0700.nii.gz",
    ]
    first = row_of(expected, "amos22/amos22/imagesTr/amos_0001.nii.gz")
    assert list(first) == list(ref.ARCHIVE_COLUMNS)
    assert (first["seq"], first["type"], first["dtype"]) == ("0001", "v3d", "int16")
    assert [first[column] for column in ("szx", "szy", "szz")] == [12, 10, 4]
    assert [first[column] for column in ("spx", "spy", "spz")] == [0.7, 0.8, 5.0]
    assert (first["orientation_from"], first["orientation_to"]) == ("LPI", "RAS")
    assert json.loads(first["transform"])[0] == [float(np.float32(0.7)), 0.0, 0.0, -20.0]
    assert first["diff_trans_f_norm"] is None
    assert row_of(expected, "amos22/amos22/imagesTr/amos_0004_0000.nii.gz")["dtype"] == "float64"
    flipped = row_of(expected, "amos22/amos22/labelsTr/amos_0508.nii.gz")
    assert flipped["orientation_to"] == "LAS"
    assert flipped["diff_trans_f_norm"] == pytest.approx(1.4, abs=1e-6)
    assert row_of(expected, "amos22/amos22/imagesTs/amos_0601.nii.gz")["szx"] == 12
    assert row_of(expected, "amos22/amos22/imagesVa/amos_0008.nii.gz")["szz"] == 4


def test_volumes(expected: ref.Expected, image: NDArray[np.int16]) -> None:
    for sample in expected.samples.values():
        assert sample.volume is None or sample.volume.dtype == np.float32
        assert sample.volume is None or sample.volume.shape == SHAPE
    scaled = expected.samples["0004"].volume
    assert np.array_equal(scaled, image.astype(np.float32) / 2 + 3)
    assert np.array_equal(expected.samples["0508"].volume, image.astype(np.float32) * 180)
    assert expected.samples["0001"].spacing_mm == (
        float(np.float32(0.7)),
        float(np.float32(0.8)),
        5.0,
    )


def test_masks(expected: ref.Expected) -> None:
    male, female = expected.samples["0001"], expected.samples["0004"]
    assert np.unique(male.undenoised_mask).tolist() == [0, 6, 15]
    assert np.unique(female.undenoised_mask).tolist() == [0, 6, 16]
    assert np.array_equal(female.undenoised_mask == 16, female.source_mask == 15)
    # A block of 3x3 pixels is 5.04 mm2: an island that the opening removes and no hole keeps.
    assert not male.mask.any()
    assert male.binary_masks[0].all()
    assert len(male.binary_masks) == 17
    unknown = expected.samples["0008"]
    assert np.unique(unknown.mask).tolist() == [0, 99]
    assert unknown.binary_masks == {}


def test_small_regions(expected: ref.Expected) -> None:
    before = expected.small_regions_before[100.0]
    assert [row["ID"] for row in before.manifest] == [
        "amos_0001",
        "amos_0004",
        "amos_0008",
        "amos_0508",
    ]
    # 18 voxels of 0.7 x 0.8 x 5 mm; z is 1.5 on average and goes to the even 2.
    assert before.manifest[0]["mask_06_liver"] == "(1,3,2,50.40)"
    assert before.manifest[1]["mask_16_uterus"] == "(5,3,2,50.40)"
    assert before.manifest[1]["mask_15_prostate"] is None
    assert list(before.regions[0].values())[:7] == ["amos_0001", 6, "liver", 1, 3, 2, 18]
    assert len(before.regions) == 5
    assert expected.small_regions_after[100.0].regions == []
    assert len(expected.small_regions_after[100.0].manifest) == 4


def test_dataset_manifests(expected: ref.Expected) -> None:
    assert len(expected.dataset_columns) == 14 + 2 * 17 + 11
    assert [row["ID"] for row in expected.dataset_manifest] == [
        f"amos_{seq}" for seq in ("0001", "0002", "0004", "0008", "0009", "0508", "0700")
    ]
    assert [row["ID"] for row in expected.dataset_manifest_amos_mri] == ["amos_0508"]
    whole, ct = expected.dataset_manifest[0], expected.dataset_manifest_amos_ct[0]
    assert list(whole) == expected.dataset_columns
    path = "train/Brilliance16/amos_0001_M/amos_0001_mask_06_liver.nii.gz"
    assert whole["mask_06_liver"] == f"AMOS-CT/{path}"
    assert ct["mask_06_liver"] == path
    assert (whole["valid_labels"], whole["mask_06_liver_existence"]) == ("0", 0)
    no_mask = expected.dataset_manifest[1]
    assert no_mask["mask"] is no_mask["mask_dtype"] is no_mask["valid_labels"] is None
    assert no_mask["mask_00_background_existence"] is None
    index = "grouped/AMOS-CT/splits/split01_standard/split01_standard_train_val.xlsx"
    rows = expected.index_files[index]
    assert [(row["seq"], row[ref.SPLIT]) for row in rows] == [
        ("0001", "train"),
        ("0004", "train"),
        ("0008", "val"),
    ]


def test_issues(expected: ref.Expected) -> None:
    assert {key[:3] for key in expected.issues} == {
        ("modality_mismatch", "warning", "amos_0002"),
        ("unknown_scanner", "warning", "amos_0008"),
        ("unknown_scanner", "warning", "amos_0009"),
        ("unknown_scanner", "warning", "amos_0601"),
        ("unknown_scanner", "warning", "amos_0700"),
        ("unknown_label", "error", "amos_0008"),
        ("shape_mismatch", "error", "amos_0009"),
        ("affine_repaired", "warning", "amos_0508"),
        *(("label_vanished", "warning", f"amos_{n}") for n in ("0001", "0004", "0508")),
    }
    assert expected.failed == {"amos_0008", "amos_0009", "amos_0601"}
    assert expected.exit_code == 3


@pytest.mark.parametrize(
    ("rows", "labelled", "decided"),
    [
        ([(500, "Achieva")], [], (-1, True)),
        ([(600, "Achieva")], [], (0, True)),
        ([(507, "Prisma")], [508], (-1, True)),
        ([(508, "SIGNA HDe")], [508], (0, True)),
        ([(507, "Ingenia"), (508, "Achieva")], [508], (0, True)),
        ([(507, "Prisma"), (508, "Achieva")], [508], (0, False)),
        ([(507, "Prisma")], [508, 540], (0, False)),
        ([(500, "Optima CT660"), (600, "Brilliance16")], [], (0, False)),
    ],
)
def test_offset(
    rows: list[tuple[int, str]], labelled: list[int], decided: tuple[int, bool]
) -> None:
    table = {number: [{"manufacturer_model_name": scanner}] for number, scanner in rows}
    assert ref.decide_offset(table, labelled) == decided


def test_offset_with_both_rows_cannot_run() -> None:
    table = {number: [{"manufacturer_model_name": "Prisma"}] for number in (500, 600)}
    with pytest.raises(ref.CannotRunError):
        ref.decide_offset(table, [])


def test_duplicate_rows_go_to_the_modality_that_fits(tmp_path: Path) -> None:
    rows = ref.read_metadata(
        write_csv(tmp_path / "m.csv", [("500", "M", "Achieva"), ("500", "F", "Optima CT540")])
    )
    assert ref.choose_row(rows, 500, -1)["sex"] == "F"
    assert ref.choose_row(rows, 501, -1)["sex"] == "M"
    assert set(ref.choose_row(rows, 501, 0).values()) == {"UND"}


def test_spacing_cells_and_orientations() -> None:
    assert ref.shortest(0.78125) == 0.78125
    assert ref.shortest(np.float32(0.7)) == 0.7
    permuted = np.array([[0, 0.8, 0, 1], [0, 0, 5, 2], [0.7, 0, 0, 3], [0, 0, 0, 1.0]])
    assert ref.orientations(permuted) == ("ILP", "SRA")
    angle = 0.01
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert ref.orientations(tilt) == ("Oblique(closest to LPI)", "Oblique(closest to RAS)")
    assert ref.spacing_of(permuted) == tuple(float(np.float32(v)) for v in (0.7, 0.8, 5.0))


def test_dtype_from_the_header_is_that_of_the_array(archive: Path) -> None:
    for path in sorted(ref.files_under(archive)):
        scan = ref.read_scan(archive, path) if path.endswith(".nii.gz") else None
        if scan is not None and scan.voxels is not None:
            assert scan.dtype == scan.voxels.dtype.name


def test_broken_files(tmp_path: Path, image: NDArray[np.int16]) -> None:
    """Zero pixdim, singular affines, headers and checksums that are damaged."""
    archive = tmp_path / "a"
    for seq in ("0001", "0002", "0003", "0004", "0005"):
        save(archive / f"imagesTr/amos_{seq}.nii.gz", image)

    patch(archive / "imagesTr/amos_0001.nii.gz", 80, bytes(4))  # pixdim[1]
    patch(archive / "imagesTr/amos_0002.nii.gz", 280, bytes(16))  # srow_x
    (archive / "imagesTr/amos_0003.nii.gz").write_bytes(b"no gzip at all")
    path = archive / "imagesTr/amos_0004.nii.gz"
    path.write_bytes(path.read_bytes()[:-8] + b"\1\2\3\4" + path.read_bytes()[-4:])  # its CRC
    save(archive / "labelsTr/amos_0005.nii.gz", labels_with(1).astype(np.float64) / 2)
    save(archive / "labelsTr/amos_0006.nii.gz", labels_with(1))
    expected = ref.expected(archive, None)
    assert {key[:3] for key in expected.issues if key.code != "unknown_scanner"} == {
        ("bad_spacing", "warning", "amos_0001"),
        ("bad_affine", "error", "amos_0002"),
        ("bad_mask_values", "error", "amos_0005"),
    }
    assert expected.failed == {f"amos_000{n}" for n in (2, 3, 4, 5, 6)}
    assert row_of(expected, "imagesTr/amos_0001.nii.gz")["spx"] == 0.0
    assert expected.samples["0001"].spacing_mm[0] == float(np.float32(0.7))
    assert row_of(expected, "imagesTr/amos_0003.nii.gz")["szx"] is None
    assert row_of(expected, "imagesTr/amos_0004.nii.gz")["szx"] == 12
    assert [row["ID"] for row in expected.dataset_manifest] == ["amos_0001", "amos_0005"]


def test_oblique_qform(tmp_path: Path, image: NDArray[np.int16]) -> None:
    """A scan with a qform alone: the written affine is nibabel's, rounded to float32."""
    angle = 0.3
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    file = tmp_path / "imagesTr/amos_0001.nii.gz"
    save(file, image, tilt @ affine_of(0.7, 0.8, 5.0), only_qform=True)
    sample = ref.expected(tmp_path, None).samples["0001"]
    best = nib.load(file).affine
    assert np.array_equal(sample.affine, best.astype(np.float32))
    assert sample.spacing_mm == pytest.approx((0.7, 0.8, 5.0), rel=1e-6)


def test_what_the_phantom_plants_is_found(tmp_path: Path) -> None:
    """The phantom says what it planted; the reference has to read the same from its files."""
    from amos_dask.phantom import write_archive

    planted = write_archive(tmp_path, size="tiny", defects=True)
    expected = ref.expected(planted.path, planted.metadata_path)
    assert list(expected.samples) == sorted(sample.seq for sample in planted.samples)
    assert expected.mr_metadata_offset == -1
    for plan in planted.samples:
        sample = expected.samples[plan.seq]
        assert (sample.subset, sample.modality) == (plan.subset, plan.modality)
        assert (sample.image_path, sample.label_path or "") == (plan.image, plan.mask_name)
        assert sample.metadata == {
            "birth_date": plan.birth_date,
            "sex": plan.sex or "UND",
            "age": plan.age or "UND",
            "manufacturer_model_name": plan.scanner,
            "manufacturer": plan.manufacturer,
            "acquisition_date": plan.acquisition_date,
            "site": plan.site,
        }
        assert (f"amos_{plan.seq}" in expected.failed) == bool(plan.defect)
        assert (sample.volume is None) == (plan.defect == "truncated_volume")
        if sample.volume is not None:
            assert sample.volume.shape == plan.shape
            assert sample.spacing_mm == pytest.approx(plan.spacing_mm, rel=1e-6)
        if plan.mask_name and not plan.defect:
            assert row_of(expected, plan.mask_name)["dtype"] == plan.mask
    write_root(tmp_path / "root", expected)
    ref.assert_root_matches(tmp_path / "root", expected)


# --------------------------------------------------------------------------------------------------
# The comparisons
# --------------------------------------------------------------------------------------------------


def write_book(path: Path, sheets: dict[str, tuple[Sequence[str], Sequence[ref.Row]]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, (columns, rows) in {**sheets, "Columns": ((), ())}.items():
        sheet = book.create_sheet(title)
        sheet.append(list(columns))
        for row in rows:
            values = (row[column] for column in columns)
            sheet.append([None if value is ref.ANY else value for value in values])
    book.save(path)


def write_root(root: Path, expected: ref.Expected) -> None:
    """Write a ROOT_DIR from the expectation alone."""
    for sample in expected.samples.values():
        if sample.volume is None:
            continue
        arrays = {"volume": sample.volume}
        if sample.mask is not None:
            arrays["mask"] = sample.mask
        for label, binary in sample.binary_masks.items():
            arrays[ref.label_column(label, expected.label_map[label])] = binary
        for ending, array in arrays.items():
            path = root / sample.path(f"{ending}.nii.gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            image = nib.Nifti1Image(array, sample.affine)
            image.set_qform(sample.affine, 1)
            image.set_sform(sample.affine, 1)
            image.header.set_xyzt_units("mm")
            image.header["descrip"] = b"denoised" if sample.denoised else b""
            nib.save(image, path)
        (root / sample.path("info.yaml")).write_text(yaml.safe_dump(sample.info), encoding="utf-8")
    archive = (ref.ARCHIVE_COLUMNS, expected.archive_manifest)
    for name in ("statistics.xlsx", "statistics.json", "report.html"):  # others look into them
        (root / "descriptor" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "descriptor" / name).touch()
    write_book(root / "descriptor/archive_manifest.xlsx", {"Manifest": archive})
    (root / "descriptor/label_map.yaml").write_text(
        yaml.safe_dump(expected.label_map), encoding="utf-8"
    )
    changes = (ref.CHANGE_COLUMNS, expected.denoise_changes)
    write_book(root / "descriptor/denoise_changes.xlsx", {"Changes": changes})
    masks = [ref.label_column(label, name) for label, name in expected.label_map.items()]
    for pattern, tables in (
        (ref.BEFORE, expected.small_regions_before),
        (ref.AFTER, expected.small_regions_after),
    ):
        for threshold, table in tables.items():
            sheets = {
                "Manifest": (["ID", *masks], table.manifest),
                "Regions": (ref.REGION_COLUMNS, table.regions),
            }
            write_book(root / pattern.format(f"{threshold:g}"), sheets)
    columns = expected.dataset_columns
    split = [*columns, ref.SPLIT]
    for path, rows in expected.datasets.items():
        sheets = {"Manifest": (columns, rows), ref.SPLIT: (split, expected.splits[path])}
        write_book(root / path, sheets)
    for path, rows in expected.index_files.items():
        write_book(root / path, {"Manifest": (split, rows)})
    errors = {key.sample for key in expected.issues if key.severity == "error"}
    keys = expected.issues | {
        ref.IssueKey("some_code", "error", sample, "") for sample in expected.failed - errors
    }
    issues = [
        {**key._asdict(), "message": "text", "action": ""}
        for key in sorted(keys, key=lambda key: (key.sample, key.file, key.code))
    ]
    lines = "".join(f"{json.dumps(issue)}\n" for issue in issues)
    (root / "descriptor/issues.jsonl").write_text(lines, encoding="utf-8")
    rows = [{key: value or None for key, value in issue.items()} for issue in issues]
    rows.sort(key=lambda row: ("error", "warning", "info").index(str(row["severity"])))
    write_book(root / "descriptor/issues.xlsx", {"Issues": (ref.ISSUE_KEYS, rows)})


def edit_cell(path: Path, sheet: str, column: str, row: int, value: Any) -> None:
    book = openpyxl.load_workbook(path)
    header = [cell.value for cell in book[sheet][1]]
    book[sheet].cell(row, header.index(column) + 1).value = value
    book.save(path)


def test_a_root_as_expected_is_accepted(tmp_path: Path, expected: ref.Expected) -> None:
    write_root(tmp_path, expected)
    ref.assert_root_matches(tmp_path, expected)
    ref.assert_issues(tmp_path, expected, check_files=True)


def test_all_changes_are_reported(tmp_path: Path, expected: ref.Expected) -> None:
    write_root(tmp_path, expected)
    sample = expected.samples["0001"]
    volume = tmp_path / sample.path("volume.nii.gz")
    image = nib.load(volume)
    voxels = np.asanyarray(image.dataobj).copy()
    voxels[1, 2, 3] += 1
    nib.save(nib.Nifti1Image(voxels, None, image.header), volume)
    mask = tmp_path / sample.path("mask.nii.gz")
    nib.save(nib.Nifti1Image(sample.mask.astype(np.int16), sample.affine), mask)
    (tmp_path / sample.path("mask_06_liver.nii.gz")).unlink()
    (tmp_path / "grouped/stray.txt").write_text("x", encoding="utf-8")
    (tmp_path / "grouped/AMOS-CT/val/UND/amos_0013_M").mkdir()
    (tmp_path / sample.path("info.yaml")).write_text("seq: 1\n", encoding="utf-8")
    descriptor = tmp_path / "descriptor"
    edit_cell(descriptor / "archive_manifest.xlsx", "Manifest", "seq", 2, 1)
    edit_cell(descriptor / "archive_manifest.xlsx", "Manifest", "szx", 3, "12")
    regions = descriptor / "small_connected_region_100_manifest.xlsx"
    edit_cell(regions, "Manifest", "mask_06_liver", 2, "(1,3,1,50.40)")
    edit_cell(regions, "Regions", "n_voxels", 2, 19)
    manifest = tmp_path / "grouped/dataset_manifest.xlsx"
    edit_cell(manifest, "Manifest", "mask_dtype", 3, "uint8")
    edit_cell(manifest, ref.SPLIT, ref.SPLIT, 2, None)
    index = tmp_path / ref.index_file_path("mri", ("train",))
    edit_cell(index, "Manifest", "age", 2, "=1+1")
    lines = (descriptor / "issues.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if "shape_mismatch" not in line]
    (descriptor / "issues.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")

    with pytest.raises(AssertionError) as raised:
        ref.assert_root_matches(tmp_path, expected)
    message = str(raised.value)
    for part in (
        "mask_06_liver.nii.gz: missing",
        "grouped/stray.txt: unexpected",
        "amos_0013_M: an empty sample folder",
        "1 voxels differ; at (1, 2, 3)",
        "dtype int16, as array int16, expected uint8",
        "unit unknown, expected mm",
        "descrip does not record",
        "amos_0001_info.yaml: {'seq': 1}",
        "amos_0001.nii.gz seq: 1 (n), expected '0001'",
        "szx: '12' (s), expected 12",
        "mask_06_liver: '(1,3,1,50.40)'",
        "n_voxels: 19 (n), expected 18",
        "mask_dtype: 'uint8' (s), expected None",
        "split01_standard: None (n), expected 'train'",
        "age: '=1+1' (f)",
        "missing ('shape_mismatch', 'error', 'amos_0009')",
        "no error for amos_0009",
        "issues.xlsx[Issues]",
    ):
        assert part in message, part


def test_a_cell_past_excels_limit(tmp_path: Path) -> None:
    entries = [f"({n},1,1,1.00)" for n in range(4000)]
    row = {"ID": "amos_0001", "mask_00_background": "; ".join(entries)}
    book = tmp_path / "regions.xlsx"
    columns = list(row)

    def check(text: str) -> None:
        write_book(book, {"Manifest": (columns, [{**row, "mask_00_background": text}])})
        ref.assert_workbook(book, "Manifest", [row], columns)

    limit = 32_767 - len("; … (1000 more; see Regions)")
    n_kept = max(n for n in range(4000) if len("; ".join(entries[:n])) <= limit)
    kept = entries[:n_kept]
    check("; ".join([*kept, f"… ({4000 - n_kept} more; see Regions)"]))
    with pytest.raises(AssertionError, match="entries"):
        check("; ".join([*kept, f"… ({3999 - n_kept} more; see Regions)"]))
    with pytest.raises(AssertionError, match="would fit"):
        check("; ".join([*kept[:-9], f"… ({4009 - n_kept} more; see Regions)"]))
