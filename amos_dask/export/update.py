"""An export made or brought up to date: alone, with room, by what its mark lists as its own."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.archive.recognise import EXPORT_MARK
from amos_dask.datasets import SUBSETS
from amos_dask.engine.events import Listener, Notice
from amos_dask.engine.session import Needs, open_session
from amos_dask.errors import AmosDaskError
from amos_dask.export.choose import ExportRequest
from amos_dask.export.files import ExportFolder, Placing, can_clone, to_json
from amos_dask.export.place import ExportTask, Placed, export_sample
from amos_dask.issues import Issue, in_order, make_issue
from amos_dask.records import StepResult
from amos_dask.results import CommandResult, step_results
from amos_dask.root.export_mark import (
    ExportMark,
    OwnFile,
    is_export,
    path_from,
    path_told,
    read_mark,
    remember_export,
    write_mark,
)
from amos_dask.root.identity import identity
from amos_dask.root.layout import Layout
from amos_dask.root.ownership import end_run, join_listed
from amos_dask.root.staging import (
    Journal,
    Staging,
    find_journals,
    remove_if_empty,
    remove_temporaries,
    require_room,
)
from amos_dask.root.working import working_on

_COLUMNS = ("ID", "subset", "modality", "image", "label")
# Of a sample with such an issue, what was exported earlier stays: absence is no order.
_ABSENT = frozenset({"unreadable_volume", "unreadable_mask", "missing_mask", "sample_failed"})
_OURS = frozenset({EXPORT_MARK, ".amos-dask", "replaced"})
_SHOWN_NAMES = 5


@dataclass
class Update:
    """An export that is being made or brought up to date.

    Parameters
    ----------
    folder : ExportFolder
        What of it is ours from earlier.
    mark : ExportMark
        What it is asked to be.
    placed : list of ExportTask
        The samples that are in it, by number, with the places where their files are.
    files : dict of str to OwnFile
        Its files.
    issues : list of Issue
        What was found.
    n_bytes : list of int
        Of each file of a sample that was written.
    """

    folder: ExportFolder
    mark: ExportMark
    placed: list[ExportTask] = field(default_factory=list)
    files: dict[str, OwnFile] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)
    n_bytes: list[int] = field(default_factory=list)

    def ids(self, subset: str) -> list[str]:
        """Return the samples of a subset, by number."""
        return [task.name for task in self.placed if task.subset == subset]

    def place(
        self, tasks: Sequence[ExportTask], sign: Path, cluster: Any, progress: str | Listener
    ) -> None:
        """Put the samples in their places, and take away what is no longer part of the export.

        Parameters
        ----------
        tasks : sequence of ExportTask
            At least one, all of one ROOT_DIR.
        sign : Path
            The file that says that an export is complete; if it is as we wrote it, it is removed
            before anything is changed.
        cluster, progress
            As for `export_nnunet`.
        """
        base = self.folder.base
        n_files, n_bytes = self._find_work(tasks)
        if n_bytes and not can_clone(tasks[0].folder.volume, base):
            require_room(base, n_bytes)
        needs = Needs(to_read=(str(tasks[0].layout.root),), to_write=(str(base),))
        with open_session(cluster, progress, needs) as session:
            session.prepare_kernels()
            if n_bytes:
                size = f"{n_bytes / 1e9:.2f} GB"
                session.listener(Notice(f"{base}: {n_files} files to copy, at most {size}"))
            if self.folder.is_as_written(sign):
                sign.unlink()
            runs = [task.to_run(self.folder) for task in tasks]
            results = step_results(session.map("export", export_sample, runs))
        by_name = {task.name: task for task in tasks}
        for result in results:
            self._take(by_name[result.sample_id], result)
        self._remove_outdated(".nii.gz")

    def write_lists(self, lists: dict[Path, Any]) -> None:
        """Write the export's JSON files; the last of them appears last."""
        with Staging(Journal(Layout(self.folder.base), "lists")) as staging:
            placing = Placing(self.folder, staging)
            for path, content in lists.items():
                text = to_json(content)
                placing.write(path, partial(Path.write_text, data=text, encoding="utf-8"))
            placing.publish(last=path)
        self.files |= placing.files
        self.issues += placing.issues

    def finish(self) -> None:
        """Take away lists that are no longer made, say what is not ours, and write the mark."""
        self._remove_outdated(".json")
        self.issues += self._find_strangers()
        names = {task.name for task in self.placed}
        left_out = tuple(name for name in self.mark.samples if name not in names)
        write_mark(
            self.folder.base,
            replace(self.mark, files=dict(sorted(self.files.items())), left_out=left_out),
        )

    def result(self, output: Path) -> CommandResult:
        """Return the command's result, with a row a sample."""
        rows = [
            (task.name, task.subset, task.modality, str(task.image), task.label and str(task.label))
            for task in self.placed
        ]
        train, val, test = (len(self.ids(subset)) for subset in SUBSETS)
        n_asked = len(self.mark.samples)
        summary = f"{train} training, {val} validation and {test} test scans"
        if n_asked > len(self.placed):
            summary += f"; {n_asked - len(self.placed)} left out"
        if self.n_bytes:
            summary += f"; {len(self.n_bytes)} files, {sum(self.n_bytes) / 1e9:.2f} GB, written"
        if self.folder.link == "symbolic":
            summary += "; links: what is written to one is written to ROOT_DIR"
        frame = pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
        return CommandResult((output,), n_asked, summary, tuple(in_order(self.issues)), frame)

    def _find_work(self, tasks: Sequence[ExportTask]) -> tuple[int, int]:
        """Return how many files are to be copied, and at most how many bytes they take."""
        sizes = []
        for task in tasks if self.folder.link == "copy" else ():
            both = ((task.folder.volume, task.image), (task.folder.mask, task.label))
            for source, final in both:
                if final is None or not source.is_file():
                    continue
                is_kept = task.image is None and not task.changes_labels
                if not is_kept and not self.folder.is_in_place(final, identity(source, final.name)):
                    sizes.append(source.stat().st_size)
        return len(sizes), sum(sizes)

    def _remove_outdated(self, ending: str) -> None:
        """Remove files that are no longer part of the export; those that were altered stay."""
        base = self.folder.base
        for key in sorted({*self.folder.own, *self.folder.begun} - self.files.keys()):
            path = path_told(base, key)
            if not key.endswith(ending):
                continue
            if self.folder.remove(path):
                message = "is no longer part of the export, but is not as it was written"
                issue = make_issue("foreign_file", message, file=key, action="left as it is")
                self.issues.append(replace(issue, severity="warning"))
            elif path.is_relative_to(base) and path.parent != base:
                remove_if_empty(path.parent)

    def _take(self, task: ExportTask, result: StepResult[Placed]) -> None:
        placed = result.value
        if placed is None and any(issue.code in _ABSENT for issue in result.issues):
            placed = self._find_earlier(task)
            if placed.files:
                action = "what was exported earlier stays"
                found = [replace(i, severity="error", action=action) for i in result.issues]
                result = replace(result, issues=tuple(found))
        self.issues += result.issues
        if placed is None:
            return
        self.files |= placed.files
        self.n_bytes += placed.n_bytes
        if placed.is_whole:
            self.placed.append(replace(task, image=placed.image, label=placed.label))

    def _find_earlier(self, task: ExportTask) -> Placed:
        """Return what an earlier export has of a sample that cannot be read now."""
        there = [path for path in task.places if os.path.lexists(path)]
        own = {self.folder.key(path): path for path in there}
        files = {key: self.folder.own[key] for key in own if key in self.folder.own}
        is_whole = task.image in there and (task.label in there or task.subset == "test")
        label = task.label if task.label in there else None
        return Placed(task.image or task.folder.volume, label, files, is_whole=is_whole)

    def _find_strangers(self) -> Iterator[Issue]:
        """Yield an issue for each folder of the export with files that are not ours."""
        base, found = self.folder.base, defaultdict(list)
        known = {*self.files, *self.folder.own, *_OURS, *(issue.file for issue in self.issues)}
        for place, folders, names in os.walk(base):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if Path(place) == base:
                folders[:] = [name for name in folders if name not in _OURS]
            for name in sorted(names):
                if not (name.startswith(".") or self.folder.key(Path(place, name)) in known):
                    found[self.folder.key(Path(place))].append(name)
        for key, names in found.items():
            shown, n_more = ", ".join(names[:_SHOWN_NAMES]), len(names) - _SHOWN_NAMES
            more = f" and {n_more} more" if n_more > 0 else ""
            issue = make_issue("foreign_file", f"not of the export: {shown}{more}")
            file = "" if key == "." else key
            yield replace(issue, file=file, severity="warning", action="left as it is")


