"""A slow, literal reference of the whole pipeline: what `amos-dask run` must leave in ROOT_DIR.

`expected` reads an archive folder with plain nibabel and numpy and derives every promised file,
table and issue from the specification alone; nothing here imports `amos_dask`, and nothing here
may be derived from it. The `assert_*` functions compare a ROOT_DIR with the result and list all
differences, not only the first.

Denoising and small regions come from `oracle`, which is as literal as this module.

Where the specification leaves a choice open, this module does not choose: it holds `ANY` in the
cell, puts the path in `Expected.optional` or the issue in `Expected.optional_issues`, and raises
`UndefinedError` for whole archives it says nothing about.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import openpyxl
import yaml
from numpy.typing import NDArray
from oracle import EXCEL_CELL_LIMIT, denoise, label_changes, small_regions, undo_labels

Row = dict[str, Any]
Affine = NDArray[np.float64]

# --------------------------------------------------------------------------------------------------
# Names and lists of the specification
# --------------------------------------------------------------------------------------------------

LABEL_MAP: dict[int, str] = {
    0: "background",
    1: "spleen",
    2: "right kidney",
    3: "left kidney",
    4: "gall bladder",
    5: "esophagus",
    6: "liver",
    7: "stomach",
    8: "aorta",
    9: "postcava",
    10: "pancreas",
    11: "right adrenal gland",
    12: "left adrenal gland",
    13: "duodenum",
    14: "bladder",
    15: "prostate",
    16: "uterus",
}
SCANNERS: dict[str, tuple[str, ...]] = {
    "ct": ("Aquilion ONE", "Brilliance16", "SOMATOM Force", "Optima CT660", "Optima CT540"),
    "mri": ("Ingenia", "Prisma", "SIGNA HDe", "Achieva"),
}
MODALITY_FOLDERS = {"ct": "AMOS-CT", "mri": "AMOS-MRI", "und": "AMOS-UND"}
SUBSETS = ("train", "val", "test")
SPLIT = "split01_standard"
INDEX_SUBSETS = (("train", "val"), ("train",), ("val",), ("test",))
SUFFIX_SUBSETS = {"Tr": "train", "Va": "val", "Ts": "test"}
DATASET_JSON_SUBSETS = {"training": "train", "validation": "val", "test": "test"}
METADATA_COLUMNS = {
    "birth_date": "Patient's Birth Date",
    "sex": "Patient's Sex",
    "age": "Patient's Age",
    "manufacturer_model_name": "Manufacturer's Model Name",
    "manufacturer": "Manufacturer",
    "acquisition_date": "Acquisition Date",
    "site": "Site",
}
ARCHIVE_COLUMNS = [
    "file_path",
    "subset",
    "seq",
    "type",
    "szx",
    "szy",
    "szz",
    "spx",
    "spy",
    "spz",
    "orientation_from",
    "orientation_to",
    "dtype",
    "transform",
    "diff_trans_f_norm",
    "birth_date",
    "sex",
    "age",
    "manufacturer_model_name",
    "manufacturer",
    "acquisition_date",
    "site",
]
GEOMETRY_COLUMNS = ARCHIVE_COLUMNS[4:15]
DATASET_START = [
    "ID",
    "seq",
    "sex",
    "subset",
    "manufacturer_model_name",
    "manufacturer",
    "birth_date",
    "age",
    "acquisition_date",
    "site",
    "valid_labels",
    "info",
    "volume",
    "mask",
]
DATASET_END = [
    "szx",
    "szy",
    "szz",
    "spx",
    "spy",
    "spz",
    "orientation_from",
    "orientation_to",
    "vol_dtype",
    "mask_dtype",
    "transform",
]
REGION_COLUMNS = ["ID", "label_index", "label_name", "x", "y", "z", "n_voxels", "volume_mm3"]
CHANGE_COLUMNS = [
    "ID",
    "label_from",
    "label_from_name",
    "label_to",
    "label_to_name",
    "n_voxels",
    "volume_mm3",
]
ISSUE_KEYS = ("code", "severity", "sample", "file", "message", "action")
NAMED_CODES = frozenset(
    {
        "modality_mismatch",
        "unknown_scanner",
        "mr_metadata_offset_unknown",
        "bad_spacing",
        "bad_affine",
        "affine_repaired",
        "shape_mismatch",
        "bad_mask_values",
        "unknown_label",
        "label_vanished",
    }
)
"""The issue codes that the specification names; other codes are not compared."""

INFO_KEYS = (
    "seq",
    "subset",
    "sex",
    "age",
    "birth_date",
    "acquisition_date",
    "manufacturer",
    "manufacturer_model_name",
    "site",
)
NIFTI2_SIZES = (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
"""How a NIfTI-2 header begins: its size, 540, in either byte order."""

BEFORE = "descriptor/small_connected_region_{}_manifest.xlsx"
AFTER = "descriptor/small_connected_region_{}_after_modification_manifest.xlsx"
NOT_COMPARED = (
    ".amos-dask",
    "archive",
    "amos22.zip",
    "labeled_data_meta_0000_0599.csv",
)
"""Entries of ROOT_DIR that are not output."""


class UndefinedError(Exception):
    """The specification does not say what happens to this archive."""


class CannotRunError(Exception):
    """The program must refuse this archive with exit code 1."""


class _Any:
    """A value that equals everything: the specification leaves it open."""

    def __repr__(self) -> str:
        return "ANY"


ANY = _Any()


class IssueKey(NamedTuple):
    """What is compared of an issue; `file` is a path relative to the archive, or "" for none."""

    code: str
    severity: str
    sample: str
    file: str


@dataclass
class Sample:
    """One scan: what it is, and what has to be written for it (None: not written).

    Parameters
    ----------
    seq, subset, modality
        "0001"; train, val or test; ct, mri or und.
    metadata
        The seven text values of the csv, UND where missing.
    scanner_folder
        The scanner's name, or UND.
    image_path, label_path
        The archive's files, relative to the archive folder.
    volume, affine, spacing_mm
        The written volume: float32 voxels, the float32 affine and spacing widened to float64.
    source_mask, undenoised_mask, mask
        uint8 labels as in the archive, after the split of prostate and uterus, and at the end.
    binary_masks
        Label to uint8 voxels; empty when none are written.
    """

    seq: str
    subset: str
    modality: str
    metadata: dict[str, str]
    scanner_folder: str
    image_path: str | None = None
    label_path: str | None = None
    volume: NDArray[np.float32] | None = None
    affine: Affine | None = None
    spacing_mm: tuple[float, float, float] | None = None
    source_mask: NDArray[np.uint8] | None = None
    undenoised_mask: NDArray[np.uint8] | None = None
    mask: NDArray[np.uint8] | None = None
    binary_masks: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    denoised: bool = False

    @property
    def sample_id(self) -> str:
        return f"amos_{self.seq}"

    @property
    def folder(self) -> str:
        """The sample's folder, relative to ROOT_DIR."""
        sample_folder = f"{self.sample_id}_{self.metadata['sex']}"
        subset_folder = f"grouped/{MODALITY_FOLDERS[self.modality]}/{self.subset}"
        return f"{subset_folder}/{self.scanner_folder}/{sample_folder}"

    @property
    def info(self) -> dict[str, str]:
        known = {"seq": self.seq, "subset": self.subset, **self.metadata}
        return {key: known[key] for key in INFO_KEYS}

    def path(self, ending: str) -> str:
        """Name one of the sample's files, relative to ROOT_DIR."""
        return f"{self.folder}/{self.sample_id}_{ending}"


