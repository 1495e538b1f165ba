"""Records: what travels from the archive to the tables. All frozen, small and picklable."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

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
    """A row of the metadata csv, all text; ``UND`` where nothing is known.

    Parameters
    ----------
    birth_date, acquisition_date : str
        ``YYYYMMDD``.
    sex : str
        ``F`` or ``M``.
    age : str
        Such as ``062Y``.
    manufacturer_model_name, manufacturer : str
        The scanner's.
    site : str
        Where the scan was made.
    """

    birth_date: str = UNDEFINED
    sex: str = UNDEFINED
    age: str = UNDEFINED
    manufacturer_model_name: str = UNDEFINED
    manufacturer: str = UNDEFINED
    acquisition_date: str = UNDEFINED
    site: str = UNDEFINED


@dataclass(frozen=True, slots=True)
class Sample:
    """One scan of the archive, with or without a mask.

    Parameters
    ----------
    seq : str
        The scan's number with at least four digits, such as ``0001``, or its id.
    prefix : str
        The dataset's.
    subset : {"train", "val", "test"}
        Official subset.
    modality : {"ct", "mri", "und"}
        Decides between such as ``AMOS-CT`` and ``AMOS-MRI``.
    scanner : str
        Name of the scanner's folder: a known scanner model, or ``UND``.
    metadata : Metadata
        The scan's row of the metadata.
    volumes : tuple of FileRef or None
        The file of each channel, None where it is missing; a single one where it has all channels.
    masks : tuple of (int, FileRef)
        Labels and their binary masks, by label; label 0 alone where one file has all.
    channels : tuple of str
        Names of the channels; none where there is but one.
    """

    seq: str
    prefix: str
    subset: str
    modality: str
    scanner: str
    metadata: Metadata
    volumes: tuple[FileRef | None, ...] = ()
    masks: tuple[tuple[int, FileRef], ...] = ()
    channels: tuple[str, ...] = ()

    @property
    def sample_id(self) -> str:
        """Prefix and seq, such as ``amos_0001``."""
        return f"{self.prefix}_{self.seq}"

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

    Parameters
    ----------
    file_path : str
        POSIX, relative to the archive.
    kind : {"volume", "mask"}
        What the file is.
    shape : (int, int, int) or None
        Voxels along x, y, z. This and what follows is None when the header cannot be read.
    pixdim_mm : (float, float, float) or None
        The header's own voxel size along x, y, z.
    orientation_from, orientation_to : str or None
        Such as ``RPI`` and ``LAS``: where the axes come from, and where they point to.
    dtype : str or None
        Type of the voxels as numpy would load them: float64 where the header scales values.
    affine_json : str or None
        The (4, 4) best affine, voxel index to RAS+ mm, as a nested JSON list.
    diff_trans_f_norm : float or None
        Of a mask with a volume: Frobenius norm of the difference of their affines.
    """

    file_path: str
    kind: Kind
    shape: tuple[int, int, int] | None = None
    pixdim_mm: tuple[float, float, float] | None = None
    orientation_from: str | None = None
    orientation_to: str | None = None
    dtype: str | None = None
    affine_json: str | None = None
    diff_trans_f_norm: float | None = None


@dataclass(frozen=True, slots=True)
class HeaderCheck:
    """What the headers of one sample's files say.

    Parameters
    ----------
    sample_id : str
        The sample.
    files : tuple of FileHeader
        Its volumes, then its masks, as far as it has them.
    issues : tuple of Issue
        What was found.
    version : int
        Of what looked at them; 0 where nobody could.
    """

    sample_id: str
    files: tuple[FileHeader, ...]
    issues: tuple[Issue, ...]
    version: int = 0

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
    """The files of one organised sample as one row of the dataset manifest describes them.

    Parameters
    ----------
    sample_id, seq, subset, metadata
        As of the `Sample`.
    folder : str
        POSIX, relative to the folder that the manifest is about, such as ``grouped``.
    labels_present : tuple of int or None
        Labels in the mask, in order; None without a mask.
    binary_labels : tuple of int
        Labels that have a binary mask file.
    shape : (int, int, int)
        Voxels along x, y, z.
    spacing_mm : (float, float, float)
        Voxel size along x, y, z.
    orientation_from, orientation_to : str
        As of `FileHeader`.
    vol_dtype, mask_dtype : str
        Types of the voxels; None without a mask.
    affine_json : str
        The (4, 4) affine, voxel index to RAS+ mm, as a nested JSON list.
    channels : tuple of str
        Names of the channels that were written; none where there is but one.
    """

    sample_id: str
    seq: str
    subset: str
    metadata: Metadata
    folder: str
    labels_present: tuple[int, ...] | None
    binary_labels: tuple[int, ...]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation_from: str
    orientation_to: str
    vol_dtype: str
    mask_dtype: str | None
    affine_json: str
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepIssue:
    """An issue with the step that found it.

    Parameters
    ----------
    step : Step
        Which replaces its issues when it runs again.
    issue : Issue
        What was found.
    """

    step: Step
    issue: Issue


@dataclass(frozen=True, slots=True)
class StepResult(Generic[T]):
    """What a single command's step did with one sample.

    Parameters
    ----------
    sample_id : str
        The sample.
    value : T or None
        The step's result; None when there is none, which the issues explain.
    issues : tuple of Issue
        What was found.
    """

    sample_id: str
    value: T | None
    issues: tuple[Issue, ...] = ()


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """What one sample contributes to the tables.

    Parameters
    ----------
    sample_id : str
        The sample.
    files : SampleFiles or None
        Its row of the dataset manifest; None when nothing was written.
    before, after : Regions
        Small regions by volume threshold in mm3, before and after denoising.
    changes : tuple of LabelChange
        Voxels that denoising changed, by label before, then label after.
    issues : tuple of StepIssue
        What the sample's steps found.
    overlaps : tuple of Overlap
        What binary masks of labels shared, that its mask was merged of.
    """

    sample_id: str
    files: SampleFiles | None
    before: Regions = ()
    after: Regions = ()
    changes: tuple[LabelChange, ...] = ()
    issues: tuple[StepIssue, ...] = ()
    overlaps: tuple[Overlap, ...] = ()

    @property
    def n_changed(self) -> int:
        """Voxels that denoising changed."""
        return sum(change.n_voxels for change in self.changes)


@dataclass(frozen=True, slots=True)
class SampleResult:
    """How one sample ended: what the client keeps of it, the rest is in its receipt.

    Parameters
    ----------
    sample_id : str
        The sample.
    folder : str or None
        Its folder, POSIX and relative to ``grouped``; None when nothing was written.
    digest : str
        Checksum of its record; empty without a receipt.
    n_changed : int
        Voxels that denoising changed.
    issues : tuple of StepIssue
        What the sample's steps found.
    is_changed : bool
        Whether the multi-label mask was changed.
    n_binary_masks : int
        Binary masks that were written.
    regions : Regions
        Small regions of the mask, where no receipt keeps them.
    """

    sample_id: str
    folder: str | None
    digest: str
    n_changed: int
    issues: tuple[StepIssue, ...]
    is_changed: bool = False
    n_binary_masks: int = 0
    regions: Regions = ()
