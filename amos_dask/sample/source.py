"""Where a sample comes from: the archive, or its own folder under ROOT_DIR."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from amos_dask import geometry
from amos_dask.datasets import DatasetDefinition, Kind
from amos_dask.errors import BadMaskError, InaccessibleFileError, UnreadableImageError
from amos_dask.file_refs import FileRef, file_ref
from amos_dask.issues import Issue, make_issue
from amos_dask.labels import LabelMap
from amos_dask.nifti import ImageInfo, ImageReader, Mask, open_image, read_info
from amos_dask.records import Metadata, Overlap, Sample
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.receipts import (
    Origin,
    Output,
    identify_files,
    split_identities,
)
from amos_dask.steps.header_check import bad_affine, check_tail, require_same_grid, unreadable
from amos_dask.steps.info_file import parse_info_yaml
from amos_dask.steps.mask import (
    Fit,
    ReadLabels,
    check_affine,
    check_pair,
    choose_order,
    mask_turned,
    measure_fits,
    read_mask,
)
from amos_dask.steps.mask_labels import MaskMerger, check_overlaps
from amos_dask.steps.volume import Watcher

CANNOT_BE_READ = (UnreadableImageError, InaccessibleFileError)
STAYS = "earlier output, if any, left as it is"


class OpenedMask(NamedTuple):
    """A mask that was read."""

    labels: Mask
    info: ImageInfo  # its own header; of a mask that was merged, that of the first label's
    overlaps: tuple[Overlap, ...] = ()  # what binary masks that were merged share


class EarlierOutputStaysError(Exception):
    """A file could not be read for reasons outside it: what is there from earlier is not touched.

    The issue says which file, and why.
    """

    def __init__(self, issue: Issue) -> None:
        super().__init__(issue)
        self.issue = replace(issue, action=STAYS)


class OpenedScan:
    """A scan of the archive that was opened, and what is found as its channels are read.

    It begins with the image of its first channel, or of all.
    """

    def __init__(self, sample: Sample, image: ImageReader) -> None:
        self.info, self.issues = image.info, list[Issue]()
        self.file = sample.volumes[0]  # that is being read
        self._sample, self._image = sample, image

    def channels(self) -> Iterator[ImageReader]:
        """Yield the channels one after the other, each to be read to its end before the next.

        Raises as `open_image`, when the file of a channel cannot be used; `file` is that file.
        """
        yield from self._image.channels()
        for file in self._sample.volumes[1:]:
            if file is None:  # said when the archive was searched
                continue
            self.file = file
            with open_image(file) as image:
                require_same_grid(self.info, image.info)
                yield image

    def found(self, issues: Iterable[tuple[str, str]]) -> None:
        """Add issues, as code and message, of the file that is being read."""
        file = "" if self.file is None else self.file.path
        name = self._sample.sample_id
        self.issues += [make_issue(code, said, sample=name, file=file) for code, said in issues]


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """A sample as it lies in the archive."""

    sample: Sample
    dataset: DatasetDefinition  # how its masks are to be read
    # There is a volume under ROOT_DIR, which stays when the archive's cannot be used.
    has_earlier_output: bool = False

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
        channels = self.dataset.channel_names if len(sample.volumes) > 1 else ("",)
        labels = {**self.dataset.label_map.names(), 0: ""}
        named: dict[Output, dict[str, FileRef | None]] = {
            Output.VOLUME: dict(zip(channels, sample.volumes, strict=False)),
            Output.MASKS: {labels[label]: ref for label, ref in sample.masks},
        }
        return Origin(row, {output: identify_files(files) for output, files in named.items()})

    def read_volume(
        self, look_at: Callable[[OpenedScan], None]
    ) -> tuple[ImageInfo | None, list[Issue]]:
        """Open the scan, and let a function look at it, which tells it what it finds.

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
        sample = self.sample
        ref, stays = sample.volume, self.has_earlier_output
        if ref is None or (sample.absent_channels and not stays):
            return None, []  # said when the archive was searched
        if sample.absent_channels:
            absent = ", ".join(sample.absent_channels)
            raise EarlierOutputStaysError(self.missing_file(f"channel {absent}"))
        scan = None
        try:
            with open_image(ref, sample.n_channels_a_file) as image:
                if geometry.is_usable(image.info.affine):
                    scan = OpenedScan(sample, image)
                    look_at(scan)
                    return scan.info, scan.issues
            issue = bad_affine(self.sample_id, ref.path, "volume")
        except CANNOT_BE_READ as error:
            file = ref if scan is None or scan.file is None else scan.file
            issue = unreadable(sample, file, "volume", error)
            stays = stays or isinstance(error, InaccessibleFileError)
        if stays:
            raise EarlierOutputStaysError(issue)
        return None, [issue]

    def open_mask(self, scan: ImageInfo | None) -> tuple[OpenedMask | None, list[Issue]]:
        """Read the mask for a scan of this header; return it if it can be used, and issues."""
        first = self.sample.mask
        if first is None or scan is None:
            return None, []
        ref = first  # that is being read
        dataset, about, issues = self.dataset, (self.sample.sample_id, first.path), list[Issue]()
        overlaps: tuple[Overlap, ...] = ()
        try:
            if dataset.has_label_files:  # binary masks, which lie on one grid
                info = read_info(first)
                turn = check_pair(scan, info)
                merger = MaskMerger(info.shape, dataset.label_values)
                for label, ref in self.sample.masks:
                    with open_image(ref) as image:
                        require_same_grid(info, image.info)
                        merger.add(label, image)
                    issues += [self._issue(*each, ref) for each in check_tail(image)]
                labels, n_rounded, deviation, overlaps = merger.merged(dataset.painting_order)
                issues += ReadLabels(labels, n_rounded, deviation).check(*about)
                rule = dataset.label_map, dataset.precedence
                issues += check_overlaps(overlaps, scan.spacing_mm, *rule, *about)
            else:
                with open_image(first) as image:
                    info, turn = image.info, check_pair(scan, image.info)
                    read = read_mask(image, dataset.label_values)
                labels, issues = read.labels, read.check(*about)
                issues += [self._issue(*each, first) for each in check_tail(image)]
        except CANNOT_BE_READ as error:
            return None, [unreadable(self.sample, ref, "mask", error)]
        except BadMaskError as error:
            return None, [self._issue(error.code, error.message, ref, "no mask written")]
        labels, found = self._in_order(scan, info, labels, turn, about)
        return OpenedMask(labels, info, overlaps), [*found, *issues]

    def _in_order(
        self,
        scan: ImageInfo,
        mask: ImageInfo,
        labels: Mask,
        turn: geometry.Turn | None,
        about: tuple[str, str],
    ) -> tuple[Mask, list[Issue]]:
        """Return a mask's labels in the scan's order, and what was repaired."""
        if turn is None:
            return labels, check_affine(scan, mask, *about)
        turned = geometry.turned(turn, labels)
        if labels.shape == turned.shape:
            fits, preferred = self._measure_fits(labels, turned), self.dataset.mask_geometry
            order, why = choose_order(fits, preferred)
        else:
            order, why = "world", "; only that order has its shape"
        if order == "stored":
            return labels, check_affine(scan, mask, *about, why)
        return turned, [mask_turned(scan, mask, *about, why)]

    def _measure_fits(self, stored: Mask, world: Mask) -> tuple[Fit, Fit] | None:
        if self.sample.volume is None:
            return None
        try:
            with open_image(self.sample.volume, self.sample.n_channels_a_file) as image:
                volume = next(image.channels())
                if volume.info.shape == stored.shape:
                    return measure_fits(volume, stored, world)
        except CANNOT_BE_READ:
            pass  # said when the volume is converted
        return None

    def is_of_volume(self, issue: Issue) -> bool:
        """Return whether an issue is one of the scan's files."""
        return any(ref is not None and issue.file == ref.path for ref in self.sample.volumes)

    def missing_file(self, what: str) -> Issue:
        """Return the issue of a mask or scan that was there and is gone from the archive."""
        other = next((ref.path for _, ref in self.sample.files), "")
        message = f"the {what} is not in the archive any more, from which there is output"
        name = self.sample_id
        return make_issue("source_missing", message, sample=name, file=other, action=STAYS)

    def check_masks_there(self, before: Origin) -> list[Issue]:
        """Return an issue where the mask, or that of a label, was there before and is gone."""
        had, there = before.inputs[Output.MASKS], {label for label, _ in self.sample.masks}
        if not there:
            return [self.missing_file("mask")] if had is not None else []
        if not self.dataset.has_label_files:
            return []
        known = split_identities(had)
        absent = {n: name for n, name in self.dataset.label_map.names().items() if n not in there}
        gone = [name for name in absent.values() if name in known]
        return [self.missing_file(f"mask of {', '.join(gone)}")] if gone else []

    def _issue(self, code: str, message: str, ref: FileRef, action: str = "") -> Issue:
        return make_issue(code, message, sample=self.sample_id, file=ref.path, action=action)


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A sample as it lies in its own folder, organised by an earlier command."""

    folder: SampleFolder
    layout: Layout  # ROOT_DIR, to which paths in issues are relative
    label_map: LabelMap  # the labels a mask may hold

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

        Returns why it cannot be read, or is not the volume of a mask of this shape.
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