@dataclass
class Expected:
    """Everything that `amos-dask run` must produce for an archive.

    Parameters
    ----------
    tree
        The files that must exist under ROOT_DIR, POSIX and relative to it.
    optional
        Files of which the specification does not say whether they exist; if they do, their
        contents are compared like the others'.
    samples
        By seq; those whose volume is None write nothing under grouped.
    archive_manifest
        Rows in the order of the worksheet.
    denoise_changes
        Rows of the worksheet `Changes`.
    small_regions_before, small_regions_after
        Threshold to rows of the worksheets `Manifest` and `Regions`.
    datasets
        Path of a dataset manifest to the rows of its worksheet `Manifest`.
    splits
        Path of a dataset manifest to the rows of its worksheet `split01_standard`.
    index_files
        Path of an index file to the rows of its worksheet `Manifest`.
    issues, optional_issues
        Issues with a code that the specification names: those that must be there, and those of
        which it does not say whether they are there.
    failed
        The samples that must have an issue of severity error, whatever its code.
    maybe_failed
        Samples that may have one.
    mr_metadata_offset
        0 or -1, as decided or given.
    """

    label_map: dict[int, str]
    region_thresholds: tuple[float, ...]
    tree: set[str] = field(default_factory=set)
    optional: set[str] = field(default_factory=set)
    samples: dict[str, Sample] = field(default_factory=dict)
    archive_manifest: list[Row] = field(default_factory=list)
    denoise_changes: list[Row] = field(default_factory=list)
    small_regions_before: dict[float, RegionSheets] = field(default_factory=dict)
    small_regions_after: dict[float, RegionSheets] = field(default_factory=dict)
    datasets: dict[str, list[Row]] = field(default_factory=dict)
    splits: dict[str, list[Row]] = field(default_factory=dict)
    index_files: dict[str, list[Row]] = field(default_factory=dict)
    issues: set[IssueKey] = field(default_factory=set)
    optional_issues: set[IssueKey] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    maybe_failed: set[str] = field(default_factory=set)
    mr_metadata_offset: int = 0

    @property
    def dataset_manifest(self) -> list[Row]:
        return self.datasets.get(dataset_manifest_path(None), [])

    @property
    def dataset_manifest_amos_ct(self) -> list[Row]:
        return self.datasets.get(dataset_manifest_path("ct"), [])

    @property
    def dataset_manifest_amos_mri(self) -> list[Row]:
        return self.datasets.get(dataset_manifest_path("mri"), [])

    @property
    def dataset_columns(self) -> list[str]:
        return dataset_columns(self.label_map)

    @property
    def exit_code(self) -> int:
        return 3 if self.failed else 0


class RegionSheets(NamedTuple):
    """The two worksheets of a small-regions workbook."""

    manifest: list[Row]
    regions: list[Row]


# --------------------------------------------------------------------------------------------------
# Names of files and columns
# --------------------------------------------------------------------------------------------------


def label_column(label: int, name: str) -> str:
    """Name a label's column, which is also the ending of its binary mask's file name."""
    return f"mask_{label:02d}_{name.replace(' ', '_')}"


def dataset_columns(label_map: Mapping[int, str]) -> list[str]:
    """List the columns of a dataset manifest, in order."""
    masks = [label_column(label, name) for label, name in label_map.items()]
    return [*DATASET_START, *masks, *(f"{column}_existence" for column in masks), *DATASET_END]


def dataset_folder(modality: str | None) -> str:
    """Name the folder of a dataset manifest, relative to ROOT_DIR; None is all of AMOS22."""
    return "grouped" if modality is None else f"grouped/{MODALITY_FOLDERS[modality]}"


def dataset_manifest_path(modality: str | None) -> str:
    """Name a dataset manifest, relative to ROOT_DIR; None is all of AMOS22."""
    ending = "" if modality is None else f"_amos_{modality}"
    return f"{dataset_folder(modality)}/dataset_manifest{ending}.xlsx"


def index_file_path(modality: str | None, subsets: Sequence[str]) -> str:
    """Name an index file, relative to ROOT_DIR; None is all of AMOS22."""
    return f"{dataset_folder(modality)}/splits/{SPLIT}/{SPLIT}_{'_'.join(subsets)}.xlsx"


# --------------------------------------------------------------------------------------------------
# Geometry
# --------------------------------------------------------------------------------------------------


def shortest(value: float) -> float:
    """Give the shortest decimal that restores a float32, as a float64."""
    return float(str(np.float32(value)))


def is_bad_affine(affine: Affine) -> bool:
    """Tell whether an affine is non-finite or singular."""
    return not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3


def spacing_of(affine: Affine) -> tuple[float, float, float]:
    """Give the float32 column norms of an affine, widened to float64."""
    norms = np.sqrt((affine[:3, :3].astype(np.float64) ** 2).sum(axis=0)).astype(np.float32)
    return float(norms[0]), float(norms[1]), float(norms[2])


def orientations(affine: Affine) -> tuple[str, str]:
    """Give `orientation_from` and `orientation_to`."""
    to = "".join(nib.aff2axcodes(affine))
    start = to.translate(str.maketrans("LRPAIS", "RLAPSI"))
    if np.nanmax(nib.affines.obliquity(affine)) > 1e-4:
        return f"Oblique(closest to {start})", f"Oblique(closest to {to})"
    return start, to


def transform_text(affine: Affine) -> str:
    """Write an affine as a nested JSON list in full precision."""
    return json.dumps(affine.tolist())


# --------------------------------------------------------------------------------------------------
# The archive
# --------------------------------------------------------------------------------------------------


