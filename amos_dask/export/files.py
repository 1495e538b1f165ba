"""Files of an export: which are ours; a sample's put in their places: copies, clones, links."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from amos_dask.errors import ForeignFileError
from amos_dask.issues import Issue
from amos_dask.kernels.voxelwise import remap_labels
from amos_dask.nifti import ImageInfo, Mask, write_mask
from amos_dask.records import StepResult
from amos_dask.root.export_mark import ExportedFile, identity_of, path_from
from amos_dask.root.layout import Layout
from amos_dask.root.own_files import Ownership, link_identity
from amos_dask.root.staging import Identities, Journal, Staging, identity
from amos_dask.sample.source import CANNOT_BE_READ, FolderSource
from amos_dask.steps.header_check import require_same_grid
from amos_dask.steps.mask import FittedMask, fit_to_volume
from amos_dask.steps.mask_labels import check_labels, labels_present

OWN_KEY = "amos_dask"  # in JSON files of others' forms
_LEFT_OUT = "left out of the export"
_FICLONE = 0x40049409  # of linux/fs.h: the file shares another's blocks until either is written


class ExportLayout(Layout):
    """The folder of an export: no link in all of it is followed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "tops", (self.root,))


@dataclass(frozen=True, slots=True)
class ExportFolder:
    """What of an export is ours: what it wrote earlier, and nobody changed."""

    base: Path  # the folder with the export's mark, to which paths are relative
    known: Identities  # under which we wrote files: of the mark, and journals of killed exports
    adopt: bool = False  # what is in the way and not ours goes to replaced/ in the folder
    link: str = "copy"  # or "symbolic": how files get there

    def key(self, path: Path) -> str:
        """Return a file's path as the mark tells it."""
        return path_from(self.base, path)

    def ownership(self, path: Path, *of_root: str) -> Ownership:
        """Return what is ours of a file's place: what somebody changed is theirs.

        What has one of the identities of ROOT_DIR's own is as good as ours.
        """
        layout = ExportLayout(self.base)
        known = self.known.get(self.key(path), frozenset()) | frozenset(of_root)
        listed = {layout.key(path): known} if self.adopt or identity_of(path) in known else {}
        return Ownership(layout, listed, adopt=self.adopt)

    def of_files(self, paths: Collection[Path]) -> ExportFolder:
        """Return the same of some files only, for their task to take along."""
        keys = self.known.keys() & {self.key(path) for path in paths}
        return replace(self, known={key: self.known[key] for key in keys})


def is_in_place(path: Path, wanted: str) -> bool:
    """Return whether a file is what is wanted already, under no other name as well.

    Exports of version 0.1.0 were hard links to the files of ROOT_DIR.
    """
    is_alone = os.path.lexists(path) and path.lstat().st_nlink == 1
    return is_alone and identity_of(path) == wanted


