"""What denoising changed in one organised sample, from what is kept to undo it."""

from __future__ import annotations

from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.issues import make_issue
from amos_dask.records import SampleChanges, StepResult
from amos_dask.root.restore import RestoreData
from amos_dask.sample.source import FolderTask, read_header
from amos_dask.steps.denoise import is_denoised


def read_changes(task: FolderTask) -> StepResult[SampleChanges]:
    """Read what denoising changed in a sample's mask; of the mask, the header is read.

    Returns
    -------
    StepResult of SampleChanges
        Without changes where the mask was not denoised. None where there is no mask that can be
        read, which others say, and where what changed is not kept.
    """
    mask = task.folder.mask
    try:
        info = read_header(mask) if mask.exists() else None
    except (UnreadableImageError, InaccessibleFileError):
        info = None
    if info is None:
        return StepResult(task.name, None)
    if not is_denoised(info.description):
        return StepResult(task.name, SampleChanges(task.name, info.spacing_mm, ()))
    difference = RestoreData(task.layout.restore).read(task.name, mask)
    if difference is not None:
        return StepResult(task.name, SampleChanges(task.name, info.spacing_mm, difference.changes))
    issue = make_issue(
        "unknown_changes",
        "what denoising changed in the mask is not kept",
        sample=task.name,
        file=task.shown(mask),
        action="not in denoise_changes.xlsx; write the mask anew with confirm-pairs, then denoise",
    )
    return StepResult(task.name, None, (issue,))
