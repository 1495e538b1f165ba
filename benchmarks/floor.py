"""The floor: what remains of a sample when nothing is left but compression and kernels.

The same input bytes are unpacked and the same output voxels packed with the fastest library, the
same kernels run, as many files and folders are flushed to disk and renamed. Left out: searching
the archive, reading headers, checking and deciding, checksums of the zip, YAML, receipts and
restore data (their files are written with bytes made beforehand), tables, Dask.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from amos_dask.kernels.components import label_components
from amos_dask.kernels.slice_denoise import denoise_slices
from amos_dask.kernels.voxelwise import cast_to_labels, count_labels, remap_labels, scale_to_float32
from amos_dask.nifti import ImageInfo, make_header, read_info
from amos_dask.params import DenoiseParams
from amos_dask.records import Sample
from amos_dask.sample.masks import Clock
from benchmarks.scans import N_LABELS, Mask

_CHUNK_VOXELS = 1 << 18  # of float32: one MB, which stays in the cache from scaling to packing
_PIECE_VOXELS = 1 << 18  # of uint8
_SMALL_FILE = bytes(300)


@dataclass(frozen=True)
class Plan:
    """What the floor is told of a sample, found out beforehand."""

    volume: Path
    mask: Path | None
    info: ImageInfo
    mask_info: ImageInfo | None
    unpack_volume: Callable[[bytes], bytes]
    unpack_mask: Callable[[bytes], bytes]
    is_female: bool
    receipt_bytes: int


def plan(sample: Sample, receipt_bytes: int = 3000) -> Plan:
    """Look at a sample of an archive in a folder."""
    if sample.volume is None:
        raise ValueError(f"{sample.sample_id} has no volume")
    volume = Path(sample.volume.location)
    mask = None if sample.mask is None else Path(sample.mask.location)
    return Plan(
        volume=volume,
        mask=mask,
        info=read_info(sample.volume),
        mask_info=None if sample.mask is None else read_info(sample.mask),
        unpack_volume=fastest_gunzip(volume),
        unpack_mask=fastest_gunzip(mask or volume),
        is_female=sample.metadata.sex == "F",
        receipt_bytes=receipt_bytes,
    )


def run_floor(work: Plan, folder: Path, clock: Clock | None = None) -> None:
    """Do a sample's compression, kernels and flushes; the files go below ``folder``."""
    clock = clock or Clock()
    sample, state = folder / "sample", folder / "state"
    sample.mkdir(parents=True)
    state.mkdir()
    _convert_volume(work, sample / "volume.nii.gz.part", clock)
    files = [sample / "volume.nii.gz.part", sample / "info.yaml.part"]
    files[1].write_bytes(_SMALL_FILE)
    folders = [sample]
    if work.mask is not None:
        files += _make_masks(work, work.mask, sample, clock)
        files.append(state / "restore.npz.part")
        files[-1].write_bytes(_SMALL_FILE)
        folders.append(state)
    _publish(files, folders)
    clock.lap("flush")
    receipt = state / "receipt.json.part"
    receipt.write_bytes(bytes(work.receipt_bytes))
    _publish([receipt], [state])
    clock.lap("flush")


def _gunzips() -> Iterator[Callable[[bytes], bytes]]:
    yield igzip.decompress
    yield partial(isal_zlib.decompress, wbits=31)
    if find_spec("deflate") is not None:  # libdeflate, of the extra ``bench``
        import deflate

        yield deflate.gzip_decompress


def fastest_gunzip(path: Path) -> Callable[[bytes], bytes]:
    """Return what unpacks this file fastest on this machine, the best of three runs each."""
    packed = path.read_bytes()
    return min(_gunzips(), key=lambda gunzip: min(_seconds(gunzip, packed) for _ in range(3)))


def _seconds(gunzip: Callable[[bytes], bytes], packed: bytes) -> float:
    start = time.perf_counter()
    gunzip(packed)
    return time.perf_counter() - start


