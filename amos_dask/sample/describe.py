"""What is said of one sample: described from its files, and the receipt of what was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

from amos_dask import geometry
from amos_dask.datasets import SUBSETS, Kind
from amos_dask.issues import Issue, make_issue
from amos_dask.nifti import ImageInfo
from amos_dask.params import EVERY_LABEL
from amos_dask.records import (
    LabelChange,
    Regions,
    Sample,
    SampleFiles,
    SampleRecord,
    Step,
    StepIssue,
    StepResult,
)
from amos_dask.root.kept import KeptFiles
from amos_dask.root.layout import Layout, SampleFolder, safe_name
from amos_dask.root.receipts import EVERY_OUTPUT, Edit, Origin, Output, Receipt, Receipts
from amos_dask.sample.masks import Made
from amos_dask.sample.source import CANNOT_BE_READ, ArchiveSource, FolderSource, OpenedMask
from amos_dask.sample.todo import EVERY_STEP, SampleTask, denoised_otherwise, made_with
from amos_dask.steps.denoise import find_small_regions, is_denoised
from amos_dask.steps.mask_labels import check_labels, labels_present

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


def list_masks(task: SampleTask, made: Made) -> tuple[Path, ...]:
    """Return a sample's mask and its binary masks, as far as there are any."""
    if made.present is None:
        return ()
    paths = task.target.binary_mask_paths(task.params.label_map)
    return (task.target.mask, *(paths[label] for label in made.binary_labels or ()))


def make_receipt(
    task: SampleTask,
    source: ArchiveSource,
    made: Made,
    masks: tuple[Path, ...],
    origin: Origin,
    earlier: Receipt | None,
) -> Receipt:
    """Return the receipt of a sample that was made from the archive.

    Parameters
    ----------
    task, source : SampleTask, ArchiveSource
        What was done, with what.
    made : Made
        What became of the sample.
    masks : tuple of Path
        Its mask and binary masks.
    origin : Origin
        What it was made from.
    earlier : Receipt or None
        What was known of it before.
    """
    target, receipts = task.target, Receipts(task.layout)
    anew = task.outputs - {Output.MASKS} if made.stays else task.outputs
    beside = () if made.kept is None else (made.kept,)
    files = {
        Output.VOLUME: (target.info, *target.volumes),
        Output.MASKS: (*masks, *beside),
    }
    edited = set[Edit]() if earlier is None or task.discard_edits else set(earlier.edited)
    if not made.is_edited and Output.MASKS in anew:
        edited.discard(Edit.MASK)
    if not task.keeps_info:
        edited.discard(Edit.INFO)
    made_by = dict(made_with(task.params, edited))
    inputs, seconds = dict(origin.inputs), made.clock.seconds
    outputs = {
        output: receipts.identities(*paths, published=made.published)
        if earlier is None or output in anew
        else earlier.outputs[output]
        for output, paths in files.items()
    }
    if earlier is not None:
        is_gone = origin.inputs[Output.MASKS] is None
        if made.stays or (made.is_edited and source.check_masks_there(earlier.origin)):
            inputs[Output.MASKS] = earlier.origin.inputs[Output.MASKS]
        if made.stays and not is_gone:
            made_by[Output.MASKS] = earlier.made_with[Output.MASKS]
        if anew != EVERY_OUTPUT:
            seconds = dict(earlier.seconds)
    if task.steps != EVERY_STEP:  # which makes what there is of masks another thing
        made_by[Output.MASKS] = None
    row, regions = _describe(task, source.sample, made), (made.before, made.after)
    record = SampleRecord(task.name, row, *regions, made.changes, made.issues, made.overlaps)
    origin = replace(origin, inputs=inputs)
    headers = task.headers if task.planned == origin else None  # of what it is made from
    return Receipt(origin, made_by, outputs, record, headers, seconds, tuple(sorted(edited)))


