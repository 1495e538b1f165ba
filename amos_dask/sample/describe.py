"""Describing one organised sample from its files, for manifests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

from amos_dask import geometry
from amos_dask.datasets import SUBSETS, Kind
from amos_dask.issues import Issue, make_issue
from amos_dask.nifti import ImageInfo
from amos_dask.records import (
    LabelChange,
    Regions,
    SampleFiles,
    SampleRecord,
    Step,
    StepIssue,
    StepResult,
)
from amos_dask.root.kept import KeptFiles
from amos_dask.root.layout import Layout, SampleFolder, safe_name
from amos_dask.sample.source import CANNOT_BE_READ, FolderSource, OpenedMask
from amos_dask.steps.denoise import is_denoised
from amos_dask.steps.mask_labels import check_labels, labels_present
from amos_dask.steps.small_regions import find_small_regions

INCONSISTENT = "inconsistent"


def describe_sample(
    source: FolderSource, below: Path, thresholds_mm3: tuple[float, ...] | None = None
) -> StepResult[SampleRecord]:
    """Describe a sample's files.

    Parameters
    ----------
    source : FolderSource
        The sample.
    below : Path
        Folder to which the paths of the manifest are relative.
    thresholds_mm3 : tuple of float or None
        Region volume thresholds; without them regions and changes are left out.

    Returns
    -------
    StepResult of SampleRecord
        No record where the info file or the volume cannot be used. Its issues `INCONSISTENT` say
        how files contradict each other. Regions before denoising are those of the restored mask,
        where it is kept.
    """
    folder, sample_id = source.folder, source.sample_id
    info = source.read_info_file()
    if isinstance(info, Issue):
        return StepResult(sample_id, None, (info,))
    try:
        volume = source.read_header(folder.volume)
    except CANNOT_BE_READ as error:
        issue = source.unreadable(folder.volume, "volume", error)
        return StepResult(sample_id, None, (issue,))
    seq, subset, metadata = info
    channels = zip(folder.channels, folder.volumes, strict=False)
    found = _Found(source, volume, _compare_info(source, seq, subset, metadata.sex))
    for path in folder.volumes[1:]:
        found.look_at(path, "volume", volume.dtype)
    found.look_at_masks(thresholds_mm3)
    row = SampleFiles(
        sample_id=sample_id,
        seq=folder.seq,
        subset=subset,
        metadata=metadata,
        folder=folder.path.relative_to(below).as_posix(),
        labels_present=found.present,
        binary_labels=found.binary_labels,
        shape=volume.shape,
        spacing_mm=volume.spacing_mm,
        vol_dtype=volume.dtype,
        mask_dtype=found.mask_dtype,
        channels=tuple(name for name, _ in takewhile(lambda one: one[1].exists(), channels)),
        **geometry.describe(volume.affine),
    )
    inconsistent = [make_issue(INCONSISTENT, p, sample=sample_id) for p in found.problems]
    issues = [StepIssue(Step.DATASET_MANIFEST, i) for i in (*found.issues, *inconsistent)]
    record = SampleRecord(sample_id, row, found.before, found.after, found.changes, tuple(issues))
    return StepResult(sample_id, record, tuple(found.issues))


def describe_foreign(folder: SampleFolder, layout: Layout) -> SampleRecord:
    """Return what is said of a folder that looks like a sample's and is not ours."""
    message = "looks like a sample's folder, and is none that this program made"
    of, action = layout.shown(folder.path), "left as it is, and not counted"
    issue = make_issue("foreign_file", message, sample=folder.sample_id, file=of, action=action)
    found = StepIssue(Step.DATASET_MANIFEST, replace(issue, severity="warning"))
    return SampleRecord(folder.sample_id, None, issues=(found,))


def _compare_info(source: FolderSource, seq: str, subset: str, sex: str) -> list[str]:
    """Return how the info file contradicts the folder's place, a sentence each."""
    folder, problems = source.folder, []
    place = folder.path.parent.parent.name
    if seq != folder.seq:
        problems.append(f"seq is {seq!r}")
    if place in SUBSETS and place != subset:
        problems.append(f"subset is {subset!r}, but the folder lies in {place!r}")
    if folder.path.name != f"{folder.sample_id}_{safe_name(sex)}":
        problems.append(f"sex is {sex!r}, but the folder is {folder.path.name!r}")
    return [f"{source.layout.shown(folder.info)}: {problem}" for problem in problems]


