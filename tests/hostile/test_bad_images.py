"""Every bad image gives one issue that names it, and takes nothing else with it."""

from __future__ import annotations

import gzip
import os
import signal
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest
from hostile.bad_images import (
    BAD_MASKS,
    BAD_VOLUMES,
    ODD_MASKS,
    ODD_VOLUMES,
    Bad,
    header,
    image,
    in_file,
    mask_voxels,
    raw,
    valid_forms,
    volume_voxels,
)
from roots import archive_task
from samples import amos_sample

from amos_dask.archive import sources
from amos_dask.file_refs import file_ref
from amos_dask.issues import CATALOGUE, Issue
from amos_dask.records import HeaderCheck, Metadata, Sample
from amos_dask.sample.make import make_sample
from amos_dask.steps.header_check import check_headers

VOLUME, MASK = image(volume_voxels()), image(mask_voxels())
VOLUME_NAME, MASK_NAME = "imagesTr/amos_0001.nii.gz", "labelsTr/amos_0001.nii.gz"
IMAGES = [
    *(pytest.param("volume", bad, id=f"volume-{n}") for n, bad in BAD_VOLUMES.items()),
    *(pytest.param("mask", bad, id=f"mask-{n}") for n, bad in BAD_MASKS.items()),
    *(pytest.param("volume", odd, id=f"volume-{n}") for n, odd in ODD_VOLUMES.items()),
    *(pytest.param("mask", odd, id=f"mask-{n}") for n, odd in ODD_MASKS.items()),
]


def sample_of(folder: Path, volume: bytes = VOLUME, mask: bytes = MASK) -> Sample:
    refs = []
    for name, content in ((VOLUME_NAME, volume), (MASK_NAME, mask)):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        refs.append(file_ref(path, name))
    return amos_sample("0001", "train", "ct", "Aquilion ONE", Metadata(sex="M"), refs[0], refs[1])


def with_image(folder: Path, kind: str, content: bytes) -> Sample:
    return sample_of(folder, **{kind: content})


def process(sample: Sample, root: Path) -> tuple[HeaderCheck, set[Issue]]:
    """Check a sample's headers and make it; return the check and every issue once."""
    headers = check_headers(sample)
    result = make_sample(archive_task(sample, root))
    return headers, {*headers.issues, *(found.issue for found in result.issues)}


