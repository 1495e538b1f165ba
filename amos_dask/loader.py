"""``AMOS``: scans, masks and metadata by id, from the archive as downloaded or from a ROOT_DIR."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amos_dask import geometry
from amos_dask.datasets import DEFAULT, METADATA_FIELDS, find_definition
from amos_dask.errors import (
    AmosDaskError,
    ArchiveError,
    BadMaskError,
    InaccessibleFileError,
    UnreadableImageError,
)
from amos_dask.file_refs import FileRef, shown
from amos_dask.nifti import ImageInfo, Mask, open_image, read_info
from amos_dask.records import UNDEFINED, Sample
from amos_dask.root.layout import channel_columns
from amos_dask.scans import find_scans
from amos_dask.steps.header_check import require_same_grid
from amos_dask.steps.mask import read_mask
from amos_dask.steps.mask_labels import MaskMerger
from amos_dask.steps.pictures import picture_slice

if TYPE_CHECKING:
    import pandas as pd

_MODALITIES = {"ct": "CT", "mri": "MRI"}


class AMOS:
    """The scans of AMOS22, or of another dataset, by id, read where they lie.

    Parameters
    ----------
    root : str, Path or sequence of them
        What was downloaded (``amos22.zip``, the folder that holds it, an unpacked folder, a tar,
        or a URL of any but the second), or a ROOT_DIR made by `run`. Zips of scans without labels
        are found in and beside it. Several archives are one together.
    labeled_data_meta : str, optional
        The metadata csv; by default the one inside or beside the archive.
    metadata_encoding : str, optional
        Its encoding, such as ``gb18030``; by default it is recognised.
    mr_metadata_offset : {"auto", "0", "-1"}
        Which row of the csv MR scans take.
    dataset : str or Path
        Of an archive: the name of a packaged dataset, or the path of a definition (YAML). A
        ROOT_DIR says itself what it holds.

    Raises
    ------
    AmosDaskError
        When there is nothing usable at ``root``.

    Examples
    --------
    >>> ds = amos_dask.AMOS("data/AMOS22")
    >>> ds.image_modality("0507"), ds.image("0507").dtype.name
    ('MRI', 'float32')
    >>> ds.image("0507", lazy=True).npartitions
    1
    """

    def __init__(
        self,
        root: str | Path | Sequence[str | Path],
        *,
        labeled_data_meta: str | None = None,
        metadata_encoding: str | None = None,
        mr_metadata_offset: str = "auto",
        dataset: str | Path = DEFAULT,
    ) -> None:
        roots = [root] if isinstance(root, str | Path) else root
        self.root = " and ".join(map(str, roots))
        self._definition, self._scans = find_scans(
            [str(place) for place in roots],
            labeled_data_meta,
            mr_metadata_offset,
            find_definition(dataset),
            metadata_encoding,
        )

    def __repr__(self) -> str:
        return f"AMOS({self.root!r}): {len(self)} {'scan' if len(self) == 1 else 'scans'}"

    def __len__(self) -> int:
        return len(self._scans)

    @property
    def ids(self) -> list[str]:
        """Ids of all scans, such as ``0001`` or ``case-7``, in order; numbers count as such."""
        return list(self._scans)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels; none where scans have but one."""
        return self._definition.channel_names

    def image(self, i: str | int, *, channel: str | int | None = None, lazy: bool = False) -> Any:
        """Return the scan's voxels, or None without a scan.

        Parameters
        ----------
        i : str or int
            The id.
        channel : str or int, optional
            Name of the only channel to read, or its number from 0; None for all.
        lazy : bool
            Read headers only, and return a dask array of one chunk: a compressed file cannot be
            read in parts.

        Returns
        -------
        (x, y, z) or (channels, x, y, z) array, dask array or None
            As stored, each channel in Fortran order, of the stored type; float64 where the header
            scales values. There is an axis of channels where the dataset has several and none is
            chosen.

        Raises
        ------
        AmosDaskError
            When there is no such channel, a file is damaged, or the file of a channel is missing or
            on another grid; of two ids without labels the published file itself is damaged.
        """
        sample, number = self._scan(i), self._number(channel)
        parts = self._parts(sample, number)
        if number is None and (absent := sample.absent_channels):
            raise ArchiveError(
                f"{self.root}: {sample.sample_id} has no file of {', '.join(absent)}; name a "
                "channel that it has."
            )
        return _read_scan(parts, lazy=lazy) if parts else None

    def mask(self, i: str | int, *, lazy: bool = False) -> Any:
        """Return the labels of a scan's voxels in the order of the file, or None without a mask.

        Values are those stored, but for datasets whose definition gives them labels
        (``label_values``), or has a binary mask for each label: then they are labels in uint8, of
        masks that overlap the one that `run` would take.

        Parameters
        ----------
        i, lazy
            As for `image`.
        """
        sample, definition = self._scan(i), self._definition
        if sample.mask is None:
            return None
        first = _Part(sample.masks[0][1], self._published_damaged(sample))
        if not (sample.masks[0][0] or definition.label_values):
            return _read_scan([first], lazy=lazy)
        read = partial(
            _read_labels, sample.masks, definition.painting_order, definition.label_values
        )
        return _later(read, first.header.shape, "uint8") if lazy else read()

    def affine(self, i: str | int) -> NDArray[np.float64] | None:
        """Return the (4, 4) matrix from voxel index to RAS+ mm, or None without a scan.

        Raises
        ------
        AmosDaskError
            When the header of the scan, or of its first channel, cannot be read.
        """
        parts = self._parts(self._scan(i))
        return parts[0].header.affine if parts else None

    def spacing(self, i: str | int) -> NDArray[np.float64] | None:
        """Return the (3,) voxel size along x, y, z in mm, or None without a scan."""
        affine = self.affine(i)
        return None if affine is None else geometry.voxel_sizes_mm(affine)

    def show(self, i: str | int, k: int | None = None, *, channel: str | int | None = None) -> Any:
        """Return a picture of a slice with its labels, which a notebook shows.

        Parameters
        ----------
        i, channel
            As for `image`; of several channels by default the one that the report shows.
        k : int, optional
            The slice along the third axis; by default the one with most labelled voxels.

        Returns
        -------
        PIL.Image.Image or None
        """
        if channel is None and self.channels:
            channel = self._definition.pictured_channel
        image, affine = self.image(i, channel=channel), self.affine(i)
        if image is None or affine is None:
            return None
        return picture_slice(image, self.mask(i), affine, self._scan(i).modality, k)

    def image_modality(self, i: str | int) -> str | None:
        """Return ``CT`` or ``MRI``."""
        return _MODALITIES.get(self._scan(i).modality)

    def subset(self, i: str | int) -> str | None:
        """Return ``train``, ``val`` or ``test``; None of scans without labels beside the 600."""
        return self._scan(i).subset or None

    def birth_date(self, i: str | int) -> str | None:
        """Return the patient's date of birth, ``YYYYMMDD``."""
        return self._metadata(i, "birth_date")

    def sex(self, i: str | int) -> str | None:
        """Return the patient's sex, ``F`` or ``M``."""
        return self._metadata(i, "sex")

    def age(self, i: str | int) -> str | None:
        """Return the patient's age, such as ``062Y``."""
        return self._metadata(i, "age")

    def manufacturer_model(self, i: str | int) -> str | None:
        """Return the scanner's model."""
        return self._metadata(i, "manufacturer_model_name")

    def manufacturer(self, i: str | int) -> str | None:
        """Return the scanner's manufacturer."""
        return self._metadata(i, "manufacturer")

    def acquisition_date(self, i: str | int) -> str | None:
        """Return the date of the scan, ``YYYYMMDD``."""
        return self._metadata(i, "acquisition_date")

    def site(self, i: str | int) -> str | None:
        """Return where the scan was made."""
        return self._metadata(i, "site")

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row an id: modality, subset, metadata, files; ``damaged`` where published so."""
        import pandas as pd

        rows = {
            i: {
                "image_modality": self.image_modality(i),
                "subset": self.subset(i),
                # Named as the methods are.
                **{f.removesuffix("_name"): self._metadata(i, f) for f in METADATA_FIELDS},
                "image": None if sample.volume is None else sample.volume.path,
                **self._channel_files(sample),
                "mask": None if sample.mask is None else sample.mask.path,
                "damaged": bool(self._published_damaged(sample)),
            }
            for i, sample in self._scans.items()
        }
        frame = pd.DataFrame.from_dict(rows, orient="index", dtype=object)
        return frame.rename_axis("id").astype({"damaged": bool} if rows else {})

    def _channel_files(self, sample: Sample) -> dict[str, str | None]:
        """Return column -> file of each channel, where there are several."""
        columns, files = channel_columns(self.channels), sample.volumes
        if len(files) == 1:  # which has all channels
            files *= len(columns)
        found = zip_longest(columns, files)
        return {column: None if ref is None else ref.path for column, ref in found}

    def _scan(self, i: str | int) -> Sample:
        sample = self._scans.get(self._definition.find_seq(str(i)) or "")
        if sample is None:
            raise AmosDaskError(f"{self.root}: there is no scan {i!r}.")
        return sample

    def _number(self, channel: str | int | None) -> int | None:
        """Return the number of a channel."""
        names = tuple(self._definition.channels)
        if channel is None or (isinstance(channel, int) and channel in range(len(names) or 1)):
            return channel
        if channel in names:
            return names.index(str(channel))
        there = f"there are {', '.join(names)}" if names else "there is but one"
        raise AmosDaskError(f"{self.root}: there is no channel {channel!r}; {there}.")

    def _parts(self, sample: Sample, number: int | None = None) -> list[_Part]:
        """Return what has to be read of each of a scan's files, for all channels or for one."""
        files, n_channels = sample.volumes, sample.n_channels_a_file
        if n_channels == 1 and number is not None:
            files = files[number : number + 1]
        damaged = self._published_damaged(sample)
        one = number if n_channels > 1 else None
        return [_Part(ref, damaged, n_channels, one) for ref in files if ref is not None]

    def _published_damaged(self, sample: Sample) -> str:
        """Return the id of a scan whose published file is damaged; empty for all others."""
        damaged = self._definition.unlabelled.damaged
        is_damaged = sample.seq.isdecimal() and int(sample.seq) in damaged
        return sample.sample_id if is_damaged else ""

    def _metadata(self, i: str | int, name: str) -> str | None:
        value = str(getattr(self._scan(i).metadata, name))
        return None if value == UNDEFINED else value


