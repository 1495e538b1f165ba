"""What ROOT_DIR remembers of its last run: archive, metadata, parameters."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from amos_dask.archive.locations import is_url, shown
from amos_dask.params import DenoiseParams
from amos_dask.root.layout import Layout, absolute
from amos_dask.root.staging import write_text


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the next run goes on with, unless it is told otherwise; None: nothing is known.

    The dataset, the label map and the exclusions are files in ``descriptor``.

    Parameters
    ----------
    archive : str or None
        As `place_of` keeps it.
    labeled_data_meta : str or None
        The metadata csv that was named, kept likewise; None where it was the archive's own.
    has_metadata : bool
        Whether there was a metadata csv.
    metadata_encoding : str or None
        Its encoding, where that was said.
    mr_metadata_offset : str or None
        What was asked for: ``auto``, ``0`` or ``-1``.
    denoise : DenoiseParams or None
        Parameters of denoising.
    exclusions : str or None
        Checksum of the list of exclusions.
    """

    archive: str | None = None
    labeled_data_meta: str | None = None
    has_metadata: bool = False
    metadata_encoding: str | None = None
    mr_metadata_offset: str | None = None
    denoise: DenoiseParams | None = None
    exclusions: str | None = None


_REMEMBERED = TypeAdapter(Remembered)


def read_remembered(layout: Layout) -> Remembered:
    """Return what is remembered; nothing where that is not known, or cannot be understood."""
    with suppress(OSError, ValueError):
        return _REMEMBERED.validate_json(layout.remembered.read_bytes())
    return Remembered()


def write_remembered(layout: Layout, remembered: Remembered) -> None:
    """Keep what the next run goes on with, unless it is the same."""
    if remembered != read_remembered(layout):
        text = json.dumps(asdict(remembered), ensure_ascii=False, indent=1)
        write_text(layout.remembered, text + "\n")


def place_of(layout: Layout, location: str | Path) -> str:
    """Return a path or URL as it is kept: relative to ROOT_DIR inside it, a URL without secrets.

    A name that is not UTF-8 cannot be kept as it is; what it stands for is not found again.
    """
    if is_url(str(location)):
        return shown(str(location))
    key = layout.key(absolute(location))
    return os.fsencode(key).decode("utf-8", "replace")


def find_place(layout: Layout, place: str) -> str:
    """Return the path or URL that was kept."""
    return place if is_url(place) else str(layout.root / place)


def is_there(location: str | Path) -> bool:
    """Return whether there is a file, or a folder that holds something; of a URL it is assumed."""
    if is_url(str(location)):
        return True
    path = Path(location)
    try:
        return path.is_file() or (path.is_dir() and any(path.iterdir()))
    except OSError:  # whoever reads it says what is the matter
        return True