@dataclass
class Scan:
    """A NIfTI file of the archive; `image` is None when its header cannot be read."""

    path: str
    image: nib.Nifti1Image | None
    pixdim: NDArray[np.float32]
    voxels: NDArray[Any] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape without axes of length 1 after the third."""
        assert self.image is not None
        shape = tuple(int(size) for size in self.image.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        return shape

    @property
    def affine(self) -> Affine:
        assert self.image is not None
        return np.asarray(self.image.affine, dtype=np.float64)

    @property
    def dtype(self) -> str:
        """What the dtype of the voxels is, or would be, from the header alone."""
        assert self.image is not None
        proxy = self.image.dataobj
        scaled = (proxy.slope, proxy.inter) != (1.0, 0.0)
        return "float64" if scaled else np.dtype(proxy.dtype).name


def read_scan(archive_dir: Path, path: str) -> Scan:
    """Read one file; its voxels are None unless the whole gzip stream is sound."""
    data = (archive_dir / path).read_bytes()
    start = start_of_gzip(data)
    try:
        cls = nib.Nifti2Image if start[:4] in NIFTI2_SIZES else nib.Nifti1Image
        size = cls.header_class.template_dtype.itemsize
        pixdim = cls.header_class(start[:size], check=False)["pixdim"][1:4].astype(np.float32)
        image = cls.from_bytes(start)
    except Exception:  # whatever nibabel makes of a broken header
        return Scan(path, None, np.full(3, np.nan, np.float32), None)
    scan = Scan(path, image, pixdim, None)
    try:
        image = cls.from_bytes(gzip.decompress(data))  # to the end, so that the checksum counts
        with np.errstate(all="ignore"):
            scan.voxels = np.asanyarray(image.dataobj).reshape(scan.shape)
    except Exception:  # truncated or damaged
        scan.voxels = None
    return scan


def start_of_gzip(data: bytes) -> bytes:
    """Decompress what a damaged gzip stream holds up to the damage, at most 4096 bytes."""
    stream = zlib.decompressobj(wbits=31)
    start = b""
    for number in range(len(data)):
        try:
            start += stream.decompress(data[number : number + 1])
        except zlib.error:
            break
        if stream.eof or len(start) >= 4096:
            break
    return start


def is_junk(path: PurePosixPath) -> bool:
    """Tell whether a path is one of those that are ignored silently."""
    return "__MACOSX" in path.parts or path.name.startswith(("._", ".DS_Store"))


def find_files(archive_dir: Path) -> tuple[PurePosixPath, dict[str, str], dict[str, str]]:
    """Find the data's root, the images and the labels.

    Returns
    -------
    root, images, labels
        Paths relative to `archive_dir`; images and labels are seq to path.
    """
    candidates = []
    for folder in sorted(archive_dir.rglob("*")):
        path = PurePosixPath(folder.relative_to(archive_dir).as_posix())
        is_data = re.fullmatch("(images|labels)(Tr|Va|Ts)", path.name) is not None
        if is_data and folder.is_dir() and not is_junk(path):
            candidates.append(path)
    if not candidates:
        raise CannotRunError(f"no imagesTr, labelsTr … under {archive_dir}")
    depth = min(len(path.parts) for path in candidates)
    roots = {path.parent for path in candidates if len(path.parts) == depth}
    if len(roots) > 1:
        raise UndefinedError(f"several roots: {sorted(map(str, roots))}")
    root = roots.pop()
    patterns = {"images": r"amos_(\d{4})(_0000)?\.nii\.gz", "labels": r"amos_(\d{4})\.nii\.gz"}
    found: dict[str, dict[str, str]] = {"images": {}, "labels": {}}
    for kind, pattern in patterns.items():
        for suffix in SUFFIX_SUBSETS:
            for file in sorted((archive_dir / root / f"{kind}{suffix}").glob("*")):
                match = re.fullmatch(pattern, file.name)
                if match is None or not file.is_file():
                    continue
                seq = match.group(1)
                if seq in found[kind]:
                    raise UndefinedError(f"two files of {kind} for amos_{seq}")
                found[kind][seq] = file.relative_to(archive_dir).as_posix()
    return root, found["images"], found["labels"]


class DatasetJson(NamedTuple):
    """What dataset.json says: seq to subset, and the seqs that it gives a label."""

    subsets: dict[str, str]
    labelled: set[str]


def read_dataset_json(archive_dir: Path, root: PurePosixPath) -> DatasetJson:
    """Read the dataset.json at the data's root, or the nearest above it in the archive."""
    subsets: dict[str, str] = {}
    labelled: set[str] = set()
    for folder in (root, *root.parents):
        file = archive_dir / folder / "dataset.json"
        if not file.is_file():
            continue
        try:
            content = json.loads(file.read_text(encoding="utf-8-sig"))
            listed = [
                (key, entry) for key in DATASET_JSON_SUBSETS for entry in content.get(key, [])
            ]
        except (ValueError, AttributeError, TypeError):
            break
        for key, entry in listed:
            name = entry.get("image", "") if isinstance(entry, dict) else str(entry)
            match = re.match(r"amos_(\d{4})", PurePosixPath(name).name)
            if match is None:
                continue
            seq, subset = match.group(1), DATASET_JSON_SUBSETS[key]
            if subsets.setdefault(seq, subset) != subset:
                raise UndefinedError(f"dataset.json puts amos_{seq} in two subsets")
            if isinstance(entry, dict) and entry.get("label"):
                labelled.add(seq)
        break
    return DatasetJson(subsets, labelled)


# --------------------------------------------------------------------------------------------------
# Metadata
# --------------------------------------------------------------------------------------------------


def find_metadata_csv(archive_dir: Path) -> Path | None:
    """Find the csv inside an archive folder, for tests that do not know where it is."""
    found = [
        file
        for file in sorted(archive_dir.rglob("labeled_data_meta*.csv"))
        if not is_junk(PurePosixPath(file.relative_to(archive_dir).as_posix()))
    ]
    return found[0] if found else None


def read_metadata(metadata_csv: Path | None) -> dict[int, list[dict[str, str]]]:
    """Read the csv: amos_id to its rows in the file's order, missing values as UND."""
    rows: dict[int, list[dict[str, str]]] = {}
    if metadata_csv is None:
        return rows
    with metadata_csv.open(encoding="utf-8-sig", newline="") as stream:
        for line in csv.DictReader(stream):
            match = re.fullmatch(r"\s*(?:amos_)?(\d+)(?:\.0)?\s*", line.get("amos_id") or "")
            if match is None:
                continue
            rows.setdefault(int(match.group(1)), []).append(
                {
                    key: (line.get(title) or "").strip() or "UND"
                    for key, title in METADATA_COLUMNS.items()
                }
            )
    return rows


def modality_by_id(number: int) -> str | None:
    """Give the modality of an id, None outside 1..600."""
    if 1 <= number <= 500:
        return "ct"
    if 501 <= number <= 600:
        return "mri"
    return None


def modality_by_scanner(scanner: str) -> str | None:
    """Give the modality of a scanner, None when the scanner is not a known one."""
    for modality, scanners in SCANNERS.items():
        if scanner in scanners:
            return modality
    return None


