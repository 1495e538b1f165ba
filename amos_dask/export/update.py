"""A folder brought to the state that an export is to have: alone, with room, by its mark."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from amos_dask.archive.recognise import EXPORT_MARK
from amos_dask.datasets import SUBSETS, DatasetDefinition
from amos_dask.engine.events import Listener, Notice
from amos_dask.engine.session import open_session
from amos_dask.errors import AmosDaskError, first_of, number_of
from amos_dask.export.files import (
    ExportFolder,
    ExportLayout,
    ExportTask,
    Placing,
    can_clone,
    carries_own_key,
    export_sample,
    is_in_place,
)
from amos_dask.export.wanted import TEST, find_wanted, make_folds
from amos_dask.issues import Issue, in_order, make_issue
from amos_dask.records import StepResult
from amos_dask.results import CommandResult, step_results
from amos_dask.root.choices import require_no_archive
from amos_dask.root.export_mark import (
    ExportedFile,
    ExportMark,
    is_export,
    path_from,
    path_told,
    read_mark,
    remember_export,
    write_mark,
)
from amos_dask.root.layout import SPLIT_NAME, Layout, find_root
from amos_dask.root.staging import (
    find_journals,
    identity,
    remove_if_empty,
    remove_temporaries,
    require_room,
)
from amos_dask.root.working import reading_from, working_on

# Of a sample with such an issue, what was exported earlier stays: absence is no order.
_ABSENT = frozenset({"unreadable_volume", "unreadable_mask", "missing_mask", "sample_failed"})
_OURS = frozenset({EXPORT_MARK, ".amos-dask", "replaced"})
_SHOWN_NAMES = 5
_CHANNELS = {"ct": "CT", "mri": "MR"}


@dataclass(frozen=True)
class Form(ABC):
    """How a training program wants samples."""

    mark: ExportMark  # what the export is to be, yet without files
    dataset: DatasetDefinition  # of ROOT_DIR
    base: Path  # the folder with the mark
    sign: Path  # the JSON file that says that the export is complete
    copies: ClassVar[bool] = True  # whether files are those of ROOT_DIR, where labels stay
    # What becomes of samples of which none is validated on; empty where there are no folds.
    without_folds: ClassVar[str] = ""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels; of one without a name, the modalities of the chosen scans."""
        if self.dataset.has_channel_files or self.dataset.channel_names:
            return tuple(self.dataset.channels)
        return ("_or_".join(_CHANNELS.get(each, "UND") for each in self.mark.label_values),)

    def describe(self, name: str, more: str = "") -> dict[str, Any]:
        """Return what the lists of all programs begin with."""
        done = "organised" if self.dataset.denoised == "none" else "organised and denoised"
        return {
            "name": name,
            "description": f"{self.dataset.name}, {done} by amos-dask{more}",
            "reference": self.dataset.url,
            "licence": self.dataset.licence,
            "citation": self.dataset.cite,
        }

    def part_of(self, task: ExportTask) -> str:
        """Return the part of the split that a sample is in; empty where that is none."""
        return self.mark.parts.get(task.name, "") if self.mark.split_name else task.subset

    def in_parts(self, placed: Iterable[ExportTask]) -> list[ExportTask]:
        """Return the samples with a label that are in a part of the split."""
        return [task for task in placed if task.subset != TEST and self.part_of(task)]

    def folds(self, placed: Iterable[ExportTask]) -> list[dict[str, list[str]]]:
        """Return which cases each fold is trained on and validated on."""
        return make_folds({task.case: self.part_of(task) for task in self.in_parts(placed)})

    def remark(self, placed: Sequence[ExportTask]) -> str:
        """Return what a person is to know of the samples in it; or nothing."""
        return ""

    def make(self, task: ExportTask) -> StepResult[Placing]:
        """Make a sample's files, on a worker."""
        return export_sample(task)

    def sizes(self, tasks: Iterable[ExportTask]) -> list[int]:
        """Return at most how many bytes each file, or sample, takes that is to be written."""
        sizes = []
        for task in tasks:
            files = [*zip(task.folder.volumes, task.images, strict=False)]
            if task.label and (task.images or any(a != b for a, b in task.values.items())):
                files.append((task.folder.mask, task.label))
            for source, final in files:
                if source.is_file() and not is_in_place(final, identity(source, final.name)):
                    sizes.append(source.stat().st_size)
        return sizes

    @abstractmethod
    def place(self, task: ExportTask) -> ExportTask:
        """Give a sample the places for its files."""

    @abstractmethod
    def lists(self, placed: Sequence[ExportTask]) -> dict[Path, Any]:
        """Return path -> content of the JSON files about the samples in it; the sign comes last."""


