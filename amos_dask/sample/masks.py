"""The masks of one sample: read, relabelled, denoised or restored, and staged, as asked for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from amos_dask.issues import Issue
from amos_dask.labels import PROSTATE, UTERUS
from amos_dask.nifti import ImageInfo, Mask, mask_header, write_labels, write_mask
from amos_dask.records import (
    Difference,
    LabelChange,
    Overlap,
    Regions,
    SampleRecord,
    Step,
    StepIssue,
    find_difference,
)
from amos_dask.root.kept import InBlocks, KeptFiles
from amos_dask.root.receipts import Output
from amos_dask.root.staging import Staging
from amos_dask.sample.publish import is_stale_mask
from amos_dask.sample.source import ArchiveSource, FolderSource
from amos_dask.sample.todo import SampleTask
from amos_dask.steps.count_values import ValueCounter, of_channel
from amos_dask.steps.denoise import (
    check_vanished,
    denoise_mask,
    denoising_mark,
    find_small_regions,
    is_denoised,
)
from amos_dask.steps.mask import FittedMask
from amos_dask.steps.mask_labels import (
    check_labels,
    check_sex,
    labels_present,
    split_prostate_uterus,
)
from amos_dask.steps.pictures import PictureTaker, pack_pictures
from amos_dask.steps.volume import Watcher

# What is done with a mask that was edited by hand.
_OF_EDITED = frozenset({Step.SMALL_REGIONS, Step.BINARY_MASKS})
# Steps whose results depend on the label map.
_OF_LABELS = frozenset({Step.BINARY_MASKS, Step.DENOISE, Step.SMALL_REGIONS})


class Clock:
    """Seconds of wall time by what they were spent on, in the order in which it first ended."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, what: str) -> None:
        """Say what the time since the last lap was spent on."""
        now = time.perf_counter()
        self.seconds[what] = round(self.seconds.get(what, 0.0) + now - self._last, 4)
        self._last = now


@dataclass
class Made:
    """What became of a sample."""

    scan: ImageInfo | None = None  # header of the archive's scan; None where it was not asked
    written: ImageInfo | None = None  # what that of the volume made of it says
    is_lost: bool = False  # the volume cannot be used, so that there is no sample
    volume_issues: list[StepIssue] = field(default_factory=list)  # and of the sample as a whole
    mask_issues: list[StepIssue] = field(default_factory=list)
    present: tuple[int, ...] | None = None  # labels of the multi-label mask; None without one
    wrote_mask: bool = False  # the multi-label mask was staged
    is_changed: bool = False  # it differs from the one that was read
    is_edited: bool = False  # it was edited by hand
    stays: bool = False  # the finished masks stay, as the archive's mask cannot be used now
    binary_labels: tuple[int, ...] | None = None  # staged; None where binary masks stay as they are
    before: Regions = ()  # small regions before denoising
    after: Regions = ()
    changes: tuple[LabelChange, ...] = ()  # what denoising changed
    difference: Difference | None = None  # the same, voxel by voxel
    overlaps: tuple[Overlap, ...] = ()  # of the binary masks that the mask was merged of
    counted: Mask | None = None  # under which values are counted for statistics
    counters: list[ValueCounter] = field(default_factory=list)  # of the channels that were read
    taker: PictureTaker | None = None  # of pictures for the report
    kept: Path | None = None  # what is kept beside the receipt
    published: Mapping[Path, str] = field(default_factory=dict)  # file -> identity
    clock: Clock = field(default_factory=Clock)

    @property
    def issues(self) -> tuple[StepIssue, ...]:
        """All that was found."""
        return (*self.volume_issues, *self.mask_issues)

    def watchers(self, *, is_pictured: bool) -> list[Watcher]:
        """Return who is to be shown the values of the next channel."""
        watchers: list[Watcher] = []
        if self.counted is not None:
            self.counters.append(ValueCounter(self.counted, self.present or ()))
            watchers.append(self.counters[-1].add)
        if self.taker is not None and is_pictured:
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
    present: tuple[int, ...]
    file: str  # its name in issues
    description: str = ""  # its `descrip`, which says how it was denoised
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
        file = task.layout.shown(task.target.mask)
        state = _State(edited.labels, made.written, labels_present(edited.labels), file)
        state.is_changed = not edited.is_as_written
    else:
        state = _open(task, made)
    made.clock.lap("read mask")
    if state is None or not _relabel(task, state, made):
        return
    made.clock.lap("relabel")
    label_map, steps = task.params.label_map, task.steps
    if Step.RESTORE in steps and not state.is_denoised:
        return
    state.is_known = not label_map.unknown(state.present)
    made.present = state.present
    if steps & _OF_LABELS and Step.RESTORE not in steps:
        made.found(Step.BINARY_MASKS, check_labels(made.present, label_map, task.name, state.file))
    if Step.DENOISE in steps and task.folder is not None and not state.is_known:
        made.binary_labels = ()
        return
    if Step.SMALL_REGIONS in steps:
        mask = state.undenoised() if Step.DENOISE in steps else state.labels
        made.before = made.after = () if mask is None else _find_regions(task, state, mask)
        made.clock.lap("small regions")
    if not _denoise_or_restore(task, state, made):
        return
    made.clock.lap("denoise")
    made.present = _write(task, state, made, staging)
    if Step.RESTORE in steps:  # of the mask as it was before denoising
        made.found(Step.BINARY_MASKS, check_labels(made.present, label_map, task.name, state.file))
    if Step.DENOISE in steps and state.difference is not None:  # denoised now or before
        changes, spacing_mm = state.difference.changes, state.info.spacing_mm
        of = (made.present, spacing_mm, label_map, task.name, state.file)
        made.found(Step.DENOISE, check_vanished(changes, *of))
    # Those who want to see the volume's values under the mask get ready for it.
    if made.binary_labels and task.count_values:
        made.counted = state.labels
    if task.take_pictures and made.difference is not None and made.difference.voxels.size:
        affine = state.info.affine
        made.taker = PictureTaker(state.labels, made.difference, affine, task.modality)
    made.clock.lap("write masks")
    if {Step.SMALL_REGIONS, Step.DENOISE} <= steps and state.is_denoised:
        made.after = _find_regions(task, state, state.labels)
        made.clock.lap("small regions")