def decide_offset(
    rows: Mapping[int, Sequence[Mapping[str, str]]], labelled_mr: Iterable[int]
) -> tuple[int, bool]:
    """Find the offset of MR scans' rows, as `--mr-metadata-offset auto` does.

    Returns
    -------
    offset, is_known
        False with 0 when the rows do not tell.
    """

    def scanners_at(number: int) -> list[str]:
        return [row["manufacturer_model_name"] for row in rows.get(number, ())]

    def has_mr(number: int) -> bool:
        return any(modality_by_scanner(scanner) == "mri" for scanner in scanners_at(number))

    if has_mr(500) and has_mr(600):
        raise CannotRunError("MR scanners at 500 and at 600: --mr-metadata-offset is needed")
    if has_mr(500):
        return -1, True
    if has_mr(600):
        return 0, True
    good = {"Prisma", "SIGNA HDe", "Achieva"}  # an MR scanner other than Ingenia
    labelled_mr = list(labelled_mr)
    fitting = [
        offset
        for offset in (0, -1)
        if all(good.intersection(scanners_at(number + offset)) for number in labelled_mr)
    ]
    return (fitting[0], True) if len(fitting) == 1 else (0, False)


def choose_row(
    rows: Mapping[int, Sequence[dict[str, str]]], number: int, offset: int
) -> dict[str, str]:
    """Take a scan's row of the csv; all UND when there is none."""
    candidates = rows.get(number + offset if number > 500 else number, ())
    if not candidates:
        return dict.fromkeys(METADATA_COLUMNS, "UND")
    modality = modality_by_id(number)
    for row in candidates:
        if modality is not None and row["manufacturer_model_name"] in SCANNERS[modality]:
            return dict(row)
    return dict(candidates[0])


# --------------------------------------------------------------------------------------------------
# The whole expectation
# --------------------------------------------------------------------------------------------------


def expected(
    archive_dir: Path,
    metadata_csv: Path | None,
    *,
    region_thresholds: Sequence[float] = (100.0,),
    kernel_size: tuple[int, int] = (5, 5),
    filter_halfedge: int = 3,
    region_area_threshold: float = 10.0,
    mr_metadata_offset: str | int = "auto",
    label_map: Mapping[int, str] | None = None,
    exclusions: Iterable[tuple[str | None, int | None]] = (),
) -> Expected:
    """Derive what `amos-dask run` must produce for an archive folder.

    Parameters
    ----------
    archive_dir
        The folder given as `--archive`; the data's root may be nested in it.
    metadata_csv
        The csv that belongs to it, None when there is none.
    region_thresholds
        In mm3, one pair of workbooks each.
    kernel_size, filter_halfedge, region_area_threshold
        The parameters of denoising; the last in mm2.
    mr_metadata_offset
        "auto", 0 or -1.
    label_map
        Index to name; None is the default map.
    exclusions
        Seq and label that denoising leaves as they were; None is all of them.
    """
    exclusions = list(exclusions)
    result = Expected(
        label_map=dict(sorted((LABEL_MAP if label_map is None else label_map).items())),
        region_thresholds=tuple(region_thresholds),
    )
    root, images, labels = find_files(archive_dir)
    listed = read_dataset_json(archive_dir, root)
    rows = read_metadata(metadata_csv)
    seqs = sorted(images.keys() | labels.keys())
    mr_numbers = [int(seq) for seq in seqs if modality_by_id(int(seq)) == "mri"]
    if mr_metadata_offset == "auto":
        labelled_mr = [number for number in mr_numbers if f"{number:04d}" in labels]
        result.mr_metadata_offset, is_known = decide_offset(rows, labelled_mr)
        if not is_known:
            unknown = IssueKey("mr_metadata_offset_unknown", "warning", "", "")
            # Without an MR scan or a csv, nothing depends on the offset.
            (result.issues if mr_numbers and rows else result.optional_issues).add(unknown)
    else:
        result.mr_metadata_offset = int(mr_metadata_offset)

    for seq in seqs:
        sample = _describe_sample(seq, images, labels, listed, rows, result)
        result.samples[seq] = sample
        volume = read_scan(archive_dir, images[seq]) if seq in images else None
        mask = read_scan(archive_dir, labels[seq]) if seq in labels else None
        for scan in (volume, mask):
            if scan is not None:
                result.archive_manifest.append(_archive_row(sample, scan, volume))
                _note_spacing(sample, scan, result)
        _make_volume(sample, volume, result)
        _make_mask(sample, volume, mask, result)
        if sample.undenoised_mask is not None:
            excluded = {label for where, label in exclusions if where in (None, seq)}
            how = (region_area_threshold, kernel_size, filter_halfedge)
            _finish_mask(sample, result, *how, excluded)
    for seq in listed.subsets:
        if seq not in images or (seq in listed.labelled and seq not in labels):
            result.maybe_failed.add(f"amos_{seq}")

    _add_files(result)
    for threshold in result.region_thresholds:
        for path, sheets, attribute in (
            (BEFORE, result.small_regions_before, "undenoised_mask"),
            (AFTER, result.small_regions_after, "mask"),
        ):
            result.tree.add(path.format(f"{threshold:g}"))
            sheets[threshold] = _region_sheets(result, attribute, threshold)
    _add_datasets(result)
    return result


def _describe_sample(
    seq: str,
    images: Mapping[str, str],
    labels: Mapping[str, str],
    listed: DatasetJson,
    rows: Mapping[int, Sequence[dict[str, str]]],
    result: Expected,
) -> Sample:
    """Decide on subset, modality, metadata and folder."""
    number = int(seq)
    metadata = choose_row(rows, number, result.mr_metadata_offset)
    scanner = metadata["manufacturer_model_name"]
    by_scanner = modality_by_scanner(scanner)
    modality = modality_by_id(number) or by_scanner or "und"
    if by_scanner is None:
        result.issues.add(IssueKey("unknown_scanner", "warning", f"amos_{seq}", ""))
    elif by_scanner != modality:
        result.issues.add(IssueKey("modality_mismatch", "warning", f"amos_{seq}", ""))
    if not re.fullmatch(r"[A-Za-z0-9_-]+", metadata["sex"]):
        raise UndefinedError(f"no rule for a folder's name with the sex {metadata['sex']!r}")
    folder = PurePosixPath(images.get(seq) or labels[seq]).parent.name
    return Sample(
        seq=seq,
        subset=listed.subsets.get(seq) or SUFFIX_SUBSETS[folder[-2:]],
        modality=modality,
        metadata=metadata,
        scanner_folder="UND" if by_scanner is None else scanner,
        image_path=images.get(seq),
        label_path=labels.get(seq),
    )


