"""Finished samples of which the archive has no file: what is said of them, and ``--prune``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from amos_dask.issues import Issue, make_issue
from amos_dask.records import Step
from amos_dask.root.export_mark import find_exports_of, path_from
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.ownership import Ownership, find_set_aside
from amos_dask.root.receipts import Receipt, Receipts
from amos_dask.root.staging import find_journals_of
from amos_dask.sample.publish import remove_files
from amos_dask.settings import Found

# More than one finished sample of ten that leaves at once is an error rather than a withdrawal.
_MOST_OF_TEN = 1


@dataclass(frozen=True)
class Absent:
    """Samples with a receipt of which the archive has no file.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    withdrawn : tuple of Receipt
        Organised samples that the archive's ``dataset.json`` does not list.
    listed : tuple of Receipt
        Organised samples that it lists: their files are missing for the moment.
    unfinished : tuple of Receipt
        Samples of which nothing is organised.
    n_finished : int
        All organised samples that have a receipt, also those of the archive.
    removed : tuple of Issue
        What is said of those that were removed.
    """

    layout: Layout
    withdrawn: tuple[Receipt, ...]
    listed: tuple[Receipt, ...]
    unfinished: tuple[Receipt, ...]
    n_finished: int
    removed: tuple[Issue, ...] = ()

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

    def issues_of(self, step: Step) -> list[Issue]:
        """Return what a step found when the organised ones were made."""
        receipts = (*self.withdrawn, *self.listed)
        return [i.issue for receipt in receipts for i in receipt.record.issues if i.step == step]

    def folder(self, receipt: Receipt) -> str:
        """Return where a sample is organised, POSIX and relative to ROOT_DIR."""
        files = receipt.record.files
        return "" if files is None else self.layout.shown(self.layout.folder_of(files).path)


def find_absent(found: Found, folders: Iterable[SampleFolder]) -> Absent:
    """Return the samples with a receipt of which the archive has no file.

    Parameters
    ----------
    found : Found
        What the run goes by.
    folders : iterable of SampleFolder
        The samples that are organised.
    """
    receipts, archive = Receipts(found.layout), found.archive
    known, there = receipts.sample_ids(), {sample.sample_id for sample in archive.samples}
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
    journals = find_journals_of(layout, receipt.record.sample_id)
    ownership = Ownership(layout, receipt.identities(), *(one.files() for one in journals))
    files = receipt.record.files
    folder = None if files is None else layout.folder_of(files)
    first = () if folder is None else (folder.mask, folder.volume)
    paths = sorted(layout.root / name for name in receipt.files)
    remove_files(ownership, receipt, paths)
    aside = find_set_aside(layout, (*first, *paths))
    return layout.shown(aside[0]) if aside else ""