@dataclass
class Placing:
    """Files that are put in their places, where those are free or ours."""

    folder: ExportFolder
    name: str  # of a sample, or what else they are of
    files: dict[str, ExportedFile] = field(default_factory=dict)  # as the mark is to tell them
    in_the_way: list[str] = field(default_factory=list)  # whose place somebody has, and keeps
    n_bytes: list[int] = field(default_factory=list)  # of each file that was written
    images: tuple[Path, ...] = ()  # where the channels of a sample's volume are now
    label: Path | None = None  # and its mask

    def place(self, source: Path, final: Path) -> None:
        """Place a file of ROOT_DIR as it is: a copy that shares its blocks if it can, or a link."""
        told, target = identity(source, final.name), Path(os.path.realpath(source))

        def copy(temporary: Path) -> None:
            copy_file(source, temporary)
            if identity(temporary, final.name) != told:
                raise OSError(errno.EIO, "was changed while it was copied", str(source))

        if self.folder.link == "symbolic":
            self.write(final, lambda path: path.symlink_to(target), source, link_identity(target))
        else:
            self.write(final, copy, source, told)

    def write(
        self,
        final: Path,
        write: Callable[[Path], object],
        source: Path | None = None,
        wanted: str = "",
    ) -> None:
        """Place a file that a function writes under a name that it is given, unless it is there.

        The source is the file of ROOT_DIR that it is made from; ``wanted`` is the identity of the
        placed file, where that is known before.
        """
        file, of_root = self.note(final, wanted, source), list[str]()
        if source is not None:
            of_root = [file.source_identity, link_identity(Path(os.path.realpath(source)))]
        ours = self.folder.ownership(final, *of_root)
        with Staging(Journal(ours.layout, self.name)) as staging:
            try:
                ours.make_way_to(final, adopt=self.folder.adopt)
                if not is_in_place(final, wanted):
                    temporary = staging.path_for(final)
                    write(temporary)
                    told = wanted or identity(temporary, final.name)
                    self.files[self.folder.key(final)] = replace(file, identity=told)
                    if not is_in_place(final, told):
                        ours.publish(staging, lambda *_: False)
                        self.n_bytes.append(0 if final.is_symlink() else final.stat().st_size)
            except ForeignFileError:
                self.in_the_way.append(self.folder.key(final))

    def write_json(
        self, final: Path, content: Any, *, indent: int, source: Path | None = None
    ) -> None:
        """Place a JSON file, as `write` does."""
        text = json.dumps(content, indent=indent, ensure_ascii=False) + "\n"
        self.write(final, partial(Path.write_text, data=text, encoding="utf-8"), source)

    def note(self, final: Path, known: str, source: Path | None) -> ExportedFile:
        """Note a file of the export, its identity, and the file that it was made from."""
        made_from = () if source is None else (self.folder.key(source), identity(source))
        file = ExportedFile(known, *made_from)
        self.files[self.folder.key(final)] = file
        return file


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's content; where the file system can, both share their blocks."""
    with source.open("rb") as reading, target.open("wb") as writing:
        if not _clone(reading.fileno(), writing.fileno()):
            shutil.copyfileobj(reading, writing, 1 << 20)


def can_clone(source: Path, folder: Path) -> bool:
    """Return whether a copy of a file in a folder takes no room; tried with a temporary file."""
    with source.open("rb") as reading, TemporaryFile(dir=folder) as writing:
        return _clone(reading.fileno(), writing.fileno())


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False  # another file system, or one that cannot
    return True


