"""What is otherwise than ROOT_DIR remembers: archive, parameters, gone samples; ``--prune``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from amos_dask.errors import ArchiveError, number_of
from amos_dask.issues import Issue, make_issue
from amos_dask.params import DenoiseParams
from amos_dask.plan import Plan
from amos_dask.records import StepIssue
from amos_dask.root.choices import Remembered
from amos_dask.root.export_mark import find_exports_of, path_from
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.own_files import Ownership
from amos_dask.root.receipts import Output, Receipt, Receipts
from amos_dask.root.staging import find_journals, find_set_aside
from amos_dask.sample.publish import remove_files
from amos_dask.sample.todo import Reason
from amos_dask.settings import Found

# Of ten files that are remembered and there, so many may be others; of fewer files, one may.
_OTHERS_OF_TEN = 1


def require_same_archive(found: Found, plan: Plan) -> None:
    """Raise when the archive is not the one that finished samples were made from.

    At least one of the files that are remembered and there must be the same, and nine tenths of
    them; a single other file is no other archive, however few there are.

    Raises
    ------
    ArchiveError
        Unless nothing is finished yet, or another archive was asked for.
    """
    n_there, n_same = len(plan.same_inputs), sum(plan.same_inputs)
    may_be_others = max(1, _OTHERS_OF_TEN * n_there // 10)
    is_same = n_same > 0 and n_there - n_same <= may_be_others
    if is_same or found.settings.switch_archive or not _has_finished(found):
        return
    other, root = "the archive of the last run", found.layout.root
    if found.before.archive not in (None, found.now.archive):
        other = " and ".join(found.before.archives)
    told = f"of the {n_there} files here that {root} was made from, {n_same} are the same"
    if n_there == 0:
        told = f"holds none of the files that {root} was made from"
    raise ArchiveError(
        f"{found.archive.shown}: {told}, so it is not {other} as it was; choose another ROOT_DIR, "
        "or give --switch_archive to go on with this archive."
    )


def _has_finished(found: Found) -> bool:
    """Return whether anything was made from an archive; reads no more receipts than it must."""
    receipts = Receipts(found.layout)
    every = (receipts.read(sample_id) for sample_id in receipts.sample_ids())
    return any(receipt is not None and receipt.is_made_from_archive for receipt in every)


def describe_changes(found: Found, plan: Plan) -> str:
    """Return which of the remembered choices change, and what is made anew; empty where none does.

    Such as ``kernel_size 5 5 -> 7 7: the masks of 12 samples are made anew``.
    """
    before, now = found.before, found.now
    if before.archive is None:  # nothing is remembered
        return ""
    was, is_now = _options(before), _options(now)
    changes = [f"{name} {was[name]} -> {new}" for name, new in is_now.items() if was[name] != new]
    if before.exclusions != now.exclusions:
        changes.append("other exclusions from denoising")
    if not changes:
        return ""
    changed = [planned for planned in plan.samples if planned.todo.reason == Reason.CHANGED]
    in_part = [planned for planned in changed if Output.VOLUME not in planned.todo.outputs]
    # A mask that the archive lacks now stays as it is.
    n_masks = sum(planned.sample.mask is not None for planned in in_part)
    return f"{', '.join(changes)}: {_describe_made(len(changed) - len(in_part), n_masks)}"


def _options(remembered: Remembered) -> dict[str, str]:
    """Return what is remembered by the name of its option, in words."""
    own = "the archive's own" if remembered.has_metadata else "none"
    denoise = remembered.denoise or DenoiseParams()
    return {
        "archive": " and ".join(remembered.archives),
        "labeled_data_meta": remembered.labeled_data_meta or own,
        "metadata_encoding": remembered.metadata_encoding or "recognised",
        "mr_metadata_offset": str(remembered.mr_metadata_offset),
        "kernel_size": "{} {}".format(*denoise.kernel_size),
        "filter_halfedge": str(denoise.filter_halfedge),
        "region_area_thresh": str(denoise.region_area_thresh),
    }


def _describe_made(n_whole: int, n_masks: int) -> str:
    if not (n_whole or n_masks):
        return "nothing is made anew"
    if not n_whole:
        return f"the masks of {_samples(n_masks)} are made anew"
    others = f" and the masks of {number_of(n_masks, 'other')}" if n_masks else ""
    are = "is" if n_whole == 1 and not n_masks else "are"
    return f"{_samples(n_whole)}{others} {are} made anew"


def _samples(n: int) -> str:
    return number_of(n, "sample")


# More than one finished sample of ten that leaves at once is an error rather than a withdrawal.
_MOST_OF_TEN = 1


@dataclass(frozen=True)
class Absent:
    """Samples with a receipt of which the archive has no file."""

    layout: Layout
    withdrawn: tuple[Receipt, ...]  # organised, and the archive's ``dataset.json`` lists them not
    listed: tuple[Receipt, ...]  # organised, and it does: their files are missing for the moment
    unfinished: tuple[Receipt, ...]  # of which nothing is organised
    n_finished: int  # all organised samples that have a receipt, also those of the archive
    removed: tuple[Issue, ...] = ()  # what is said of those that were removed

    @property
    def issues(self) -> list[Issue]:
        """What is said of them."""
        are_many = 10 * len(self.withdrawn) > _MOST_OF_TEN * self.n_finished
        gone = [
            make_issue(
                "not_in_archive",
                "the archive has nothing left of it",
                sample=receipt.record.sample_id,
                file=self.folder(receipt),
                action="its files and rows stay; --prune removes them",
                severity="error" if are_many else None,
            )
            for receipt in self.withdrawn
        ]
        missing = [
            make_issue(
                "source_missing",
                "the archive has no file of it, and no dataset.json says that it left",
                sample=receipt.record.sample_id,
                file=self.folder(receipt),
                action="its files and rows stay",
            )
            for receipt in self.listed
        ]
        return [*gone, *missing, *self.removed]

    @property
    def issues_of_samples(self) -> list[StepIssue]:
        """What was found when the organised ones were made."""
        receipts = (*self.withdrawn, *self.listed)
        return [told for receipt in receipts for told in receipt.record.issues]

    def folder(self, receipt: Receipt) -> str:
        """Return where a sample is organised, POSIX and relative to ROOT_DIR."""
        files = receipt.record.files
        return "" if files is None else self.layout.shown(self.layout.folder_of(files).path)


def find_absent(found: Found, folders: Iterable[SampleFolder]) -> Absent:
    """Return the samples with a receipt of which the archive has no file, by what is organised."""
    receipts, archive = Receipts(found.layout), found.archive
    known, there = receipts.sample_ids(), found.sample_ids
    organised = {folder.sample_id for folder in folders}
    # What cannot be read tells of no withdrawal.
    is_told = all(issue.code != "bad_dataset_json" for issue in archive.issues)
    withdrawn, listed, unfinished = list[Receipt](), list[Receipt](), list[Receipt]()
    for name in (name for name in known if name not in there):
        receipt = receipts.read(name)
        if receipt is None:
            continue
        if name not in organised:
            unfinished.append(receipt)
        elif name in archive.listed_but_absent or not is_told:
            listed.append(receipt)
        else:
            withdrawn.append(receipt)
    n_finished = len(organised.intersection(known))
    return Absent(found.layout, tuple(withdrawn), tuple(listed), tuple(unfinished), n_finished)


def prune(absent: Absent) -> Absent:
    """Remove withdrawn samples, the files listed of each and then its receipt; return the others.

    Volumes and multi-label masks, and what was altered, go to ``replaced/``. A file of somebody
    else's stays, and the folder with it.
    """
    pruned, issues = (*absent.withdrawn, *absent.unfinished), []
    holders = find_exports_of(absent.layout, [receipt.record.sample_id for receipt in pruned])
    for receipt in pruned:
        name = receipt.record.sample_id
        aside = _remove(absent.layout, receipt)
        Receipts(absent.layout).forget(name)
        if aside:
            at = [folder for folder, held in holders.items() if name in held]
            exports = [path_from(absent.layout.root, folder) for folder in at]
            still = f"; still in the exports {', '.join(exports)}" if exports else ""
            message = "removed: the archive has nothing left of the sample"
            action = f"volume and mask are in replaced/{still}"
            issues.append(make_issue("replaced", message, sample=name, file=aside, action=action))
    return replace(absent, withdrawn=(), unfinished=(), removed=tuple(issues))


def _remove(layout: Layout, receipt: Receipt) -> str:
    """Remove a sample's files; return the one to be named of those that were set aside."""
    journals = find_journals(layout, receipt.record.sample_id)
    known = receipt.identities()
    ownership = Ownership(layout, known, *(one.files() for one in journals))
    files = receipt.record.files
    folder = None if files is None else layout.folder_of(files)
    first = () if folder is None else (folder.mask, *folder.volumes)
    paths = sorted(layout.root / name for name in known)
    remove_files(ownership, receipt, paths)
    aside = find_set_aside(layout, (*first, *paths))
    return layout.shown(aside[0]) if aside else ""