def _archive_row(sample: Sample, scan: Scan, volume: Scan | None) -> Row:
    """Make the row of one file in the archive manifest."""
    row: Row = dict.fromkeys(ARCHIVE_COLUMNS)
    row.update(sample.metadata)
    row.update(file_path=scan.path, subset=sample.subset, seq=sample.seq)
    row["type"] = "v3d" if scan is volume else "m3d"
    if scan.image is None:
        return row
    if len(scan.shape) != 3:  # not a 3-D image: no rule for its cells
        row.update(dict.fromkeys(GEOMETRY_COLUMNS, ANY))
        return row
    row.update(zip(("szx", "szy", "szz"), scan.shape, strict=True))
    for column, value in zip(("spx", "spy", "spz"), scan.pixdim, strict=True):
        row[column] = shortest(value) if np.isfinite(value) and value >= 0 else ANY
    row["dtype"] = scan.dtype
    if is_bad_affine(scan.affine):
        row.update(orientation_from=ANY, orientation_to=ANY, transform=ANY)
    else:
        row["orientation_from"], row["orientation_to"] = orientations(scan.affine)
        row["transform"] = transform_text(scan.affine)
    if scan is not volume and volume is not None and volume.image is not None:
        row["diff_trans_f_norm"] = _norm(scan, volume)
    return row


def _norm(mask: Scan, volume: Scan) -> float | _Any:
    """Give the Frobenius norm of mask affine minus volume affine."""
    if is_bad_affine(mask.affine) or is_bad_affine(volume.affine):
        return ANY
    return math.sqrt(float(((mask.affine - volume.affine) ** 2).sum()))


def _note_spacing(sample: Sample, scan: Scan, result: Expected) -> None:
    """Note pixdim that is zero or against the affine; tiny deviations are left open."""
    if scan.image is None:
        return
    issue = IssueKey("bad_spacing", "warning", sample.sample_id, scan.path)
    if is_bad_affine(scan.affine):
        result.optional_issues.add(issue)
        return
    with np.errstate(all="ignore"):
        norms = np.array(spacing_of(scan.affine))
        deviation = np.abs(np.abs(scan.pixdim.astype(np.float64)) / norms - 1)
    if (scan.pixdim == 0).any() or not (deviation <= 1e-2).all():
        result.issues.add(issue)
    elif (scan.pixdim < 0).any() or (deviation > 1e-6).any():
        result.optional_issues.add(issue)


def _make_volume(sample: Sample, volume: Scan | None, result: Expected) -> None:
    """Make the written volume, or note that it fails."""
    if volume is None:  # a mask without volume
        result.failed.add(sample.sample_id)
        return
    if volume.image is None or volume.voxels is None or len(volume.shape) != 3:
        result.failed.add(sample.sample_id)
        if volume.image is not None and is_bad_affine(volume.affine):
            result.optional_issues.add(
                IssueKey("bad_affine", "error", sample.sample_id, volume.path)
            )
        return
    if is_bad_affine(volume.affine):
        result.failed.add(sample.sample_id)
        result.issues.add(IssueKey("bad_affine", "error", sample.sample_id, volume.path))
        return
    with np.errstate(all="ignore"):
        # nibabel scales in float64; unscaled values pass through float64 unchanged.
        sample.volume = volume.voxels.astype(np.float64).astype(np.float32)
    sample.affine = volume.affine.astype(np.float32).astype(np.float64)
    sample.spacing_mm = spacing_of(sample.affine)


def _make_mask(sample: Sample, volume: Scan | None, mask: Scan | None, result: Expected) -> None:
    """Make the mask up to the split of prostate and uterus, or note why it fails."""
    if mask is None:
        return

    def key(code: str, severity: str = "error") -> IssueKey:
        return IssueKey(code, severity, sample.sample_id, mask.path)

    if mask.image is None:
        result.failed.add(sample.sample_id)
        return
    problems: list[IssueKey | None] = [None] if mask.voxels is None else []
    if is_bad_affine(mask.affine):
        problems.append(key("bad_affine"))
    if mask.voxels is not None:
        with np.errstate(all="ignore"):
            nearest = np.rint(mask.voxels)
            near = np.abs(mask.voxels - nearest) <= 0.05
            good = bool((near & (nearest >= 0) & (nearest <= 255)).all())
        if not good:
            problems.append(key("bad_mask_values"))
    if volume is None or volume.image is None:
        problems.append(None)
    elif mask.shape != volume.shape:
        problems.append(key("shape_mismatch"))
    elif (norm := _norm(mask, volume)) is not ANY and norm > 1e-4:
        differs = nib.aff2axcodes(mask.affine) != nib.aff2axcodes(volume.affine)
        repaired = key("affine_repaired", "warning" if differs else "info")
        is_sure = not problems and sample.volume is not None
        (result.issues if is_sure else result.optional_issues).add(repaired)
    if problems:
        result.failed.add(sample.sample_id)
    if problems or sample.volume is None:
        # Of several problems the program may name any; one alone it has to name.
        named = {problem for problem in problems if problem is not None}
        is_sure = len(problems) == 1 and sample.volume is not None
        (result.issues if is_sure else result.optional_issues).update(named)
        return
    sample.source_mask = np.rint(mask.voxels).astype(np.uint8)
    sample.undenoised_mask = sample.source_mask.copy()
    if sample.metadata["sex"] == "F":
        sample.undenoised_mask[sample.source_mask == 15] = 16


def _finish_mask(
    sample: Sample,
    result: Expected,
    region_area_threshold: float,
    kernel_size: tuple[int, int],
    filter_halfedge: int,
    excluded: set[int | None],
) -> None:
    """Denoise the mask and take the binary masks, unless it has an unknown label."""
    assert sample.undenoised_mask is not None
    assert sample.spacing_mm is not None
    assert sample.label_path is not None
    known = list(result.label_map)
    if not set(np.unique(sample.undenoised_mask).tolist()) <= set(known):
        sample.mask = sample.undenoised_mask
        result.failed.add(sample.sample_id)
        result.issues.add(IssueKey("unknown_label", "error", sample.sample_id, sample.label_path))
        return
    sample.mask = denoise(
        sample.undenoised_mask,
        sample.spacing_mm,
        region_area_threshold,
        kernel_size,
        filter_halfedge,
        known,
    )
    sample.denoised = None not in excluded
    undone = set(known) if None in excluded else {label for label in excluded if label is not None}
    sample.mask = undo_labels(sample.undenoised_mask, sample.mask, undone)
    if set(sample.undenoised_mask.flat) - set(sample.mask.flat) - {0}:
        file = sample.path("mask.nii.gz")
        result.issues.add(IssueKey("label_vanished", "warning", sample.sample_id, file))
    for label in known:
        sample.binary_masks[label] = (sample.mask == label).astype(np.uint8)
    sx, sy, sz = sample.spacing_mm
    names = result.label_map
    for old, new, n_voxels in label_changes(sample.undenoised_mask, sample.mask):
        values = (sample.sample_id, old, names[old], new, names[new])
        values = (*values, n_voxels, n_voxels * sx * sy * sz)
        result.denoise_changes.append(dict(zip(CHANGE_COLUMNS, values, strict=True)))


