"""What lies in the place of an image or archive; whether a path lies in an archive."""

from __future__ import annotations

import os
import re
from collections.abc import Set
from functools import cache
from pathlib import Path

from amos_dask.datasets import PACKAGED, DatasetDefinition, find_definition
from amos_dask.errors import AmosDaskError
from amos_dask.file_refs import IMAGE
from amos_dask.handwritten import BOMS

# So much of a file's beginning is enough.
HEAD_BYTES = 1 << 12

_ANNEX = "whose content is not here; 'git annex get' brings it"
_GIT_LFS = re.compile(r"\s*version https?://(git-lfs|hawser)\.github\.com/spec/v\d")
# An unlocked file, and a link in a file system without links (or in a zip) as text.
_GIT_ANNEX = re.compile(r"[^\s<>\0]{0,1000}?[/\\]annex[/\\]objects[/\\]\S")
_ANNEX_TARGET = re.compile(r"[/\\]annex[/\\]objects[/\\]")
_COMMENTS = re.compile(r"(\s+|<!--.*?(-->|\Z)|<\?xml.*?\?>)+", re.DOTALL)
# https://mimesniff.spec.whatwg.org/#identifying-a-resource-with-an-unknown-mime-type
_TAGS = "html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p"
_WEB_PAGE = re.compile(rf"<(!doctype html|{_TAGS})[\s>/]", re.IGNORECASE)
_XML = re.compile(r"\ufeff?\s*<\?xml\s", re.IGNORECASE)
_DICOM_MARK = slice(128, 132)
CONVERT_DICOM = "convert each series to .nii.gz with dcm2niix"
_PART = re.compile(r"\.(z\d\d+|zip\.\d{3,})$")
# https://en.wikipedia.org/wiki/List_of_file_signatures
_PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
)


def find_substitute(head: bytes) -> str:
    """Return what a file is that lies in the place of another, and what to do; else nothing.

    ``head`` is its first `HEAD_BYTES`, or all of it.
    """
    head = head[:HEAD_BYTES]
    if is_dicom(head):
        return f"a DICOM file, which is not read; {CONVERT_DICOM}"
    found = ((bom, encoding) for bom, encoding in BOMS if head.startswith(bom))
    bom, encoding = next(found, (b"", "latin-1"))
    text = head[len(bom) :].decode(encoding, "replace")
    if _GIT_LFS.match(text):
        return "a Git LFS pointer; 'git lfs pull' brings the file"
    if _GIT_ANNEX.match(text.lstrip()):
        return f"a git-annex pointer {_ANNEX}"
    # What is left by comments alone is a page that goes on.
    rest = text[match.end() :] if (match := _COMMENTS.match(text)) else text
    if _WEB_PAGE.match(rest) or (not rest and "<!--" in text):
        return "a web page, such as one that asks to sign in; download the file again"
    if _XML.match(text):
        return "an XML document, such as a server's error; download the file again"
    return ""


def is_dicom(head: bytes) -> bool:
    """Return whether a file that begins so is DICOM."""
    return head[_DICOM_MARK] == b"DICM"


def find_annex_link(path: str) -> str:
    """Return that a path is a link of git-annex to content that is not here; else nothing."""
    try:
        target = str(Path(path).readlink())
    except OSError:  # there is nothing, or no link
        return ""
    is_annex = _ANNEX_TARGET.search(target) and not Path(path).exists()
    return describe_link(target) if is_annex else ""


def describe_link(target: str) -> str:
    """Return what a link is that leads to nothing, and what to do."""
    if _ANNEX_TARGET.search(target):
        return f"a git-annex link {_ANNEX}"
    return f"a link to {target[:200]!r}, which is not there"


def find_other_form(head: bytes, name: str) -> str:
    """Return what a file is that cannot be read in place as an archive, and what to do.

    ``head`` is its first `HEAD_BYTES`, or all of it. Nothing is returned where nothing is known.
    """
    is_tar = head[257:262] == b"ustar"  # as all but the oldest programs write it
    if not is_tar and (what := find_substitute(head)):
        return what
    name = name.lower()
    if part := _PART.search(name):
        return describe_part(cut_by_bytes=part[1].startswith("zip"))
    if head.startswith(b"PK\x07\x08"):
        return describe_part()
    if IMAGE.search(name):
        return "an image, and an archive is a folder, a .zip or a .tar that holds images"
    for magic, form in _PACKED:
        if head.startswith(magic):
            return (
                f"packed with {form} as a whole, so not read in place; unpack it, name the folder"
            )
    if head.startswith(b"PK\x03\x04") and not name.endswith(".zip"):
        return "a zip whose name does not end in .zip; rename it"
    if is_tar and not name.endswith(".tar"):
        return "a tar whose name does not end in .tar; rename it"
    return ""


def describe_part(*, cut_by_bytes: bool = False) -> str:
    """Return what one part of a split zip is, and what to do."""
    join = "zip -s 0 NAME.zip --out whole.zip"
    if cut_by_bytes:
        join = "cat NAME.zip.* > whole.zip"
    return f"one part of a split zip; put the parts together ({join}) and name the whole"


# In every folder of scans that an export of ours made: it is no archive.
EXPORT_MARK = "amos-dask.json"
_ANY_IMAGE = re.compile(f".*{IMAGE.pattern}", IMAGE.flags | re.DOTALL)
_MOST_LOOKED_AT = 32  # folders of scans, of which one is enough


def require_outside_archives(path: Path, definition: DatasetDefinition | None = None) -> None:
    """Raise `AmosDaskError` when an output would lie in a folder in which scans would be found.

    The folder is the one that holds ``imagesTr`` and the like with images in them, or, where the
    dataset (the definition's, besides those known here) has no such folders, its scans. An export
    of ours carries a mark and is none.
    """
    real = Path(os.path.realpath(path))
    for folder in (real, *real.parents):
        if _holds_scans(folder, definition) and not (folder / EXPORT_MARK).is_file():
            raise AmosDaskError(f"{path} lies inside the archive {folder}; write somewhere else.")


@cache
def _known_places() -> frozenset[tuple[str, re.Pattern[str]]]:
    """Return folders such as ``imagesTr`` and names of scans there, in the datasets known here."""
    known = (find_definition(name) for name in PACKAGED)
    return frozenset(
        (rule.folder, _ANY_IMAGE if each.open_questions else rule.name)
        for each in known
        for rule in each.files
        if rule.folder
    )


def _holds_scans(folder: Path, definition: DatasetDefinition | None) -> bool:
    if _has_any(folder, _known_places()):
        return True
    if definition is None:
        return False
    nested = [rule for rule in definition.files if "{" in rule.place.rpartition("/")[0]]
    own = {(rule.folder, rule.name) for rule in definition.files if rule not in nested}
    if _has_any(folder, own):
        return True
    inside = (folder / name for name in _names(folder)[:_MOST_LOOKED_AT] if nested)
    return any(
        rule.find(f"{place.name}/{name}")
        for place in inside
        for name in _names(place)
        for rule in nested
    )


def _has_any(folder: Path, places: Set[tuple[str, re.Pattern[str]]]) -> bool:
    return any(pattern.fullmatch(n) for place, pattern in places for n in _names(folder / place))


def _names(folder: Path) -> list[str]:
    """Return the names in a folder; none where it cannot be listed."""
    try:
        names = os.listdir(folder)  # noqa: PTH208  (ten times as fast as Path.iterdir)
    except OSError:
        return []
    return [name for name in names if not name.startswith(".")]