@dataclass(frozen=True, slots=True)
class _Part:
    """A file of a scan, of which all is wanted, or of several channels one."""

    ref: FileRef
    damaged: str  # id of a scan whose published file is damaged; else empty
    n_channels: int = 1  # of the file
    channel: int | None = None

    @property
    def header(self) -> ImageInfo:
        """What the file's header says."""
        with _saying_where(self.ref, self.damaged):
            return read_info(self.ref, self.n_channels)


def _describe(parts: Sequence[_Part]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of a scan's voxels; raise where its files are on several grids."""
    headers = [part.header for part in parts]
    for part, header in zip(parts, headers, strict=True):
        with _saying_where(part.ref, part.damaged):
            require_same_grid(headers[0], header)
    n_channels = sum(part.n_channels if part.channel is None else 1 for part in parts)
    shape = headers[0].shape if n_channels == 1 else (n_channels, *headers[0].shape)
    return shape, np.result_type(*(header.dtype for header in headers))


def _read_scan(parts: Sequence[_Part], *, lazy: bool) -> Any:
    """Return a scan's voxels, or a dask array of them; raise where its files do not fit."""
    if lazy:
        return _later(partial(_read_scan, parts, lazy=False), *_describe(parts))
    if len(parts) == 1:
        return _read_voxels(parts[0])
    _describe(parts)
    # Turned round and back, as stacks are in C order.
    return np.stack([_read_voxels(part).T for part in parts]).transpose(0, 3, 2, 1)


def _later(read: Callable[[], Any], shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a dask array of one chunk, which a function reads when it is computed."""
    import dask.array
    from dask import delayed

    return dask.array.from_delayed(delayed(read, pure=True)(), shape, np.dtype(dtype))


def _read_voxels(part: _Part) -> NDArray[Any]:
    """Return the voxels that nibabel would give; the file is read to its end and so verified."""
    with _saying_where(part.ref, part.damaged), open_image(part.ref, part.n_channels) as image:
        info = image.info
        numbers = range(part.n_channels) if part.channel is None else (part.channel,)
        values = np.empty((len(numbers), info.n_voxels), info.dtype)
        for number, one in enumerate(image.channels()):
            start = 0
            for chunk in one.chunks() if number in numbers else ():
                if info.is_scaled:
                    with np.errstate(all="ignore"):
                        chunk = chunk.astype(np.float64) * info.slope + info.inter
                values[number - numbers[0], start : start + chunk.size] = chunk
                start += chunk.size
    shaped = values.reshape((-1, *info.shape[::-1])).transpose(0, 3, 2, 1)
    return shaped if len(numbers) > 1 else shaped[0]


def _read_labels(
    masks: Sequence[tuple[int, FileRef]],
    painting_order: tuple[int, ...],
    label_values: Mapping[int, int],
) -> Mask:
    """Return labels as `run` reads them."""
    first = _Part(masks[0][1], "").header
    merger = MaskMerger(first.shape, label_values)
    for label, ref in masks:
        with _saying_where(ref, ""), open_image(ref) as image:
            if not label:  # one file has all
                return read_mask(image, label_values).labels
            require_same_grid(first, image.info)
            merger.add(label, image)
    return merger.merged(painting_order).labels


@contextmanager
def _saying_where(ref: FileRef, damaged: str) -> Iterator[None]:
    """Raise `ArchiveError` that says which file cannot be read, why, and what to do."""
    where = shown(ref.location) + ("" if ref.member is None else f", {ref.path}")
    try:
        yield
    except (UnreadableImageError, InaccessibleFileError, BadMaskError) as error:
        advice = f"{error}; 'amos-dask verify' says whether more is wrong."
        if damaged and isinstance(error, UnreadableImageError):
            advice = (
                f"{damaged} is damaged in the archive as it was published; downloading it again "
                f"does not help ({error})."
            )
        raise ArchiveError(f"{where}: {advice}") from error
