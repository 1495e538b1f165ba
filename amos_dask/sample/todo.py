"""What is left to do for a sample: its files as they are against its receipt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from enum import StrEnum
from typing import Any

from amos_dask.exclusions import EVERY_LABEL
from amos_dask.records import Params, Sample, SampleRecord, SampleResult
from amos_dask.root.identity import input_identity
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.receipts import EVERY_PART, Origin, Part, Receipt, Receipts
from amos_dask.steps import binary_masks, denoise, describe, mask, relabel, volume
from amos_dask.steps import small_regions as regions

_VOLUME_VERSIONS = [volume.RESULT_VERSION, describe.RESULT_VERSION]
_MASK_VERSIONS = [stage.RESULT_VERSION for stage in (mask, relabel, regions, denoise, binary_masks)]


class Reason(StrEnum):
    """Why a sample is processed, or why not."""

    COMPLETE = "complete"
    NEW = "new"
    CHANGED = "changed"  # its input, its metadata, a parameter, or a stage of the program
    REPAIRED = "repaired"  # files are missing or were altered
    FAILED = "failed before"
    FORCED = "forced"


@dataclass(frozen=True, slots=True)
class RunTask:
    """A sample to process from end to end.

    Parameters
    ----------
    sample : Sample
        The sample.
    layout : Layout
        ROOT_DIR.
    params : Params
        Label map, denoising and region parameters.
    has_earlier_output : bool
        Whether there is a folder of the sample.
    parts : frozenset of Part
        What to make; the rest is complete, as the receipt says.
    count_values : bool
        Count the volume's values under each label while it streams by, for statistics.
    take_pictures : bool
        Keep pictures of the slices that denoising changed most, for the report.
    """

    sample: Sample
    layout: Layout
    params: Params
    has_earlier_output: bool = False
    parts: frozenset[Part] = EVERY_PART
    count_values: bool = False
    take_pictures: bool = False

    @property
    def name(self) -> str:
        """The sample's id."""
        return self.sample.sample_id


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to do for a sample.

    Parameters
    ----------
    reason : Reason
        Why.
    parts : frozenset of Part
        What to make; empty when all is complete.
    result : SampleResult or None
        How the sample ended, when all is complete.
    """

    reason: Reason
    parts: frozenset[Part] = EVERY_PART
    result: SampleResult | None = None


def find_work(task: RunTask) -> Work:
    """Hold a sample's receipt against its input, the parameters and its files.

    Opens no image: a gzip file is known by its last eight bytes. A sample with an error is tried
    again, whatever the reason of the error was.
    """
    receipts = Receipts(task.layout)
    receipt = receipts.read(task.name)
    if receipt is None:
        return Work(Reason.NEW)
    if has_error(receipt.record):
        return Work(Reason.FAILED)
    changed = _find_changed(task, receipt)
    altered = receipts.find_altered(receipt)
    if changed or altered:
        return Work(Reason.CHANGED if changed else Reason.REPAIRED, changed | altered)
    return Work(Reason.COMPLETE, frozenset(), summarise(receipt.record, receipt.digest))


def _find_changed(task: RunTask, receipt: Receipt) -> frozenset[Part]:
    origin = origin_of(task.sample)
    known = receipt.origin
    if origin.row != known.row or not _is_same(origin, known, Part.VOLUME):
        return EVERY_PART  # the folder, or the geometry that the mask takes over
    changed = {part for part in Part if not _is_current(receipt, task.params, part)}
    if not _is_same(origin, known, Part.MASKS):
        changed.add(Part.MASKS)
    return frozenset(changed)


def _is_same(origin: Origin, known: Origin, part: Part) -> bool:
    return origin.inputs[part] == known.inputs[part] != _UNKNOWN


def _is_current(receipt: Receipt, params: Params, part: Part) -> bool:
    if part == Part.MASKS:
        if not receipt.outputs[part]:  # there is no mask
            return True
        listed = {threshold for threshold, _ in receipt.record.before}
        if not listed.issuperset(params.region_volume_thresh):
            return False
    return bool(receipt.made_with[part] == made_with(params)[part])


_UNKNOWN = "unknown"


def origin_of(sample: Sample) -> Origin:
    """Return what a sample is made from."""
    row = (sample.subset, sample.modality, sample.scanner, *astuple(sample.metadata))
    inputs = {
        part: None if ref is None else input_identity(ref) or _UNKNOWN
        for part, ref in ((Part.VOLUME, sample.volume), (Part.MASKS, sample.mask))
    }
    return Origin(row, inputs)


def may_keep_rest(origin: Origin, earlier: Receipt, parts: frozenset[Part]) -> bool:
    """Return whether the parts that are not to be made are still made from the same.

    The archive may have changed between planning and the task's turn.
    """
    known = earlier.origin
    rest = [part for part in Part if part not in parts]
    return origin.row == known.row and all(_is_same(origin, known, part) for part in rest)


def made_with(params: Params) -> Mapping[Part, Any]:
    """Return the parameters and versions that each part depends on, as JSON restores them."""
    return {
        Part.VOLUME: _VOLUME_VERSIONS,
        Part.MASKS: [
            _mask_versions(params),
            [list(entry) for entry in params.label_map.entries],
            _denoised_with(params),
        ],
    }


def _mask_versions(params: Params) -> list[int | str]:
    """Return the versions of the stages that masks go through."""
    return [*_MASK_VERSIONS, *(() if params.splits_prostate_uterus else ("not split",))]


def _denoised_with(params: Params) -> list[Any] | None:
    """Return what denoising depends on; None where all of the sample is excluded from it."""
    if params.excluded >= EVERY_LABEL:
        return None
    how, excluded = params.denoise, sorted(params.excluded)
    return [*how.kernel_size, how.filter_halfedge, float(how.region_area_thresh), excluded]


def is_denoised_otherwise(receipt: Receipt, params: Params) -> bool:
    """Return whether masks were denoised with other parameters, whatever was excluded."""
    known = receipt.made_with[Part.MASKS]
    if not receipt.outputs[Part.MASKS] or not isinstance(known, list) or not known[-1]:
        return False  # no mask, or all of it excluded
    asked = _denoised_with(replace(params, excluded=frozenset()))
    return asked is not None and known[-1][:-1] != asked[:-1]


def as_restored(receipt: Receipt, params: Params) -> Receipt | None:
    """Return a receipt as a run writes it when all of the sample is excluded from denoising.

    None when its masks were made with another label map or by another version: then it says
    nothing of them. What depends on the files as they are is left to the caller.
    """
    known = receipt.made_with[Part.MASKS]
    undenoised = made_with(replace(params, excluded=EVERY_LABEL))[Part.MASKS]
    if not isinstance(known, list) or known[:-1] != undenoised[:-1]:
        return None
    return replace(
        receipt,
        made_with={**receipt.made_with, Part.MASKS: undenoised},
        record=replace(receipt.record, after=receipt.record.before, changes=()),
    )


def current_record(
    folder: SampleFolder, layout: Layout, params: Params
) -> tuple[SampleRecord, str] | None:
    """Return what a sample adds to the tables, and its receipt's digest, as far as that is known.

    None when the receipt does not speak for the files as they are or for these parameters; the
    archive is not asked.
    """
    receipt = _receipt_of(folder, layout)
    if receipt is None or not all(_is_current(receipt, params, part) for part in Part):
        return None
    return receipt.record, receipt.digest


def written_record(folder: SampleFolder, layout: Layout) -> SampleRecord | None:
    """Return what is known of a sample since it was made, whatever the parameters were.

    None when the receipt does not speak for the files as they are.
    """
    receipt = _receipt_of(folder, layout)
    return None if receipt is None else receipt.record


def _receipt_of(folder: SampleFolder, layout: Layout) -> Receipt | None:
    """Return the receipt that speaks for a folder's files as they are."""
    receipts = Receipts(layout)
    receipt = receipts.read(folder.sample_id)
    if receipt is None or receipt.record.files is None:
        return None
    is_here = layout.grouped / receipt.record.files.folder == folder.path
    return receipt if is_here and not receipts.find_altered(receipt) else None


def has_error(record: SampleRecord) -> bool:
    """Return whether an output that was promised is missing."""
    return any(found.issue.severity == "error" for found in record.issues)


def summarise(record: SampleRecord, digest: str) -> SampleResult:
    """Return what the client keeps of a record."""
    folder = None if record.files is None else record.files.folder
    return SampleResult(record.sample_id, folder, digest, record.n_changed, record.issues)
