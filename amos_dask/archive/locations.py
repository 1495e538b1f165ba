"""What a path or URL tells of itself: a URL, a zip, a tar; and what may be shown of it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# Packed as a whole, or one part of a zip.
_OTHER_FILE = re.compile(r"\.(tar\.\w+|t[gbx]z2?|gz|bz2|xz|zst|7z|rar|z\d\d+|zip\.\d{3,})$")
# What would break a line, or a worksheet, in which a name is shown.
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


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
