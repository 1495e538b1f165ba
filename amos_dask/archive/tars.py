"""The files of an uncompressed tar, from its headers, as it would unpack."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import BinaryIO

from amos_dask.archive.recognise import (
    HEAD_BYTES,
    OtherFormError,
    describe_link,
    find_other_form,
    is_tar,
)
from amos_dask.records import FileRef, TarMember

# Of one member, extended headers and long names included.
_LARGEST_HEADER = 1 << 20
_MOST_MEMBERS = 1 << 20
_MOST_LINKS_IN_A_ROW = 32
_UNUSABLE = (tarfile.TarError, ValueError, OverflowError, LookupError, RecursionError)


def read_headers(file: BinaryIO, location: str) -> list[FileRef]:
    """Return the files of a tar, links inside it followed; of two of one name the later counts.

    Parameters
    ----------
    file : binary file
        The tar.
    location : str
        Where it is.

    Raises
    ------
    OtherFormError
        When it is known to be something else, such as a compressed tar.
    ValueError
        When it is damaged.
    """
    head = file.read(HEAD_BYTES)
    if not is_tar(head) and (what := find_other_form(head, location)):
        raise OtherFormError(what)
    found = _Contents(location)
    try:
        for member in _walk(file):
            found.add(member)
        found.follow_links()
    except _UNUSABLE as error:
        raise ValueError(" ".join(str(error).split()) or "a header is damaged") from error
    return list(found.files.values())


def _walk(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar; what their headers claim is not believed."""
    file.seek(0)
    headers = _Headers(file)
    with tarfile.TarFile(fileobj=headers, mode="r", errorlevel=2) as archive:  # type: ignore[arg-type]
        last = -1
        for _ in range(_MOST_MEMBERS):
            headers.left = _LARGEST_HEADER
            member = archive.next()
            if member is None:
                break
            if member.offset <= last or member.size < 0:
                raise ValueError("a header claims a size below 0")
            last = member.offset
            archive.members = []  # type: ignore[attr-defined]  # they would all be kept
            yield member
        else:
            raise ValueError(f"it holds more than {_MOST_MEMBERS} files")
        file.seek(archive.offset)
        if any(file.read(tarfile.BLOCKSIZE)):
            raise ValueError(f"what stands at byte {archive.offset} is no header of a file")


class _Headers:
    """A tar file of which no more is read than headers may take."""

    def __init__(self, file: BinaryIO) -> None:
        self.left = _LARGEST_HEADER
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, n_bytes: int = -1) -> bytes:
        """Return that many bytes."""
        if not 0 <= n_bytes <= self.left:
            raise tarfile.ReadError(f"a header takes more than {_LARGEST_HEADER} bytes")
        self.left -= n_bytes
        return self._read(n_bytes)


class _Contents:
    """What a tar unpacks to.

    Parameters
    ----------
    location : str
        Where it is.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self.files: dict[str, FileRef] = {}
        self._links: dict[str, str] = {}  # name -> target, as paths in the tar or out of it

    def add(self, member: tarfile.TarInfo) -> None:
        """Take in a member; it replaces an earlier one of its name."""
        path = _plain(member.name)
        if member.isdir():
            return
        self.files.pop(path, None)
        self._links.pop(path, None)
        if member.issym():
            self._links[path] = member.linkname
        elif member.islnk():
            self._put_link(path, self.files.get(_plain(member.linkname)), member.linkname)
        else:
            place = TarMember(member.offset_data, _fault(member))
            self.files[path] = FileRef(path, self.location, member.size, member=place)

    def _put_link(self, path: str, end: FileRef | None, target: str) -> None:
        nowhere = FileRef(path, self.location, 0, member=TarMember(0, describe_link(target)))
        self.files[path] = nowhere if end is None else replace(end, path=path)

    def follow_links(self) -> None:
        """Put in the place of symbolic links what they lead to, files or folders."""
        real = dict(self.files)
        for path, target in self._links.items():
            end = self._end_of(path)
            below = [] if end in real else [name for name in real if name.startswith(f"{end}/")]
            for name in below:
                self._put_link(path + name.removeprefix(end), real[name], target)
            if not below:
                self._put_link(path, real.get(end), target)
            if len(self.files) > _MOST_MEMBERS:
                raise ValueError(f"it holds more than {_MOST_MEMBERS} files")

    def _end_of(self, path: str) -> str:
        for _ in range(_MOST_LINKS_IN_A_ROW):
            if path not in self._links:
                break
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), self._links[path]))
        return path


def _plain(name: str) -> str:
    """Return a member's name without what stands for the folder itself."""
    return PurePosixPath(name).as_posix()


def _fault(member: tarfile.TarInfo) -> str:
    if member.issparse():
        return "a sparse file in the tar, which is not read; unpack the tar and name the folder"
    if not member.isreg():
        return f"not a regular file in the tar (type {member.type.decode('latin-1')!r})"
    return ""
