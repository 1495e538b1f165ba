"""Pictures of what denoising changed in one organised sample: kept, or taken from its files."""

from __future__ import annotations

import json
from dataclasses import dataclass

from amos_dask.records import StepResult
from amos_dask.root.kept import KeptFiles
from amos_dask.root.receipts import Receipts
from amos_dask.sample.source import FolderSource
from amos_dask.steps.pictures import PICTURE_ARRAY, PictureTaker, pack_pictures, unpack_pictures


@dataclass(frozen=True, slots=True)
class PictureTask:
    """An organised sample to take pictures of.

    Parameters
    ----------
    source : FolderSource
        The sample.
    modality : str
        ``ct`` is shown in Hounsfield units.
    """

    source: FolderSource
    modality: str

    @property
    def name(self) -> str:
        """The sample's id."""
        return self.source.sample_id


def read_pictures(source: FolderSource) -> str | None:
    """Return a sample's pictures as JSON text, a list of slices, most changed first.

    None where its files, as they are, have none, or they are damaged.
    """
    folder, kept = source.folder, KeptFiles(source.layout.restore)
    names = (PICTURE_ARRAY,)
    try:
        found = kept.read_of_volume(source.sample_id, folder.mask, folder.volume, names)
        text = None if found is None else unpack_pictures(found)
        return text if text is not None and isinstance(json.loads(text), list) else None
    except (OSError, ValueError):
        return None


def take_pictures(task: PictureTask) -> StepResult[int]:
    """Take pictures of a sample and keep them.

    Returns
    -------
    StepResult of int
        How many; None when volume or mask cannot be read, or where what denoising changed is not
        kept.
    """
    source = task.source
    opened, issues = source.open_mask()
    if opened is None:
        return StepResult(task.name, None, tuple(issues))
    kept = KeptFiles(source.layout.restore)
    difference = kept.read_difference(task.name, source.folder.mask)
    if difference is None:  # which is said where the changes are listed
        return StepResult(task.name, None)
    taker = PictureTaker(opened.labels, difference, opened.info.affine, task.modality)
    issues = source.show_volume(opened.labels.shape, taker.add)
    if issues:
        return StepResult(task.name, None, tuple(issues))
    pictures = taker.result()
    Receipts(source.layout).keep_of_volume(source.folder, pack_pictures(pictures))
    return StepResult(task.name, len(pictures))
