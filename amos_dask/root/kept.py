"""What is kept beside a sample's receipt: what undoes denoising, counted values, pictures."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from amos_dask.records import Difference, Mask
from amos_dask.root.staging import Staging, gzip_trailer


class InBlocks(Protocol):
    """A 1-D array that is too large to be held: it comes block by block, each time it is asked."""

    @property
    def size(self) -> int:
        """Its length."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its blocks."""
        ...

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield its blocks."""
        ...


Arrays = Mapping[str, NDArray[Any]]
ToKeep = Mapping[str, NDArray[Any] | InBlocks]
_TRAILER = re.compile(r"-[0-9a-f]{16}")
_VOLUME = "volume"
_DIFFERENCE = ("voxels", "labels")
_LEVEL = 1
_PIECE_BYTES = 1 << 20
_BLOCK_ROWS = 1 << 16
_LARGE_BYTES = 1 << 30  # from here on the zip's directory needs more room for a size


@dataclass(frozen=True)
class KeptFiles:
    """The folder of kept files, an ``.npz`` for each mask.

    A file is named after the sample and the gzip trailer of the mask (checksum and length of
    header and voxels), so that its content never meets a mask it does not belong to.
    """

    folder: Path  # ``.amos-dask/restore`` under ROOT_DIR

    def path_for(self, sample_id: str, mask_file: Path) -> Path:
        """Return where the arrays of a mask file are kept."""
        return self.folder / f"{sample_id}-{gzip_trailer(mask_file)}.npz"

    def of_sample(self, sample_id: str) -> list[Path]:
        """Return the kept files of all masks of a sample."""
        paths = self.folder.glob(f"{sample_id}-*.npz")  # an id may begin like another
        return sorted(p for p in paths if _TRAILER.fullmatch(p.stem.removeprefix(sample_id)))

    def stage(
        self,
        staging: Staging,
        sample_id: str,
        mask_file: Path,
        difference: Difference | None,
        of_volume: ToKeep | None = None,
        volume_files: Sequence[Path] = (),
    ) -> Path | None:
        """Stage what is to be kept of a mask; return its final name, or None for nothing.

        Parameters
        ----------
        staging : Staging
            Publishes it together with the mask.
        sample_id : str
            The sample.
        mask_file : Path
            The mask, written under its temporary name.
        difference : Difference or None
            Of the mask as it was and as it was denoised.
        of_volume : mapping of str to array, optional
            What was found by looking at the volume under the mask.
        volume_files : sequence of Path
            The files of that volume, one a channel, written under their temporary names.
        """
        arrays: dict[str, NDArray[Any] | InBlocks] = {}
        if difference is not None:
            labels = np.stack([difference.before, difference.after])
            arrays |= {"voxels": difference.voxels, "labels": labels}
        if of_volume and volume_files:
            arrays |= {**of_volume, _VOLUME: _trailers(volume_files)}
        if not arrays:
            return None
        path = self.path_for(sample_id, mask_file)
        # Made before it is staged: a sample that fails would take its folder from all others.
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(staging.path_for(path), {name: _packed(array) for name, array in arrays.items()})
        return path

    def add(
        self,
        staging: Staging,
        sample_id: str,
        mask: Path,
        volumes: Sequence[Path],
        of_volume: ToKeep,
    ) -> Path:
        """Stage a mask's kept file with arrays of its volume more; return its final name."""
        path = self.path_for(sample_id, mask)
        trailer = _trailers(volumes)
        entries = {name: _packed(a) for name, a in {**of_volume, _VOLUME: trailer}.items()}
        known_volume = self.read(sample_id, mask, {_VOLUME}).get(_VOLUME, ())
        is_of_volume = np.array_equal(known_volume, trailer)
        with ExitStack() as stack:
            if _is_whole(path):
                known = stack.enter_context(zipfile.ZipFile(path))
                names = {info.filename.removesuffix(".npy") for info in known.infolist()}
                kept = names if is_of_volume else names & set(_DIFFERENCE)
                entries |= {name: _copied(known, name) for name in kept - entries.keys()}
            _write(staging.path_for(path), entries)
        return path

    def rows_of_volume(
        self, sample_id: str, mask: Path, volumes: Sequence[Path], names: Collection[str]
    ) -> Iterator[tuple[NDArray[Any], ...]]:
        """Yield columns of one length that were found by looking at just this volume, in blocks.

        Raises
        ------
        OSError
            When the mask or the volume is gone.
        LookupError
            When not all of them are kept, or they are damaged, which may show at their end only.
        """
        path, trailer = self.path_for(sample_id, mask), _trailers(volumes)
        try:
            with zipfile.ZipFile(path) as file, ExitStack() as stack:
                with file.open(f"{_VOLUME}.npy") as entry:
                    found = np.lib.format.read_array(entry, allow_pickle=False)
                if not np.array_equal(found, trailer):
                    raise LookupError(f"{path.name} is of another volume")
                entries = [stack.enter_context(file.open(f"{name}.npy")) for name in names]
                yield from _read_rows(entries)
        except Exception as error:  # numpy and zipfile raise many kinds for a damaged file
            raise LookupError(f"{path.name}: {error}") from error

    def read_of_volume(
        self, sample_id: str, mask: Path, volumes: Sequence[Path], names: Collection[str]
    ) -> Arrays | None:
        """Return arrays that were found by looking at just this volume; None without all of them.

        Raises
        ------
        OSError
            When the mask or the volume is gone.
        """
        found = self.read(sample_id, mask, {*names, _VOLUME})
        if not np.array_equal(found.get(_VOLUME, ()), _trailers(volumes)):
            return None
        return found if all(name in found for name in names) else None

    def read_difference(self, sample_id: str, mask_file: Path) -> Difference | None:
        """Return what denoising changed, or None where nothing is kept for this mask.

        Does not read the mask.
        """
        try:
            found = self.read(sample_id, mask_file, _DIFFERENCE)
            voxels, (before, after) = found["voxels"], found["labels"]
        except (OSError, LookupError, ValueError):
            return None
        if voxels.dtype != np.int64 or before.dtype != np.uint8:
            return None
        return Difference(voxels, before, after)

    def undo(self, sample_id: str, mask_file: Path, denoised: Mask) -> Mask | None:
        """Return the undenoised mask, or None where nothing is kept for this file."""
        difference = self.read_difference(sample_id, mask_file)
        with suppress(IndexError, ValueError):  # damaged, or of a mask of another shape
            return None if difference is None else difference.undo(denoised)
        return None

    def read(
        self, sample_id: str, mask_file: Path, names: Collection[str]
    ) -> dict[str, NDArray[Any]]:
        """Return arrays by name, as far as they are kept and not damaged."""
        path = self.path_for(sample_id, mask_file)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                wanted = set(content.files) & set(names)
                return {name: content[name] for name in wanted}
        except Exception:  # numpy and zipfile raise many kinds for a damaged file
            return {}