def _describe(task: SampleTask, sample: Sample, made: Made) -> SampleFiles | None:
    volume = made.written
    if volume is None:
        return None
    return SampleFiles(
        sample_id=task.name,
        seq=sample.seq,
        subset=sample.subset,
        metadata=sample.metadata,
        folder=task.target.path.relative_to(task.layout.grouped).as_posix(),
        labels_present=made.present,
        binary_labels=made.binary_labels or (),
        shape=volume.shape,
        spacing_mm=volume.spacing_mm,
        vol_dtype=volume.dtype,
        mask_dtype=None if made.present is None else "uint8",
        channels=task.target.channels,
        **geometry.describe(volume.affine),
    )


def amend_receipt(task: SampleTask, made: Made, intact: Receipt | None) -> Receipt | None:
    """Return the receipt of a sample whose masks were changed in its folder.

    After denoising, or undoing it, of masks that were as `run` had made them, as the ``intact``
    receipt says, it is the one that `run` writes with these parameters. After other steps it says
    that `run` has to make the masks anew. In both cases it lists the files that are ours. None when
    there is nothing new to keep.
    """
    source = task.source
    wrote = made.wrote_mask or made.binary_labels is not None
    if not isinstance(source, FolderSource) or task.target != source.folder or not wrote:
        return None
    receipts = Receipts(task.layout)
    earlier = receipts.read_for(source.folder)
    known = {} if earlier is None else earlier.outputs.get(Output.MASKS, {})
    files = _list_amended(task, made, known)
    if earlier is not None and files == known:
        return None
    row = _describe_amended(source, made, earlier)
    if row is not None and task.target.path.parents[1].name != row.subset:
        return None  # somebody's copy, in a folder of another name
    issues = () if earlier is None else earlier.record.issues
    record, made_by = SampleRecord(task.name, row, issues=issues), None
    if intact is not None and task.steps & {Step.DENOISE, Step.RESTORE}:
        params, after = task.params, made.after
        if Step.RESTORE in task.steps:
            params, after = replace(params, excluded=EVERY_LABEL), intact.record.before
        made_by = denoised_otherwise(intact, params)
        others = (found for found in intact.record.issues if found.step != Step.DENOISE)
        new = (found for found in made.mask_issues if found.step == Step.DENOISE)
        issues = (*others, *new)
        record = replace(intact.record, files=row, after=after, changes=made.changes, issues=issues)
    if earlier is None:
        outputs = {Output.VOLUME: dict[str, str](), Output.MASKS: files}
        nothing = dict.fromkeys(Output)
        return Receipt(Origin((), nothing), nothing, outputs, record)
    return replace(
        earlier,
        made_with={**earlier.made_with, Output.MASKS: made_by},
        outputs={**earlier.outputs, Output.MASKS: files},
        record=record,
    )


def _list_amended(task: SampleTask, made: Made, known: Mapping[str, str]) -> dict[str, str]:
    """Return the masks that are ours with their identities: of those not written now, the known.

    So a mask that was edited by hand stays another than the receipt says until it is written.
    """
    layout, folder = task.layout, task.target
    written = {folder.mask} if made.wrote_mask else set[Path]()
    stay = set() if made.wrote_mask else {folder.mask}
    if made.binary_labels is None:
        stay |= set(folder.binary_masks())
    else:
        paths = folder.binary_mask_paths(task.params.label_map)
        written |= {paths[label] for label in made.binary_labels}
    written.add(made.kept or KeptFiles(layout.restore).path_for(task.name, folder.mask))
    files = {key: known[key] for key in layout.keys(stay) if key in known}
    there = (path for path in written if path.exists())
    return files | Receipts(layout).identities(*there, published=made.published)


def _describe_amended(
    source: FolderSource, made: Made, earlier: Receipt | None
) -> SampleFiles | None:
    """Return the sample's row of the dataset manifest, as far as its files tell it."""
    if earlier is not None and earlier.record.files is not None:
        row = earlier.record.files
        binary = row.binary_labels if made.binary_labels is None else made.binary_labels
        return replace(row, labels_present=made.present, mask_dtype="uint8", binary_labels=binary)
    grouped = source.layout.grouped
    if not source.folder.path.is_relative_to(grouped):
        return None
    found = describe_sample(source, grouped).value
    return None if found is None else found.files
