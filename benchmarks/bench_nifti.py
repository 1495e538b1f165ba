"""NIfTI: reading, writing, and the header check, against nibabel and the bare libraries."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from amos_dask.archive.listing import list_files
from amos_dask.file_refs import FileRef, file_ref
from amos_dask.nifti import make_header, open_image, read_info, write_image
from amos_dask.records import Metadata, Sample
from amos_dask.steps.header_check import check_headers
from benchmarks.harness import (
    Claim,
    Comparison,
    Report,
    Side,
    Table,
    benchmark,
    compare,
    timing_rows,
)
from benchmarks.scans import ct_scan, write_pair
from benchmarks.settings import Settings

_OFFSET = 352
_CALLS = 20  # a header takes about a millisecond: a run is so many


@benchmark("nifti")
def bench_nifti(settings: Settings) -> Report:
    """Time reading and writing a CT, and reading the headers of it and its mask."""
    folder = settings.work / ("nifti-tiny" if settings.tiny else "nifti-full")
    folder.mkdir(parents=True, exist_ok=True)
    scan = ct_scan(settings)
    volume, mask = write_pair(scan, folder)
    n = settings.repeats
    reading = {"int16 CT": _compare_reading(volume, n), "uint8 mask": _compare_reading(mask, n)}
    floats = scan.volume.astype(np.float32, order="F")
    writing = {
        "float32 CT": _compare_writing(folder, floats, n),
        "uint8 mask": _compare_writing(folder, scan.mask, n),
    }
    zipped = _zip(volume, folder / "amos22.zip")
    checks = {
        "file": _compare_headers(file_ref(volume, "a.nii.gz"), n),
        "zip, stored": _compare_headers(_member(zipped, "stored.nii.gz"), n),
        "zip, deflated": _compare_headers(_member(zipped, "deflated.nii.gz"), n),
    }
    return Report(
        [
            Table("Reading to an array", _rows(reading), "File to array, no fsync involved."),
            Table("Writing an array", _rows(writing, _sizes(folder)), _WRITING_NOTE),
            Table(
                "Header check of one CT",
                [row for case, one in checks.items() for row in timing_rows(case, one)],
                f"A run is {_CALLS} checks, or one decoding of the voxels; times are of one.",
            ),
        ],
        _claims(checks),
    )


_WRITING_NOTE = (
    "Array to file, no fsync. 'raw' compresses the same bytes with one call and writes them. "
    "nibabel's own level is 1."
)


def _rows(
    comparisons: dict[str, Comparison], sizes: dict[tuple[str, str], int] | None = None
) -> list[dict[str, Any]]:
    rows = []
    for case, comparison in comparisons.items():
        for row in timing_rows(case, comparison):
            if sizes is not None:
                row["MB written"] = sizes[case, row["side"]] / 1e6
            rows.append(row)
    return rows


def _compare_reading(path: Path, repeats: int) -> Comparison:
    ref = file_ref(path, path.name)
    sides = {
        "ours": Side(partial(_read_ours, ref)),
        "nibabel": Side(partial(_read_nibabel, path)),
        "raw isal": Side(partial(_read_raw, path, igzip.decompress)),
    }
    if find_spec("deflate") is not None:
        sides["raw libdeflate"] = Side(partial(_read_raw, path, _libdeflate_unpack))
    sides["raw zlib"] = Side(partial(_read_raw, path, gzip.decompress))
    return compare(sides, repeats, np.array_equal)


def _read_ours(ref: FileRef) -> NDArray[Any]:
    with open_image(ref) as image:
        voxels = np.empty(image.info.n_voxels, image.info.stored_dtype)
        start = 0
        for chunk in image.chunks():
            voxels[start : start + chunk.size] = chunk
            start += chunk.size
        return voxels.reshape(image.info.shape, order="F")


def _read_nibabel(path: Path) -> NDArray[Any]:
    return np.asanyarray(nib.load(path).dataobj)


def _read_raw(path: Path, unpack: Callable[[bytes], bytes]) -> NDArray[Any]:
    block = unpack(path.read_bytes())
    header = nib.Nifti1Header(block[:348])
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    return np.frombuffer(block, dtype, offset=_OFFSET).reshape(shape, order="F")


def _libdeflate_unpack(packed: bytes) -> bytes:
    import deflate

    return bytes(deflate.gzip_decompress(packed))


def _libdeflate_pack(raw: bytes) -> bytes:
    import deflate

    return bytes(deflate.gzip_compress(raw, 1))


def _compare_writing(folder: Path, array: NDArray[Any], repeats: int) -> Comparison:
    affine = np.diag([0.7, 0.7, 5.0, 1.0])
    header = make_header(array.shape, array.dtype.type, affine, 1)
    target = partial(_target, folder, array)

    def ours() -> Path:
        write_image(target("ours"), header, array)
        return target("ours")

    def nibabel() -> Path:
        nib.save(nib.Nifti1Image(array, affine), target("nibabel"))
        return target("nibabel")

    def raw(side: str, pack: Callable[[bytes], bytes]) -> Path:
        # The array's own memory in file order; a copy would be work that is not asked for.
        target(side).write_bytes(pack(array.ravel(order="F").view(np.uint8).data))
        return target(side)

    packers: dict[str, Callable[[Any], bytes]] = {
        "raw isal 1": partial(_isal_pack, level=1),
        "raw isal 0": partial(_isal_pack, level=0),
    }
    if find_spec("deflate") is not None:
        packers["raw libdeflate 1"] = _libdeflate_pack
    packers["raw zlib 1"] = partial(gzip.compress, compresslevel=1)
    sides = {"ours": Side(ours), "nibabel": Side(nibabel, max_runs=3)}
    for name, pack in packers.items():
        slow = 3 if "zlib" in name else None
        sides[name] = Side(partial(raw, name, pack), max_runs=slow, peer=False)
    return compare(sides, repeats, _same_voxels)


def _isal_pack(raw: Any, level: int) -> bytes:
    return bytes(isal_zlib.compress(raw, level, wbits=31))


def _same_voxels(ours: Path, theirs: Path) -> bool:
    return np.array_equal(_read_nibabel(ours), _read_nibabel(theirs))


def _target(folder: Path, array: NDArray[Any], side: str) -> Path:
    return folder / f"{array.dtype}-{side.replace(' ', '-')}.nii.gz"


def _sizes(folder: Path) -> dict[tuple[str, str], int]:
    """Return the sizes of the written files by case and side."""
    cases = {"float32": "float32 CT", "uint8": "uint8 mask"}
    sizes = {}
    for path in folder.glob("*.nii.gz"):
        dtype, _, side = path.name.removesuffix(".nii.gz").partition("-")
        if dtype in cases:
            sizes[cases[dtype], side.replace("-", " ")] = path.stat().st_size
    return sizes


def _zip(volume: Path, target: Path) -> Path:
    """Put a volume into a zip, stored and deflated."""
    with zipfile.ZipFile(target, "w", compresslevel=1) as archive:
        archive.write(volume, "stored.nii.gz", zipfile.ZIP_STORED)
        archive.write(volume, "deflated.nii.gz", zipfile.ZIP_DEFLATED)
    return target


def _member(zipped: Path, name: str) -> FileRef:
    return next(ref for ref in list_files(str(zipped)) if ref.path == name)


def _compare_headers(ref: FileRef, repeats: int) -> Comparison:
    sample = Sample("0001", "amos", "train", "ct", "UND", Metadata(), (ref,))
    sides = {
        "ours: header check": Side(partial(_many, partial(check_headers, sample))),
        "ours: header alone": Side(partial(_many, partial(read_info, ref)), peer=False),
        "ours: decode": Side(partial(_read_ours, ref), peer=False),
    }
    path = Path(ref.location)
    if ref.member is None:
        sides["nibabel: header"] = Side(partial(_many, partial(_header, path)), peer=False)
        sides["nibabel: decode"] = Side(partial(_read_nibabel, path), peer=False)
        if find_spec("deflate") is not None:
            unpack = partial(_read_raw, path, _libdeflate_unpack)
            sides["raw libdeflate: decode"] = Side(unpack, peer=False)
    comparison = compare(sides, repeats)
    return _of_one(comparison)


def _many(function: Callable[[], Any]) -> None:
    for _ in range(_CALLS):
        function()


def _header(path: Path) -> Any:
    """Read with nibabel what a header check needs."""
    header = nib.load(path).header
    return header.get_best_affine(), header.get_data_shape(), header.get_data_dtype()


def _of_one(comparison: Comparison) -> Comparison:
    """Divide the runs that are many calls; the ratios of the others grow as much."""
    for name, timings in comparison.items():
        if name.endswith("decode"):
            timings.ratios = [ratio * _CALLS for ratio in timings.ratios]
            timings.cpu_ratios = [ratio * _CALLS for ratio in timings.cpu_ratios]
        else:
            timings.seconds = [seconds / _CALLS for seconds in timings.seconds]
            timings.cpu_seconds = [seconds / _CALLS for seconds in timings.cpu_seconds]
    return comparison


def _claims(checks: dict[str, Comparison]) -> list[Claim]:
    claims = []
    for case, comparison in checks.items():
        decodes = [t.ratio for name, t in comparison.items() if name.endswith("decode")]
        text = f"{case}: the fastest decoding of the CT takes as long as its header check times"
        claims.append(Claim(text, min(decodes), 100.0))
        milliseconds = 1e3 * comparison["ours: header check"].median
        claims.append(
            Claim(f"{case}: header check of a file", milliseconds, 1.0, True, "ms", "about 1 ms")
        )
    return claims
