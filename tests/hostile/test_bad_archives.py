"""Names, links and members that an archive should not have."""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hostile.bad_images import image, mask_voxels, raw, volume_voxels
from samples import discover_one

from amos_dask.archive import sources
from amos_dask.archive.discover import Discovery
from amos_dask.archive.listing import list_files
from amos_dask.archive.sources import read_blocks
from amos_dask.errors import ArchiveError
from amos_dask.issues import Issue
from amos_dask.steps.header_check import check_headers

GOOD = ("imagesTr/amos_0001.nii.gz", "labelsTr/amos_0001.nii.gz")


def zip_of(folder: Path, names: Iterable[str]) -> str:
    path = folder / "amos22.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), image(volume_voxels()))
    return str(path)


def folder_of(folder: Path, names: Iterable[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image(volume_voxels()))
    return folder


def issues_of(found: Discovery, code: str) -> list[Issue]:
    return [issue for issue in found.issues if issue.code == code]


def ids(found: Discovery) -> list[str]:
    return [sample.sample_id for sample in found.samples]


# ---------------------------------------------------------------- names that lead outside

OUTSIDE = (
    "../imagesTr/amos_0002.nii.gz",
    "imagesTr/../../imagesTr/amos_0003.nii.gz",
    "/imagesTr/amos_0004.nii.gz",
    "/etc/imagesTr/amos_0005.nii.gz",
    "../labeled_data_meta_0000_0599.csv",
    "../dataset.json",
)


def test_names_that_lead_out_of_a_zip_are_left_aside_and_told(tmp_path: Path) -> None:
    found = discover_one(zip_of(tmp_path, [*GOOD, *OUTSIDE]))
    assert ids(found) == ["amos_0001"]
    told = issues_of(found, "unexpected_file")
    assert sorted(issue.file for issue in told) == sorted(OUTSIDE)
    assert {issue.message for issue in told} == {"its name leads outside the archive"}
    assert {issue.code for issue in found.issues} >= {"metadata_missing"}


def test_a_zip_of_nothing_but_such_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"amos22\.zip: no scans found"):
        discover_one(zip_of(tmp_path, OUTSIDE))


def test_backslashes_make_no_folders(tmp_path: Path) -> None:
    found = discover_one(zip_of(tmp_path, [*GOOD, "..\\imagesTr\\amos_0002.nii.gz"]))
    assert ids(found) == ["amos_0001"]
    assert len(issues_of(found, "unexpected_file")) == 1


@pytest.mark.parametrize(
    "entry", ["../../imagesTr/amos_0001.nii.gz", "/etc/amos_0001.nii.gz", "C:/x/amos_0001.nii.gz"]
)
def test_a_dataset_json_that_points_outside_changes_no_file(tmp_path: Path, entry: str) -> None:
    root = folder_of(tmp_path / "archive", GOOD)
    (root / "dataset.json").write_text(json.dumps({"validation": [{"image": entry}]}))
    (sample,) = discover_one(str(root)).samples
    assert sample.subset == "val"  # of an entry only the scan's number counts
    assert sample.volume is not None
    assert sample.volume.location == str(root / GOOD[0])


@pytest.mark.parametrize(
    "content",
    [
        {"training": ["x" * 1_000_000]},
        {"training": [{"image": {"deep": ["x" * 1_000_000]}}]},
        "[" + "0," * 5_000_000 + "0]",
    ],
    ids=["long name", "long value", "ten megabytes"],
)
def test_a_huge_dataset_json_is_one_short_issue(tmp_path: Path, content: object) -> None:
    root = folder_of(tmp_path / "archive", GOOD)
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "dataset.json").write_text(text)
    (issue,) = issues_of(discover_one(str(root)), "bad_dataset_json")
    assert len(issue.message) < 200
    assert ("larger than" in issue.message) == isinstance(content, str)


