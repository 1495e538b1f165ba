"""Which files there are, in a folder, zip or tar or at a URL, and what their names mean."""

from __future__ import annotations

import os
import re
import zipfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from amos_dask.archive import remote
from amos_dask.archive.packed import list_tar, list_zip
from amos_dask.archive.recognise import CONVERT_DICOM, HEAD_BYTES, find_annex_link, find_other_form
from amos_dask.archive.sources import open_archive, open_location
from amos_dask.datasets import DatasetDefinition, Kind
from amos_dask.datasets.definition import ScanFile, fits
from amos_dask.errors import ArchiveError, DamagedArchiveError, number_of
from amos_dask.file_refs import (
    IMAGE,
    FileRef,
    file_name,
    file_ref,
    is_one_file,
    is_other_file,
    is_url,
    is_zip,
    shown,
    shown_name,
)
from amos_dask.issues import Issue, make_issue
from amos_dask.records import by_number

# Links can give a folder more names than anyone could list.
_MOST_NAMES_OF_A_FOLDER = 32
_A_FILE = "a file, and an archive is a folder, a .zip or a .tar"
_DATASET_JSON = "dataset.json"
# A header -> what the file may be called that holds its voxels.
_PAIRS = (
    (re.compile(r"\.hdr((?:\.gz)?)$"), (r".img\1",)),
    (re.compile(r"\.mhd$"), (".raw", ".zraw")),
)
_DICOM = re.compile(r"\.(?:dcm|dicom|ima)$|^dicomdir$", re.IGNORECASE)
_JUNK_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_JUNK_SUFFIXES = (".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp", ".filepart")
_EXPECTED_NAMES = (_DATASET_JSON, "readme.md", "readme.txt", "readme", "license", "license.txt")
# Kind and channel or label (see `ScanFile`) -> file, of one scan.
Files = Mapping[tuple[Kind, int], FileRef]


def list_all(locations: Sequence[str]) -> list[FileRef]:
    """List every file of an archive that may lie in several places, sorted by path.

    Paths in one of several begin with its own name. Two of one name are an `ArchiveError`.
    """
    if len(locations) == 1:
        return list_files(locations[0])
    names = [file_name(location.rstrip("/")) for location in locations]
    for name, n in Counter(names).items():
        if n > 1:
            raise ArchiveError(f"{name}: {n} archives have this name; rename all but one.")
    files = [
        replace(ref, path=f"{name}/{ref.path}")
        for name, location in zip(names, locations, strict=True)
        for ref in list_files(location)
    ]
    return sorted(files, key=lambda ref: ref.path)


def list_files(location: str) -> list[FileRef]:
    """List every file of an archive, sorted by path.

    Parameters
    ----------
    location : str
        A folder, a zip or tar file, or a URL of any.

    Returns
    -------
    list of FileRef
        With paths relative to the folder, or inside the zip or tar.

    Raises
    ------
    ArchiveError
        When there is nothing, or something else, or it cannot be read.
    """
    if is_one_file(location):
        files = _list_one_file(location)
    elif is_url(location) and is_other_file(location) and (form := _find_form(location, _A_FILE)):
        raise ArchiveError(f"{shown(location)}: {form}.")
    elif is_url(location):
        files = remote.list_folder(location)
    else:
        files = _list_folder(Path(location))
    return sorted(files, key=lambda ref: ref.path)


def _list_folder(root: Path) -> list[FileRef]:
    if not root.is_dir():
        what = find_annex_link(str(root)) or _find_form(str(root), _A_FILE)
        raise ArchiveError(f"{root}: {what or 'there is no such folder, zip or tar file'}.")
    found, root = list[FileRef](), root.absolute()
    for folder, names in _walk_folders(root):
        below = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
        found += [file_ref(f"{folder}/{name}", f"{below}{name}") for name in names]
    return found


def _find_form(location: str, otherwise: str = "") -> str:
    """Return what a file is that is no archive, as far as that is known; nothing without one."""
    try:
        with open_location(location) as file:
            return find_other_form(file.read(HEAD_BYTES), shown(location)) or otherwise
    except OSError:
        return ""


