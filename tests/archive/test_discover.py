"""From an archive's names to samples: layout, junk, subsets, modality, counts."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from samples import discover_one

from amos_dask.archive.discover import Discovery
from amos_dask.datasets import AMOS22
from amos_dask.errors import ArchiveError
from amos_dask.issues import Issue
from amos_dask.records import Sample

HEADER = (
    "amos_id,Patient's Birth Date,Patient's Sex,Patient's Age,Manufacturer's Model Name,"
    "Manufacturer,Acquisition Date,Site\n"
)
CSV = "labeled_data_meta_0000_0599.csv"
PAIR = ("imagesTr/amos_0001.nii.gz", "labelsTr/amos_0001.nii.gz")
CT_SCANNERS = ["Aquilion ONE", "Brilliance16", "SOMATOM Force", "Optima CT660", "Optima CT540"]
MR_SCANNERS = ["Ingenia", "Prisma", "SIGNA HDe", "Achieva"]


def csv_of(scanners: Iterable[tuple[int, str]]) -> str:
    """A csv whose Site tells the row's own number."""
    return HEADER + "".join(
        f"{n},19630101,F,058Y,{name},maker,20210203,row{n}\n" for n, name in scanners
    )


def write_archive(root: Path, names: Iterable[str], **files: str) -> str:
    """Make a folder of empty files, and text files by name (dots as ``__``)."""
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)
    return str(root)


def find(tmp_path: Path, names: Iterable[str], csv: str | None = None, **options: Any) -> Discovery:
    """Discover an archive of empty files, with a csv inside when given."""
    location = write_archive(tmp_path / "archive", names)
    if csv is not None:
        (tmp_path / "archive" / CSV).write_text(csv)
    return discover_one(location, **options)


def with_json(tmp_path: Path, names: Iterable[str], content: object) -> Discovery:
    root = tmp_path / "archive"
    text = content if isinstance(content, str) else json.dumps(content)
    return discover_one(write_archive(root, names, dataset__json=text))


def samples_of(found: Discovery) -> dict[str, Sample]:
    return {sample.seq: sample for sample in found.samples}


def issues_of(found: Discovery, code: str) -> list[Issue]:
    return [issue for issue in found.issues if issue.code == code]


def codes_of(found: Discovery) -> set[str]:
    return {issue.code for issue in found.issues}


def volume(number: int, folder: str = "imagesTr") -> str:
    return f"{folder}/amos_{number:04d}.nii.gz"


def mask(number: int, folder: str = "labelsTr") -> str:
    return f"{folder}/amos_{number:04d}.nii.gz"


# ---------------------------------------------------------------- layout


@pytest.mark.parametrize("nested", ["", "amos22/", "amos22/amos22/", "a b/c/d/e/"])
@pytest.mark.parametrize("zipped", [False, True])
def test_samples_are_found_below_a_nested_root(tmp_path: Path, nested: str, zipped: bool) -> None:
    names = [
        nested + name for name in (*PAIR, "imagesVa/amos_0507.nii.gz", "labelsVa/amos_0507.nii.gz")
    ] + [nested + "imagesTs/amos_0002.nii.gz"]
    if zipped:
        location = str(tmp_path / "amos22.zip")
        with zipfile.ZipFile(location, "w") as archive:
            for name in names:
                archive.writestr(name, b"")
    else:
        location = write_archive(tmp_path / "a", names)
    found = discover_one(location)
    assert found.locations == (location,)
    assert [
        (s.sample_id, s.subset, s.modality, s.volume is not None, s.mask is not None)
        for s in found.samples
    ] == [
        ("amos_0001", "train", "ct", True, True),
        ("amos_0002", "test", "ct", True, False),
        ("amos_0507", "val", "mri", True, True),
    ]
    first = found.samples[0]
    assert first.volume is not None
    assert first.mask is not None
    assert (first.volume.path, first.mask.path) == (nested + PAIR[0], nested + PAIR[1])


