"""Uncompressed tars, read in place: as they would unpack, and never believed."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from samples import discover_one

from amos_dask.archive.listing import list_files
from amos_dask.archive.sources import read_blocks, read_bytes, read_ends
from amos_dask.errors import AmosDaskError, DamagedArchiveError, UnreadableImageError
from amos_dask.file_refs import FileRef, TarMember
from amos_dask.loader import AMOS
from amos_dask.nifti import make_header, write_image
from amos_dask.root.receipts import input_identity
from amos_dask.root.staging import identity

quick = settings(max_examples=80, deadline=None, derandomize=True, database=None)

NAME = "imagesTr/amos_0001.nii.gz"
LONG = "amos22/" + "a very long folder name, " * 8 + "/" + NAME
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
needs_tar = pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")


def a_tar(path: Path, files: dict[str, bytes], form: str = "pax", **header: Any) -> Path:
    with tarfile.open(path, "w", format=FORMATS[form], **header) as tar:
        for name, content in files.items():
            add(tar, name, content)
    return path


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", **changes: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(content))


def contents(path: Path | str) -> dict[str, bytes]:
    return {ref.path: read_bytes(ref, 1 << 20) for ref in list_files(str(path))}


def fault(ref: FileRef) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        list(read_blocks(ref))
    return str(caught.value)


def damage(path: Path) -> str:
    with pytest.raises(DamagedArchiveError) as caught:
        list_files(str(path))
    return str(caught.value)


@pytest.mark.parametrize("form", FORMATS)
def test_members_are_read_in_place(form: str, tmp_path: Path) -> None:
    files = {NAME: b"scan", "labelsTr/amos_0001.nii.gz": b"mask" * 5000, "dataset.json": b""}
    path = a_tar(tmp_path / "Task09_Spleen.tar", files, form)
    assert contents(path) == files
    ends = [read_ends(ref).length for ref in list_files(str(path)) if ref.size > 3]
    assert ends == [int.from_bytes(b"scan", "little"), int.from_bytes(b"mask", "little")]


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_long_names_and_further_headers_are_read(form: str, tmp_path: Path) -> None:
    headers = {"pax_headers": {"comment": "x" * 2000, "SCHILY.dev": "1"}} if form == "pax" else {}
    path = a_tar(tmp_path / "a.tar", {LONG: b"scan", "später/" + NAME: b"2"}, form, **headers)
    assert contents(path) == {LONG: b"scan", "später/" + NAME: b"2"}


@needs_tar
@pytest.mark.parametrize("form", ["v7", "ustar", "gnu", "oldgnu", "posix"])
def test_what_tar_makes_of_a_folder_is_the_folder(form: str, tmp_path: Path) -> None:
    """With ``./`` before each name."""
    folder = tmp_path / "folder"
    for name in (NAME, "labelsTr/amos_0001.nii.gz", "dataset.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    (folder / "imagesVa").mkdir()
    (folder / "imagesVa/amos_0002.nii.gz").hardlink_to(folder / NAME)
    (folder / "imagesTs").symlink_to("imagesTr")
    path = tmp_path / "folder.tar"
    run_tar("-C", str(folder), f"--format={form}", "-cf", str(path), ".")
    assert contents(path) == contents(folder)
    assert "imagesTs/amos_0001.nii.gz" in contents(path)


@needs_tar
def test_a_sparse_member_is_named(tmp_path: Path) -> None:
    with (tmp_path / "amos_0001.nii.gz").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"x")
    for form in ("gnu", "posix"):
        path = tmp_path / f"{form}.tar"
        run_tar("-C", str(tmp_path), "-S", f"--format={form}", "-cf", str(path), "amos_0001.nii.gz")
        (ref,) = list_files(str(path))
        assert ref.path == "amos_0001.nii.gz"
        assert "sparse" in fault(ref)
        assert input_identity(ref) is None


def run_tar(*arguments: str) -> None:
    subprocess.run(["tar", *arguments], check=True, timeout=60)


def test_links_lead_to_what_the_tar_holds_and_are_named_where_it_does_not(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    annex = "../.git/annex/objects/9k/x1/SHA256E-s1--b.nii.gz/SHA256E-s1--b.nii.gz"
    links = {
        "labelsTr/one": "../imagesTr/amos_0001.nii.gz",
        "labelsTr/two": "one",
        "folder": "imagesTr",
        "circle": "circle",
        "absent": "nothing",
        "outside": "../../etc/passwd",
        "absolute": "/etc/passwd",
        "annexed": annex,
    }
    with tarfile.open(path, "w") as tar:
        for name, target in links.items():
            add(tar, name, type=tarfile.SYMTYPE, linkname=target)
        add(tar, NAME, b"scan")
        add(tar, "hard", type=tarfile.LNKTYPE, linkname=NAME)
        add(tar, "broken", type=tarfile.LNKTYPE, linkname="nothing")
        add(tar, "pipe", type=tarfile.FIFOTYPE)
        add(tar, "device", type=tarfile.CHRTYPE)
    found = {ref.path: ref for ref in list_files(str(path))}
    read = (NAME, "labelsTr/one", "labelsTr/two", "folder/amos_0001.nii.gz", "hard")
    assert [read_bytes(found.pop(name), 9) for name in read] == [b"scan"] * 5
    said = {name: fault(ref) for name, ref in found.items()}
    nowhere = ("circle", "absent", "outside", "absolute", "annexed", "broken")
    assert sorted(said) == sorted((*nowhere, "pipe", "device"))
    assert "git annex get" in said["annexed"]
    assert all("not there" in said[name] for name in nowhere if name != "annexed")
    assert "not a regular file" in said["pipe"]


def test_of_two_members_of_one_name_the_later_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, NAME, b"old")
        add(tar, "./" + NAME, b"newer")
    assert contents(path) == {NAME: b"newer"}


def test_names_that_lead_outside_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name in (NAME, "../" + NAME, "x/../../labelsTr/amos_0001.nii.gz", "/etc/" + NAME):
            add(tar, name, b"x")
    found = discover_one(str(path))
    assert [sample.seq for sample in found.samples] == ["0001"]
    assert found.samples[0].volume is not None
    assert found.samples[0].volume.path == NAME
    assert sum("outside the archive" in issue.message for issue in found.issues) == 3


# ---------------------------------------------------------------- damage, and lies


def test_a_tar_that_ends_early_is_damaged(tmp_path: Path) -> None:
    whole = a_tar(tmp_path / "a.tar", {"a": b"x" * 1000, "b": b"y" * 3000}).read_bytes()
    path = tmp_path / "b.tar"
    for n_bytes in (300, 700, 1700, 2300, 4000):
        path.write_bytes(whole[:n_bytes])
        assert "download it again" in damage(path)


def test_a_damaged_header_in_the_middle_does_not_end_the_tar(tmp_path: Path) -> None:
    path = a_tar(tmp_path / "a.tar", {"a": b"x", "b": b"y", "c": b"z"})
    content = bytearray(path.read_bytes())
    content[1024] ^= 0xFF  # of the name of b
    path.write_bytes(content)
    assert "no header" in damage(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: header("a", size=-1024) + bytes(512),
        lambda: header("a", size=-512) + bytes(512),
        lambda: header("L", tarfile.GNUTYPE_LONGNAME, size=1 << 40),
        lambda: header("L", tarfile.GNUTYPE_LONGNAME, size=1 << 20) + b"n" * (1 << 20),
        lambda: header("x", tarfile.XHDTYPE, size=1 << 40),
        lambda: header("x", tarfile.XHDTYPE, size=-512) + bytes(512),
        lambda: 3000 * (header("x", tarfile.XHDTYPE, size=5) + b"5 a=\n".ljust(512, b"\0")),
        lambda: pax("20 size=-1000000000\n") + header("a"),
        lambda: pax("99999999 path=x\n") + header("a"),
        lambda: pax("0 path=x\n") + header("a"),
        lambda: pax("30 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n") + header("a"),
        lambda: sparse_header(),
    ],
)
def test_what_headers_claim_is_not_believed(make: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(make())
    try:
        refs = list_files(str(path))
    except DamagedArchiveError:
        return
    assert [ref.size for ref in refs] in ([0], [])


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type = kind
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    # Sizes below zero and above 8 GiB are binary.
    head[124:136] = (b"\xff" if size < 0 else b"\x80") + size.to_bytes(11, "big", signed=True)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


def pax(records: str) -> bytes:
    return header("x", tarfile.XHDTYPE, len(records)) + records.encode().ljust(512, b"\0")


def sparse_header() -> bytes:
    """A sparse file whose map goes on for ever."""
    head = bytearray(header("s", tarfile.GNUTYPE_SPARSE))
    head[482] = 1
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    block = (b"00000000001\0" * 42).ljust(504, b"\0") + b"\x01" + bytes(7)
    return bytes(head) + block * 5000


@quick
@given(st.data())
def test_any_damage_is_an_error_or_a_listing(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, LONG, b"scan")
        add(tar, "ä" * 60, type=tarfile.SYMTYPE, linkname=LONG)
    content = bytearray(buffer.getvalue()[:6000])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    with fsspec.open("memory://damaged.tar", "wb") as file:
        file.write(content)
    try:
        for ref in list_files("memory://damaged.tar"):
            list(read_blocks(ref))
    except (AmosDaskError, UnreadableImageError):
        pass


# ---------------------------------------------------------------- whole archives, URLs


def write(path: Path, volume: NDArray[Any]) -> None:
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    write_image(path, make_header(shape, volume.dtype.type, np.eye(4), 1), volume)


def test_a_decathlon_tar_is_read_by_everyone(tmp_path: Path) -> None:
    folder = tmp_path / "Task09_Spleen"
    volume = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    (folder / "imagesTr").mkdir(parents=True)
    write(folder / "imagesTr/spleen_2.nii.gz", volume)
    (folder / "dataset.json").write_text(
        '{"name": "Spleen", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "spleen"},'
        '"training": [{"image": "./imagesTr/spleen_2.nii.gz", "label": ""}], "test": []}'
    )
    path = tmp_path / "Task09_Spleen.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder, "Task09_Spleen")
    ds = AMOS(path, dataset="decathlon")
    assert len(ds) == 1
    np.testing.assert_array_equal(ds.image(ds.ids[0]), volume)


def test_a_tar_at_a_url_is_read_in_ranges(tmp_path: Path) -> None:
    rng = random.Random(0)
    files = {f"imagesTr/amos_{n:04d}.nii.gz": rng.randbytes(300_000) for n in range(1, 5)}
    path = a_tar(tmp_path / "amos22.tar", files)
    with fsspec.open("memory://at_url/amos22.tar", "wb") as file:
        file.write(path.read_bytes())
    assert contents("memory://at_url/amos22.tar") == files


def test_what_identifies_a_member_is_what_identifies_the_file(tmp_path: Path) -> None:
    volume = tmp_path / "amos_0001.nii.gz"
    write(volume, np.ones((9, 8, 7), np.float32))
    path = a_tar(tmp_path / "a.tar", {NAME: volume.read_bytes(), "other": b"x" * 1000})
    ref = next(ref for ref in list_files(str(path)) if ref.path == NAME)
    assert isinstance(ref.member, TarMember)
    assert input_identity(ref) == identity(volume)
    assert f"{os.path.getsize(volume)}-" in str(input_identity(ref))  # noqa: PTH202
    changed = bytearray(gzip.decompress(volume.read_bytes()))
    changed[-1] ^= 1
    other = a_tar(tmp_path / "b.tar", {NAME: gzip.compress(changed)})
    assert input_identity(list_files(str(other))[0]) != input_identity(ref)
