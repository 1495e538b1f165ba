"""Where a sample's scan and mask come from: the archive, or its own folder under ROOT_DIR."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from amos_dask import geometry
from amos_dask.archive.listing import file_ref
from amos_dask.datasets import AMOS22, MaskGeometry
from amos_dask.errors import BadMaskError, InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue, make_issue
from amos_dask.labels import LabelMap
from amos_dask.nifti import ImageInfo, ImageReader, Mask, open_image
from amos_dask.records import FileRef, Kind, Metadata, Sample
from amos_dask.root.identity import input_identity
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.receipts import Origin, Output
from amos_dask.steps.header_check import bad_affine, check_tail, unreadable
from amos_dask.steps.info_file import parse_info_yaml
from amos_dask.steps.mask import check_affine, check_pair, mask_turned, read_mask
from amos_dask.steps.turned_mask import Fit, choose_order, measure_fits
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
        Its own header.
    """

    labels: Mask
    info: ImageInfo


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
class ArchiveSource:
    """A sample as it lies in the archive.

    Parameters
    ----------
    sample : Sample
        The sample.
    has_earlier_output : bool
        Whether there is a volume of the sample under ROOT_DIR, which then stays when the archive's
        cannot be used.
    mask_geometry : {"stored", "world"}
        The dataset's, for a mask whose grid is its scan's turned over.
    """

    sample: Sample
    has_earlier_output: bool = False
    mask_geometry: MaskGeometry = AMOS22.mask_geometry

    @property
    def sample_id(self) -> str:
        """The sample's id."""
        return self.sample.sample_id

    def read_sex(self) -> str | Issue:
        """Return the patient's sex."""
        return self.sample.metadata.sex

    def find_origin(self) -> Origin:
        """Return what the sample is made from; opens no image."""
        sample = self.sample
        row = (sample.subset, sample.modality, sample.scanner, *astuple(sample.metadata))
        inputs = {
            output: None if ref is None else input_identity(ref) or UNKNOWN
            for output, ref in ((Output.VOLUME, sample.volume), (Output.MASKS, sample.mask))
        }
        return Origin(row, inputs)

    def read_volume(
        self, look_at: Callable[[ImageReader], list[tuple[str, str]]]
    ) -> tuple[ImageInfo | None, list[Issue]]:
        """Open the scan, and let a function look at it if its header can be used.

        Parameters
        ----------
        look_at : callable
            Is given the opened scan; returns code and message of each issue that it finds.

        Returns
        -------
        info : ImageInfo or None
            The scan's own header; None when the scan cannot be used.
        issues : list of Issue
            What was found, or why it cannot be used.

        Raises
        ------
        EarlierOutputStaysError
            When the scan cannot be used now, and there is one from before, or that it cannot be
            read says nothing about its voxels.
        """
        ref = self.sample.volume
        if ref is None:
            return None, []  # said when the archive was searched
        stays = self.has_earlier_output
        try:
            with open_image(ref) as image:
                if geometry.is_usable(image.info.affine):
                    found = look_at(image)
                    return image.info, [self._issue(*each, ref) for each in found]
            issue = bad_affine(self.sample_id, ref.path, "volume")
        except CANNOT_BE_READ as error:
            issue = unreadable(self.sample, ref, "volume", error)
            stays = stays or isinstance(error, InaccessibleFileError)
        if stays:
            raise EarlierOutputStaysError(issue)
        return None, [issue]

    def open_mask(self, scan: ImageInfo | None) -> tuple[OpenedMask | None, list[Issue]]:
        """Read the mask for a scan.

        Parameters
        ----------
        scan : ImageInfo or None
            The scan's own header.

        Returns
        -------
        mask : OpenedMask or None
            None without a usable mask.
        issues : list of Issue
            Why it cannot be used, or what was repaired.
        """
        ref = self.sample.mask
        if ref is None or scan is None:
            return None, []
        try:
            with open_image(ref) as image:
                turn = check_pair(scan, image.info)
                read = read_mask(image)
        except CANNOT_BE_READ as error:
            return None, [unreadable(self.sample, ref, "mask", error)]
        except BadMaskError as error:
            return None, [self._issue(error.code, error.message, ref, "no mask written")]
        labels, issues = self._in_order(scan, image.info, turn, read.labels)
        issues += read.check(self.sample_id, ref.path)
        issues += [self._issue(*each, ref) for each in check_tail(image)]
        return OpenedMask(labels, image.info), issues

    def _in_order(
        self, scan: ImageInfo, mask: ImageInfo, turn: geometry.Turn | None, labels: Mask
    ) -> tuple[Mask, list[Issue]]:
        """Return a mask's labels in the scan's order, and what was repaired."""
        about = self.sample_id, "" if self.sample.mask is None else self.sample.mask.path
        if turn is None:
            return labels, check_affine(scan, mask, *about)
        turned = geometry.turned(turn, labels)
        if labels.shape == turned.shape:
            order, why = choose_order(self._measure_fits(labels, turned), self.mask_geometry)
        else:
            order, why = "world", "; only that order has its shape"
        if order == "stored":
            return labels, check_affine(scan, mask, *about, why)
        return turned, [mask_turned(scan, mask, *about, why)]

    def _measure_fits(self, stored: Mask, world: Mask) -> tuple[Fit, Fit] | None:
        if self.sample.volume is None:
            return None
        try:
            with open_image(self.sample.volume) as volume:
                if volume.info.shape == stored.shape:
                    return measure_fits(volume, stored, world)
        except CANNOT_BE_READ:
            pass  # said when the volume is converted
        return None

    def is_of_volume(self, issue: Issue) -> bool:
        """Return whether an issue is one of the scan's file."""
        return self.sample.volume is not None and issue.file == self.sample.volume.path

    def missing_file(self, what: str) -> Issue:
        """Return the issue of a mask or scan that was there and is gone from the archive."""
        other = next((ref.path for _, ref in self.sample.files), "")
        message = f"the {what} is not in the archive any more, from which there is output"
        name = self.sample_id
        return make_issue("source_missing", message, sample=name, file=other, action=STAYS)

    def _issue(self, code: str, message: str, ref: FileRef, action: str = "") -> Issue:
        return make_issue(code, message, sample=self.sample_id, file=ref.path, action=action)


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

    def show_volume(self, shape: tuple[int, ...], see: Watcher) -> list[Issue]:
        """Show all values of the float32 volume in file order, chunk by chunk.

        Returns
        -------
        list of Issue
            Why it cannot be read, or is not the volume of a mask of this shape.
        """
        path = self.folder.volume
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


Source = ArchiveSource | FolderSource