@contextmanager
def updating(
    base: Path,
    form: str,
    request: ExportRequest,
    link: str = "copy",
    *,
    adopt: bool = False,
    no_lock: bool = False,
) -> Iterator[Update]:
    """Yield an export that is to be made or brought up to date; nobody else does so meanwhile.

    Parameters
    ----------
    base : Path
        The folder with its mark.
    form : {"nnunet", "monai"}
        Of what program.
    request : ExportRequest
        What is to be exported.
    link : {"copy", "symbolic"}
        How files get there.
    adopt : bool
        What is in the way and not as we wrote it goes to ``replaced/`` in the folder.
    no_lock : bool
        Take no lock on the folder, on a file system that has none.

    Raises
    ------
    AmosDaskError
        When the folder holds something that no export made, or another export works there.
    """
    if _is_taken(base) and not is_export(base):
        raise AmosDaskError(
            f"{base}: there already, and no export of amos-dask; choose another place or move it "
            "away."
        )
    layout = Layout(base)
    with working_on(layout, no_lock=no_lock):
        is_new = not is_export(base)
        if is_new:
            write_mark(base, request.mark(base, form))
        journals = find_journals(layout)
        remove_temporaries(layout)
        listed = join_listed(*(journal.files() for journal in journals))
        begun = {path_from(base, base / path): known for path, known in listed.items()}
        folder = ExportFolder(base, read_mark(base).files, begun, adopt, link)
        update = Update(folder, request.mark(base, form))
        try:
            yield update
        except BaseException:
            if is_new:
                _remove_if_only_marked(base)
            raise
        update.finish()
        for journal in find_journals(layout):
            journal.remove()
        end_run(layout)
        remove_if_empty(layout.journals)
    remove_if_empty(layout.state)  # a killed export has left it
    remember_export(request.layout, base)


def _is_taken(base: Path) -> bool:
    """Return whether there is a file, or a folder with more than hidden files in it."""
    if not base.is_dir():
        return os.path.lexists(base)
    return any(not path.name.startswith(".") for path in base.iterdir())


def _remove_if_only_marked(base: Path) -> None:
    """Remove the mark of a new export of which nothing was written."""
    layout = Layout(base)
    if {path.name for path in base.iterdir()} <= {EXPORT_MARK, layout.state.name}:
        (base / EXPORT_MARK).unlink()
        for journal in find_journals(layout):
            journal.remove()
        remove_if_empty(layout.journals)