def export(
    asked: ExportMark,
    plan: Callable[[ExportMark, Layout], Form],
    *,
    link: str = "copy",
    adopt: bool,
    no_lock: bool,
    cluster: Any,
    progress: str | Listener,
) -> CommandResult:
    """Make an export, or bring it up to date; nobody else does so meanwhile.

    Parameters
    ----------
    asked : ExportMark
        What was asked for, as a mark tells it.
    plan : callable
        Returns what the export is to be, and where, from its mark and ROOT_DIR.
    link, adopt, no_lock, cluster, progress
        As for `export_nnunet`.

    Returns
    -------
    CommandResult
        With a row a sample.

    Raises
    ------
    AmosDaskError
        When the folder holds something that no export made, lies in an archive, or another export
        works there.
    """
    with reading_from(Layout(find_root(Path(asked.root_dir)))):
        mark, tasks = find_wanted(asked)
        form = plan(mark, tasks[0].layout)
        is_new, before = not is_export(form.base), ""
        if not (is_new or asked.split_name) and (before := read_mark(form.base).split_name):
            mark, tasks = find_wanted(replace(asked, split_name=before))
            form = plan(mark, tasks[0].layout)
        base, layout = form.base, ExportLayout(form.base)
        require_no_archive(tasks[0].layout, form.sign, base)
        if is_new and _is_taken(base):
            raise AmosDaskError(
                f"{base}: there already, and no export of amos-dask; choose another place or move "
                "it away."
            )
        with working_on(layout, no_lock=no_lock):
            if is_new:
                write_mark(base, mark)
            remove_temporaries(layout)
            update = _Update(form, link, adopt=adopt)
            try:
                update.place(tasks, cluster, progress)
                update.write_lists()
            except BaseException:
                if is_new and {path.name for path in base.iterdir()} <= _OURS:
                    (base / EXPORT_MARK).unlink()  # nothing was written
                    _forget_journals(layout)
                raise
            update.say_strangers()
            write_mark(base, update.mark())
            _forget_journals(layout)
        remove_if_empty(layout.state)  # a killed export has left it
        remember_export(tasks[0].layout, base)
        told = f"the split is that of before; the official one is --split_name {SPLIT_NAME}"
        return update.result(len(tasks), remark=told if before else "")


def _is_taken(base: Path) -> bool:
    """Return whether there is a file, or a folder with more than hidden files in it."""
    return any(base.glob("[!.]*")) if base.is_dir() else os.path.lexists(base)


def _forget_journals(layout: ExportLayout) -> None:
    for journal in find_journals(layout):
        journal.remove()
    remove_if_empty(layout.journals)


