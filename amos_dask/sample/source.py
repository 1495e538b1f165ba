"""An organised sample folder as the input of a step, and reading its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from amos_dask.archive.listing import file_ref
from amos_dask.errors import BadMaskError, InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue, make_issue
from amos_dask.labels import LabelMap
from amos_dask.nifti import ImageInfo, Mask, open_image, read_info
from amos_dask.records import Kind, Metadata
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.receipts import Receipts
from amos_dask.root.staging import Staging
from amos_dask.steps.binary_masks import check_labels, write_binary_masks
from amos_dask.steps.describe import parse_info_yaml
from amos_dask.steps.mask import read_mask
from amos_dask.steps.volume import Watcher


@dataclass(frozen=True, slots=True)
class FolderTask:
    """An organised sample to work on.

    Parameters
    ----------
    folder : SampleFolder
        The sample's files.
    layout : Layout
        ROOT_DIR, to which paths in issues are relative.
    label_map : LabelMap
        The labels a mask may hold.
    """

    folder: SampleFolder
    layout: Layout
    label_map: LabelMap

    @property
    def name(self) -> str:
        """The sample's id."""
        return self.folder.sample_id

    def shown(self, path: Path) -> str:
        """Return a path as issues show it."""
        try:
            return path.relative_to(self.layout.root).as_posix()
        except ValueError:
            return path.name


def open_mask(task: FolderTask) -> tuple[Mask, ImageInfo] | Issue:
    """Return a sample's multi-label mask and its header, or the issue of an unusable one."""
    path = task.folder.mask
    try:
        with open_image(file_ref(path, task.shown(path))) as image:
            return read_mask(image), image.info
    except (UnreadableImageError, InaccessibleFileError) as error:
        return unreadable_output(task, path, "mask", error)
    except BadMaskError as error:
        return make_issue(error.code, error.message, sample=task.name, file=task.shown(path))


def show_volume(task: FolderTask, shape: tuple[int, ...], see: Watcher) -> None:
    """Show all values of a sample's float32 volume in file order, chunk by chunk.

    Raises
    ------
    UnreadableImageError, InaccessibleFileError
        When it cannot be read, or is not the float32 volume of a mask of this shape.
    """
    volume = task.folder.volume
    with open_image(file_ref(volume, task.shown(volume))) as image:
        if image.info.shape != shape or image.info.dtype != "float32":
            raise UnreadableImageError("is not the float32 volume of its mask")
        for chunk in image.chunks():
            see(chunk)


def read_header(path: Path) -> ImageInfo:
    """Return the header of an output file."""
    return read_info(file_ref(path, path.name))


def read_info_file(folder: SampleFolder) -> tuple[str, str, Metadata]:
    """Return seq, subset and metadata of a sample's info file; raise ValueError without one."""
    try:
        return parse_info_yaml(folder.info.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error


def bad_info_file(task: FolderTask, error: ValueError) -> Issue:
    """Return the issue of an info file that cannot be used."""
    file = task.shown(task.folder.info)
    return make_issue("bad_info_file", str(error), sample=task.name, file=file)


def unreadable_output(task: FolderTask, path: Path, kind: Kind, error: Exception) -> Issue:
    """Return the issue of an output file that cannot be read."""
    return make_issue(f"unreadable_{kind}", str(error), sample=task.name, file=task.shown(path))


def not_restorable(task: FolderTask) -> Issue:
    """Return the issue of a denoised mask whose undenoised form is not kept."""
    return make_issue(
        "not_restorable",
        "denoised, and the undenoised mask is not kept",
        sample=task.name,
        file=task.shown(task.folder.mask),
        action="mask left as it is; write it anew with confirm-pairs",
    )


def check_mask_labels(task: FolderTask, present: tuple[int, ...]) -> tuple[Issue, ...]:
    """Return the issues of labels that the map lacks."""
    shown = task.shown(task.folder.mask)
    return tuple(check_labels(present, task.label_map, task.name, shown))


def stage_binary_masks(
    task: FolderTask,
    folder: SampleFolder,
    mask: Mask,
    info: ImageInfo,
    staging: Staging,
) -> list[Path]:
    """Stage the binary masks of a multi-label mask; return their final names."""
    finals = expected_binary_masks(task.label_map, folder)
    staged = {label: staging.path_for(final) for label, final in finals.items()}
    write_binary_masks(staged, mask, info)
    return list(finals.values())


def expected_binary_masks(label_map: LabelMap, folder: SampleFolder) -> dict[int, Path]:
    """Return label -> the binary mask file that a label map asks for."""
    return {label: folder.binary_mask(column) for label, column in label_map.columns().items()}


def remove_other_binary_masks(task: FolderTask, keep: Sequence[Path]) -> None:
    """Remove binary masks of labels that another label map had, as far as they are ours."""
    folder = task.folder
    kept = (folder.info, folder.volume, folder.mask, *keep)
    Receipts(task.layout).remove_listed(task.name, keep=kept)
