"""References to files on disk, at a URL, in a zip or tar; what a path or URL tells of itself."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

# MetaImage and NRRD, whose headers SimpleITK reads.
ITK_ENDINGS = (".mha", ".mhd", ".nrrd")
NEEDS_SIMPLEITK = (
    "MetaImage and NRRD are read through SimpleITK 2.5.6 or later: "
    'pip install "amos-dask[itk]", on workers too'
)
# How the name of an image ends, or of one of a pair; of forms that cannot be read as well.
IMAGE_ENDING = r"\.(?:(?:nii|hdr|img)(?:\.gz)?|mha|mhd|nrrd)"
IMAGE = re.compile(IMAGE_ENDING + "$")
# Packed as a whole, or one part of a zip.
_OTHER_FILE = re.compile(r"\.(tar\.\w+|t[gbx]z2?|gz|bz2|xz|zst|7z|rar|z\d\d+|zip\.\d{3,})$")
# What would break a line, or a worksheet, in which a name is shown.
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class ZipMember:
    """Where a member lies in its zip file, and how it is packed, from the zip's directory."""

    header_offset: int  # byte where its local header begins
    compressed_size: int  # bytes as packed
    method: int  # 0 stored, 8 deflated, others are refused
    flags: int  # the lowest bit says that it is encrypted


@dataclass(frozen=True, slots=True)
class TarMember:
    """Where a member's content lies in its tar file, or why it cannot be read."""

    offset: int  # byte where it begins
    fault: str = ""  # such as a link to nothing


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file that can be read: on disk, at a URL, or a member of a zip or tar at either."""

    path: str  # POSIX, relative to the archive (inside it, for a zip or tar) or to ROOT_DIR
    location: str  # path or URL of the file, or of the zip or tar that holds it
    size: int  # bytes; unpacked, for a zip member
    crc32: int | None = None  # the zip directory's checksum of the file
    member: ZipMember | TarMember | None = None  # place in the zip or tar
    etag: str | None = None  # what the server of a URL says identifies the content
    pair: FileRef | None = None  # of an ``.hdr`` or ``.mhd``, the file that holds the voxels

    @property
    def is_gzip(self) -> bool:
        """Whether its name says that it is packed."""
        return self.path.endswith(".gz")

    @property
    def is_itk(self) -> bool:
        """Whether its name says that SimpleITK reads its header."""
        return self.path.endswith(ITK_ENDINGS)

    @property
    def n_bytes(self) -> int:
        """Bytes of the file, and of the one that it is a pair with."""
        return self.size + (self.pair.size if self.pair is not None else 0)


def is_url(location: str) -> bool:
    """Return whether the location is a URL rather than a path."""
    return "://" in location


def is_zip(location: str) -> bool:
    """Return whether the location names a zip file."""
    return _path(location).endswith(".zip")


def is_one_file(location: str) -> bool:
    """Return whether the location names an archive that is one file, a zip or a tar."""
    return _path(location).endswith((".zip", ".tar"))


def is_other_file(location: str) -> bool:
    """Return whether the location names what may hold an archive but is not read in place."""
    return _OTHER_FILE.search(_path(location)) is not None


def _path(location: str) -> str:
    return (urlsplit(location).path if is_url(location) else location).lower()


def shown_name(name: str) -> str:
    """Return a file's name without the characters that cannot be shown."""
    return _UNSHOWABLE.sub("\ufffd", name)


def file_name(location: str) -> str:
    """Return the last part of a path or URL, as it may be shown."""
    return shown(location).rpartition("/")[2]


def shown(location: str) -> str:
    """Return a path or URL as it may be shown and kept.

    The secrets of a URL stand before ``@`` or behind ``?``.
    """
    scheme, separator, rest = location.partition("://")
    return scheme + separator + re.sub(r"^[^/]*@", "", re.split(r"[?#]", rest, maxsplit=1)[0])


def file_ref(path: str | Path, shown_as: str) -> FileRef:
    """Return the reference to a local file; size 0 where it cannot be examined."""
    # Python keeps what a Path is made of in a table that never shrinks: there may be a million.
    location = str(path) if os.path.isabs(path) else str(Path(path).absolute())  # noqa: PTH117
    try:
        status = os.stat(location)  # noqa: PTH116
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    except OSError:
        size = 0
    # Names that are not UTF-8 stay as they are on disk and are shown as far as they can be.
    shown_as = os.fsencode(shown_as).decode("utf-8", "replace")
    return FileRef(path=shown_name(shown_as), location=location, size=size)