def _add_files(result: Expected) -> None:
    """Add descriptor's and the samples' files to the tree."""
    for name in ("archive_manifest.xlsx", "label_map.yaml", "issues.xlsx", "issues.jsonl"):
        result.tree.add(f"descriptor/{name}")
    result.tree.add("descriptor/denoise_changes.xlsx")
    # What is in them is held against numpy in test_stats.py, and looked at in tests/report.
    result.tree |= {"descriptor/statistics.xlsx", "descriptor/statistics.json"}
    result.tree.add("descriptor/report.html")
    for sample in result.samples.values():
        if sample.volume is None:
            continue
        result.tree |= {sample.path("info.yaml"), sample.path("volume.nii.gz")}
        if sample.mask is not None:
            result.tree.add(sample.path("mask.nii.gz"))
        for label in sample.binary_masks:
            ending = label_column(label, result.label_map[label])
            result.tree.add(sample.path(f"{ending}.nii.gz"))


def _region_sheets(result: Expected, attribute: str, threshold: float) -> RegionSheets:
    """Make both worksheets of small regions, of the masks before or after denoising."""
    sheets = RegionSheets([], [])
    for sample in result.samples.values():
        mask = getattr(sample, attribute)
        if mask is None:
            continue
        row: Row = {"ID": sample.sample_id}
        found = small_regions(mask, sample.spacing_mm, threshold, list(result.label_map))
        for label, name in result.label_map.items():
            entries = []
            for region in found[label]:
                entries.append(f"({region.x},{region.y},{region.z},{region.volume_mm3:.2f})")
                values = (sample.sample_id, label, name, region.x, region.y, region.z)
                values = (*values, region.n_voxels, region.volume_mm3)
                sheets.regions.append(dict(zip(REGION_COLUMNS, values, strict=True)))
            row[label_column(label, name)] = "; ".join(entries) or None
        sheets.manifest.append(row)
    return sheets


def _dataset_row(sample: Sample, label_map: Mapping[int, str], folder: str) -> Row:
    """Make a sample's row of a dataset manifest, with paths relative to its folder."""
    assert sample.volume is not None
    assert sample.affine is not None
    assert sample.spacing_mm is not None

    def relative(ending: str) -> str:
        return PurePosixPath(sample.path(ending)).relative_to(folder).as_posix()

    row: Row = dict.fromkeys(dataset_columns(label_map))
    row.update(ID=sample.sample_id, **sample.info)
    row.update(info=relative("info.yaml"), volume=relative("volume.nii.gz"))
    row.update(zip(("szx", "szy", "szz"), sample.volume.shape, strict=True))
    spacing = [shortest(value) for value in sample.spacing_mm]
    row.update(zip(("spx", "spy", "spz"), spacing, strict=True))
    row["orientation_from"], row["orientation_to"] = orientations(sample.affine)
    row.update(vol_dtype="float32", transform=transform_text(sample.affine))
    if sample.mask is not None:
        present = set(np.unique(sample.mask).tolist())
        row["valid_labels"] = ",".join(str(label) for label in sorted(present))
        row.update(mask=relative("mask.nii.gz"), mask_dtype="uint8")
        for label, name in label_map.items():
            column = label_column(label, name)
            row[f"{column}_existence"] = int(label in present)
            if label in sample.binary_masks:
                row[column] = relative(f"{column}.nii.gz")
    return row


def _add_datasets(result: Expected) -> None:
    """Add dataset manifests, splits and index files."""
    for modality in (None, *MODALITY_FOLDERS):
        samples = [
            sample
            for sample in result.samples.values()
            if sample.volume is not None and modality in (None, sample.modality)
        ]
        if not samples:
            continue
        folder = dataset_folder(modality)
        manifest_path = dataset_manifest_path(modality)
        # AMOS-UND is in the manifest of AMOS22; whether it gets one of its own is left open.
        files = result.optional if modality == "und" else result.tree
        files.add(manifest_path)
        table = [_dataset_row(sample, result.label_map, folder) for sample in samples]
        split = [{**row, SPLIT: row["subset"]} for row in table]
        result.datasets[manifest_path] = table
        result.splits[manifest_path] = split
        present = {row[SPLIT] for row in split}
        for subsets in INDEX_SUBSETS:
            if not present.intersection(subsets):
                continue
            path = index_file_path(modality, subsets)
            result.index_files[path] = [row for row in split if row[SPLIT] in subsets]
            # train_val where one of the two has no samples: left open.
            (files if present.issuperset(subsets) else result.optional).add(path)


# --------------------------------------------------------------------------------------------------
# Comparison: every `compare_*` yields the differences, every `assert_*` raises with all of them
# --------------------------------------------------------------------------------------------------


def _raise_if_any(differences: Iterable[str]) -> None:
    found = list(differences)
    if found:
        raise AssertionError(f"{len(found)} difference(s):\n" + "\n".join(found))


def files_under(root: Path, ignore: Iterable[str] = ()) -> set[str]:
    """List the files under a folder, without some of its direct entries."""
    ignored = set(ignore)
    paths = (path.relative_to(root) for path in root.rglob("*") if not path.is_dir())
    return {path.as_posix() for path in paths if path.parts[0] not in ignored}


def digest_files(folder: Path) -> dict[str, str]:
    """Digest all files of a folder: equal before and after says that none was touched."""
    return {
        path: hashlib.sha256((folder / path).read_bytes()).hexdigest()
        for path in sorted(files_under(folder))
    }


def compare_tree(
    root: Path, expected: Expected, ignore: Iterable[str] = NOT_COMPARED
) -> Iterator[str]:
    """Compare the files that exist, and look for empty sample folders."""
    actual = files_under(root, ignore)
    for path in sorted(expected.tree - actual):
        yield f"{path}: missing"
    for path in sorted(actual - expected.tree - expected.optional):
        yield f"{path}: unexpected"
    for folder in sorted(root.glob("grouped/*/*/*/*")):
        if folder.is_dir() and not any(folder.iterdir()):
            yield f"{folder.relative_to(root).as_posix()}: an empty sample folder"


