"""The masks of one sample: read, relabelled, denoised or restored, and staged, as asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from amos_dask.difference import Difference, find_difference
from amos_dask.issues import Issue
from amos_dask.labels import PROSTATE, UTERUS
from amos_dask.nifti import ImageInfo, Mask, write_mask
from amos_dask.records import LabelChange, Overlap, Regions, SampleRecord, Step, StepIssue
from amos_dask.root.kept import KeptFiles
from amos_dask.root.staging import Staging
from amos_dask.sample.archive_source import ArchiveSource
from amos_dask.sample.edits import is_stale_mask
from amos_dask.sample.source import FolderSource
from amos_dask.sample.task import Clock, SampleTask
from amos_dask.steps.count_values import ValueCounter
from amos_dask.steps.denoise import (
    check_vanished,
    denoise_mask,
    denoising_mark,
    is_denoised,
)
from amos_dask.steps.mask import FittedMask
from amos_dask.steps.mask_labels import (
    check_labels,
    check_sex,
    labels_present,
    split_prostate_uterus,
    write_binary_masks,
)
from amos_dask.steps.pictures import PictureTaker
from amos_dask.steps.small_regions import find_small_regions
from amos_dask.steps.volume import Watcher

# What is done with a mask that was edited by hand.
_OF_EDITED = frozenset({Step.SMALL_REGIONS, Step.BINARY_MASKS})
# Steps whose results depend on the label map.
_OF_LABELS = frozenset({Step.BINARY_MASKS, Step.DENOISE, Step.SMALL_REGIONS})


@dataclass
class Made:
    """What became of a sample.

    Parameters
    ----------
    scan, written : ImageInfo or None
        Header of the archive's scan, and what that of the volume made of it says; None where the
        archive was not asked.
    is_lost : bool
        Whether the volume cannot be used, so that there is no sample.
    volume_issues, mask_issues : list of StepIssue
        What was found of its volume and as a whole, and of its masks.
    present : tuple of int or None
        Labels of the multi-label mask; None without one.
    wrote_mask : bool
        Whether the multi-label mask was staged.
    is_changed : bool
        Whether it differs from the one that was read.
    is_edited : bool
        Whether it was edited by hand.
    stays : bool
        Whether the finished masks stay because the archive's mask cannot be used now.
    binary_labels : tuple of int or None
        Labels whose binary masks were staged; None where binary masks stay as they are.
    before, after : Regions
        Small regions before and after denoising.
    changes : tuple of LabelChange
        What denoising changed.
    difference : Difference or None
        The same, voxel by voxel.
    overlaps : tuple of Overlap
        What binary masks of labels shared, that the mask was merged of.
    counted : (x, y, z) uint8 or None
        The mask under which values are counted for statistics.
    counters : list of ValueCounter
        Those of the channels that were read.
    pictured_channel : int
        The one that the report shows.
    taker : PictureTaker or None
        Wants to see its values for the pictures of the report.
    kept : Path or None
        What is kept beside the receipt.
    clock : Clock
        How long it took.
    """

    scan: ImageInfo | None = None
    written: ImageInfo | None = None
    is_lost: bool = False
    volume_issues: list[StepIssue] = field(default_factory=list)
    mask_issues: list[StepIssue] = field(default_factory=list)
    present: tuple[int, ...] | None = None
    wrote_mask: bool = False
    is_changed: bool = False
    is_edited: bool = False
    stays: bool = False
    binary_labels: tuple[int, ...] | None = None
    before: Regions = ()
    after: Regions = ()
    changes: tuple[LabelChange, ...] = ()
    difference: Difference | None = None
    overlaps: tuple[Overlap, ...] = ()
    counted: Mask | None = None
    counters: list[ValueCounter] = field(default_factory=list)
    pictured_channel: int = 0
    taker: PictureTaker | None = None
    kept: Path | None = None
    clock: Clock = field(default_factory=Clock)

    @property
    def issues(self) -> tuple[StepIssue, ...]:
        """All that was found."""
        return (*self.volume_issues, *self.mask_issues)

    def watchers(self, channel: int) -> list[Watcher]:
        """Return who is to be shown the values of the next channel."""
        watchers: list[Watcher] = []
        if self.counted is not None:
            self.counters.append(ValueCounter(self.counted, self.present or ()))
            watchers.append(self.counters[-1].add)
        if self.taker is not None and channel == self.pictured_channel:
            watchers.append(self.taker.add)
        return watchers

    def found(self, step: Step, issues: list[Issue]) -> None:
        """Add what a step found of the masks."""
        self.mask_issues += [StepIssue(step, issue) for issue in issues]

    def take_known(self, record: SampleRecord, source: ArchiveSource) -> None:
        """Take what the record of an earlier run says of masks that are complete, or stay."""
        files = record.files
        self.present = None if files is None else files.labels_present
        self.binary_labels = () if files is None else files.binary_labels
        self.before, self.after, self.changes = record.before, record.after, record.changes
        self.overlaps = record.overlaps
        self.mask_issues = [i for i in record.issues if not source.is_of_volume(i.issue)]


@dataclass
class _State:
    """A mask on its way through the steps."""

    labels: Mask
    info: ImageInfo  # the geometry under which it is written
    description: str  # its `descrip`, which says how it was denoised
    present: tuple[int, ...]
    is_denoised: bool = False  # with any parameters
    difference: Difference | None = None  # what denoising changed, where that is known
    is_changed: bool = False  # from what was read
    is_in_place: bool = True  # what was read lies where the mask goes
    is_known: bool = True  # the label map has all of its labels

    def undenoised(self) -> Mask | None:
        """Return the mask before denoising; None where that is not known."""
        if not self.is_denoised:
            return self.labels
        try:
            return None if self.difference is None else self.difference.undo(self.labels)
        except (IndexError, ValueError):  # damaged, or of a mask of another shape
            return None

    def change(self, labels: Mask, description: str, difference: Difference | None) -> None:
        """Take the mask as a step has made it."""
        self.labels, self.description, self.difference = labels, description, difference
        self.is_changed = True


def make_masks(
    task: SampleTask, staging: Staging, made: Made, edited: FittedMask | None = None
) -> None:
    """Read a sample's mask, and stage what the steps make of it.

    Parameters
    ----------
    task : SampleTask
        The sample and the steps.
    staging : Staging
        Publishes the masks, later.
    made : Made
        Is told what became of them; has the header of the archive's scan, or none for a sample
        that is changed in its folder.
    edited : FittedMask or None
        The mask that somebody edited in the sample's folder, which is then taken.
    """
    state: _State | None
    if edited is not None and made.written is not None:
        task = replace(task, steps=task.steps & _OF_EDITED)
        is_changed, present = not edited.is_as_written, labels_present(edited.labels)
        state = _State(edited.labels, made.written, "", present, is_changed=is_changed)
    else:
        state = _open(task, made)
    made.clock.lap("read mask")
    if state is None or not _relabel(task, state, made):
        return
    made.clock.lap("relabel")
    if Step.RESTORE in task.steps and not state.is_denoised:
        return
    state.is_known = not task.params.label_map.unknown(state.present)
    made.present = state.present
    if task.steps & _OF_LABELS and Step.RESTORE not in task.steps:
        _check_labels(task, made)
    if Step.DENOISE in task.steps and task.folder is not None and not state.is_known:
        made.binary_labels = ()
        return
    if Step.SMALL_REGIONS in task.steps:
        mask = state.undenoised() if Step.DENOISE in task.steps else state.labels
        made.before = made.after = _find_regions(task, state, mask)
        made.clock.lap("small regions")
    if not _denoise_or_restore(task, state, made):
        return
    made.clock.lap("denoise")
    _write(task, state, made, staging)
    if Step.RESTORE in task.steps:
        _check_labels(task, made)  # of the mask as it was before denoising
    _name_vanished(task, state, made)
    _watch(task, state, made)
    made.clock.lap("write masks")
    if {Step.SMALL_REGIONS, Step.DENOISE} <= task.steps and state.is_denoised:
        made.after = _find_regions(task, state, state.labels)
        made.clock.lap("small regions")


def _open(task: SampleTask, made: Made) -> _State | None:
    opened, issues = task.source.open_mask(made.scan)
    made.found(Step.CONFIRM_PAIRS, issues)
    if opened is None:
        return None
    made.overlaps = opened.overlaps
    folder, present = task.folder, labels_present(opened.labels)
    state = _State(opened.labels, made.written or opened.info, "", present)
    state.is_in_place = folder == task.target
    # What the archive's says of denoising is not of ours, nor is that of one edited since.
    if folder is not None and not is_stale_mask(folder, task.layout):
        state.description = opened.info.description
    state.is_denoised = is_denoised(state.description)
    if folder is not None and state.is_denoised:
        kept = KeptFiles(task.layout.restore)
        state.difference = kept.read_difference(task.name, folder.mask)
    return state


def _relabel(task: SampleTask, state: _State, made: Made) -> bool:
    """Tell prostate and uterus apart, if that is asked for; return whether to go on."""
    if (
        Step.SPLIT_PROSTATE_UTERUS not in task.steps
        or not task.params.dataset.splits_prostate_uterus
    ):
        return True
    sex = task.source.read_sex()
    if isinstance(sex, Issue):
        made.found(Step.SPLIT_PROSTATE_UTERUS, [sex])
        return False
    issues = check_sex(state.present, sex, task.name, _shown(task))
    made.found(Step.SPLIT_PROSTATE_UTERUS, issues)
    split = split_prostate_uterus(state.labels, sex, state.present)
    if split is state.labels:
        return True
    before, difference = state.undenoised() if state.is_denoised else None, None
    if before is not None:
        before = split_prostate_uterus(before, sex, labels_present(before))
        difference = find_difference(before, split)
    state.change(split, state.description, difference)
    # Known without counting a second time.
    state.present = tuple(sorted({*state.present, UTERUS} - {PROSTATE}))
    return True


def _denoise_or_restore(task: SampleTask, state: _State, made: Made) -> bool:
    """Denoise the mask or undo that, if asked for; return whether to go on."""
    params = task.params
    mark = denoising_mark(params.denoise, params.excluded)
    if Step.RESTORE in task.steps:
        mark = ""
    elif Step.DENOISE not in task.steps or not state.is_known:
        return True
    if mark == (state.description if state.is_denoised else ""):
        if mark and state.difference is None and isinstance(task.source, FolderSource):
            made.found(Step.DENOISE, [task.source.unknown_changes()])
        return True
    before = state.undenoised()
    if before is None:
        if isinstance(task.source, FolderSource):  # what comes from the archive is not denoised
            made.found(Step.DENOISE, [task.source.not_restorable()])
        return False
    state.is_denoised = bool(mark)
    if not mark:
        state.change(before, "", None)
        return True
    final = denoise_mask(before, state.info.spacing_mm, params.denoise, params.excluded)
    difference = find_difference(before, final)
    state.change(final, mark, difference)
    made.changes = difference.changes
    return True


def _write(task: SampleTask, state: _State, made: Made, staging: Staging) -> None:
    """Stage the mask and its binary masks, as far as they are not there already."""
    made.is_changed = state.is_changed
    if state.is_changed or not state.is_in_place:
        made.wrote_mask, made.difference = True, state.difference
        staged = staging.path_for(task.target.mask)
        write_mask(staged, state.info, state.labels, state.description)
    if _wants_binary_masks(task, state):
        if state.is_known:
            paths = task.target.binary_mask_paths(task.params.label_map)
            binary = dict(zip(paths, staging.paths_for(paths.values()), strict=True))
            made.present = write_binary_masks(binary, state.labels, state.info)
            made.binary_labels = tuple(paths)
            return
        if Step.BINARY_MASKS in task.steps:
            made.binary_labels = ()
    made.present = labels_present(state.labels) if state.is_changed else state.present


def _check_labels(task: SampleTask, made: Made) -> None:
    issues = check_labels(made.present or (), task.params.label_map, task.name, _shown(task))
    made.found(Step.BINARY_MASKS, issues)


def _name_vanished(task: SampleTask, state: _State, made: Made) -> None:
    """Add the labels that denoising took away, now or when the mask was denoised before."""
    if Step.DENOISE in task.steps and state.difference is not None and made.present is not None:
        changes, spacing_mm = state.difference.changes, state.info.spacing_mm
        of = (task.params.label_map, task.name, _shown(task))
        made.found(Step.DENOISE, check_vanished(changes, made.present, spacing_mm, *of))


def _wants_binary_masks(task: SampleTask, state: _State) -> bool:
    folder = task.folder
    if Step.BINARY_MASKS not in task.steps:  # those that are there change with their mask
        return state.is_changed and folder is not None and bool(folder.binary_masks())
    if state.is_changed or folder is None or folder != task.target:
        return True
    if Step.DENOISE in task.steps:
        expected = folder.binary_mask_paths(task.params.label_map).values()
        return sorted(expected) != folder.binary_masks()
    return Step.RESTORE not in task.steps


def _watch(task: SampleTask, state: _State, made: Made) -> None:
    """Let those who want to see the volume's values under the mask get ready for it."""
    if made.binary_labels and made.present is not None and task.count_values:
        made.counted = state.labels
    if task.take_pictures and made.difference is not None and made.difference.voxels.size:
        affine = state.info.affine
        made.pictured_channel = task.layout.dataset.pictured_channel
        made.taker = PictureTaker(state.labels, made.difference, affine, task.modality)


def _find_regions(task: SampleTask, state: _State, mask: Mask | None) -> Regions:
    if mask is None:
        return ()
    params, spacing_mm = task.params, state.info.spacing_mm
    return find_small_regions(mask, spacing_mm, params.region_volume_thresh, params.label_map)


def _shown(task: SampleTask) -> str:
    return task.layout.shown((task.folder or task.target).mask)