def _convert_volume(work: Plan, path: Path, clock: Clock) -> None:
    info = work.info
    raw = work.unpack_volume(work.volume.read_bytes())
    clock.lap("volume: read and unpack")
    stored = np.frombuffer(raw, info.stored_dtype, info.n_voxels, info.data_offset)
    buffer = np.empty(_CHUNK_VOXELS, np.float32)
    packer = isal_zlib.compressobj(1, wbits=31)
    with path.open("wb", buffering=0) as file:
        file.write(packer.compress(make_header(info.shape, np.float32, info.affine, 1)))
        for start in range(0, info.n_voxels, _CHUNK_VOXELS):
            chunk = stored[start : start + _CHUNK_VOXELS]
            floats = buffer[: chunk.size]
            scale_to_float32(chunk, info.slope, info.inter, floats)
            clock.lap("volume: scale")
            packed = packer.compress(floats.view(np.uint8).data)
            clock.lap("volume: pack")
            file.write(packed)
            clock.lap("volume: write")
        packed = packer.flush()
        clock.lap("volume: pack")
        file.write(packed)


def _make_masks(work: Plan, path: Path, sample: Path, clock: Clock) -> list[Path]:
    mask = _read_mask(work, path, clock)
    params = DenoiseParams()
    if work.is_female and count_labels(mask)[15]:
        lookup = np.arange(256, dtype=np.uint8)
        lookup[15] = 16
        mask = remap_labels(mask, lookup)
    clock.lap("mask: counts and remap")
    label_components(mask)
    clock.lap("mask: components")
    final = denoise_slices(
        mask,
        work.info.spacing_mm[:2],
        params.region_area_thresh,
        params.kernel_size,
        params.filter_halfedge,
    )
    clock.lap("mask: denoise")
    label_components(final)
    clock.lap("mask: components")
    counts = count_labels(final)
    clock.lap("mask: counts and remap")
    return _write_masks(work, final, counts, sample, clock)


def _read_mask(work: Plan, path: Path, clock: Clock) -> Mask:
    info = work.mask_info
    if info is None:
        raise ValueError(f"{path} was not looked at")
    raw = work.unpack_mask(path.read_bytes())
    stored = np.frombuffer(raw, info.stored_dtype, info.n_voxels, info.data_offset)
    labels = np.empty(stored.size, np.uint8)
    cast_to_labels(stored, labels)
    clock.lap("mask: read and unpack")
    return labels.reshape(info.shape, order="F")


def _write_masks(
    work: Plan, mask: Mask, counts: NDArray[np.int64], sample: Path, clock: Clock
) -> list[Path]:
    header = make_header(work.info.shape, np.uint8, work.info.affine, 1)
    files = [sample / "mask.nii.gz.part"]
    flat = mask.ravel(order="F")
    files[0].write_bytes(_pack(header, [flat]))
    clock.lap("mask: pack and write")
    pieces = _Pieces(flat)
    empty = b""
    for label in range(N_LABELS):
        files.append(sample / f"mask_{label:02d}.nii.gz.part")
        if counts[label]:
            files[-1].write_bytes(_pack(header, pieces.select(label)))
        else:
            empty = empty or _pack(header, pieces.select(label))
            files[-1].write_bytes(empty)
    clock.lap("binary masks")
    return files


class _Pieces:
    """A mask in pieces that stay in the cache from comparing to packing."""

    def __init__(self, flat: NDArray[np.uint8]) -> None:
        cuts = range(0, flat.size, _PIECE_VOXELS)
        self._pieces = [flat[start : start + _PIECE_VOXELS] for start in cuts]
        self._counts = [count_labels(piece) for piece in self._pieces]
        self._zeros = np.zeros(_PIECE_VOXELS, np.uint8)
        self._buffer = np.empty(_PIECE_VOXELS, np.bool_)

    def select(self, label: int) -> Iterator[NDArray[np.uint8]]:
        """Yield the binary mask of a label, piece by piece."""
        for piece, counts in zip(self._pieces, self._counts, strict=True):
            if counts[label]:
                selected = self._buffer[: piece.size]
                np.equal(piece, label, out=selected)
                yield selected.view(np.uint8)
            else:
                yield self._zeros[: piece.size]


def _pack(header: bytes, pieces: Iterable[NDArray[np.uint8]]) -> bytes:
    packer = isal_zlib.compressobj(1, wbits=31)
    packed = [packer.compress(header), *(packer.compress(piece.data) for piece in pieces)]
    return b"".join([*packed, packer.flush()])


def _publish(files: list[Path], folders: list[Path]) -> None:
    """Flush, rename, flush the folders: as `amos_dask.root.staging` does."""
    for path in files:
        _flush(path)
    for path in files:
        path.replace(path.with_suffix(""))
    for folder in folders:
        _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
