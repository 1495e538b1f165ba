"""Records: what travels from the archive to the tables. All frozen, small and picklable."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from amos_dask.datasets import Kind
from amos_dask.file_refs import FileRef
from amos_dask.issues import Issue

UNDEFINED = "UND"

T = TypeVar("T")
_DIGITS = re.compile(r"([0-9]+)")


def by_number(sample_id: str) -> tuple[object, ...]:
    """Return by what ids of samples are sorted: numbers in them as numbers, then as text."""
    pieces = enumerate(_DIGITS.split(sample_id))  # text and digits take turns
    return tuple(int(piece) if n % 2 else piece.casefold() for n, piece in pieces), sample_id


class Step(StrEnum):
    """The tutorial's steps, and leaks; each issue belongs to one of them."""

    ARCHIVE_MANIFEST = "archive-manifest"
    CONFIRM_PAIRS = "confirm-pairs"
    SPLIT_PROSTATE_UTERUS = "split-prostate-uterus"
    BINARY_MASKS = "binary-masks"
    SMALL_REGIONS = "small-regions"
    DENOISE = "denoise"
    RESTORE = "restore"
    DATASET_MANIFEST = "dataset-manifest"
    LEAKS = "leaks"


@dataclass(frozen=True, slots=True)
class Metadata:
    """A row of the metadata csv, all text; ``UND`` where nothing is known."""

    birth_date: str = UNDEFINED  # dates are ``YYYYMMDD``
    sex: str = UNDEFINED  # ``F`` or ``M``
    age: str = UNDEFINED  # such as ``062Y``
    manufacturer_model_name: str = UNDEFINED
    manufacturer: str = UNDEFINED
    acquisition_date: str = UNDEFINED
    site: str = UNDEFINED  # where the scan was made


@dataclass(frozen=True, slots=True)
class Sample:
    """One scan of the archive, with or without a mask."""

    seq: str  # the scan's number with at least four digits, such as ``0001``, or its id
    prefix: str  # the dataset's
    subset: str  # ``train``, ``val`` or ``test``, as officially
    modality: str  # ``ct``, ``mri`` or ``und``: decides between such as ``AMOS-CT``, ``AMOS-MRI``
    scanner: str  # name of the scanner's folder: a known model, or ``UND``
    metadata: Metadata
    # The file of each channel, None where it is missing; a single one where it has all channels.
    volumes: tuple[FileRef | None, ...] = ()
    # Labels and their binary masks, by label; label 0 alone where one file has all.
    masks: tuple[tuple[int, FileRef], ...] = ()
    channels: tuple[str, ...] = ()  # their names; none where there is but one
    sample_id: str = field(init=False, repr=False, compare=False)  # such as ``amos_0001``

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample_id", f"{self.prefix}_{self.seq}")

    @property
    def name(self) -> str:
        """The sample's id, for the graph."""
        return self.sample_id

    @property
    def volume(self) -> FileRef | None:
        """The file of the first channel that there is."""
        return next((ref for ref in self.volumes if ref is not None), None)

    @property
    def mask(self) -> FileRef | None:
        """The file of the mask, or of the first label."""
        return next((ref for _, ref in self.masks), None)

    @property
    def absent_channels(self) -> tuple[str, ...]:
        """Names of the channels whose files are missing."""
        if len(self.volumes) == 1:
            return ()
        return tuple(n for n, ref in zip(self.channels, self.volumes, strict=False) if ref is None)

    @property
    def n_channels(self) -> int:
        """How many channels it has."""
        return max(1, len(self.channels))

    @property
    def n_channels_a_file(self) -> int:
        """How many channels a file has, along its fourth axis."""
        return self.n_channels if len(self.volumes) == 1 else 1

    @property
    def n_label_files(self) -> int:
        """How many files its mask is merged of; 0 where one file has all labels."""
        return sum(label > 0 for label, _ in self.masks)

    @property
    def files(self) -> list[tuple[Kind, FileRef]]:
        """Its volumes and its masks, as far as it has them."""
        volumes: list[tuple[Kind, FileRef]] = [("volume", r) for r in self.volumes if r is not None]
        return [*volumes, *(("mask", ref) for _, ref in self.masks)]


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a file's header says: a row of the archive manifest.

    From the shape on everything is None when the header cannot be read.
    """

    file_path: str  # POSIX, relative to the archive
    kind: Kind
    shape: tuple[int, int, int] | None = None  # voxels along x, y, z
    pixdim_mm: tuple[float, float, float] | None = None  # the header's own voxel size
    orientation_from: str | None = None  # such as ``RPI``: where the axes come from
    orientation_to: str | None = None  # such as ``LAS``: where they point to
    dtype: str | None = None  # as numpy would load it: float64 where the header scales values
    affine_json: str | None = None  # (4, 4) best affine, voxel index to RAS+ mm, a nested list
    # Of a mask with a volume: Frobenius norm of the difference of their affines.
    diff_trans_f_norm: float | None = None


@dataclass(frozen=True, slots=True)
class HeaderCheck:
    """What the headers of one sample's files say."""

    sample_id: str
    files: tuple[FileHeader, ...]  # its volumes, then its masks, as far as it has them
    issues: tuple[Issue, ...]
    version: int = 0  # of what looked at them; 0 where nobody could

    @property
    def mask_norm(self) -> float | None:
        """Frobenius norm of the difference of the first mask's affine, where it is known."""
        return next((f.diff_trans_f_norm for f in self.files if f.kind == "mask"), None)


