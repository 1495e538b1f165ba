"""What lies in the place of an image or an archive is named as what it is, and nothing else is."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import discover_one

from amos_dask.archive.listing import list_files
from amos_dask.archive.recognise import find_other_form, find_substitute
from amos_dask.errors import ArchiveError, InaccessibleFileError, UnreadableImageError
from amos_dask.file_refs import file_ref
from amos_dask.nifti import read_info

quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)

NAME = "imagesTr/amos_0001.nii.gz"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12345\n"
KEY = "SHA256E-s12345--" + "b" * 64 + ".nii.gz"
TARGET = f"../.git/annex/objects/9k/x1/{KEY}/{KEY}"
PAGE = "<!DOCTYPE html><html><body>Sign in</body></html>"
BOM = "\ufeff"

SUBSTITUTES = {
    "a Git LFS pointer": [
        LFS,
        LFS.replace("\n", "\r\n"),
        BOM + LFS,
        LFS.replace("git-lfs.github.com", "hawser.github.com"),
        "\n" + LFS,
    ],
    "a git-annex pointer": [
        f"/annex/objects/{KEY}\n",
        f"/annex/objects/{KEY}\r\n",
        f"\\annex\\objects\\{KEY}\n",
        BOM + f"/annex/objects/{KEY}",
        TARGET,
        f"../../.git/modules/data/annex/objects/9k/x1/{KEY}/{KEY}",
    ],
    "a web page": [
        PAGE,
        PAGE.lower(),
        BOM + PAGE,
        "\r\n \t" + PAGE,
        "<!-- saved from url=(0014)about:internet -->\n" + PAGE,
        "<!-- one --> <!-- two\nlines -->" + PAGE,
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0">',
        '<html lang="en">',
        "<HTML>",
        "<head><title>502 Bad Gateway</title>",
        "<script>location.href='/login'</script>",
        "<!--" + "x" * 10_000,
    ],
    "an XML document": [
        '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        BOM + '<?xml version="1.0"?>\n<Error/>',
    ],
}
WAYS_OUT = {
    "a Git LFS pointer": "git lfs pull",
    "a git-annex pointer": "git annex get",
    "a web page": "download the file again",
    "an XML document": "download the file again",
}
EACH = [(what, text) for what, texts in SUBSTITUTES.items() for text in texts]


@pytest.mark.parametrize(("what", "text"), EACH)
def test_what_lies_in_an_images_place_is_named_with_what_to_do(
    what: str, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "amos_0001.nii.gz"
    path.write_bytes(text.encode())
    with pytest.raises(UnreadableImageError) as caught:
        read_info(file_ref(path, path.name))
    assert str(caught.value).startswith(f"not a gzip file but {what}")
    assert WAYS_OUT[what] in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_page_in_utf_16_is_a_page(encoding: str) -> None:
    marked = PAGE if encoding == "utf-16" else BOM + PAGE
    assert find_substitute(marked.encode(encoding)).startswith("a web page")


@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.parametrize(
    ("what", "text"), [(what, texts[0]) for what, texts in SUBSTITUTES.items()]
)
def test_what_lies_in_an_archives_place_is_named(
    form: str, what: str, text: str, tmp_path: Path
) -> None:
    path = tmp_path / f"amos22.{form}"
    path.write_text(text)
    message = refusal(path)
    assert message.startswith(f"{path}: {what}")
    assert WAYS_OUT[what] in message
    assert message.count(".") <= str(path).count(".") + 2  # one sentence


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_what_lies_in_an_images_place_inside_an_archive_is_named(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"amos22.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(NAME, LFS)
    else:
        with tarfile.open(path, "w") as tar:
            info = tarfile.TarInfo(NAME)
            info.size = len(LFS)
            tar.addfile(info, io.BytesIO(LFS.encode()))
    (ref,) = list_files(str(path))
    with pytest.raises(UnreadableImageError, match=r"but a Git LFS pointer"):
        read_info(ref)


@pytest.mark.parametrize("name", [NAME, "amos22.zip", "amos22.tar", "amos22"])
def test_a_link_of_git_annex_that_leads_nowhere_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(TARGET)
    if name == NAME:
        (ref,) = list_files(str(tmp_path))
        with pytest.raises(InaccessibleFileError) as caught:
            read_info(ref)
        message = str(caught.value)
    else:
        message = refusal(path)
    assert "a git-annex link" in message
    assert "git annex get" in message


def test_other_links_that_lead_nowhere_are_not_git_annexs(tmp_path: Path) -> None:
    path = tmp_path / "amos_0001.nii.gz"
    path.symlink_to("elsewhere/objects/amos_0001.nii.gz")
    with pytest.raises(InaccessibleFileError, match="No such file"):
        read_info(file_ref(path, path.name))


def test_a_link_of_git_annex_with_content_is_read(tmp_path: Path) -> None:
    content = tmp_path / ".git/annex/objects/9k" / KEY
    content.parent.mkdir(parents=True)
    content.write_bytes(b"neither gzip nor a pointer")
    path = tmp_path / "amos_0001.nii.gz"
    path.symlink_to(content)
    with pytest.raises(UnreadableImageError, match="not a gzip file"):
        read_info(file_ref(path, path.name))


def test_a_csv_that_is_a_pointer_is_named(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / NAME).touch()
    (tmp_path / "labeled_data_meta_0000_0599.csv").write_text(LFS)
    with pytest.raises(ArchiveError, match=r"meta_0000_0599\.csv: a Git LFS pointer"):
        discover_one(str(tmp_path))
    (tmp_path / "labeled_data_meta_0000_0599.csv").unlink()
    (tmp_path / "dataset.json").write_text(PAGE)
    said = [i.message for i in discover_one(str(tmp_path)).issues if i.code == "bad_dataset_json"]
    assert len(said) == 1
    assert "a web page" in said[0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("amos22.tar.gz", gzip.compress(b"x", mtime=0), "gzip"),
        ("amos22.tgz", gzip.compress(b"x", mtime=0), "gzip"),
        ("amos22.tar", gzip.compress(b"x", mtime=0), "gzip"),
        ("amos22.zip", gzip.compress(b"x", mtime=0), "gzip"),
        ("amos22.tar.bz2", b"BZh91AY&SY", "bzip2"),
        ("amos22.tar.xz", b"\xfd7zXZ\x00\x00", "xz"),
        ("amos22.tar.zst", b"\x28\xb5\x2f\xfd\x00", "zstd"),
        ("amos22.7z", b"7z\xbc\xaf\x27\x1c\x00", "7z"),
        ("amos22.rar", b"Rar!\x1a\x07\x00", "rar"),
        ("amos22.z01", b"PK\x07\x08PK\x03\x04", "one part of a split zip"),
        ("amos22.Z12", b"\x00\x01", "one part of a split zip"),
        ("amos22.zip.001", b"PK\x03\x04", "one part of a split zip"),
        ("amos22.zip", b"PK\x07\x08PK\x03\x04", "one part of a split zip"),
        ("amos22", b"PK\x03\x04", "does not end in .zip"),
        ("amos_0001.nii.gz", gzip.compress(b"x", mtime=0), "an image"),
        ("amos22.zip", b"", "download it again"),
        ("amos22.tar", b"", "download it again"),
        ("notes.txt", b"hello", "a file, and an archive is"),
    ],
)
def test_other_forms_of_archives_are_named(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = refusal(path)
    assert said in message
    assert "there is no such" not in message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("amos22.tar.gz", gzip.compress(b"x", mtime=0), "packed with gzip"),
        ("amos22.tgz", gzip.compress(b"x", mtime=0), "packed with gzip"),
        ("amos22.z01", b"PK", "one part of a split zip"),
        ("amos22.zip", PAGE.encode(), "a web page"),
        ("amos22.tar", LFS.encode(), "a Git LFS pointer"),
    ],
)
def test_other_forms_at_urls_are_named(name: str, content: bytes, said: str) -> None:
    url = f"memory://recognise/{name}"
    with fsspec.open(url, "wb") as file:
        file.write(content)
    with pytest.raises(ArchiveError) as caught:
        list_files(url)
    assert str(caught.value).startswith(f"{url}: {said}")


@pytest.mark.parametrize(
    "head",
    [
        b"PK\x03\x04" + b"\0" * 100,  # a truncated zip is damaged, and nothing else
        b"\x5c\x01\x00\x00",
        b"plain text",
        b"version 1 of https://git-lfs.github.com/spec/v1",
        b"see /annex/objects/ for more",
        b"<svg></svg>",
        b"<patient>1</patient>",
        b"a < b",
        b"/annex/objects/",
    ],
)
def test_what_is_not_known_is_not_named(head: bytes) -> None:
    assert find_substitute(head) == ""
    assert find_other_form(head, "amos22.zip") == ""


@quick
@given(st.binary(max_size=300))
def test_any_bytes_are_looked_at_and_images_are_never_named(content: bytes) -> None:
    find_other_form(content, "amos22.zip")
    assert find_substitute(gzip.compress(content)) == ""
    assert find_substitute(os.urandom(4) + b"\0" + content) == ""


def refusal(path: Path) -> str:
    with pytest.raises(ArchiveError) as caught:
        list_files(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)