# ---------------------------------------------------------------- other forms of images


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("amos_0002.hdr", raw(volume_voxels(), magic=b"ni1")[:348]),
        ("amos_0002.img", volume_voxels().tobytes()),
        ("amos_0002.img.gz", image(volume_voxels(), magic=b"ni1", vox_offset=0)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_half_a_pair_is_an_error_and_no_stray_file(
    tmp_path: Path, folder: str, name: str, content: bytes
) -> None:
    root = folder_of(tmp_path / "archive", [*GOOD, "imagesTr/amos_0003.nii.gz"])
    (root / folder / name).write_bytes(content)
    found = discover_one(str(root))
    assert ids(found) == ["amos_0001", "amos_0002", "amos_0003"]
    audit = check_headers(found.samples[1])
    (issue,) = audit.issues
    kind = "volume" if folder == "imagesTr" else "mask"
    assert (issue.code, issue.severity) == (f"unreadable_{kind}", "error")
    assert (issue.sample, issue.file) == ("amos_0002", f"{folder}/{name}")
    assert "missing" in issue.message
    assert [row.file_path for row in audit.files] == [f"{folder}/{name}"]


def test_a_pair_is_told_by_its_header_and_its_voxels(tmp_path: Path) -> None:
    names = ["imagesTr/amos_0002.hdr", "imagesTr/amos_0002.img"]
    found = discover_one(str(folder_of(tmp_path / "archive", [*GOOD, *names])))
    assert found.samples[1].volume is not None
    volume = found.samples[1].volume
    assert (volume.path, volume.pair and volume.pair.path) == tuple(names)
    assert not issues_of(found, "duplicate_file")


@pytest.mark.parametrize("other", ["amos_0001.nii", "amos_0001.hdr", "amos_0001.img"])
@pytest.mark.parametrize("below", ["", "amos22/"])
def test_another_form_never_takes_the_place_of_a_good_file(
    tmp_path: Path, below: str, other: str
) -> None:
    names = [f"{below}{name}" for name in GOOD]
    found = discover_one(str(folder_of(tmp_path / "archive", [*names, f"imagesTr/{other}"])))
    (sample,) = found.samples
    assert sample.volume is not None
    assert sample.volume.path == names[0]
    (issue,) = issues_of(found, "duplicate_file")
    assert (issue.file, issue.severity) == (f"imagesTr/{other}", "warning")


# ---------------------------------------------------------------- other names


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("above", ["数据", "δεδομένα", "بيانات", "दत्तांश", "a b", "😀", "ﬁ"])
def test_folders_may_be_named_in_any_script(tmp_path: Path, above: str, zipped: bool) -> None:
    names = [f"{above}/{name}" for name in GOOD]
    location = zip_of(tmp_path, names) if zipped else str(folder_of(tmp_path / "archive", names))
    (sample,) = discover_one(location).samples
    assert sample.volume is not None
    assert sample.volume.path == names[0]
    assert b"".join(read_blocks(sample.volume)) == image(volume_voxels())


def test_digits_of_another_script_are_no_scan_number(tmp_path: Path) -> None:
    name = "imagesTr/amos_٠٠٠٢.nii.gz"
    found = discover_one(str(folder_of(tmp_path / "archive", [*GOOD, name])))
    assert ids(found) == ["amos_0001"]
    assert [issue.file for issue in issues_of(found, "unexpected_file")] == [name]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("bad", ["a\nb", "a\x1b[2Jb", "a\x85b", "a\u2028b", "a\rb"])
def test_a_name_that_would_break_a_line_is_shown_without(
    tmp_path: Path, bad: str, zipped: bool
) -> None:
    names = [f"{bad}/{name}" for name in GOOD]
    location = zip_of(tmp_path, names) if zipped else str(folder_of(tmp_path / "archive", names))
    (sample,) = discover_one(location).samples
    assert sample.volume is not None
    assert "\ufffd" in sample.volume.path
    assert sample.volume.path.replace("\ufffd", "").isprintable()
    assert b"".join(read_blocks(sample.volume)) == image(volume_voxels())


# ---------------------------------------------------------------- links and what is no file


def test_a_web_of_links_ends(tmp_path: Path) -> None:
    """Twelve folders that each link to all: more paths than could ever be listed."""
    root = folder_of(tmp_path / "archive", GOOD)
    folders = [root / f"part{n}" for n in range(12)]
    for folder in folders:
        folder.mkdir()
    for folder in folders:
        for other in folders:
            (folder / f"to_{other.name}").symlink_to(other)
        (folder / "to_all").symlink_to(root)
    start = time.perf_counter()
    found = {ref.path for ref in list_files(str(root))}
    assert time.perf_counter() - start < 20
    assert set(GOOD) <= found


def test_a_real_folder_is_found_whatever_links_to_it(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "archive", GOOD)
    for number in range(100):
        (root / f"a{number:03d}").symlink_to(root / "imagesTr")
    assert set(GOOD) <= {ref.path for ref in list_files(str(root))}


def test_a_link_that_leads_out_of_reach_is_listed_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_of(tmp_path / "archive", GOOD)
    (root / "imagesTr" / "amos_0002.nii.gz").symlink_to(tmp_path / "private" / "scan.nii.gz")
    stat = os.stat

    def refuse(path: object, *args: object, **options: object) -> os.stat_result:
        if str(path).endswith("amos_0002.nii.gz") and options.get("follow_symlinks", True):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *args, **options)  # type: ignore[arg-type,call-overload]

    monkeypatch.setattr(os, "stat", refuse)
    assert "imagesTr/amos_0002.nii.gz" in {ref.path for ref in list_files(str(root))}


@pytest.mark.parametrize("name", ["dataset.json", "notes.txt"])
def test_a_pipe_in_the_archive_is_not_waited_for(tmp_path: Path, name: str) -> None:
    root = folder_of(tmp_path / "archive", GOOD)
    os.mkfifo(root / name)
    code = "bad_dataset_json" if name == "dataset.json" else "unexpected_file"
    assert [issue.file for issue in issues_of(discover_one(str(root)), code)] == [name]


@pytest.mark.parametrize("name", ["amos22.zip", "archive/labeled_data_meta_0000_0599.csv"])
def test_an_archive_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    location = str(folder_of(tmp_path / "archive", GOOD))
    (tmp_path / name).write_bytes(image(mask_voxels()))

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(sources, "_open_file", refuse)
    with pytest.raises(ArchiveError) as caught:
        discover_one(location if "csv" in name else str(tmp_path / name))
    assert Path(name).name in str(caught.value)
    assert "Permission denied" in str(caught.value)
    assert "\n" not in str(caught.value)