class _Update:
    """What is known of an export while it is made or brought up to date."""

    def __init__(self, form: Form, link: str, *, adopt: bool) -> None:
        base, told = form.base, defaultdict[str, set[str]](set)
        self._earlier = read_mark(base).files
        for key, file in self._earlier.items():
            told[key] |= {file.identity} - {""}
        for journal in find_journals(ExportLayout(base)):
            for path, identities in journal.files().items():
                told[path_from(base, base / path)] |= set(identities)
        known = {key: frozenset(identities) for key, identities in told.items()}
        self._form, self._folder = form, ExportFolder(base, known, adopt, link)
        self._placed: list[ExportTask] = []  # that are in it, by number, with where files are
        self._files: dict[str, ExportedFile] = {}
        self._issues: list[Issue] = []
        self._n_removed = 0
        self._n_bytes: list[int] = []  # of each file of a sample that was written

    def place(self, tasks: Sequence[ExportTask], cluster: Any, progress: str | Listener) -> None:
        """Put the samples in their places, and take away images that are no longer part of it.

        The sign, if it is as we wrote it, is removed before anything is changed.
        """
        folder, sign, layout = self._folder, self._form.sign, tasks[0].layout
        where = map(self._form.place, tasks)
        by_name = {t.name: replace(t, export=folder.of_files(t.places)) for t in where}
        to_do = list(by_name.values())
        sizes = self._form.sizes(to_do) if folder.link == "copy" else []
        is_copied = self._form.copies
        if sizes and not (is_copied and can_clone(tasks[0].folder.volume, folder.base)):
            require_room(folder.base, sum(sizes))
        to_see = ([str(layout.root)], [str(folder.base)])
        with open_session(cluster, progress, to_see) as session:
            session.prepare_kernels()
            if sizes:
                what, todo = ("file", "copy") if is_copied else ("sample", "make")
                told = f"{number_of(len(sizes), what)} to {todo}, at most {_gigabytes(sizes)}"
                session.listener(Notice(f"{folder.base}: {told}"))
            if folder.ownership(sign).is_as_written(sign):
                sign.unlink()
            results = step_results(session.map("export", self._form.make, to_do))
        for result in results:
            task = by_name[result.sample_id]
            if result.value is None:
                self._keep_earlier(task, result.issues)
            else:
                placing = result.value
                self._placed.append(replace(task, images=placing.images, label=placing.label))
                self._n_bytes += placing.n_bytes
                self._note(placing, task.name)
        self._remove_outdated(lists=False)

    def _keep_earlier(self, task: ExportTask, issues: Sequence[Issue]) -> None:
        """Keep what an earlier export has of a sample that cannot be read now."""
        is_absent = any(issue.code in _ABSENT for issue in issues)
        there = [path for path in task.places if is_absent and os.path.lexists(path)]
        keys = [key for key in map(self._folder.key, there) if key in self._earlier]
        if keys:
            action = "what was exported earlier stays"
            issues = [replace(issue, severity="error", action=action) for issue in issues]
        self._issues += issues
        self._files |= {key: self._earlier[key] for key in keys}
        has_images = bool(task.images) and set(task.images) <= set(there)
        if has_images and (task.label in there or task.subset == TEST):
            self._placed.append(replace(task, label=task.label if task.label in there else None))

    def _note(self, placing: Placing, sample: str = "") -> None:
        """Note files that were placed, and what was outdated or is somebody's."""
        for key, file in placing.files.items():
            earlier, issue = self._earlier.get(key), partial(make_issue, sample=sample, file=key)
            if key in placing.in_the_way:
                message = "is not what this export wrote, or is reached through a link"
                if earlier != file:
                    message += ", and what it would write now is something else"
                action = "left as it is; --adopt moves it to replaced/ in the export"
                self._issues.append(issue("foreign_file", message, action=action))
                file = earlier or replace(file, identity="")
            elif earlier is not None and earlier.is_outdated_by(file):
                message = f"was made from another {Path(file.source).name} than there is now"
                action = "brought up to date"
                self._issues.append(
                    issue("outdated_export", message, action=action, severity="info")
                )
            self._files[key] = file

    def write_lists(self) -> None:
        """Write the export's JSON files, and take away those that are no longer made."""
        for path, content in self._form.lists(self._placed).items():
            folder = self._folder
            if not self._earlier and carries_own_key(path):
                folder = replace(folder, adopt=True)  # version 0.1.0, whose marks tell no files
            placing = Placing(folder, "lists")
            placing.write_json(path, content, indent=2)
            self._note(placing)
        self._remove_outdated(lists=True)
        if self._form.without_folds and not self._form.mark.split_name:
            for fold in self._form.folds(self._placed):  # the official split makes one, or none
                told = f"trains on {len(fold['train'])} and validates on {len(fold['val'])}"
                message = f"the official split is fold 0, which {told}; there are no other folds"
                action = "for a cross-validation, make-split --kind kfold and export with its "
                action += "--split_name"
                self._issues.append(make_issue("only_fold", message, action=action))
        names = [t.name for t in self._placed if t.subset != TEST and not self._form.part_of(t)]
        if names:
            shown = ", ".join(names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
            n = number_of(len(names), "sample")
            message = f"{n} in no part of {self._form.mark.split_name}: {shown}"
            action = "in no fold; fill them in in its worksheet, or make the split anew"
            self._issues.append(make_issue("unassigned_sample", message, action=action))

    def _remove_outdated(self, *, lists: bool) -> None:
        """Remove files that are no longer part of the export; those that were altered stay."""
        for key in sorted(self._folder.known.keys() - self._files.keys()):
            path = path_told(self._folder.base, key)
            if key.endswith(".json") != lists or key == EXPORT_MARK:
                continue
            is_there = os.path.lexists(path)
            self._folder.ownership(path).remove(path)
            if not os.path.lexists(path):
                self._n_removed += is_there
            else:
                self._warn("is no longer part of the export, but is not as it was written", key)

    def say_strangers(self) -> None:
        """Warn of each folder of the export with files that are not ours."""
        base, found = self._folder.base, defaultdict(list)
        known = {*self._files, *self._earlier, *(issue.file for issue in self._issues)}
        for path in sorted(base.rglob("*")):
            inside = path.relative_to(base)
            is_hidden = any(name.startswith(".") for name in inside.parts)
            is_ours = inside.as_posix() in known or inside.parts[0] in _OURS
            if not (path.is_dir() or is_hidden or is_ours):
                found[inside.parent.as_posix()].append(path.name)
        for key, names in found.items():
            shown = first_of(names, _SHOWN_NAMES)
            self._warn(f"not of the export: {shown}", "" if key == "." else key)

    def _warn(self, message: str, file: str) -> None:
        told = {"file": file, "action": "left as it is"}
        self._issues.append(make_issue("foreign_file", message, severity="warning", **told))

    def mark(self) -> ExportMark:
        """Return what the export is now."""
        mark, placed = self._form.mark, {task.name for task in self._placed}
        left_out = tuple(name for name in mark.samples if name not in placed)
        return replace(mark, files=dict(sorted(self._files.items())), left_out=left_out)

    def result(self, n_asked: int, *, remark: str) -> CommandResult:
        """Return the command's result."""
        placed, form = self._placed, self._form
        n_of = Counter(task.subset for task in placed)
        train, val, test = (n_of[subset] for subset in SUBSETS)
        told = [f"{train} training, {val} validation and {number_of(test, 'test scan')}"]
        if split := form.mark.split_name:
            n_parts = Counter(map(form.part_of, form.in_parts(placed)))
            parts = ", ".join(f"{part} {n}" for part, n in sorted(n_parts.items()))
            told = [f"{train + val} labelled and {number_of(test, 'test scan')}"]
            told.append(f"{split}: {parts}")
        elif form.without_folds and not form.folds(placed):
            which = f"no official split, {form.without_folds}"
            told.append(f"{which} (--split_name takes one of yours)")
        told.append(form.remark(placed))
        if n_asked > len(placed):
            told.append(f"{n_asked - len(placed)} left out")
        if self._n_bytes:
            files = number_of(len(self._n_bytes), "file")
            told.append(f"{files}, {_gigabytes(self._n_bytes)}, written")
        if self._n_removed:
            files = number_of(self._n_removed, "file")
            told.append(f"{files} of the earlier export removed, which would not be made now")
        if self._folder.link == "symbolic":
            told.append("links: what is written to one is written to ROOT_DIR")
        summary = "; ".join(filter(None, [*told, remark]))
        rows = [
            (t.name, t.subset, t.modality, str(t.images[0]), t.label and str(t.label))
            for t in placed
        ]
        columns = ["ID", "subset", "modality", "image", "label"]
        frame = pd.DataFrame(rows, columns=columns, dtype=object)
        output = form.base if form.sign.is_relative_to(form.base) else form.sign
        return CommandResult((output,), n_asked, summary, tuple(in_order(self._issues)), frame)


def _gigabytes(sizes: Iterable[int]) -> str:
    return f"{sum(sizes) / 1e9:.2f} GB"
