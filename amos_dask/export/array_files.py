"""Arrays of a sample in one file, npz or zarr: volume and mask with affine and names of labels."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

from amos_dask.errors import AmosDaskError

# What a sample's file is called after its id; of NIfTI each image is a file.
ENDINGS = {"npz": ".npz", "zarr": ".zarr.zip"}
_LEVEL = 1
_CHUNK = 96  # voxels along each axis: what is read at once of zarr
Arrays = Mapping[str, NDArray[Any]]


def require_library(form: str) -> None:
    """Raise AmosDaskError when the library that a form of files needs is missing."""
    if form == "zarr" and find_spec("zarr") is None:
        raise AmosDaskError(
            "zarr files need zarr: pip install 'amos-dask[zarr]', also on the workers."
        )


def write_arrays(path: Path, form: str, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Write the arrays of a sample; the same content gives the same bytes.

    Parameters
    ----------
    path : Path
        A temporary name.
    form : {"npz", "zarr"}
        An npz also holds what is told about the arrays as arrays; zarr as attributes of its group.
    arrays : mapping of str to array
        ``volume``, (x, y, z) or (channel, x, y, z) float32, and ``mask``, (x, y, z) uint8.
    about : mapping of str to list
        Numbers or texts; none is pickled.
    """
    if form == "npz":
        with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=_LEVEL) as file:
            for name, array in {**arrays, **_as_arrays(about)}.items():
                with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        return
    with ZipFile(path, "w", ZIP_STORED) as file:  # chunks are packed already
        for key, content in sorted(_zarr(arrays, about).items()):
            with file.open(key, "w", force_zip64=True) as member:
                member.write(content)


def _as_arrays(about: Mapping[str, Any]) -> Arrays:
    return {name: np.asarray(value) for name, value in about.items()}


def _zarr(arrays: Arrays, about: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the content of each key of a zarr group."""
    import zarr

    store: dict[str, Any] = {}
    group = zarr.create_group(zarr.storage.MemoryStore(store), attributes=dict(about))
    for name, array in arrays.items():
        axes = ("channel", "x", "y", "z")[-array.ndim :]
        chunks = tuple(
            1 if axis == "channel" else min(_CHUNK, n)
            for axis, n in zip(axes, array.shape, strict=True)
        )
        group.create_array(name, data=array, chunks=chunks, dimension_names=axes)
    return {key: value.to_bytes() for key, value in store.items()}