def _compare_image(
    file: Path, array: NDArray[Any], affine: Affine, spacing_mm: Sequence[float]
) -> Iterator[str]:
    """Compare one written NIfTI file with the array and geometry it must have."""
    try:
        gzip.decompress(file.read_bytes())
        image = nib.load(file)
        actual = np.asanyarray(image.dataobj)
    except Exception as error:  # any failure is a difference
        yield f"cannot be read: {error!r}"
        return
    if image.get_data_dtype() != array.dtype or actual.dtype != array.dtype:
        yield f"dtype {image.get_data_dtype()}, as array {actual.dtype}, expected {array.dtype}"
    if (image.dataobj.slope, image.dataobj.inter) != (1.0, 0.0):
        yield f"scaled: slope {image.dataobj.slope}, inter {image.dataobj.inter}"
    if actual.shape != array.shape:
        yield f"shape {actual.shape}, expected {array.shape}"
    elif not np.array_equal(actual, array, equal_nan=array.dtype.kind == "f"):
        with np.errstate(all="ignore"):
            unequal = (actual != array) & ~(np.isnan(actual) & np.isnan(array))
        first = tuple(int(index) for index in np.argwhere(unequal)[0])
        yield (
            f"{int(unequal.sum())} voxels differ; at {first} {actual[first]!r}, "
            f"expected {array[first]!r}"
        )
    header = image.header
    sform, qform = header.get_sform(), header.get_qform()
    for name in ("sform_code", "qform_code"):
        if int(header[name]) <= 0:
            yield f"{name} {int(header[name])}"
    if not np.array_equal(sform, affine):
        yield f"sform {sform.tolist()}, expected {affine.tolist()}"
    if not np.array_equal(image.affine, affine):
        yield f"best affine {image.affine.tolist()}, expected {affine.tolist()}"
    directions = affine[:3, :3] / np.array(spacing_mm)
    is_orthogonal = np.allclose(directions.T @ directions, np.eye(3), atol=1e-5)
    # A quaternion in float32 gives directions to about 1e-6; it cannot hold a shear at all.
    if is_orthogonal and not (
        np.allclose(qform[:3, :3], affine[:3, :3], rtol=0, atol=1e-5 * max(spacing_mm))
        and np.allclose(qform[:3, 3], affine[:3, 3], rtol=1e-6, atol=1e-6)
    ):
        yield f"qform {qform.tolist()}, expected {affine.tolist()}"
    pixdim = header["pixdim"][1:4]
    if not np.allclose(pixdim, spacing_mm, rtol=1e-6, atol=0):
        yield f"pixdim {pixdim.tolist()}, expected {list(spacing_mm)}"
    if header.get_xyzt_units()[0] != "mm":
        yield f"unit {header.get_xyzt_units()[0]}, expected mm"


def _descrip(file: Path) -> bytes:
    return bytes(nib.load(file).header["descrip"].item()).strip(b"\0 ")


def compare_volumes_and_masks(root: Path, expected: Expected) -> Iterator[str]:
    """Compare the voxels, the geometry and info.yaml of every sample."""
    for sample in expected.samples.values():
        if sample.volume is None:
            continue
        assert sample.affine is not None
        assert sample.spacing_mm is not None
        arrays: dict[str, NDArray[Any]] = {"volume": sample.volume}
        if sample.mask is not None:
            arrays["mask"] = sample.mask
        for label, binary in sample.binary_masks.items():
            arrays[label_column(label, expected.label_map[label])] = binary
        for ending, array in arrays.items():
            path = sample.path(f"{ending}.nii.gz")
            if not (root / path).is_file():
                yield f"{path}: missing"
                continue
            differences = _compare_image(root / path, array, sample.affine, sample.spacing_mm)
            yield from (f"{path}: {difference}" for difference in differences)
        mask_path = sample.path("mask.nii.gz")
        if sample.denoised and (root / mask_path).is_file() and not _descrip(root / mask_path):
            yield f"{mask_path}: descrip does not record the denoising"
        elif not sample.denoised and sample.mask is not None and _descrip(root / mask_path):
            yield f"{mask_path}: descrip records a denoising"
        info_path = sample.path("info.yaml")
        if not (root / info_path).is_file():
            yield f"{info_path}: missing"
            continue
        info = yaml.safe_load((root / info_path).read_text(encoding="utf-8"))
        if info != sample.info:
            yield f"{info_path}: {info}, expected {sample.info}"


def _compare_regions_text(actual: Any, text: str) -> str | None:
    """Compare a cell of regions that Excel's limit cuts short."""
    entries = text.split("; ")
    match = re.fullmatch(r"(.*?);? ?… \((\d+) more; see Regions\)", str(actual), re.DOTALL)
    if match is None or len(str(actual)) > EXCEL_CELL_LIMIT:
        return f"{len(str(actual))} characters that end {str(actual)[-40:]!r}"
    kept = match.group(1).split("; ") if match.group(1) else []
    n_left = int(match.group(2))
    if kept != entries[: len(kept)] or len(kept) + n_left != len(entries):
        return f"{len(kept)} entries and {n_left} more, expected {len(entries)} in all"
    ending = f"; … ({n_left - 1} more; see Regions)"
    if len("; ".join(entries[: len(kept) + 1])) + len(ending) < EXCEL_CELL_LIMIT - 5:
        return f"only {len(kept)} entries, though more would fit"
    return None


def _compare_cell(cell: Any, value: Any, column: str) -> str | None:
    """Describe the difference between a cell and the value it must hold, None when equal."""
    actual = cell.value
    shown = f"{actual!r} ({cell.data_type}), expected {value!r}"
    if value is ANY:
        return None
    if value is None:
        return None if actual is None else shown
    if isinstance(value, str):
        if len(value) > EXCEL_CELL_LIMIT and column.startswith("mask_"):
            return _compare_regions_text(actual, value)
        if not isinstance(actual, str) or cell.data_type == "f":
            return shown
        if column == "transform":
            return None if _parse(actual) == json.loads(value) else shown
        return None if actual == value else shown
    if isinstance(actual, bool) or not isinstance(actual, int | float):
        return shown
    if column in ("diff_trans_f_norm", "volume_mm3"):  # sums and products: not to the last bit
        return None if math.isclose(actual, value, rel_tol=1e-12, abs_tol=1e-15) else shown
    return None if actual == value else shown


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def compare_workbook(
    path: Path,
    sheet: str | None,
    rows: Sequence[Row],
    columns: Sequence[str],
    sheets: Sequence[str] | None = None,
) -> Iterator[str]:
    """Compare a worksheet cell by cell, types too.

    `sheet` None is the first one; `sheets` are all that the workbook may have before ``Columns``.
    """
    name = path.name
    if not path.is_file():
        yield f"{name}: missing"
        return
    try:
        workbook = openpyxl.load_workbook(path)
    except Exception as error:  # any failure is a difference
        yield f"{name}: cannot be read: {error!r}"
        return
    if sheets is not None and workbook.sheetnames != [*sheets, "Columns"]:
        yield f"{name}: worksheets {workbook.sheetnames}, expected {list(sheets)}"
    sheet = workbook.sheetnames[0] if sheet is None else sheet
    if sheet not in workbook.sheetnames:
        yield f"{name}: no worksheet {sheet}"
        return
    lines = list(workbook[sheet].iter_rows())
    header = [cell.value for cell in lines[0]] if lines else []
    if header != list(columns):
        yield f"{name}[{sheet}]: columns {header}, expected {list(columns)}"
        return
    if len(lines) - 1 != len(rows):
        yield f"{name}[{sheet}]: {len(lines) - 1} rows, expected {len(rows)}"
    key = next((column for column in ("file_path", "ID") if column in columns), columns[0])
    for number, (line, row) in enumerate(zip(lines[1:], rows, strict=False), start=2):
        for cell, column in zip(line, columns, strict=True):
            difference = _compare_cell(cell, row[column], column)
            if difference is not None:
                yield f"{name}[{sheet}] row {number} {row[key]} {column}: {difference}"


