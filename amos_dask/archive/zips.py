"""The files of a zip, from its directory, and what else a file of that name may be."""

from __future__ import annotations

import struct
import zipfile
from typing import BinaryIO

from amos_dask.archive.recognise import HEAD_BYTES, OtherFormError, describe_part, find_other_form
from amos_dask.records import FileRef, ZipMember

_END = struct.Struct("<4sHHHHLLH")
_END_SIGNATURE = b"PK\x05\x06"
_LARGEST_COMMENT = 0xFFFF
_IN_ZIP64_RECORD = 0xFFFF


def read_directory(file: BinaryIO, location: str) -> list[FileRef]:
    r"""Return the files of a zip; ``\`` in their names, which some programs write, is ``/``.

    Parameters
    ----------
    file : binary file
        The zip.
    location : str
        Where it is.

    Raises
    ------
    OtherFormError
        When it is one part of a zip, or known to be something else.
    zipfile.BadZipFile, ValueError, NotImplementedError
        When its directory cannot be read.
    """
    if _is_part(file):
        raise OtherFormError(describe_part())
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        file.seek(0)
        what = find_other_form(file.read(HEAD_BYTES), location)
        if isinstance(error.__context__, OSError) or not what:
            raise
        raise OtherFormError(what) from error
    refs = (
        FileRef(
            path=entry.filename.replace("\\", "/"),
            location=location,
            size=entry.file_size,
            crc32=entry.CRC,
            member=ZipMember(
                entry.header_offset, entry.compress_size, entry.compress_type, entry.flag_bits
            ),
        )
        for entry in entries
    )
    return [ref for ref in refs if not ref.path.endswith("/")]


def _is_part(file: BinaryIO) -> bool:
    """Return whether the end of a zip says that it is not the only part."""
    n_bytes = file.seek(0, 2)
    for n_tail in (_END.size, _END.size + _LARGEST_COMMENT):
        file.seek(max(0, n_bytes - n_tail))
        tail = file.read(n_tail)
        start = tail.rfind(_END_SIGNATURE)
        if 0 <= start <= len(tail) - _END.size:
            disk = _END.unpack_from(tail, start)[1]
            return disk not in (0, _IN_ZIP64_RECORD)
    return False