def carries_own_key(file: Path) -> bool:
    """Return whether a JSON file says that an export of ours wrote it."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and OWN_KEY in content


@dataclass(frozen=True, slots=True)
class ExportTask(FolderSource):
    """An organised sample to export: what it is of, and where its files are to be, or are.

    Without places for images, its volume stays in ROOT_DIR, as does a mask whose values stay.
    """

    subset: str
    modality: str  # of its group's folder, else of its number
    values: Mapping[int, int]  # label of the mask -> value in the export
    has_non_finite_voxels: bool  # NaN or infinite, as far as that is known
    export: ExportFolder | None = None  # what of the export is ours of its files
    images: tuple[Path, ...] = ()  # a file a channel
    label: Path | None = None
    others: tuple[Path, ...] = ()  # files besides: the record of arrays

    @property
    def places(self) -> list[Path]:
        """Where files of the export may be."""
        label = () if self.label is None else (self.label,)
        return list(dict.fromkeys((*self.images, *label, *self.others)))

    @property
    def ours(self) -> ExportFolder:
        """What of the export is ours, where that is known."""
        if self.export is None:
            raise ValueError(f"{self.name}: the export is not known")
        return self.export

    @property
    def case(self) -> str:
        """What the export calls the sample."""
        return self.layout.dataset.case_name(self.folder.seq)


class LeftOutError(Exception):
    """A sample that cannot be used, with the issues that say why."""

    def __init__(self, *issues: Issue) -> None:
        super().__init__(*issues)
        self.issues = issues


Make = Callable[[ExportTask, ImageInfo, FittedMask | None, Placing], None]


def export_sample(task: ExportTask, make: Make | None = None) -> StepResult[Placing]:
    """Place one sample's volume and mask, on a worker.

    Parameters
    ----------
    task : ExportTask
        The sample.
    make : callable, optional
        Writes what becomes of the header of its first channel and its mask; by default both are
        placed as they are, but for the values of labels.

    Returns
    -------
    StepResult of Placing
        Where volume and mask are now, and the export's files of the sample. Without a value when it
        cannot be used, which the issues explain.
    """
    placing = Placing(task.ours, task.name)
    try:
        volume = _check_volume(task)
        has_mask = task.subset != "test" or task.folder.mask.exists()  # test scans may have none
        mask = _read_mask(task, volume) if has_mask else None
        (make or _place_as_they_are)(task, volume, mask, placing)
    except LeftOutError as error:
        return StepResult(task.name, None, error.issues)
    return StepResult(task.name, placing)


def _place_as_they_are(
    task: ExportTask, volume: ImageInfo, mask: FittedMask | None, placing: Placing
) -> None:
    placing.label = None if mask is None else _place_mask(task, mask, volume, placing)
    placing.images = task.images or task.folder.volumes
    if task.images:
        for source, image in zip(task.folder.volumes, task.images, strict=True):
            placing.place(source, image)


def _check_volume(task: ExportTask) -> ImageInfo:
    """Return the header of the first channel, on whose grid the others have to lie."""
    headers = list[ImageInfo]()
    for path in task.folder.volumes:
        try:
            headers.append(task.read_header(path))
            require_same_grid(headers[0], headers[-1])
        except CANNOT_BE_READ as error:
            raise LeftOutError(task.unreadable(path, "volume", error)) from error
    if task.has_non_finite_voxels:
        raise not_finite(task)
    return headers[0]


def not_finite(task: ExportTask) -> LeftOutError:
    """Return why a scan is left out: nnU-Net refuses NaN, and it cannot be trained on."""
    message = "the scan holds NaN or infinite voxels"
    issue = task.issue("non_finite_voxels", message, task.folder.volume, _LEFT_OUT)
    return LeftOutError(replace(issue, severity="error"))


def _read_mask(task: ExportTask, volume: ImageInfo) -> FittedMask:
    """Return the mask on its volume's grid, as it may have been edited since the last run."""
    path = task.folder.mask
    if not path.exists():
        message = "there is no mask to train on"
        raise LeftOutError(task.issue("missing_mask", message, path, _LEFT_OUT))
    opened, issues = task.open_mask()
    if opened is None:
        raise LeftOutError(*issues)
    fitted = fit_to_volume(opened.labels, opened.info, volume)
    if fitted is None:
        message, shape = "the mask lies on another grid than its scan", opened.info.shape
        if shape != volume.shape:
            message = f"the mask has the shape {shape}, its scan {volume.shape}"
        raise LeftOutError(task.issue("inconsistent", message, path, _LEFT_OUT))
    present, shown = labels_present(opened.labels), task.layout.shown(path)
    if unknown := check_labels(present, task.label_map, task.name, shown):
        raise LeftOutError(*unknown)
    return fitted


def _place_mask(task: ExportTask, fitted: FittedMask, volume: ImageInfo, placing: Placing) -> Path:
    """Place a mask under the export's labels; one that keeps its values may stay where it is."""
    source, mask = task.folder.mask, fitted.labels
    present = labels_present(mask)
    is_same = fitted.is_as_written and all(task.values[label] == label for label in present)
    if task.label is None or (is_same and not task.images):
        return source
    if is_same:
        placing.place(source, task.label)
    else:
        changed = with_values(task, mask)
        placing.write(task.label, lambda path: write_mask(path, volume, changed), source)
    return task.label


def with_values(task: ExportTask, mask: Mask) -> Mask:
    """Return a mask of ROOT_DIR under the export's labels."""
    lookup = np.zeros(256, np.uint8)
    lookup[list(task.values)] = list(task.values.values())
    return remap_labels(mask, lookup)
