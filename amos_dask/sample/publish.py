"""Files of a sample come to their places: ours are written over; what people edited is kept."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from amos_dask import geometry
from amos_dask.archive.discover import new_sample
from amos_dask.datasets import DatasetDefinition
from amos_dask.errors import BadMaskError, ForeignFileError
from amos_dask.file_refs import file_ref
from amos_dask.issues import Issue, make_issue
from amos_dask.nifti import ImageInfo, open_image, read_info
from amos_dask.records import Metadata, Sample
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.own_files import Ownership, find_obstacle, folders_above
from amos_dask.root.receipts import Edit, Origin, Receipt, Receipts
from amos_dask.root.staging import (
    Journal,
    Staging,
    find_journals,
    find_set_aside,
    identity,
    journal_of,
    place_in_replaced,
    remove_if_empty,
    set_aside,
)
from amos_dask.sample.source import CANNOT_BE_READ
from amos_dask.sample.todo import SampleTask
from amos_dask.steps.denoise import is_denoised
from amos_dask.steps.info_file import parse_info_yaml
from amos_dask.steps.mask import FittedMask, fit_to_volume, read_mask


class Publication:
    """The files of one sample on their way to their places; its receipt lists what is ours."""

    def __init__(self, task: SampleTask, earlier: Receipt | None) -> None:
        self._task, self._earlier = task, earlier
        folder = None if task.folder is None else task.target.path
        self.journal = journal_of(task.layout, task.name, folder)
        # What lies where no receipt speaks for it, such as in another --output_dir of denoise.
        self._elsewhere = Journal(task.layout, f"elsewhere/{task.name}")
        self.journal.remove_temporaries()
        listed = {} if earlier is None else earlier.identities()
        # Commands that change masks in place take those they find as theirs to change.
        adopt = task.adopt or (task.folder is not None and task.folder == task.target)
        journals = [*find_journals(task.layout, task.name), self._elsewhere]
        known = map(Journal.files, journals)
        self._ownership = Ownership(task.layout, listed, *known, adopt=adopt)
        self._aside: list[Path] = []

    def make_way(self) -> None:
        """Look for what stands where a folder goes; raise `ForeignFileError` when it is to stay."""
        task = self._task
        adopt = task.adopt and task.folder is None
        self._aside += self._ownership.make_way_to(task.target.mask, adopt=adopt)

    def publish(self, staging: Staging, origin: Origin) -> None:
        """Give the staged files their names, the mask last: its description tells of the others.

        Raises `ForeignFileError` when somebody else's file is in the way; then nothing was touched.
        """
        last, superseded = self._task.target.mask, self._find_superseded(staging, origin)
        aside = self._ownership.publish(staging, holds_the_same, last=last, superseded=superseded)
        self._aside += aside

    def _find_superseded(self, staging: Staging, origin: Origin) -> list[Path]:
        """Return the finished files that go to ``replaced/`` although they are as written.

        Those are volumes and masks that become others because archive or metadata did, and what
        somebody had edited.
        """
        earlier, target = self._earlier, self._task.target
        if earlier is None:
            return []
        candidates: dict[Path, Edit | None] = {target.mask: Edit.MASK, target.info: Edit.INFO}
        candidates |= dict.fromkeys(target.volumes)
        is_anew = self._task.folder is None
        now, then = (origin.row, origin.inputs), (earlier.origin.row, earlier.origin.inputs)
        has_changed = is_anew and now != then
        return [
            final
            for final, edit in candidates.items()
            if final in staging.staged
            and (edit in earlier.edited or (has_changed and final != target.info))
            and final.is_file()
            and identity(final) != staging.identity_of(final)
        ]

    def end(self) -> None:
        """Remove what the journals of the sample list: its receipt does so now."""
        for journal in find_journals(self._task.layout, self._task.name):
            if self._task.folder is None or journal.path == self.journal.path:
                journal.remove()

    def keep_elsewhere(self) -> None:
        """List what was published as ours, although no receipt does."""
        self._elsewhere.add_files(self.journal.files())
        self.journal.remove()

    def remove_others(self, keep: Collection[Path]) -> None:
        """Remove what the receipt lists and is not made any more, and what was kept for it."""
        if (earlier := self._earlier) is not None:
            paths = {self._task.layout.root / name for name in earlier.identities()} - set(keep)
            self._aside += remove_files(self._ownership, earlier, paths)

    def find_issues(self) -> list[Issue]:
        """Return the warning that files had to make way, in this run or before it was killed."""
        task, target = self._task, self._task.target
        finals = {target.info, *target.volumes, target.mask, *target.binary_masks()}
        finals |= self._ownership.known.keys()
        aside = sorted({*self._aside, *find_set_aside(task.layout, finals)})
        if not aside:
            return []
        message = f"{', '.join(path.name for path in aside)} had to make way"
        if any(path.name.startswith(f"{task.name}_mask_") for path in aside):
            message += "; edit the multi-label mask, of which binary masks are made"
        if target.mask in aside and (why := self._find_refusal()):
            message += f"; {target.mask.name} could not be taken as edited: {why}"
        file = task.layout.shown(target.mask if target.mask in aside else aside[0])
        action = "moved to replaced/"
        return [make_issue("replaced", message, sample=task.name, file=file, action=action)]

    def _find_refusal(self) -> str:
        """Return why the mask that was set aside, if it was altered, was not kept as an edit."""
        target, layout = self._task.target, self._task.layout
        kept = place_in_replaced(layout, target.mask)
        is_edit = self._task.folder is None and not self._task.discard_edits
        if not is_edit or self._ownership.is_as_written(target.mask, at=kept):
            return ""
        return why_not_taken(kept, target.volume, layout)


def remove_files(ownership: Ownership, receipt: Receipt, paths: Iterable[Path]) -> list[Path]:
    """Remove files of a sample that its receipt lists; return those that were set aside.

    Those are volumes and masks, and what was edited by hand or altered.
    """
    aside = []
    for path in sorted(paths):
        if path.parent == ownership.layout.restore:
            path.unlink(missing_ok=True)
        elif ownership.remove(path, keep_copy=receipt.has_no_other_source(path)):
            aside.append(path)
    return aside


def holds_the_same(existing: Path, staged: Path) -> bool:
    """Return whether two files of a sample have the same voxels and geometry, or the same YAML."""
    try:
        if existing.suffix == ".yaml":
            ours, theirs = (yaml.safe_load(p.read_text("utf-8")) for p in (existing, staged))
            return bool(ours == theirs)
        with (
            open_image(file_ref(existing, existing.name)) as theirs,
            open_image(file_ref(staged, existing.name)) as ours,
        ):
            known, new = theirs.info, ours.info
            if known.shape != new.shape or known.dtype != new.dtype:
                return False
            return geometry.is_same(known.affine, new.affine) and all(
                np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
                for a, b in zip(theirs.chunks(), ours.chunks(), strict=True)
            )
    except Exception:  # whatever cannot be read is not the same
        return False


def move_sample(task: SampleTask, earlier: Receipt | None) -> Receipt | None:
    """Rename the files of a sample that comes to lie elsewhere; return its receipt.

    Edited files go along, what is not ours stays. After a kill in the middle the rest follows.
    Raises `ForeignFileError` when somebody else's file is in the way; then nothing was touched.
    """
    layout, target = task.layout, task.target.path
    if earlier is None or earlier.record.files is None:
        return earlier
    old = layout.folder_of(earlier.record.files).path
    if old == target or not old.is_dir() or not _are_reached(layout, old, target):
        return earlier
    listed = [layout.root / name for name in earlier.identities()]
    moved = {path: target / path.name for path in listed if path.parent == old}
    present = {path: new for path, new in moved.items() if os.path.lexists(path)}
    for new in present.values():
        if os.path.lexists(new) and not task.adopt:
            raise ForeignFileError(new, "is in the way and nothing that this program wrote")
    target.mkdir(parents=True, exist_ok=True)
    for path, new in present.items():
        if os.path.lexists(new):
            set_aside(layout, new)
        path.rename(new)
    receipt = _relocate(earlier, layout.key(old), layout.key(target), layout.key(layout.grouped))
    Receipts(layout).write(receipt)
    remove_if_empty(old, *folders_above(layout, old))
    return receipt


def _are_reached(layout: Layout, *folders: Path) -> bool:
    """Return whether folders of samples are ones, and no links."""
    return all(
        folder.is_relative_to(layout.grouped) and find_obstacle(layout, folder / "file") is None
        for folder in folders
    )


def _relocate(receipt: Receipt, old: str, new: str, grouped: str) -> Receipt:
    """Return a receipt whose files lie in another folder."""

    def place(path: str) -> str:
        folder, _, name = path.rpartition("/")
        return f"{new}/{name}" if folder == old else path

    files = receipt.record.files
    row = None if files is None else replace(files, folder=new.removeprefix(f"{grouped}/"))
    outputs = {
        output: {place(path): known for path, known in listed.items()}
        for output, listed in receipt.outputs.items()
    }
    return replace(receipt, outputs=outputs, record=replace(receipt.record, files=row))


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
