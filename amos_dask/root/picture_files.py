"""Pictures of the slices that denoising changed most, on disk: a small file a sample."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amos_dask.root.derived import derived_path
from amos_dask.root.identity import gzip_trailer


def pictures_path(
    folder: Path, sample_id: str, files: tuple[Path, Path, Path], version: int
) -> Path:
    """Return where the pictures of a sample are kept.

    Parameters
    ----------
    folder : Path
        ``.amos-dask/pictures`` under ROOT_DIR.
    sample_id : str
        The sample.
    files : (Path, Path, Path)
        Volume, mask, and the restore data of the mask.
    version : int
        Of what makes them.
    """
    volume, mask, restore = files
    checksum = f"{zlib.crc32(restore.read_bytes()):08x}"
    made_from = (gzip_trailer(volume), gzip_trailer(mask), checksum)
    return derived_path(folder, sample_id, made_from, f"v{version}.json")


def count_pictures(path: Path) -> int:
    """Return how many pictures a file holds.

    Raises
    ------
    OSError, ValueError
        When it is not there or damaged.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, list):
        raise ValueError("not a list of pictures")
    return len(content)


def pack_pictures(pictures: Sequence[dict[str, Any]]) -> str:
    """Return the file's content: a JSON list, the most changed slice first."""
    return json.dumps(pictures, separators=(",", ":"))
