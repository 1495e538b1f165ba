"""What is asked for of a sample, what is left to do of that, and what a scan costs."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from amos_dask import geometry
from amos_dask.file_refs import FileRef
from amos_dask.nifti import read_info
from amos_dask.params import EVERY_LABEL, Params
from amos_dask.records import HeaderCheck, Sample, SampleRecord, SampleResult, Step, StepIssue
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.receipts import EVERY_OUTPUT, UNKNOWN, Edit, Origin, Output, Receipt, Receipts
from amos_dask.sample.source import CANNOT_BE_READ, ArchiveSource, FolderSource
from amos_dask.steps import (
    denoise,
    info_file,
    mask,
    mask_labels,
    volume,
)

Source = ArchiveSource | FolderSource
# What `run` does with a sample.
EVERY_STEP = frozenset(
    {
        Step.CONFIRM_PAIRS,
        Step.SPLIT_PROSTATE_UTERUS,
        Step.SMALL_REGIONS,
        Step.DENOISE,
        Step.BINARY_MASKS,
        Step.DATASET_MANIFEST,
    }
)

_VOLUME_VERSIONS = [volume.RESULT_VERSION, info_file.RESULT_VERSION]
_MASK_VERSIONS = [
    mask.RESULT_VERSION,
    mask_labels.SPLIT_VERSION,
    denoise.REGIONS_VERSION,
    denoise.RESULT_VERSION,
    mask_labels.BINARY_MASKS_VERSION,
]
_EDITED_VERSIONS = [
    "edited",
    mask.RESULT_VERSION,
    mask.EDITED_VERSION,
    denoise.REGIONS_VERSION,
    mask_labels.BINARY_MASKS_VERSION,
]

# What a voxel costs, as measured (see the benchmarks): of one core, and after compression.
_SECONDS_A_VOXEL = {Output.VOLUME: 15e-9, Output.MASKS: 6e-9}
_SECONDS_A_MERGED_VOXEL = 0.25e-9  # of each of the files that a mask is merged of
_WRITTEN_BYTES_A_VOXEL = {Output.VOLUME: 1.1, Output.MASKS: 0.03}
_CANDIDATES = 10
# With the kernels compiled there, as the first worker of a machine does, or while the values of
# many scans are described together.
_IDLE_WORKER_BYTES = 360e6
# The mask on its way, all of it labelled; and values that are no usual whole numbers, while those
# under labels are counted.
_MASK_BYTES_A_VOXEL = 4.0
_VALUE_BYTES_A_VOXEL = 4.0
_USUAL_BYTES = 2


@dataclass(frozen=True, slots=True)
class SampleTask:
    """A sample to make: from where, by which steps, and how."""

    source: Source  # where its scan and mask come from
    layout: Layout  # ROOT_DIR
    target: SampleFolder  # where it goes
    steps: frozenset[Step]
    params: Params
    outputs: frozenset[Output] = EVERY_OUTPUT  # the rest is complete, as the receipt says
    count_values: bool = False  # under each label while the volume streams by, for statistics
    take_pictures: bool = False  # of the slices that denoising changed most, for the report
    modality: str = "und"  # ``ct`` is shown in Hounsfield units
    adopt: bool = False  # a file in the way that is not ours goes to ``replaced/``
    discard_edits: bool = False  # so does what was edited by hand, which is made anew
    keeps_info: bool = False  # the info file was edited by hand, and stays
    planned: Origin | None = None  # what it was to be made from when its headers were read
    headers: HeaderCheck | None = None  # what these said, for the receipt
    name: str = field(init=False)  # the sample's id
    folder: SampleFolder | None = field(init=False)  # that it comes from; None: the archive

    def __post_init__(self) -> None:
        folder = self.source.folder if isinstance(self.source, FolderSource) else None
        object.__setattr__(self, "name", self.source.sample_id)
        object.__setattr__(self, "folder", folder)

    @property
    def own_step(self) -> Step:
        """The step whose issues are replaced when the task runs again."""
        if self.folder is None:
            return Step.CONFIRM_PAIRS
        steps = (Step.SPLIT_PROSTATE_UTERUS, Step.DENOISE, Step.RESTORE, Step.BINARY_MASKS)
        return next((step for step in steps if step in self.steps), Step.SMALL_REGIONS)


class Reason(StrEnum):
    """Why a sample is made, or why not."""

    COMPLETE = "complete"
    NEW = "new"
    CHANGED = "changed"  # its input, its metadata, a parameter, or a step of the program
    REPAIRED = "repaired"  # files are missing or were altered
    FAILED = "failed before"
    FORCED = "forced"


@dataclass(frozen=True, slots=True)
class ToDo:
    """What is left to do for a sample."""

    reason: Reason
    outputs: frozenset[Output] = EVERY_OUTPUT  # what to make; empty when all is complete
    result: SampleResult | None = None  # how the sample ended, when all is complete


def find_todo(task: SampleTask, receipt: Receipt | None, origin: Origin) -> ToDo:
    """Hold a sample's receipt against its input, the parameters and its files.

    Opens no image: a gzip file is known by its last eight bytes. A sample with an error is tried
    again, whatever the reason of the error was.

    Parameters
    ----------
    task : SampleTask
        The sample, from the archive, with all steps.
    receipt : Receipt or None
        What is known of it.
    origin : Origin
        What it would be made from now.
    """
    if receipt is None:
        return ToDo(Reason.NEW)
    if any(found.issue.severity == "error" for found in receipt.record.issues):
        return ToDo(Reason.FAILED)
    if task.discard_edits and receipt.edited:
        return ToDo(Reason.CHANGED)
    changed = _find_changed(task.params, receipt, origin)
    altered = Receipts(task.layout).find_altered(receipt)
    if changed or altered:
        return ToDo(Reason.CHANGED if changed else Reason.REPAIRED, changed | altered)
    result = summarise(receipt)
    issues = dict.fromkeys((*result.issues, *_find_vanished(task, receipt.record)))
    return ToDo(Reason.COMPLETE, frozenset(), replace(result, issues=tuple(issues)))


def _find_vanished(task: SampleTask, record: SampleRecord) -> list[StepIssue]:
    """Return which labels denoising took away; version 0.1.0 did not say so."""
    files = record.files
    if files is None or files.labels_present is None:
        return []
    file = task.layout.shown(task.layout.folder_of(files).mask)
    of = (files.labels_present, files.spacing_mm, task.params.label_map, task.name, file)
    found = denoise.check_vanished(record.changes, *of)
    return [StepIssue(Step.DENOISE, issue) for issue in found]


def summarise(receipt: Receipt) -> SampleResult:
    """Return what the client keeps of a finished sample."""
    record = receipt.record
    folder = None if record.files is None else record.files.folder
    return SampleResult(record.sample_id, folder, receipt.digest, record.n_changed, record.issues)


def _find_changed(params: Params, receipt: Receipt, origin: Origin) -> frozenset[Output]:
    known = receipt.origin
    if origin.row != known.row or not _is_same(origin, known, Output.VOLUME):
        return EVERY_OUTPUT  # the folder, or the geometry that the mask takes over
    changed = {output for output in Output if not _is_current(receipt, params, output)}
    if not _is_same(origin, known, Output.MASKS):
        changed.add(Output.MASKS)
    return frozenset(changed)


def find_misread(record: SampleRecord, headers: HeaderCheck) -> frozenset[Output]:
    """Return what an earlier version made of the same headers otherwise than this one would.

    All, where the geometry is another than what was written, as of headers in metres; the masks
    where their grid is their scan's turned over, which was not looked at.
    """
    grids = {
        f.kind: (geometry.from_json(f.affine_json), f.shape)
        for f in reversed(headers.files)  # the first file of a kind is the one that counts
        if f.affine_json
    }
    if record.files is None or "volume" not in grids:
        return frozenset()
    affine, _ = grids["volume"]
    written = geometry.from_json(record.files.affine_json)
    if (affine.astype(np.float32) != written.astype(np.float32)).any():
        return EVERY_OUTPUT
    mask, shape = grids.get("mask", (affine, None))
    is_turned = shape is not None and geometry.find_turn(affine, mask, shape) is not None
    return frozenset({Output.MASKS}) if is_turned else frozenset()


def _is_same(origin: Origin, known: Origin, output: Output) -> bool:
    return origin.inputs[output] == known.inputs[output] != UNKNOWN


def _is_current(receipt: Receipt, params: Params, output: Output) -> bool:
    if output == Output.MASKS:
        if not receipt.outputs[output]:  # there is no mask
            return True
        listed = {threshold for threshold, _ in receipt.record.before}
        if not listed.issuperset(params.region_volume_thresh):
            return False
    asked = made_with(params, receipt.edited)[output]
    return bool(receipt.made_with[output] == asked)


def may_keep_rest(origin: Origin, earlier: Receipt | None, outputs: frozenset[Output]) -> bool:
    """Return whether the outputs that are not to be made are still made from the same.

    The archive may have changed between planning and the task's turn.
    """
    rest = [output for output in Output if output not in outputs]
    if not rest:
        return True
    if earlier is None or origin.row != earlier.origin.row:
        return False
    return all(_is_same(origin, earlier.origin, output) for output in rest)


def made_with(params: Params, edited: Collection[Edit] = ()) -> Mapping[Output, Any]:
    """Return the parameters and versions that each output depends on, as JSON restores them.

    Masks that were edited by hand depend on the label map only.
    """
    dataset = params.dataset
    versions: list[Any] = list(_MASK_VERSIONS)
    if not dataset.splits_prostate_uterus:
        versions.append("not split")
    if dataset.label_values:
        versions.append([list(pair) for pair in sorted(dataset.label_values.items())])
    if dataset.has_label_files:
        versions.append([mask_labels.MERGE_VERSION, *dataset.painting_order])
    labels = [list(entry) for entry in params.label_map.entries]
    masks = [versions, labels, _denoised_with(params)]
    if Edit.MASK in edited:
        masks = [_EDITED_VERSIONS, labels, None]
    return {Output.VOLUME: [*_VOLUME_VERSIONS, *dataset.channel_names], Output.MASKS: masks}


def _denoised_with(params: Params) -> list[Any] | None:
    """Return what denoising depends on; None where all of the sample is excluded from it."""
    if params.excluded >= EVERY_LABEL:
        return None
    how, excluded = params.denoise, sorted(params.excluded)
    return [*how.kernel_size, how.filter_halfedge, float(how.region_area_thresh), excluded]


def other_choices(made_by: Any, params: Params, *, may_be_restored: bool) -> tuple[bool, bool]:
    """Return whether masks were made with another label map, and with other exclusions.

    ``made_by`` is what a receipt says of them. Masks that are not denoised are taken for restored
    ones where they ``may_be_restored``.
    """
    asked = made_with(params)[Output.MASKS]
    if not isinstance(made_by, list) or len(made_by) != len(asked):
        return False, False  # by single steps
    (versions, labels, how), (_, labels_now, how_now) = made_by, asked
    is_restored = how is None and (may_be_restored or versions == _EDITED_VERSIONS)
    is_other = (how and how[-1]) != (how_now and how_now[-1])
    return labels != labels_now, is_other and not is_restored


def denoised_otherwise(receipt: Receipt, params: Params) -> list[Any] | None:
    """Return what masks are made with after they were denoised as parameters say.

    None when they were made with another label map, by another version, or by single steps.
    """
    known = receipt.made_with.get(Output.MASKS)
    asked = made_with(params)[Output.MASKS]
    return list(asked) if isinstance(known, list) and known[:-1] == asked[:-1] else None


def is_denoised_otherwise(receipt: Receipt, params: Params) -> bool:
    """Return whether masks were denoised with other parameters, whatever was excluded."""
    known = receipt.made_with.get(Output.MASKS)
    if not receipt.outputs[Output.MASKS] or not isinstance(known, list) or not known[-1]:
        return False  # no mask, or all of it excluded
    asked = _denoised_with(replace(params, excluded=frozenset()))
    return asked is not None and known[-1][:-1] != asked[:-1]


def current_receipt(folder: SampleFolder, layout: Layout, params: Params) -> Receipt | None:
    """Return the receipt that speaks for a folder as it is and for these parameters.

    The archive is not asked.
    """
    receipt = _read_unaltered(folder, layout)
    is_current = receipt and all(_is_current(receipt, params, output) for output in Output)
    return receipt if is_current else None


def written_record(folder: SampleFolder, layout: Layout) -> SampleRecord | None:
    """Return what is known of a sample since `run` made it, whatever the parameters were.

    None when the receipt does not speak for the files as they are.
    """
    receipt = _read_unaltered(folder, layout)
    if receipt is None or None in receipt.made_with.values():
        return None
    return receipt.record


def _read_unaltered(folder: SampleFolder, layout: Layout) -> Receipt | None:
    receipts = Receipts(layout)
    receipt = receipts.read_for(folder)
    return None if receipt is None or receipts.find_altered(receipt) else receipt


# ---------------------------------------------------------------- what a scan costs


@dataclass(frozen=True)
class ScanSize:
    """What the header of a scan says of its size."""

    n_voxels: int = 0  # of one channel; 0 where the header cannot be read
    is_whole: bool = True  # its values are whole numbers of 16 bits, whatever they are
    n_channels: int = 1  # their values are counted until the last one is read

    @classmethod
    def of(cls, ref: FileRef | None, n_channels: int = 1) -> ScanSize:
        """Read the header of a scan, of its first file where each channel has one."""
        if ref is None:
            return cls()
        try:
            info = read_info(ref, None)
        except CANNOT_BE_READ:
            return cls()
        is_short = info.stored_dtype.kind in "iu" and info.stored_dtype.itemsize <= _USUAL_BYTES
        is_whole = float(info.slope).is_integer() and float(info.inter).is_integer()
        return cls(info.n_voxels, is_short and is_whole, n_channels)

    @property
    def peak_bytes(self) -> int:
        """About how much memory a worker needs for it at most, however much of it is labelled."""
        of_values = 0.0 if self.is_whole else _VALUE_BYTES_A_VOXEL * self.n_channels
        return int(_IDLE_WORKER_BYTES + (_MASK_BYTES_A_VOXEL + of_values) * self.n_voxels)


def largest_scan_bytes(samples: Iterable[Sample]) -> int:
    """Return about how much memory a worker needs for the largest of the samples.

    Only the headers of the largest files are read.
    """

    def n_bytes(sample: Sample) -> int:
        return sum(ref.n_bytes for ref in sample.volumes if ref is not None)

    largest = heapq.nlargest(_CANDIDATES, samples, n_bytes)
    sizes = (ScanSize.of(sample.volume, sample.n_channels) for sample in largest)
    return max((size.peak_bytes for size in sizes), default=ScanSize().peak_bytes)


def seconds_a_voxel(sample: Sample, output: Output) -> float:
    """Return about how long one core takes for an output, by voxels of one channel."""
    if output == Output.VOLUME:
        return sample.n_channels * _SECONDS_A_VOXEL[output]
    return _SECONDS_A_VOXEL[output] + sample.n_label_files * _SECONDS_A_MERGED_VOXEL


def written_bytes_a_voxel(sample: Sample, output: Output) -> float:
    """Return about how many bytes of an output are written, by voxels of one channel."""
    n_images = sample.n_channels if output == Output.VOLUME else 1
    return n_images * _WRITTEN_BYTES_A_VOXEL[output]