def written(root: Path) -> dict[str, bytes]:
    """Return name -> content of the sample's files."""
    return {p.name: p.read_bytes() for p in (root / "grouped").rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of the sample when nothing is wrong with it."""
    folder = tmp_path_factory.mktemp("good")
    _, issues = process(sample_of(folder), folder / "root")
    assert issues == set()
    files = written(folder / "root")
    assert len(files) == 3 + 17
    return files


@pytest.mark.parametrize(("kind", "bad"), IMAGES)
def test_a_bad_image_is_one_issue_that_names_it_and_harms_no_other(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    good: dict[str, bytes],
    kind: str,
    bad: Bad,
) -> None:
    headers, issues = process(with_image(tmp_path, kind, bad.content), tmp_path / "root")
    file = named_file(kind, bad)
    (issue,) = (issue for issue in issues if issue.file == file)
    assert (issue.code, issue.sample) == (bad.code, "amos_0001")
    assert bad.says in issue.message
    assert "\n" not in issue.message
    # A scan without any form has another affine, which its mask then takes.
    assert {i.code for i in issues - {issue}} <= {"affine_repaired"}
    assert [row.file_path for row in headers.files] == [VOLUME_NAME, MASK_NAME]
    assert capfd.readouterr() == ("", "")
    found = written(tmp_path / "root")
    if bad in BAD_VOLUMES.values():
        assert found == {}
    elif bad in BAD_MASKS.values():
        if bad.code == "unknown_label":  # it stays as it is
            assert found.pop("amos_0001_mask.nii.gz")
        kept = {"amos_0001_info.yaml", "amos_0001_volume.nii.gz"}
        assert found == {file: good[file] for file in kept}


def named_file(kind: str, bad: Bad) -> str:
    """Return the file of the issue: of a mask's labels, the mask that was written."""
    if bad.code in ("unknown_label", "empty_mask"):
        return "grouped/AMOS-CT/train/Aquilion ONE/amos_0001_M/amos_0001_mask.nii.gz"
    return VOLUME_NAME if kind == "volume" else MASK_NAME


@pytest.mark.parametrize("name", valid_forms(volume_voxels()))
@pytest.mark.parametrize("kind", ["volume", "mask"])
def test_an_unusual_valid_form_gives_the_same_files(
    tmp_path: Path, good: dict[str, bytes], kind: str, name: str
) -> None:
    content = valid_forms(volume_voxels() if kind == "volume" else mask_voxels())[name]
    _, issues = process(with_image(tmp_path, kind, content), tmp_path / "root")
    assert issues == set()
    assert written(tmp_path / "root") == good


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("names", [(".nii",), (".hdr", ".img"), (".hdr.gz", ".img.gz")])
def test_files_that_are_not_packed_and_pairs_give_the_same_files(
    tmp_path: Path, good: dict[str, bytes], names: tuple[str, ...], version: int
) -> None:
    refs = {}
    for kind, voxels in (("volume", volume_voxels()), ("mask", mask_voxels())):
        contents = [raw(voxels, version=version)]
        if len(names) == 2:
            of_pair = {"magic": b"ni%d" % version, "vox_offset": 0}
            contents = [bytes(header(voxels, version, **of_pair).binaryblock), in_file(voxels)]
        files = []
        for name, content in zip(names, contents, strict=True):
            path = tmp_path / f"{kind}{name}"
            path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
            files.append(file_ref(path, path.name))
        refs[kind] = replace(files[0], pair=files[1] if len(files) == 2 else None)
    sample = replace(sample_of(tmp_path), volumes=(refs["volume"],), masks=((0, refs["mask"]),))
    _, issues = process(sample, tmp_path / "root")
    assert issues == set()
    assert written(tmp_path / "root") == good


@pytest.mark.parametrize(
    "name", ["gigabytes", "terabytes", "nifti_2_terabytes", "bomb", "small_bomb"]
)
@pytest.mark.parametrize("kind", ["volume", "mask"])
def test_a_claim_or_a_bomb_takes_no_memory(tmp_path: Path, kind: str, name: str) -> None:
    tables = (BAD_VOLUMES, ODD_VOLUMES) if kind == "volume" else (BAD_MASKS, ODD_MASKS)
    content = (tables[0] | tables[1])[name].content
    sample = with_image(tmp_path, kind, content)
    tracemalloc.start()
    try:
        process(sample, tmp_path / "root")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 << 20


def test_every_code_is_in_the_catalogue_with_the_severity_that_says_what_is_missing() -> None:
    for bad in (*BAD_VOLUMES.values(), *BAD_MASKS.values()):
        assert CATALOGUE[bad.code] == "error"
    for odd in (*ODD_VOLUMES.values(), *ODD_MASKS.values()):
        assert CATALOGUE[odd.code] in ("warning", "info")


# ---------------------------------------------------------------- files that cannot be opened


def make_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("make", [make_loop, make_folder], ids=lambda m: m.__name__)
@pytest.mark.parametrize("kind", ["volume", "mask"])
def test_what_is_no_file_is_unreadable(
    tmp_path: Path, kind: str, make: Callable[[Path], None]
) -> None:
    sample = sample_of(tmp_path)
    name = VOLUME_NAME if kind == "volume" else MASK_NAME
    make(tmp_path / name)
    _, issues = process(sample, tmp_path / "root")
    (issue,) = issues
    assert (issue.code, issue.file) == (f"unreadable_{kind}", name)
    assert "cannot be read" in issue.message


def stop(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("waited for a pipe")


def test_a_pipe_is_unreadable_and_not_waited_for(tmp_path: Path) -> None:
    sample = sample_of(tmp_path)
    (tmp_path / VOLUME_NAME).unlink()
    os.mkfifo(tmp_path / VOLUME_NAME)
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(10)
    try:
        (issue,) = check_headers(sample).issues
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert (issue.code, issue.file) == ("unreadable_volume", VOLUME_NAME)
    assert "not a regular file" in issue.message


@pytest.mark.parametrize("kind", ["volume", "mask"])
def test_a_file_that_may_not_be_read_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    sample = sample_of(tmp_path)
    name = VOLUME_NAME if kind == "volume" else MASK_NAME
    open_file = sources._open_file

    def refuse(path: str, flags: int) -> int:
        if path.endswith(name):
            raise PermissionError(13, "Permission denied", path)
        return open_file(path, flags)

    monkeypatch.setattr(sources, "_open_file", refuse)
    _, issues = process(sample, tmp_path / "root")
    (issue,) = issues
    assert (issue.code, issue.file) == (f"unreadable_{kind}", name)
    assert "Permission denied" in issue.message
    assert str(tmp_path) not in issue.message
