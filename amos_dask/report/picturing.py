"""Pictures of what denoising changed in one organised sample, from its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue
from amos_dask.records import StepResult
from amos_dask.root.derived import forget_others
from amos_dask.root.picture_files import count_pictures, pack_pictures, pictures_path
from amos_dask.root.restore import RestoreData
from amos_dask.root.staging import write_text
from amos_dask.sample.source import FolderTask, open_mask, show_volume, unreadable_output
from amos_dask.steps.pictures import RESULT_VERSION, PictureTaker


@dataclass(frozen=True, slots=True)
class Pictured:
    """Where a sample's pictures are.

    Parameters
    ----------
    path : Path
        The file.
    n_pictures : int
        How many it holds.
    """

    path: Path
    n_pictures: int


@dataclass(frozen=True, slots=True)
class PictureTask(FolderTask):
    """An organised sample to take pictures of.

    Parameters
    ----------
    modality : str
        ``ct`` is shown in Hounsfield units.
    """

    modality: str

    def path(self) -> Path:
        """Return where the pictures are kept; raise OSError when a file they show is gone."""
        folder = self.folder
        restore = RestoreData(self.layout.restore).path_for(self.name, folder.mask)
        files = (folder.volume, folder.mask, restore)
        return pictures_path(self.layout.pictures, self.name, files, RESULT_VERSION)


def find_pictures(task: PictureTask) -> Pictured | None:
    """Return a sample's pictures; None where its files, as they are, have none."""
    try:
        path = task.path()
        return Pictured(path, count_pictures(path))
    except (OSError, ValueError):  # there is none, or it is damaged
        return None


def take_pictures(task: PictureTask) -> StepResult[Pictured]:
    """Take pictures of a sample and keep them.

    Returns
    -------
    StepResult of Pictured
        None when volume or mask cannot be read, or where what denoising changed is not kept.
    """
    opened = open_mask(task)
    if isinstance(opened, Issue):
        return StepResult(task.name, None, (opened,))
    mask, info = opened
    difference = RestoreData(task.layout.restore).read(task.name, task.folder.mask)
    if difference is None:  # which is said where the changes are listed
        return StepResult(task.name, None)
    taker = PictureTaker(mask, difference, info.affine, task.modality)
    try:
        show_volume(task, mask.shape, taker.add)
        path = task.path()
    except (UnreadableImageError, InaccessibleFileError) as error:
        issue = unreadable_output(task, task.folder.volume, "volume", error)
        return StepResult(task.name, None, (issue,))
    pictures = taker.result()
    write_text(path, pack_pictures(pictures))
    forget_others(task.layout.pictures, task.name, path)
    return StepResult(task.name, Pictured(path, len(pictures)))