def _trailers(paths: Iterable[Path]) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex("".join(map(gzip_trailer, paths))), np.uint8)


class _Entry(NamedTuple):
    """What lies in an ``.npz`` file under one name: an ``.npy`` file, as it comes."""

    n_bytes: int  # of all pieces
    pieces: Iterable[bytes | memoryview[int]]


def _packed(array: NDArray[Any] | InBlocks) -> _Entry:
    """Return the entry of an array."""
    shape = array.shape if isinstance(array, np.ndarray) else (array.size,)
    descr = np.lib.format.dtype_to_descr(array.dtype)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    blocks = [array.ravel()] if isinstance(array, np.ndarray) else array
    pieces: Iterable[Any] = (block.view(np.uint8).data for block in blocks)
    pieces = chain([header.getvalue()], pieces)
    return _Entry(header.tell() + array.size * array.dtype.itemsize, pieces)


def _copied(file: zipfile.ZipFile, name: str) -> _Entry:
    """Return an entry of a file that is open while it is read."""
    info = file.getinfo(f"{name}.npy")

    def read() -> Iterator[bytes]:
        with file.open(info) as entry:
            while piece := entry.read(_PIECE_BYTES):
                yield piece

    return _Entry(info.file_size, read())


def _write(path: Path, entries: Mapping[str, _Entry]) -> None:
    """Write an ``.npz`` file; the same content gives the same bytes, however it comes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as file:
        for name, entry in sorted(entries.items()):
            is_large = entry.n_bytes > _LARGE_BYTES
            with file.open(f"{name}.npy", "w", force_zip64=is_large) as target:
                for piece in entry.pieces:
                    for start in range(0, len(piece), _PIECE_BYTES):
                        target.write(piece[start : start + _PIECE_BYTES])


def _is_whole(path: Path) -> bool:
    """Return whether a file is there and none of its entries is damaged."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except Exception:  # zipfile raises many kinds for a damaged file
        return False


def _read_rows(entries: Iterable[IO[bytes]]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield 1-D arrays, a block of each at a time, to the ends of their entries."""
    columns, sizes = [], set()
    for entry in entries:
        np.lib.format.read_magic(entry)
        (size,), _, dtype = np.lib.format.read_array_header_1_0(entry)
        columns.append((entry, dtype))
        sizes.add(size)
    (left,) = sizes
    while left:
        n_rows = min(left, _BLOCK_ROWS)
        yield tuple(
            np.frombuffer(entry.read(n_rows * dtype.itemsize), dtype, n_rows)
            for entry, dtype in columns
        )
        left -= n_rows
    if any(entry.read(1) for entry, _ in columns):  # here their checksums are compared
        raise ValueError("more bytes than its header says")