def _compare_tables(root: Path, expected: Expected) -> Iterator[str]:
    yield from compare_workbook(
        root / "descriptor/archive_manifest.xlsx",
        "Manifest",
        expected.archive_manifest,
        ARCHIVE_COLUMNS,
        ["Manifest"],
    )
    changes, sheet = root / "descriptor/denoise_changes.xlsx", "Changes"
    rows = expected.denoise_changes
    yield from compare_workbook(changes, sheet, rows, CHANGE_COLUMNS, [sheet])
    masks = [label_column(label, name) for label, name in expected.label_map.items()]
    for path, tables in (
        (BEFORE, expected.small_regions_before),
        (AFTER, expected.small_regions_after),
    ):
        for threshold, table in tables.items():
            file, sheets = root / path.format(f"{threshold:g}"), ["Manifest", "Regions"]
            yield from compare_workbook(file, "Manifest", table.manifest, ["ID", *masks], sheets)
            yield from compare_workbook(file, "Regions", table.regions, REGION_COLUMNS)


def compare_dataset_manifests(root: Path, expected: Expected) -> Iterator[str]:
    """Compare the dataset manifests and their worksheets of the split."""
    columns = expected.dataset_columns
    for path, rows in expected.datasets.items():
        if path in expected.optional and not (root / path).is_file():
            continue
        split = [*columns, SPLIT]
        manifest_differences = compare_workbook(
            root / path, "Manifest", rows, columns, ["Manifest", SPLIT]
        )
        yield from manifest_differences
        yield from compare_workbook(root / path, SPLIT, expected.splits[path], split)


def compare_index_files(root: Path, expected: Expected) -> Iterator[str]:
    """Compare the index files."""
    columns = [*expected.dataset_columns, SPLIT]
    for path, rows in expected.index_files.items():
        if path in expected.optional and not (root / path).is_file():
            continue
        for difference in compare_workbook(root / path, "Manifest", rows, columns, ["Manifest"]):
            yield f"{PurePosixPath(path).parent}: {difference}"


def compare_issues(root: Path, expected: Expected, *, check_files: bool = False) -> Iterator[str]:
    """Compare issues.jsonl with the issues whose codes are known, and with issues.xlsx.

    With `check_files` an issue's file must end with the archive's path of the file concerned.
    """
    path = root / "descriptor/issues.jsonl"
    if not path.is_file():
        yield "issues.jsonl: missing"
        return
    issues = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    for issue in issues:
        if set(issue) != set(ISSUE_KEYS) or not all(isinstance(v, str) for v in issue.values()):
            yield f"issues.jsonl: keys or types of {issue}"
            return
        if issue["severity"] not in ("info", "warning", "error"):
            yield f"issues.jsonl: severity of {issue}"
        if issue["file"].startswith(("/", "..")) or "\\" in issue["file"]:
            yield f"issues.jsonl: file of {issue}"
    order = [(issue["sample"], issue["file"], issue["code"]) for issue in issues]
    if order != sorted(order):
        yield "issues.jsonl: not sorted by sample, file, code"
    issues.sort(key=lambda issue: ("error", "warning", "info").index(issue["severity"]))
    rows = [{key: issue[key] or None for key in ISSUE_KEYS} for issue in issues]
    yield from compare_workbook(root / "descriptor/issues.xlsx", None, rows, ISSUE_KEYS)
    actual = {IssueKey(*(issue[key] for key in ISSUE_KEYS[:4])) for issue in issues}

    def without_file(keys: Iterable[IssueKey]) -> set[tuple[str, str, str]]:
        return {key[:3] for key in keys if key.code in NAMED_CODES}

    for key in sorted(without_file(expected.issues) - without_file(actual)):
        yield f"issues: missing {key}"
    allowed = without_file(expected.issues | expected.optional_issues)
    for key in sorted(without_file(actual) - allowed):
        yield f"issues: unexpected {key}"
    if check_files:
        for key in sorted(expected.issues):
            if not any(other[:3] == key[:3] and other.file.endswith(key.file) for other in actual):
                yield f"issues: none of {key[:3]} is about {key.file}"
    failed = {key.sample for key in actual if key.severity == "error"}
    for sample in sorted(expected.failed - failed):
        yield f"issues: no error for {sample}"
    for sample in sorted(failed - expected.failed - expected.maybe_failed):
        yield f"issues: an error for {sample or 'the whole run'}"


def compare_label_map(root: Path, expected: Expected) -> Iterator[str]:
    """Compare label_map.yaml."""
    path = root / "descriptor/label_map.yaml"
    if not path.is_file():
        yield "label_map.yaml: missing"
        return
    actual = yaml.safe_load(path.read_text(encoding="utf-8"))
    if isinstance(actual, dict) and set(actual) == {"full_form_index_map"}:
        actual = actual["full_form_index_map"]
    if actual != expected.label_map:
        yield f"label_map.yaml: {actual}, expected {expected.label_map}"


def assert_workbook(
    path: Path,
    sheet: str,
    rows: Sequence[Row],
    columns: Sequence[str],
    sheets: Sequence[str] | None = None,
) -> None:
    """Assert that a worksheet holds these rows."""
    _raise_if_any(compare_workbook(path, sheet, rows, columns, sheets))


def assert_issues(root: Path, expected: Expected, *, check_files: bool = False) -> None:
    """Assert that the issues whose codes are known are there, and the errors."""
    _raise_if_any(compare_issues(root, expected, check_files=check_files))


def assert_root_matches(
    root: Path,
    expected: Expected,
    *,
    ignore: Iterable[str] = NOT_COMPARED,
    skip: Iterable[str] = (),
) -> None:
    """Assert everything at once, and list all differences.

    `skip` may name comparisons to leave out: tree, label_map, tables, volumes_and_masks,
    dataset_manifests, index_files, issues.
    """
    comparisons: dict[str, Callable[[], Iterator[str]]] = {
        "tree": lambda: compare_tree(root, expected, ignore),
        "label_map": lambda: compare_label_map(root, expected),
        "tables": lambda: _compare_tables(root, expected),
        "volumes_and_masks": lambda: compare_volumes_and_masks(root, expected),
        "dataset_manifests": lambda: compare_dataset_manifests(root, expected),
        "index_files": lambda: compare_index_files(root, expected),
        "issues": lambda: compare_issues(root, expected),
    }
    skipped = set(skip)
    unknown = skipped - comparisons.keys()
    if unknown:
        raise ValueError(f"no such comparison: {sorted(unknown)}")
    differences = []
    for name, compare in comparisons.items():
        if name in skipped:
            continue
        try:
            differences += [f"[{name}] {difference}" for difference in compare()]
        except Exception as error:  # a malformed file must not hide the other differences
            differences.append(f"[{name}] the comparison stopped: {error!r}")
    _raise_if_any(differences)