@dataclass
class _Found:
    """What was found of a sample's masks, and how they contradict its volume."""

    source: FolderSource
    volume: ImageInfo
    problems: list[str]
    issues: list[Issue] = field(default_factory=list)
    mask_dtype: str | None = None
    present: tuple[int, ...] | None = None
    binary_labels: tuple[int, ...] = ()
    before: Regions = ()
    after: Regions = ()
    changes: tuple[LabelChange, ...] = ()

    def look_at(self, path: Path, kind: Kind, dtype: str | None) -> bool:
        """Compare a file's header with the volume's; return whether it can be read."""
        try:
            info = self.source.read_header(path)
        except CANNOT_BE_READ as error:
            self.issues.append(self.source.unreadable(path, kind, error))
            return False
        self._compare(path, info, dtype)
        return True

    def look_at_masks(self, thresholds_mm3: tuple[float, ...] | None) -> None:
        """Read the multi-label mask and the headers of the binary masks."""
        source, folder = self.source, self.source.folder
        if not folder.mask.exists():
            if folder.binary_masks():
                message = "binary masks without their mask"
                self.issues.append(source.issue("missing_file", message, folder.mask))
            return
        opened, issues = source.open_mask()
        self.issues += issues
        if opened is None:
            return
        self.mask_dtype = opened.info.dtype
        self._compare(folder.mask, opened.info, self.mask_dtype)
        self.present = labels_present(opened.labels)
        shown = source.layout.shown(folder.mask)
        self.issues += check_labels(self.present, source.label_map, source.sample_id, shown)
        self._look_at_binary_masks()
        if thresholds_mm3 is not None:
            self._find_changes(opened, thresholds_mm3)

    def _look_at_binary_masks(self) -> None:
        source, existing = self.source, set(self.source.folder.binary_masks())
        labels = []
        for label, path in source.folder.binary_mask_paths(source.label_map).items():
            if path not in existing:
                if existing:  # before binary-masks has run there are none at all
                    message = "the other binary masks are there"
                    self.issues.append(source.issue("missing_file", message, path))
                continue
            if self.look_at(path, "mask", self.mask_dtype):
                labels.append(label)
        self.binary_labels = tuple(labels)

    def _compare(self, path: Path, info: ImageInfo, dtype: str | None) -> None:
        """Add how a mask or channel contradicts the volume, a sentence each."""
        volume, problems = self.volume, []
        if info.shape != volume.shape:
            problems.append(f"shape {info.shape}, but the volume has {volume.shape}")
        norm = geometry.difference_norm(info.affine, volume.affine)
        if not norm <= geometry.SAME_AFFINE_NORM:
            problems.append(f"affine differs from the volume's by {norm:.6g}")
        if not geometry.same_spacing(info.pixdim_mm, volume.spacing_mm):
            problems.append(f"spacing {info.pixdim_mm}, but the volume has {volume.spacing_mm}")
        if info.dtype != dtype:
            first = "the volume" if dtype == volume.dtype else "the multi-label mask"
            problems.append(f"type {info.dtype}, but {first} has {dtype}")
        shown = self.source.layout.shown(path)
        self.problems += [f"{shown}: {problem}" for problem in problems]

    def _find_changes(self, mask: OpenedMask, thresholds_mm3: tuple[float, ...]) -> None:
        """Find the regions after and before denoising, and what it changed."""
        source, how = self.source, (mask.info.spacing_mm, thresholds_mm3, self.source.label_map)
        self.before = self.after = find_small_regions(mask.labels, *how)
        if not is_denoised(mask.info.description):
            return
        of_mask = source.sample_id, source.folder.mask
        kept = KeptFiles(source.layout.restore)
        difference = kept.read_difference(*of_mask)
        if difference is None:
            self.issues.append(source.unknown_changes())
            return
        self.changes = difference.changes
        undenoised = kept.undo(*of_mask, mask.labels)
        if undenoised is not None:
            self.before = find_small_regions(undenoised, *how)


def read_changes(
    source: FolderSource,
) -> tuple[str, tuple[float, float, float], tuple[LabelChange, ...]] | None:
    """Return a sample's id, its mask's spacing in mm, and what denoising changed in that.

    None where there is no mask whose header can be read, and where what changed is not kept.
    """
    mask, sample_id = source.folder.mask, source.sample_id
    try:
        info = source.read_header(mask)
    except CANNOT_BE_READ:
        return None
    if not is_denoised(info.description):
        return sample_id, info.spacing_mm, ()
    difference = KeptFiles(source.layout.restore).read_difference(sample_id, mask)
    return None if difference is None else (sample_id, info.spacing_mm, difference.changes)
