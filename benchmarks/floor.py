"""The floor: what remains of a sample when nothing is left but compression and kernels.

The same input bytes are unpacked and the same output voxels packed with the fastest library, the
same kernels run, as many files and folders are flushed to disk and renamed. Left out: searching
the archive, reading headers, checking and deciding, checksums of the zip, YAML, receipts and
restore data (their files are written with bytes made beforehand), tables, Dask.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from amos_dask.kernels import (
    cast_to_labels,
    count_labels,
    denoise_slices,
    label_components,
    remap_labels,
    scale_to_float32,
)
from amos_dask.nifti import ImageInfo, make_header, read_info
from amos_dask.records import DenoiseParams, Sample
from benchmarks.phases import Phases
from benchmarks.scans import N_LABELS, Mask

_CHUNK_VOXELS = 1 << 18  # of float32: one MB, which stays in the cache from scaling to packing
_SMALL_FILE = bytes(300)


@dataclass(frozen=True)
class Plan:
    """What the floor is told of a sample, found out beforehand."""

    volume: Path
    mask: Path | None
    info: ImageInfo
    mask_info: ImageInfo | None
    is_female: bool
    receipt_bytes: int


def plan(sample: Sample, receipt_bytes: int = 3000) -> Plan:
    """Look at a sample of an archive in a folder."""
    if sample.volume is None:
        raise ValueError(f"{sample.sample_id} has no volume")
    return Plan(
        volume=Path(sample.volume.location),
        mask=None if sample.mask is None else Path(sample.mask.location),
        info=read_info(sample.volume),
        mask_info=None if sample.mask is None else read_info(sample.mask),
        is_female=sample.metadata.sex == "F",
        receipt_bytes=receipt_bytes,
    )


def run_floor(work: Plan, folder: Path, phases: Phases | None = None) -> None:
    """Do a sample's compression, kernels and flushes; the files go below ``folder``."""
    phases = phases or Phases()
    sample, state = folder / "sample", folder / "state"
    sample.mkdir(parents=True)
    state.mkdir()
    _convert_volume(work, sample / "volume.part", phases)
    files = [sample / "volume.part", sample / "info.part"]
    files[1].write_bytes(_SMALL_FILE)
    folders = [sample]
    if work.mask is not None:
        files += _make_masks(work, work.mask, sample, phases)
        files.append(state / "restore.part")
        files[-1].write_bytes(_SMALL_FILE)
        folders.append(state)
    with phases("flush"):
        _publish(files, folders)
    receipt = state / "receipt.part"
    receipt.write_bytes(bytes(work.receipt_bytes))
    with phases("flush"):
        _publish([receipt], [state])


def fastest_gunzip() -> Callable[[bytes], bytes]:
    """Return libdeflate's one-call gunzip; isal's where the extra ``bench`` is not installed."""
    if find_spec("deflate") is not None:
        import deflate

        return deflate.gzip_decompress
    from isal import igzip

    return igzip.decompress if find_spec("isal") else gzip.decompress


def _convert_volume(work: Plan, path: Path, phases: Phases) -> None:
    info = work.info
    with phases("volume: read and unpack"):
        raw = fastest_gunzip()(work.volume.read_bytes())
    stored = np.frombuffer(raw, info.stored_dtype, info.n_voxels, info.data_offset)
    buffer = np.empty(_CHUNK_VOXELS, np.float32)
    packer = isal_zlib.compressobj(1, wbits=31)
    with path.open("wb", buffering=0) as file:
        file.write(packer.compress(make_header(info.shape, np.float32, info.affine, 1)))
        for start in range(0, info.n_voxels, _CHUNK_VOXELS):
            chunk = stored[start : start + _CHUNK_VOXELS]
            floats = buffer[: chunk.size]
            with phases("volume: scale"):
                scale_to_float32(chunk, info.slope, info.inter, floats)
            with phases("volume: pack"):
                packed = packer.compress(floats.view(np.uint8).data)
            with phases("volume: write"):
                file.write(packed)
        with phases("volume: pack"):
            packed = packer.flush()
        file.write(packed)


def _make_masks(work: Plan, path: Path, sample: Path, phases: Phases) -> list[Path]:
    mask = _read_mask(work, path, phases)
    params = DenoiseParams()
    with phases("mask: counts and remap"):
        if work.is_female and count_labels(mask)[15]:
            lookup = np.arange(256, dtype=np.uint8)
            lookup[15] = 16
            mask = remap_labels(mask, lookup)
    with phases("mask: components"):
        label_components(mask)
    with phases("mask: denoise"):
        final = denoise_slices(
            mask,
            work.info.spacing_mm[:2],
            params.region_area_thresh,
            params.kernel_size,
            params.filter_halfedge,
        )
    with phases("mask: components"):
        label_components(final)
    with phases("mask: counts and remap"):
        counts = count_labels(final)
    return _write_masks(work, final, counts, sample, phases)


def _read_mask(work: Plan, path: Path, phases: Phases) -> Mask:
    info = work.mask_info
    if info is None:
        raise ValueError(f"{path} was not looked at")
    with phases("mask: read and unpack"):
        raw = fastest_gunzip()(path.read_bytes())
        stored = np.frombuffer(raw, info.stored_dtype, info.n_voxels, info.data_offset)
        labels = np.empty(stored.size, np.uint8)
        cast_to_labels(stored, labels)
    return labels.reshape(info.shape, order="F")


def _write_masks(
    work: Plan, mask: Mask, counts: NDArray[np.int64], sample: Path, phases: Phases
) -> list[Path]:
    header = make_header(work.info.shape, np.uint8, work.info.affine, 1)
    files = [sample / "mask.part"]
    with phases("mask: pack and write"):
        files[0].write_bytes(_pack(header, mask))
    buffer = np.empty_like(mask)
    empty: bytes | None = None
    for label in range(N_LABELS):
        path = sample / f"mask_{label:02d}.part"
        files.append(path)
        if counts[label]:
            with phases("binary masks: select"):
                np.equal(mask, label, out=buffer.view(np.bool_))
            with phases("binary masks: pack and write"):
                path.write_bytes(_pack(header, buffer))
        else:
            with phases("binary masks: pack and write"):
                empty = empty or _pack(header, np.zeros_like(mask))
                path.write_bytes(empty)
    return files


def _pack(header: bytes, mask: Mask) -> bytes:
    packer = isal_zlib.compressobj(1, wbits=31)
    voxels = mask.ravel(order="F").data
    return b"".join([packer.compress(header), packer.compress(voxels), packer.flush()])


def _publish(files: list[Path], folders: list[Path]) -> None:
    """Flush, rename, flush the folders: as `amos_dask.store.staging` does."""
    for path in files:
        _flush(path)
    for path in files:
        path.replace(path.with_suffix(".nii.gz"))
    for folder in folders:
        _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
