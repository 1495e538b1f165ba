"""A sample as it lies in its own folder under ROOT_DIR, and what any source of a sample gives."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from amos_dask.archive.listing import file_ref
from amos_dask.datasets import Kind
from amos_dask.errors import BadMaskError, InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue, make_issue
from amos_dask.labels import LabelMap
from amos_dask.nifti import ImageInfo, ImageReader, Mask, open_image
from amos_dask.records import Metadata, Overlap
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.receipts import Origin
from amos_dask.steps.info_file import parse_info_yaml
from amos_dask.steps.mask import (
    read_mask,
)
from amos_dask.steps.volume import Watcher

CANNOT_BE_READ = (UnreadableImageError, InaccessibleFileError)
# Identity of a file of the archive that nothing can be told of: it counts as changed.
UNKNOWN = "unknown"


STAYS = "earlier output, if any, left as it is"


class OpenedMask(NamedTuple):
    """A mask that was read.

    Parameters
    ----------
    labels : (x, y, z) uint8
        Its voxels.
    info : ImageInfo
        Its own header; of a mask that was merged, that of the first label's.
    overlaps : tuple of Overlap
        What binary masks that were merged share.
    """

    labels: Mask
    info: ImageInfo
    overlaps: tuple[Overlap, ...] = ()


class EarlierOutputStaysError(Exception):
    """A file could not be read for reasons outside it: what is there from earlier is not touched.

    Parameters
    ----------
    issue : Issue
        Which file, and why.
    """

    def __init__(self, issue: Issue) -> None:
        super().__init__(issue)
        self.issue = replace(issue, action=STAYS)


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A sample as it lies in its own folder, organised by an earlier command.

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
    def sample_id(self) -> str:
        """The sample's id."""
        return self.folder.sample_id

    @property
    def name(self) -> str:
        """The sample's id, for the graph."""
        return self.folder.sample_id

    def find_origin(self) -> Origin:
        """Return an origin of which nothing is known: the archive is not asked."""
        return Origin()

    def issue(self, code: str, message: str, path: Path, action: str = "") -> Issue:
        """Return an issue of one of the sample's files."""
        file = self.layout.shown(path)
        return make_issue(code, message, sample=self.sample_id, file=file, action=action)

    def unreadable(self, path: Path, kind: Kind, error: Exception) -> Issue:
        """Return the issue of a file that cannot be read."""
        return self.issue(f"unreadable_{kind}", str(error), path)

    def open(self, path: Path) -> AbstractContextManager[ImageReader]:
        """Open one of the sample's images."""
        return open_image(file_ref(path, self.layout.shown(path)))

    def read_header(self, path: Path) -> ImageInfo:
        """Return the header of one of the sample's images; raises as `open_image`."""
        with self.open(path) as image:
            return image.info

    def open_mask(self, scan: ImageInfo | None = None) -> tuple[OpenedMask | None, list[Issue]]:
        """Read the mask; of one that cannot be used, the issue says why."""
        path = self.folder.mask
        try:
            with self.open(path) as image:
                read = read_mask(image)
            issues = read.check(self.sample_id, self.layout.shown(path))
            return OpenedMask(read.labels, image.info), issues
        except CANNOT_BE_READ as error:
            return None, [self.unreadable(path, "mask", error)]
        except BadMaskError as error:
            return None, [self.issue(error.code, error.message, path)]

    def show_volume(self, shape: tuple[int, ...], see: Watcher, channel: int = 0) -> list[Issue]:
        """Show all values of a float32 volume in file order, chunk by chunk.

        Returns
        -------
        list of Issue
            Why it cannot be read, or is not the volume of a mask of this shape.
        """
        path = self.folder.volumes[channel]
        try:
            with self.open(path) as image:
                if image.info.shape != shape or image.info.dtype != "float32":
                    raise UnreadableImageError("is not the float32 volume of its mask")
                for chunk in image.chunks():
                    see(chunk)
        except CANNOT_BE_READ as error:
            return [self.unreadable(path, "volume", error)]
        return []

    def read_info_file(self) -> tuple[str, str, Metadata] | Issue:
        """Return seq, subset and metadata of the info file, or why it cannot be used."""
        try:
            return parse_info_yaml(self.folder.info.read_text(encoding="utf-8"))
        except OSError as error:
            message = f"cannot be read ({error.strerror})"
        except ValueError as error:
            message = str(error)
        return self.issue("bad_info_file", message, self.folder.info)

    def read_sex(self) -> str | Issue:
        """Return the patient's sex, or why the info file does not tell it."""
        info = self.read_info_file()
        return info if isinstance(info, Issue) else info[2].sex

    def not_restorable(self) -> Issue:
        """Return the issue of a denoised mask whose undenoised form is not kept."""
        message = "denoised, and the undenoised mask is not kept"
        action = "mask left as it is; write it anew with confirm-pairs"
        return self.issue("not_restorable", message, self.folder.mask, action)

    def unknown_changes(self) -> Issue:
        """Return the issue of a denoised mask of which it is not known what was changed."""
        message = "what denoising changed in the mask is not kept"
        action = "not in denoise_changes.xlsx; write the mask anew with confirm-pairs, then denoise"
        return self.issue("unknown_changes", message, self.folder.mask, action)