def _walk_folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and all below it, and their files' names; through links but not in circles.

    Folders come before the links to them, and under a bounded number of names.
    """
    waiting, links = [(root, frozenset[str]())], deque[tuple[Path, frozenset[str]]]()
    n_names: Counter[str] = Counter()
    while waiting or links:
        folder, above = waiting.pop() if waiting else links.popleft()
        real = os.path.realpath(folder)
        n_names[real] += 1
        if real in above or n_names[real] > _MOST_NAMES_OF_A_FOLDER:
            continue
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            raise ArchiveError(f"{folder}: cannot be listed ({error.strerror}).") from error
        # Unlike Path's, this is_dir does not raise where a link leads out of reach.
        folders = {name for name in names if os.path.isdir(f"{folder}/{name}")}  # noqa: PTH112
        yield folder, [name for name in names if name not in folders]
        for path in (folder / name for name in sorted(folders, reverse=True)):
            (links if path.is_symlink() else waiting).append((path, above | {real}))


def list_beside(location: str) -> list[FileRef]:
    """List the files in the folder that holds an archive; none where that cannot be listed."""
    if is_url(location):
        return remote.list_beside(location)
    try:
        beside = sorted(Path(location).absolute().parent.iterdir())
    except OSError:
        return []
    return [file_ref(path, path.name) for path in beside]


def _list_one_file(location: str) -> list[FileRef]:
    """List a zip or a tar."""
    etag, place = None, location if is_url(location) else str(Path(location).absolute())
    with open_archive(location) as file:
        try:
            found = list_zip(file, place) if is_zip(location) else list_tar(file, place)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            if isinstance(error, OSError):
                raise
            if isinstance(error.__context__, OSError):  # not known to be a zip: it cannot be read
                raise error.__context__ from None
            if what := _find_form(location):
                raise ArchiveError(f"{shown(location)}: {what}.") from error
            part = "zip's directory" if is_zip(location) else "tar's headers"
            raise DamagedArchiveError(
                f"{shown(location)}: the {part} cannot be read ({error}); download it again."
            ) from error
        if is_url(location) and not is_zip(location):  # which has no checksums of its files
            etag = remote.find_etag(location)
    return [replace(ref, path=shown_name(ref.path), etag=etag) for ref in found]


@dataclass
class Names:
    """The archive's files by what their names say."""

    definition: DatasetDefinition
    # By seq, in order.
    scans: dict[str, dict[tuple[Kind, int], FileRef]] = field(default_factory=dict)
    subsets: dict[str, str] = field(default_factory=dict)  # by seq, as folder or number tell them
    dataset_json: FileRef | None = None
    subset_lists: FileRef | None = None
    metadata: FileRef | None = None
    dicom: list[str] = field(default_factory=list)  # paths of DICOM files, by their names
    issues: list[Issue] = field(default_factory=list)

    def say(
        self, code: str, message: str, *, sample: str = "", file: str = "", action: str = ""
    ) -> None:
        """Add an issue, with the catalogue's severity."""
        self.issues.append(make_issue(code, message, sample=sample, file=file, action=action))


