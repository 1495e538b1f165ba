"""The files of an uncompressed tar, from its headers, as it would unpack."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import BinaryIO

from amos_dask.archive.recognise import describe_link
from amos_dask.file_refs import FileRef, TarMember

# Of one member, extended headers and long names included.
_LARGEST_HEADER = 1 << 20
_MOST_MEMBERS = 1 << 20
_MOST_LINKS_IN_A_ROW = 32
_UNUSABLE = (tarfile.TarError, ValueError, OverflowError, LookupError, RecursionError)


def list_tar(file: BinaryIO, location: str) -> list[FileRef]:
    """Return the files of a tar, links inside it followed; of two of one name the later counts.

    Raises `ValueError` when it is damaged, or none.
    """
    files: dict[str, FileRef] = {}
    links: dict[str, str] = {}  # name -> target, as paths in the tar or out of it
    try:
        for member in _walk(file):
            path = _plain(member.name)
            if member.isdir():
                continue
            files.pop(path, None)
            links.pop(path, None)
            if member.issym():
                links[path] = member.linkname
                continue
            place = TarMember(member.offset_data, _fault(member))
            found: FileRef | None = FileRef(path, location, member.size, member=place)
            if member.islnk():
                found = files.get(_plain(member.linkname))
            files[path] = _link(path, found, member.linkname, location)
        _follow_links(files, links, location)
    except _UNUSABLE as error:
        raise ValueError(" ".join(str(error).split()) or "a header is damaged") from error
    return list(files.values())


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


def _follow_links(files: dict[str, FileRef], links: dict[str, str], location: str) -> None:
    """Put in the place of symbolic links what they lead to, files or folders."""
    real = dict(files)
    for path, target in links.items():
        end = _end_of(path, links)
        below = [] if end in real else [name for name in real if name.startswith(f"{end}/")]
        for name in below:
            linked = path + name.removeprefix(end)
            files[linked] = _link(linked, real[name], target, location)
        if not below:
            files[path] = _link(path, real.get(end), target, location)
        if len(files) > _MOST_MEMBERS:
            raise ValueError(f"it holds more than {_MOST_MEMBERS} files")


def _end_of(path: str, links: dict[str, str]) -> str:
    for _ in range(_MOST_LINKS_IN_A_ROW):
        if path not in links:
            break
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), links[path]))
    return path


def _link(path: str, end: FileRef | None, target: str, location: str) -> FileRef:
    """Return another name of a file, or of nothing, which cannot be read."""
    if end is not None:
        return replace(end, path=path)
    return FileRef(path, location, 0, member=TarMember(0, describe_link(target)))


def _plain(name: str) -> str:
    """Return a member's name without what stands for the folder itself."""
    return PurePosixPath(name).as_posix()


def _fault(member: tarfile.TarInfo) -> str:
    if member.issparse():
        return "a sparse file in the tar, which is not read; unpack the tar and name the folder"
    if not member.isreg():
        return f"not a regular file in the tar (type {member.type.decode('latin-1')!r})"
    return ""