def _open(task: SampleTask, made: Made) -> _State | None:
    opened, issues = task.source.open_mask(made.scan)
    made.found(Step.CONFIRM_PAIRS, issues)
    if opened is None:
        return None
    made.overlaps, folder = opened.overlaps, task.folder
    file = task.layout.shown((folder or task.target).mask)
    info = made.written or opened.info
    state = _State(opened.labels, info, labels_present(opened.labels), file)
    state.is_in_place = folder == task.target
    # What the archive's says of denoising is not of ours, nor is that of one edited since.
    if folder is not None and not is_stale_mask(folder, task.layout):
        state.description = opened.info.description
        state.is_denoised = is_denoised(state.description)
        if state.is_denoised:
            kept = KeptFiles(task.layout.restore)
            state.difference = kept.read_difference(task.name, folder.mask)
    return state


def _relabel(task: SampleTask, state: _State, made: Made) -> bool:
    """Tell prostate and uterus apart, if that is asked for; return whether to go on."""
    is_asked = Step.SPLIT_PROSTATE_UTERUS in task.steps
    if not (is_asked and task.params.dataset.splits_prostate_uterus):
        return True
    sex = task.source.read_sex()
    if isinstance(sex, Issue):
        made.found(Step.SPLIT_PROSTATE_UTERUS, [sex])
        return False
    made.found(Step.SPLIT_PROSTATE_UTERUS, check_sex(state.present, sex, task.name, state.file))
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
    if Step.RESTORE in task.steps:
        mark = ""
    elif Step.DENOISE in task.steps and state.is_known:
        mark = denoising_mark(params.denoise, params.excluded)
    else:
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


def _write(task: SampleTask, state: _State, made: Made, staging: Staging) -> tuple[int, ...]:
    """Stage the mask and its binary masks, as far as they are not there; return the labels."""
    target, binary, n_mask = task.target, dict[int, Path](), 0
    made.is_changed = state.is_changed
    made.wrote_mask = state.is_changed or not state.is_in_place
    if _wants_binary_masks(task, state):
        if state.is_known:
            binary = target.binary_mask_paths(task.params.label_map)
            made.binary_labels = tuple(binary)
        elif Step.BINARY_MASKS in task.steps:
            made.binary_labels = ()
    finals = [*([target.mask] if made.wrote_mask else ()), *binary.values()]
    staged = staging.paths_for(finals) if finals else []
    if made.wrote_mask:
        made.difference, n_mask = state.difference, 1
        write_mask(staged[0], state.info, state.labels, state.description)
    if binary:
        paths = dict(zip(binary, staged[n_mask:], strict=True))
        return write_labels(paths, mask_header(state.info), state.labels)
    return labels_present(state.labels) if state.is_changed else state.present


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


def _find_regions(task: SampleTask, state: _State, mask: Mask) -> Regions:
    thresholds, label_map = task.params.region_volume_thresh, task.params.label_map
    return find_small_regions(mask, state.info.spacing_mm, thresholds, label_map)


def stage_kept(task: SampleTask, made: Made, staging: Staging, *, is_ours: bool) -> None:
    """Stage what is kept beside the receipt.

    Parameters
    ----------
    task, made : SampleTask, Made
        The sample, and what became of it.
    staging : Staging
        Publishes it with the mask.
    is_ours : bool
        Whether the receipt is to speak for the mask.
    """
    volumes, of_volume = list[Path](), dict[str, NDArray[Any] | InBlocks]()
    if made.scan is not None and Output.VOLUME in task.outputs:  # else looked at when needed
        volumes = list(staging.paths_for(task.target.volumes))
        for channel, counter in enumerate(made.counters):
            of_volume |= of_channel(counter.result().columns(), channel)
        made.clock.lap("count values")
        if made.taker is not None:
            pictured = task.layout.dataset.pictured_channel
            of_volume |= of_channel(pack_pictures(made.taker.result()), pictured)
            made.clock.lap("pictures")
    if made.wrote_mask:
        mask, kept = staging.path_for(task.target.mask), KeptFiles(task.layout.restore)
        if not is_ours and kept.read_difference(task.name, mask) is not None:
            return  # the copied mask's, whose receipt lists it as it is
        made.kept = kept.stage(staging, task.name, mask, made.difference, of_volume, volumes)
