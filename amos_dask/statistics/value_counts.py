"""How often each value occurs under each label, on disk: a small file a sample."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amos_dask.root.derived import derived_path
from amos_dask.root.identity import gzip_trailer

# Raised when what is counted changes.
_VERSION = 1
Counts = Mapping[int, tuple[NDArray[np.float32], NDArray[np.int64], int]]
_LEVEL = 1


def pack_counts(counts: Counts) -> bytes:
    """Return the file's content.

    Parameters
    ----------
    counts : mapping of int to (values, counts, n_not_finite)
        Label -> ascending float32 values, how often each occurs, and voxels that have none.
    """
    labels = sorted(counts)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        labels=np.array(labels, np.uint8),
        sizes=np.array([counts[label][0].size for label in labels], np.int64),
        not_finite=np.array([counts[label][2] for label in labels], np.int64),
        values=_joined([counts[label][0] for label in labels], np.float32),
        counts=_joined([counts[label][1] for label in labels], np.int64),
    )
    return gzip.compress(buffer.getvalue(), _LEVEL, mtime=0)


def _joined(parts: list[NDArray[np.generic]], dtype: type) -> NDArray[np.generic]:
    return np.concatenate([np.empty(0, dtype), *parts])


def read_counts(path: Path) -> dict[int, tuple[NDArray[np.float32], NDArray[np.int64], int]]:
    """Read such a file.

    Raises
    ------
    OSError, ValueError, LookupError, EOFError
        When it is not there or damaged.
    """
    data = io.BytesIO(gzip.decompress(path.read_bytes()))
    with np.load(data, allow_pickle=False) as content:
        ends = np.cumsum(content["sizes"])
        starts = ends - content["sizes"]
        values, counts = content["values"], content["counts"]
        return {
            int(label): (values[start:end], counts[start:end], int(rest))
            for label, start, end, rest in zip(
                content["labels"], starts, ends, content["not_finite"], strict=True
            )
        }


def counts_path(folder: Path, sample_id: str, volume_file: Path, mask_file: Path) -> Path:
    """Return where the counts of a volume under a mask are kept.

    The name holds both files' gzip trailers, so that counts of others are never taken for theirs.
    """
    made_from = (gzip_trailer(volume_file), gzip_trailer(mask_file))
    return derived_path(folder, sample_id, made_from, f"v{_VERSION}.npz.gz")
