"""What a path or URL tells of itself: a URL, a zip, a tar; and what may be shown of it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# Packed as a whole, or one part of a zip.
_OTHER_FILE = re.compile(r"\.(tar\.\w+|t[gbx]z2?|gz|bz2|xz|zst|7z|rar|z\d\d+|zip\.\d{3,})$")


def is_url(location: str) -> bool:
    """Return whether the location is a URL rather than a path."""
    return "://" in location


def is_zip(location: str) -> bool:
    """Return whether the location names a zip file."""
    return _has_suffix(location, ".zip")


def is_one_file(location: str) -> bool:
    """Return whether the location names an archive that is one file, a zip or a tar."""
    return _has_suffix(location, ".zip", ".tar")


def is_other_file(location: str) -> bool:
    """Return whether the location names what may hold an archive but is not read in place."""
    return _OTHER_FILE.search(_path(location).lower()) is not None


def _has_suffix(location: str, *suffixes: str) -> bool:
    return _path(location).lower().endswith(suffixes)


def _path(location: str) -> str:
    return urlsplit(location).path if is_url(location) else location


def shown(location: str) -> str:
    """Return a path or URL as it may be shown and kept.

    The secrets of a URL stand before ``@`` or behind ``?``.
    """
    scheme, separator, rest = location.partition("://")
    return scheme + separator + re.sub(r"^[^/]*@", "", re.split(r"[?#]", rest, maxsplit=1)[0])
