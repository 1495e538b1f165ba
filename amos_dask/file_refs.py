"""References to files: on disk, at a URL, or members of a zip or tar at either."""

from __future__ import annotations

import re
from dataclasses import dataclass

# MetaImage and NRRD, whose headers SimpleITK reads.
ITK_ENDINGS = (".mha", ".mhd", ".nrrd")
NEEDS_SIMPLEITK = (
    "MetaImage and NRRD are read through SimpleITK 2.5.6 or later: "
    'pip install "amos-dask[itk]", on workers too'
)
# How the name of an image ends, or of one of a pair; of forms that cannot be read as well.
IMAGE_ENDING = r"\.(?:(?:nii|hdr|img)(?:\.gz)?|mha|mhd|nrrd)"
IMAGE = re.compile(IMAGE_ENDING + "$")


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
