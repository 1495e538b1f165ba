"""What people corrected by hand: a sample's mask and its info file, found and read."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from amos_dask.archive.discover import new_sample
from amos_dask.archive.listing import file_ref
from amos_dask.datasets import DatasetDefinition
from amos_dask.errors import BadMaskError
from amos_dask.issues import Issue, make_issue
from amos_dask.nifti import ImageInfo, open_image, read_info
from amos_dask.records import Metadata, Sample
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.own_files import Ownership
from amos_dask.root.receipts import Edit, Receipt, Receipts
from amos_dask.root.staging import find_journals
from amos_dask.sample.source import CANNOT_BE_READ
from amos_dask.sample.todo import SampleTask
from amos_dask.steps.denoise import is_denoised
from amos_dask.steps.info_file import parse_info_yaml
from amos_dask.steps.mask import FittedMask, fit_to_volume, read_mask


def find_edited_metadata(receipts: Receipts, receipt: Receipt | None) -> Metadata | None:
    """Return the metadata of an info file that was edited by hand; None where it was not."""
    if receipt is None or receipt.record.files is None:
        return None
    path = receipts.layout.folder_of(receipt.record.files).info
    if Edit.INFO not in receipt.edited and not is_edited(receipts, receipt, Edit.INFO):
        return None
    try:
        return parse_info_yaml(path.read_text(encoding="utf-8"))[2]
    except (OSError, ValueError):
        return None


def with_metadata(sample: Sample, metadata: Metadata, definition: DatasetDefinition) -> Sample:
    """Return a sample with the metadata of its edited info file, and where that puts it."""
    moved = new_sample(sample.seq, sample.subset, metadata, {}, definition)
    return replace(moved, volumes=sample.volumes, masks=sample.masks)


def is_edited(receipts: Receipts, receipt: Receipt | None, edit: Edit) -> bool:
    """Return whether a mask or info file that we wrote is there and another since."""
    if receipt is None or receipt.record.files is None:
        return False
    layout = receipts.layout
    folder = layout.folder_of(receipt.record.files)
    path = folder.mask if edit == Edit.MASK else folder.info
    known = receipt.identities()
    try:
        if Ownership(layout, known).is_as_written(path):
            return False
        journals = find_journals(layout, receipt.record.sample_id)
        ours = Ownership(layout, known, *(one.files() for one in journals))
        return ours.lists(path) and not path.is_symlink() and not ours.is_as_written(path)
    except OSError:
        return False


def is_stale_mask(folder: SampleFolder, layout: Layout) -> bool:
    """Return whether a mask was edited since its description was written."""
    receipts = Receipts(layout)
    receipt = receipts.read_for(folder)
    return receipt is not None and is_edited(receipts, receipt, Edit.MASK)


def note_edit(receipts: Receipts, receipt: Receipt, *edits: Edit) -> Receipt:
    """Keep in a sample's receipt that something was edited, before that can be written over."""
    edited = tuple(sorted({*receipt.edited, *edits}))
    if edited == receipt.edited:
        return receipt
    noted = replace(receipt, edited=edited)
    receipts.write(noted)
    return noted


def read_edited_mask(task: SampleTask, earlier: Receipt, volume: ImageInfo) -> FittedMask | None:
    """Read the mask in a sample's folder, if it was edited by hand, now or before.

    None where the mask is ours, cannot be used, or does not fit its written volume: then it is
    made anew.
    """
    if task.discard_edits:
        return None
    is_new = is_edited(Receipts(task.layout), earlier, Edit.MASK)
    if Edit.MASK not in earlier.edited and not is_new:
        return None
    try:
        return _read_fitting(task.target.mask, task.layout, volume, is_new=is_new)
    except (*CANNOT_BE_READ, BadMaskError):
        return None


def _read_fitting(
    path: Path, layout: Layout, volume: ImageInfo, *, is_new: bool = True
) -> FittedMask:
    """Return a mask on its volume's grid; raise where it is not one, or cannot be read.

    What a new edit says of denoising was kept by the program that saved it, and is wrong now.
    """
    if path.is_symlink():
        raise BadMaskError("edited_mask", "a link")
    with open_image(file_ref(path, layout.shown(path))) as image:
        read = read_mask(image)
    fitted = fit_to_volume(read.labels, image.info, volume)
    if fitted is None:
        raise BadMaskError("edited_mask", "shape or affine are not those of the volume")
    sample_id = path.name.removesuffix("_mask.nii.gz")
    is_current = fitted.is_as_written and not (is_new and is_denoised(image.info.description))
    found = tuple(read.check(sample_id, layout.shown(path)))
    return fitted._replace(is_as_written=is_current, issues=found)


def can_take_up(layout: Layout, folder: SampleFolder, edit: Edit) -> bool:
    """Return whether an altered mask or info file is one that the next run keeps as an edit."""
    if edit == Edit.MASK:
        return not why_not_taken(folder.mask, folder.volume, layout)
    try:
        parse_info_yaml(folder.info.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def why_not_taken(mask: Path, volume: Path, layout: Layout) -> str:
    """Return why an altered mask cannot be kept as an edit of a volume's; empty where it can."""
    try:
        _read_fitting(mask, layout, read_info(file_ref(volume, volume.name)))
    except (*CANNOT_BE_READ, BadMaskError, OSError) as error:
        return str(error)
    return ""


def describe_edited_info(task: SampleTask) -> Issue:
    """Return ``edited_info``."""
    file, action = (
        task.layout.shown(task.target.info),
        "its values are kept, but for seq and subset",
    )
    return make_issue("edited_info", "edited by hand", sample=task.name, file=file, action=action)


def describe_edits(task: SampleTask, earlier: Receipt, *, is_source_new: bool) -> list[Issue]:
    """Return ``edited_mask``, and ``edited_source_changed`` once the archive's mask is another."""
    of = partial(make_issue, sample=task.name, file=task.layout.shown(task.target.mask))
    action = "its labels are kept and not denoised; --discard_edits makes it anew"
    issues = [of("edited_mask", "edited by hand", action=action)]
    codes = {found.issue.code for found in earlier.record.issues}
    if is_source_new or "edited_source_changed" in codes:
        message = "edited by hand, and the archive's mask has changed since"
        action = "the edited mask stays; --discard_edits takes the archive's"
        issues.append(of("edited_source_changed", message, action=action))
    return issues
