"""Verify: whether an image's file is complete and sound, as far as asked; nothing is kept."""

from __future__ import annotations

from amos_dask.nifti import ImageInfo, ImageReader

_MODULUS = 1 << 32  # of the length in a gzip trailer


def is_told_length(info: ImageInfo, length: int | None) -> bool:
    """Return whether a gzip trailer tells the length that the header promises.

    Files that end in another way may be sound too: several gzip members, padding, bytes after the
    image. Only unpacking tells those from a damaged file.

    Parameters
    ----------
    info : ImageInfo
        The header.
    length : int or None
        Unpacked length modulo 2**32, from the file's last four bytes; None where nothing can be
        told, which is taken for good.
    """
    return length is None or length == (info.data_offset + info.n_bytes) % _MODULUS


def unpack(image: ImageReader) -> None:
    """Unpack an opened image to its end, so that all checksums are compared.

    Raises
    ------
    UnreadableImageError
        When the file is damaged or ends early.
    """
    for _ in image.chunks():
        pass