def sort_names(files: Iterable[FileRef], definition: DatasetDefinition) -> Names:
    """Sort an archive's files by what their names say."""
    names, junk, files = Names(definition), Counter[str](), list(files)
    pairs = _find_pairs(files)
    of_pairs = {ref.path for ref in pairs.values()}
    official_csv = "" if definition.metadata is None else definition.metadata.official_file

    def precedence(ref: FileRef) -> tuple[bool, bool, int, str]:
        """Return what comes first where several files stand for one thing.

        Images of the form that can be read, and the official csv; then shallow paths: of two
        dataset.json the outer one is the archive's.
        """
        is_official = ref.path.rpartition("/")[2] == official_csv
        return not ref.path.endswith(".nii.gz"), not is_official, ref.path.count("/"), ref.path

    for ref in sorted(files, key=precedence):
        path = ref.path
        if what := _junk(path):
            junk[what] += 1
        elif path.startswith("/") or ".." in path.split("/"):  # only zips can hold such names
            _leave_out(names, ref, "its name leads outside the archive")
        elif ref.path in of_pairs:
            continue  # goes with its header
        elif found := definition.scan_file(path):
            pair = pairs.get(ref.path)
            _take_scan(names, ref if pair is None else replace(ref, pair=pair), found)
        else:
            _take_other(names, ref)
    names.scans = {seq: names.scans[seq] for seq in sorted(names.scans, key=by_number)}
    if junk:
        found_junk = ", ".join(f"{count} {what}" for what, count in sorted(junk.items()))
        message = f"{number_of(junk.total(), 'file')}: {found_junk}"
        names.say("junk_ignored", message, action="ignored")
    if names.dicom and names.scans:
        message, action = number_of(len(names.dicom), "DICOM file"), f"ignored; {CONVERT_DICOM}"
        names.say("unexpected_file", f"first of {message}", file=names.dicom[0], action=action)
    return names


def _find_pairs(files: Iterable[FileRef]) -> dict[str, FileRef]:
    """Return path of a header -> the file that holds its voxels."""
    by_path = {ref.path: ref for ref in files}
    voxels = (
        (path, ending.sub(other, path))
        for ending, others in _PAIRS
        for other in reversed(others)  # so that the first counts
        for path in by_path
        if ending.search(path)
    )
    return {path: by_path[other] for path, other in voxels if other in by_path}


def find_dataset_json(files: Iterable[FileRef]) -> Sequence[FileRef]:
    """Return the outermost files named ``dataset.json``; junk does not count."""
    named = (ref for ref in files if ref.path.rpartition("/")[2] == _DATASET_JSON)
    found = [ref for ref in named if not _junk(ref.path)]
    depth = min((ref.path.count("/") for ref in found), default=0)
    return [ref for ref in found if ref.path.count("/") == depth]


def _junk(path: str) -> str | None:
    *folders, name = path.split("/")
    if "__MACOSX" in (*folders, name):
        return "in __MACOSX"
    if name.startswith("._"):
        return "named ._*"
    if name in _JUNK_NAMES:
        return name
    if name.lower().endswith(_JUNK_SUFFIXES):
        return "of a partial download"
    return None


def _take_scan(names: Names, ref: FileRef, found: ScanFile) -> None:
    taken = names.scans.setdefault(found.seq, {}).setdefault((found.kind, found.part), ref)
    if taken is not ref:
        names.say(
            "duplicate_file",
            f"a second {found.kind} beside {taken.path}",
            sample=names.definition.sample_id(found.seq),
            file=ref.path,
            action=f"{taken.path} used",
        )
    elif found.subset and (found.kind == "volume" or found.seq not in names.subsets):
        names.subsets[found.seq] = found.subset  # the volume's folder decides


def _take_other(names: Names, ref: FileRef) -> None:
    definition, path = names.definition, ref.path
    name = path.rpartition("/")[2]
    form, lists = definition.metadata, definition.subset_lists
    if definition.dataset_json and name == _DATASET_JSON:
        first = names.dataset_json = names.dataset_json or ref
    elif lists and fits(lists, path):
        first = names.subset_lists = names.subset_lists or ref
    elif form is not None and form.is_name_of(name):
        first = names.metadata = names.metadata or ref
    elif name.lower() in _EXPECTED_NAMES or any(fits(it, path) for it in definition.other_files):
        return
    elif _DICOM.search(name):
        names.dicom.append(ref.path)
        return
    else:
        why = f"not a file of {definition.name}"
        if IMAGE.search(name) and not definition.has_numbers:
            why += " by its name; ids are of letters, digits and - _ ."
        _leave_out(names, ref, why)
        return
    if first is not ref:
        _leave_out(names, ref, f"a second one beside {first.path}, which is read")


def _leave_out(names: Names, ref: FileRef, why: str) -> None:
    names.say("unexpected_file", why, file=ref.path, action="ignored")