@pytest.mark.parametrize("url", ["memory://amos/archive", "memory://amos/amos22.zip"])
def test_a_url_is_discovered_like_a_local_archive(tmp_path: Path, url: str) -> None:
    memory = fsspec.filesystem("memory")
    files = dict.fromkeys(PAIR, b"") | {CSV: csv_of([(1, "Brilliance16")]).encode()}
    if url.endswith(".zip"):
        with memory.open("/amos/amos22.zip", "wb") as out, zipfile.ZipFile(out, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        for name, content in files.items():
            memory.pipe(f"/amos/archive/{name}", content)
    try:
        (sample,) = discover_one(url).samples
    finally:
        memory.store.clear()
    assert (sample.sample_id, sample.scanner) == ("amos_0001", "Brilliance16")
    assert sample.mask is not None


def test_nnunet_image_names_are_accepted(tmp_path: Path) -> None:
    found = find(tmp_path, ["imagesTr/amos_0001_0000.nii.gz", "labelsTr/amos_0001.nii.gz"])
    (sample,) = found.samples
    assert sample.volume is not None
    assert sample.volume.path == "imagesTr/amos_0001_0000.nii.gz"
    assert sample.mask is not None


def test_masks_of_the_test_scans_are_taken_when_present(tmp_path: Path) -> None:
    (sample,) = find(tmp_path, [volume(2, "imagesTs"), mask(2, "labelsTs")]).samples
    assert sample.subset == "test"
    assert sample.mask is not None


def test_samples_are_ordered_by_number(tmp_path: Path) -> None:
    names = [volume(600), volume(4, "imagesTs"), volume(12345), volume(77, "imagesVa")]
    assert [s.seq for s in find(tmp_path, names).samples] == ["0004", "0077", "0600", "12345"]


def test_official_companions_are_no_oddities(tmp_path: Path) -> None:
    names = [*PAIR, "readme.md", "amos22/readme.md"]
    found = find(tmp_path, names, csv_of([(1, "Aquilion ONE")]))
    assert codes_of(found) <= {"subset_counts"}


@pytest.mark.parametrize("names", [[], ["readme.md"], ["amos_0001.nii.gz"], ["x/amos_0001.nii"]])
def test_an_archive_without_scans_is_refused(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "archive").mkdir()
    with pytest.raises(ArchiveError) as caught:
        find(tmp_path, names)
    assert str(tmp_path / "archive") in str(caught.value)


# ---------------------------------------------------------------- what does not belong


def test_junk_is_ignored_and_counted_in_one_issue(tmp_path: Path) -> None:
    junk = [
        "__MACOSX/imagesTr/._amos_0001.nii.gz",
        "__MACOSX/imagesTr/amos_0003.nii.gz",
        "imagesTr/._amos_0001.nii.gz",
        "imagesTr/.DS_Store",
        ".DS_Store",
        "imagesTr/amos_0002.nii.gz.part",
        "imagesTr/amos_0002.nii.gz.crdownload",
        "amos22.zip.part",
    ]
    found = find(tmp_path, [*PAIR, *junk])
    assert [s.sample_id for s in found.samples] == ["amos_0001"]
    (issue,) = issues_of(found, "junk_ignored")
    assert issue.severity == "info"
    assert "8" in issue.message
    assert not issues_of(found, "unexpected_file")


@pytest.mark.parametrize(
    "name",
    [
        "imagesTr/amos_2.nii.gz",
        "imagesTr/amos_0002_0001.nii.gz",
        "imagesTr/amos_x.nii.gz",
        "imagesXx/amos_0002.nii.gz",
        "imagesTr/deep/amos_0002.nii.gz",
        "amos_0002.nii.gz",
        "notes.txt",
        "imagesTr/dataset.xml",
    ],
)
def test_another_file_is_reported_with_its_path(tmp_path: Path, name: str) -> None:
    found = find(tmp_path, [*PAIR, name])
    assert [s.sample_id for s in found.samples] == ["amos_0001"]
    (issue,) = issues_of(found, "unexpected_file")
    assert (issue.file, issue.severity) == (name, "warning")


@pytest.mark.parametrize(
    ("kept", "other"),
    [
        ("imagesTr/amos_0001.nii.gz", "imagesTr/amos_0001_0000.nii.gz"),
        ("imagesTr/amos_0001.nii.gz", "imagesVa/amos_0001.nii.gz"),
        ("imagesTr/amos_0001.nii.gz", "amos22/imagesTr/amos_0001.nii.gz"),
        ("imagesTr/amos_00001.nii.gz", "imagesTr/amos_0001.nii.gz"),
    ],
)
def test_of_two_files_for_one_scan_the_first_is_used(tmp_path: Path, kept: str, other: str) -> None:
    found = find(tmp_path, [other, kept, "labelsTr/amos_0001.nii.gz"])
    (sample,) = found.samples
    assert sample.volume is not None
    assert (sample.sample_id, sample.volume.path, sample.subset) == ("amos_0001", kept, "train")
    (issue,) = issues_of(found, "duplicate_file")
    assert (issue.severity, issue.sample, issue.file) == ("warning", "amos_0001", other)


def test_two_members_of_one_name_in_a_zip_are_one_sample(tmp_path: Path) -> None:
    location = str(tmp_path / "amos22.zip")
    with zipfile.ZipFile(location, "w") as archive:
        for name in PAIR:
            archive.writestr(name, b"")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(PAIR[0], b"")
    found = discover_one(location)
    assert len(found.samples) == 1
    assert len(issues_of(found, "duplicate_file")) == 1


def test_a_mask_without_volume_is_an_error_and_stays_a_sample(tmp_path: Path) -> None:
    found = find(tmp_path, [*PAIR, mask(9, "labelsVa")])
    sample = samples_of(found)["0009"]
    assert (sample.volume, sample.subset) == (None, "val")
    (issue,) = issues_of(found, "mask_without_volume")
    assert (issue.severity, issue.sample) == ("error", "amos_0009")


def test_a_labelled_subset_without_mask_is_a_warning_and_test_is_not(tmp_path: Path) -> None:
    found = find(tmp_path, [volume(1), volume(2, "imagesVa"), volume(3, "imagesTs")])
    missing = issues_of(found, "missing_mask")
    assert [issue.sample for issue in missing] == ["amos_0001", "amos_0002"]
    assert {issue.severity for issue in missing} == {"warning"}


# ---------------------------------------------------------------- dataset.json

THREE = [volume(1), mask(1), volume(2, "imagesVa"), mask(2, "labelsVa"), volume(3, "imagesTs")]


def listing(train: int = 1, val: int = 2, test: object = None) -> dict[str, Any]:
    return {
        "name": "AMOS",
        "training": [{"image": f"./{volume(train)}", "label": f"./{mask(train)}"}],
        "validation": [{"image": f"./{volume(val, 'imagesVa')}", "label": ""}],
        "test": [test or {"image": f"./{volume(3, 'imagesTs')}"}],
    }


@pytest.mark.parametrize(
    "test_entry",
    [
        {"image": "./imagesTs/amos_0003.nii.gz"},
        "./imagesTs/amos_0003.nii.gz",
        "imagesTs/amos_0003.nii.gz",
        "amos_0003.nii.gz",
        "./imagesTs/amos_0003_0000.nii.gz",
    ],
)
def test_test_entries_may_be_dicts_or_strings(tmp_path: Path, test_entry: object) -> None:
    found = with_json(tmp_path, THREE, listing(test=test_entry))
    assert {s.seq: s.subset for s in found.samples} == {
        "0001": "train",
        "0002": "val",
        "0003": "test",
    }
    assert codes_of(found) == {"subset_counts", "metadata_missing", "unknown_scanner"}


def test_dataset_json_wins_over_the_folder_and_the_disagreement_is_told(tmp_path: Path) -> None:
    found = with_json(tmp_path, THREE, listing(train=2, val=1))
    assert {s.seq: s.subset for s in found.samples} == {
        "0001": "val",
        "0002": "train",
        "0003": "test",
    }
    issues = issues_of(found, "subset_mismatch")
    assert [issue.sample for issue in issues] == ["amos_0001", "amos_0002"]
    for issue in issues:
        assert "train" in issue.message
        assert "val" in issue.message


def test_scans_that_are_not_listed_or_not_there_are_told(tmp_path: Path) -> None:
    found = with_json(tmp_path, THREE, listing(val=77))
    assert samples_of(found)["0002"].subset == "val"
    assert [issue.sample for issue in issues_of(found, "not_in_dataset_json")] == ["amos_0002"]
    assert [issue.sample for issue in issues_of(found, "listed_but_absent")] == ["amos_0077"]
    assert "0077" not in samples_of(found)


BROKEN: dict[str, object] = {
    "empty file": "",
    "not json": "{training: []}",
    "cut": '{"training": [{"image": "./imagesTr/amos_00',
    "a list": [],
    "a number": 5,
    "nonsense name": {"training": ["cat.jpg"]},
    "no image": {"training": [{"label": "./labelsTr/amos_0001.nii.gz"}]},
    "null entry": {"training": [None]},
    "in two subsets": {"training": [volume(1)], "test": [volume(1)]},
    "text for a list": {"training": "all"},
    "number for a list": {"training": 200},
    "true for a list": {"test": True},
    "deeply nested": "[" * 100_000,
    "control bytes": "\x00\x01",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_dataset_json_that_cannot_be_used_leaves_the_folders(tmp_path: Path, kind: str) -> None:
    found = with_json(tmp_path, THREE, BROKEN[kind])
    assert {s.seq: s.subset for s in found.samples} == {
        "0001": "train",
        "0002": "val",
        "0003": "test",
    }
    (issue,) = issues_of(found, "bad_dataset_json")
    assert (issue.severity, issue.file) == ("warning", "dataset.json")
    assert issue.action


def test_dataset_json_may_have_a_bom_and_null_lists(tmp_path: Path) -> None:
    content = {**listing(), "validation": None}
    found = with_json(tmp_path, THREE, "\ufeff" + json.dumps(content))
    assert not issues_of(found, "bad_dataset_json")
    assert [issue.sample for issue in issues_of(found, "not_in_dataset_json")] == ["amos_0002"]


def test_the_outer_of_two_dataset_json_is_the_archives(tmp_path: Path) -> None:
    write_archive(tmp_path / "archive" / "old", [], dataset__json=json.dumps(listing(2, 1)))
    found = with_json(tmp_path, THREE, listing())
    assert {s.seq: s.subset for s in found.samples} == {
        "0001": "train",
        "0002": "val",
        "0003": "test",
    }


# ---------------------------------------------------------------- modality and scanner


@pytest.mark.parametrize(
    ("number", "scanner", "modality"),
    [
        (1, "Aquilion ONE", "ct"),
        (499, "Aquilion ONE", "ct"),
        (500, "Aquilion ONE", "ct"),
        (500, "", "ct"),
        (501, "Prisma", "mri"),
        (600, "", "mri"),
        (601, "Prisma", "mri"),
        (601, "Brilliance16", "ct"),
        (601, "another", "und"),
        (601, "", "und"),
        (0, "Achieva", "mri"),
        (0, "", "und"),
    ],
)
def test_the_id_tells_the_modality_else_the_scanner(
    tmp_path: Path, number: int, scanner: str, modality: str
) -> None:
    found = find(tmp_path, [volume(number)], csv_of([(number, scanner)]), mr_metadata_offset="0")
    assert found.samples[0].modality == modality


@pytest.mark.parametrize("number", [1, 500, 501, 600, 700])
@pytest.mark.parametrize("scanner", [*CT_SCANNERS, *MR_SCANNERS])
def test_a_known_scanner_names_the_folder_and_a_contradiction_is_told(
    tmp_path: Path, number: int, scanner: str
) -> None:
    found = find(tmp_path, [volume(number)], csv_of([(number, scanner)]), mr_metadata_offset="0")
    (sample,) = found.samples
    assert sample.scanner == scanner
    contradicts = number <= 600 and (number <= 500) != (scanner in CT_SCANNERS)
    issues = issues_of(found, "modality_mismatch")
    assert [issue.sample for issue in issues] == [sample.sample_id] * contradicts
    assert {issue.severity for issue in issues} <= {"warning"}
    if number <= 600:
        assert sample.modality == ("ct" if number <= 500 else "mri")


def test_the_nine_scanners_of_the_dataset_are_known() -> None:
    found = {modality: set(models) for modality, models in AMOS22.scanners.items()}
    assert found == {"ct": {*CT_SCANNERS}, "mri": {*MR_SCANNERS}}


@pytest.mark.parametrize(("cell", "name"), [("Revolution", "Revolution"), ("", "UND")])
def test_an_unknown_scanner_is_kept_in_the_columns_and_UND_as_a_folder(
    tmp_path: Path, cell: str, name: str
) -> None:
    found = find(tmp_path, PAIR, csv_of([(1, cell)]))
    (sample,) = found.samples
    assert (sample.scanner, sample.metadata.manufacturer_model_name) == ("UND", name)
    (issue,) = issues_of(found, "unknown_scanner")
    assert (issue.sample, issue.severity) == ("amos_0001", "warning")


# ---------------------------------------------------------------- metadata


def official_rows() -> Iterator[tuple[int, str]]:
    """The official csv's numbering: CT 1..500, MR 500..599."""
    yield from ((n, CT_SCANNERS[n % 5]) for n in range(1, 501))
    yield from ((n, "Ingenia" if n % 2 else "Prisma") for n in range(500, 600))


def test_the_official_csv_is_shifted_by_one_for_mr(tmp_path: Path) -> None:
    names = [volume(n) for n in (1, 499, 500, 501, 507, 600)]
    found = find(tmp_path, names, csv_of(official_rows()))
    sites = {seq: sample.metadata.site for seq, sample in samples_of(found).items()}
    assert sites == {
        "0001": "row1",
        "0499": "row499",
        "0500": "row500",
        "0501": "row500",
        "0507": "row506",
        "0600": "row599",
    }
    scanners = {seq: sample.scanner for seq, sample in samples_of(found).items()}
    assert scanners["0500"] in CT_SCANNERS
    assert scanners["0501"] == "Prisma"
    (issue,) = issues_of(found, "mr_metadata_offset")
    assert (issue.severity, issue.sample) == ("info", "")
    assert "500" in issue.message
    assert not issues_of(found, "modality_mismatch")
    assert not issues_of(found, "duplicate_metadata_row")


def test_a_duplicate_row_never_duplicates_a_sample(tmp_path: Path) -> None:
    rows = [(1, "Aquilion ONE"), (1, "Brilliance16"), (1, "Aquilion ONE")]
    found = find(tmp_path, PAIR, csv_of(rows))
    assert len(found.samples) == 1
    assert found.samples[0].scanner == "Aquilion ONE"
    assert [issue.sample for issue in issues_of(found, "duplicate_metadata_row")] == ["amos_0001"]


def test_an_option_overrides_the_evidence(tmp_path: Path) -> None:
    names, csv = [volume(507)], csv_of(official_rows())
    assert find(tmp_path, names, csv, mr_metadata_offset="0").samples[0].metadata.site == "row507"
    assert find(tmp_path, names, csv, mr_metadata_offset="-1").samples[0].metadata.site == "row506"


def test_a_scan_without_a_row_is_kept(tmp_path: Path) -> None:
    found = find(tmp_path, PAIR, csv_of([(2, "Aquilion ONE")]))
    assert found.samples[0].metadata.sex == "UND"
    assert [issue.sample for issue in issues_of(found, "metadata_row_missing")] == ["amos_0001"]


def test_without_a_csv_everything_is_UND_and_that_is_told(tmp_path: Path) -> None:
    found = find(tmp_path, PAIR)
    assert found.samples[0].metadata.site == "UND"
    assert found.samples[0].scanner == "UND"
    (issue,) = issues_of(found, "metadata_missing")
    assert issue.severity == "warning"


@pytest.mark.parametrize("form", ["inside", "nested", "beside folder", "beside zip", "named"])
def test_the_csv_is_found_inside_beside_or_where_named(tmp_path: Path, form: str) -> None:
    root = tmp_path / "archive"
    location = write_archive(root, PAIR)
    where = {"inside": root / CSV, "nested": root / "amos22" / CSV, "named": tmp_path / "m.csv"}
    path = where.get(form, tmp_path / CSV)
    path.parent.mkdir(exist_ok=True)
    path.write_text(csv_of([(1, "Aquilion ONE")]))
    if form == "beside zip":
        location = str(tmp_path / "amos22.zip")
        with zipfile.ZipFile(location, "w") as archive:
            archive.writestr(PAIR[0], b"")
    named = str(path) if form == "named" else None
    found = discover_one(location, named)
    assert found.samples[0].metadata.site == "row1"
    assert not issues_of(found, "metadata_missing")


@pytest.mark.parametrize("place", ["", "amos22/"])
def test_of_several_csvs_the_official_one_is_taken_and_the_others_are_said(
    tmp_path: Path, place: str
) -> None:
    other = "labeled_data_meta.csv"
    root = Path(write_archive(tmp_path / "archive", [*PAIR, other, place + CSV]))
    (root / other).write_text(csv_of([(1, "Brilliance16")]))
    (root / place / CSV).write_text(csv_of([(1, "Aquilion ONE")]))
    found = discover_one(str(root))
    assert found.samples[0].scanner == "Aquilion ONE"
    assert [issue.file for issue in issues_of(found, "unexpected_file")] == [other]


def test_the_csv_beside_a_zip_at_a_url_is_found(tmp_path: Path) -> None:
    memory: MemoryFileSystem = fsspec.filesystem("memory")
    with memory.open("/amos/amos22.zip", "wb") as out, zipfile.ZipFile(out, "w") as archive:
        archive.writestr(PAIR[0], b"")
    memory.pipe(f"/amos/{CSV}", csv_of([(1, "Aquilion ONE")]).encode())
    try:
        found = discover_one("memory://amos/amos22.zip")
    finally:
        memory.store.clear()
    assert found.samples[0].metadata.site == "row1"


def test_a_csv_named_by_url_is_read(tmp_path: Path) -> None:
    memory: MemoryFileSystem = fsspec.filesystem("memory")
    memory.pipe("/meta/any.csv", csv_of([(1, "Aquilion ONE")]).encode())
    try:
        found = find(tmp_path, PAIR, labeled_data_meta="memory://meta/any.csv")
    finally:
        memory.store.clear()
    assert found.samples[0].metadata.site == "row1"


def test_a_named_csv_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"absent\.csv"):
        find(tmp_path, PAIR, labeled_data_meta=str(tmp_path / "absent.csv"))


# ---------------------------------------------------------------- counts


def official_names() -> Iterator[str]:
    ct, mr = iter(range(1, 501)), iter(range(501, 601))
    for suffix, n_ct, n_mr in (("Tr", 200, 40), ("Va", 100, 20), ("Ts", 200, 40)):
        for numbers, n in ((ct, n_ct), (mr, n_mr)):
            yield from (volume(next(numbers), f"images{suffix}") for _ in range(n))


def test_the_official_counts_are_no_issue(tmp_path: Path) -> None:
    found = find(tmp_path, official_names())
    assert len(found.samples) == 600
    assert not issues_of(found, "subset_counts")


def test_other_counts_are_told_as_information(tmp_path: Path) -> None:
    (issue,) = issues_of(find(tmp_path, [*PAIR, volume(501)]), "subset_counts")
    assert (issue.severity, issue.sample) == ("info", "")
    for text in ("train 1+1", "train 200+40", "val 100+20", "test 200+40"):
        assert text in issue.message


def test_masks_alone_do_not_count_as_scans(tmp_path: Path) -> None:
    (issue,) = issues_of(find(tmp_path, [mask(1), volume(2)]), "subset_counts")
    assert "train 1+0" in issue.message
