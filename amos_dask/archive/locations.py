"""What a path or URL tells of itself: whether it is a URL or a zip, and what may be shown of it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit


def is_url(location: str) -> bool:
    """Return whether the location is a URL rather than a path."""
    return "://" in location


def is_zip(location: str) -> bool:
    """Return whether the location names a zip file."""
    path = urlsplit(location).path if is_url(location) else location
    return path.lower().endswith(".zip")


def shown(location: str) -> str:
    """Return a path or URL as it may be shown and kept.

    The secrets of a URL stand before ``@`` or behind ``?``.
    """
    scheme, separator, rest = location.partition("://")
    return scheme + separator + re.sub(r"^[^/]*@", "", re.split(r"[?#]", rest, maxsplit=1)[0])
