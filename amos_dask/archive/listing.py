"""Which files there are: in a folder, in a zip or tar, or at a URL of any."""

from __future__ import annotations

import os
import stat
import zipfile
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from amos_dask.archive import remote
from amos_dask.archive.locations import (
    file_name,
    is_one_file,
    is_other_file,
    is_url,
    is_zip,
    shown,
    shown_name,
)
from amos_dask.archive.recognise import HEAD_BYTES, find_annex_link, find_other_form
from amos_dask.archive.sources import open_archive, open_location
from amos_dask.archive.tars import list_tar
from amos_dask.archive.zips import list_zip
from amos_dask.errors import ArchiveError, DamagedArchiveError
from amos_dask.file_refs import FileRef

# Links can give a folder more names than anyone could list.
_MOST_NAMES_OF_A_FOLDER = 32
_A_FILE = "a file, and an archive is a folder, a .zip or a .tar"


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
    return [
        file_ref(path, path.relative_to(root).as_posix())
        for _, files in _walk_folders(root)
        for path in files
    ]


def _find_form(location: str, otherwise: str = "") -> str:
    """Return what a file is that is no archive, as far as that is known; nothing without one."""
    try:
        with open_location(location) as file:
            return find_other_form(file.read(HEAD_BYTES), shown(location)) or otherwise
    except OSError:
        return ""


def _walk_folders(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield a folder and all below it with their files, through symbolic links but not in circles.

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
                paths = sorted(folder / entry.name for entry in entries)
        except OSError as error:
            raise ArchiveError(f"{folder}: cannot be listed ({error.strerror}).") from error
        # Unlike Path's, this is_dir does not raise where a link leads out of reach.
        folders = [path for path in paths if os.path.isdir(path)]  # noqa: PTH112
        yield folder, sorted(set(paths) - set(folders))
        for path in reversed(folders):
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


def file_ref(path: Path, shown_as: str) -> FileRef:
    """Return the reference to a local file; size 0 where it cannot be examined."""
    try:
        status = path.stat()
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    except OSError:
        size = 0
    # Names that are not UTF-8 stay as they are on disk and are shown as far as they can be.
    shown_as = os.fsencode(shown_as).decode("utf-8", "replace")
    return FileRef(path=shown_name(shown_as), location=str(path.absolute()), size=size)


def _list_one_file(location: str) -> list[FileRef]:
    """List a zip or a tar."""
    etag, form, part, read = None, "tar", "tar's headers", list_tar
    if is_zip(location):
        form, part, read = "zip", "zip's directory", list_zip
    with open_archive(location, form) as file:
        try:
            found = read(file, location if is_url(location) else str(Path(location).absolute()))
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            if isinstance(error, OSError):
                raise
            if isinstance(error.__context__, OSError):  # not known to be a zip: it cannot be read
                raise error.__context__ from None
            if what := _find_form(location):
                raise ArchiveError(f"{shown(location)}: {what}.") from error
            raise DamagedArchiveError(
                f"{shown(location)}: the {part} cannot be read ({error}); download it again."
            ) from error
        if is_url(location) and form == "tar":  # which has no checksums of its files
            etag = remote.find_etag(location)
    return [replace(ref, path=shown_name(ref.path), etag=etag) for ref in found]