class Region(NamedTuple):
    """A small connected region."""

    label: int  # of all its voxels
    x: int  # its centroid as voxel indexes from 0, each rounded half to even
    y: int
    z: int
    n_voxels: int
    volume_mm3: float


# Volume threshold in mm3 -> the small regions below it, by label, then by first voxel in C order.
Regions = tuple[tuple[float, tuple[Region, ...]], ...]


class LabelChange(NamedTuple):
    """Voxels of one label that denoising gave another one, and how many they are."""

    label_from: int
    label_to: int
    n_voxels: int


class Overlap(NamedTuple):
    """Voxels that the binary masks of two labels share, and how many they are."""

    label: int  # the lower one
    other: int
    n_voxels: int


@dataclass(frozen=True, slots=True)
class SampleFiles:
    """The files of one organised sample as one row of the dataset manifest describes them."""

    sample_id: str
    seq: str
    subset: str
    metadata: Metadata
    folder: str  # POSIX, relative to the folder that the manifest is about, such as ``grouped``
    labels_present: tuple[int, ...] | None  # in the mask, in order; None without one
    binary_labels: tuple[int, ...]  # that have a binary mask file
    shape: tuple[int, int, int]  # voxels along x, y, z
    spacing_mm: tuple[float, float, float]
    orientation_from: str  # this and what follows as of `FileHeader`
    orientation_to: str
    vol_dtype: str
    mask_dtype: str | None  # None without a mask
    affine_json: str
    channels: tuple[str, ...] = ()  # that were written; none where there is but one


@dataclass(frozen=True, slots=True)
class StepIssue:
    """An issue with the step that found it, which replaces its issues when it runs again."""

    step: Step
    issue: Issue


@dataclass(frozen=True, slots=True)
class StepResult(Generic[T]):
    """What a single command's step did with one sample."""

    sample_id: str
    value: T | None  # the step's result; None when there is none, which the issues explain
    issues: tuple[Issue, ...] = ()


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """What one sample contributes to the tables."""

    sample_id: str
    files: SampleFiles | None  # its row of the dataset manifest; None when nothing was written
    before: Regions = ()  # small regions before denoising, and after it
    after: Regions = ()
    changes: tuple[LabelChange, ...] = ()  # by denoising; by label before, then label after
    issues: tuple[StepIssue, ...] = ()
    overlaps: tuple[Overlap, ...] = ()  # of binary masks of labels that its mask was merged of

    @property
    def n_changed(self) -> int:
        """Voxels that denoising changed."""
        return sum(change.n_voxels for change in self.changes)


@dataclass(frozen=True, slots=True)
class SampleResult:
    """How one sample ended: what the client keeps of it, the rest is in its receipt."""

    sample_id: str
    folder: str | None  # POSIX and relative to ``grouped``; None when nothing was written
    digest: str  # checksum of its record; empty without a receipt
    n_changed: int  # voxels that denoising changed
    issues: tuple[StepIssue, ...]
    is_changed: bool = False  # whether the multi-label mask was changed
    n_binary_masks: int = 0  # that were written
    regions: Regions = ()  # small ones of the mask, where no receipt keeps them


Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two masks differ, and how; each array has shape (n,)."""

    voxels: NDArray[np.int64]  # positions in file order (x fastest), ascending
    before: NDArray[np.uint8]  # the labels there
    after: NDArray[np.uint8]

    @property
    def changes(self) -> tuple[LabelChange, ...]:
        """How many voxels of which label became which, by label before, then label after."""
        counts = np.bincount(self.before.astype(np.int64) * 256 + self.after)
        pairs = np.flatnonzero(counts)
        return tuple(
            LabelChange(*divmod(int(pair), 256), int(n))
            for pair, n in zip(pairs, counts[pairs], strict=True)
        )

    def of_slice(self, k: int, size: int) -> Difference:
        """Return the part in slice ``k`` across z of so many voxels, counted from its first."""
        part = slice(*np.searchsorted(self.voxels, [k * size, (k + 1) * size]))
        return Difference(self.voxels[part] - k * size, self.before[part], self.after[part])

    def undo(self, after: Mask) -> Mask:
        """Return the mask (or slice) before, given the one after; in any order, not changed."""
        flat = after.ravel(order="F").copy()
        flat[self.voxels] = self.before
        return flat.reshape(after.shape, order="F")


def find_difference(before: Mask, after: Mask) -> Difference:
    """Return where the (x, y, z) mask ``after`` differs from ``before``."""
    flat_before, flat_after = before.ravel(order="F"), after.ravel(order="F")
    changed = _find_differences(flat_before, flat_after)
    return Difference(changed, flat_before[changed], flat_after[changed])


def _find_differences(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return where two flat masks differ; looks at eight voxels at a time, as few differ."""
    n_words = first.size // 8
    words = first[: n_words * 8].view(np.uint64) != second[: n_words * 8].view(np.uint64)
    candidates = np.flatnonzero(words)[:, None] * 8 + np.arange(8)
    tail = np.arange(n_words * 8, first.size)
    candidates = np.concatenate([candidates.ravel(), tail])
    return np.asarray(candidates[first[candidates] != second[candidates]], np.int64)
