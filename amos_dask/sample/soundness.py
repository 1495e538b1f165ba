"""Whether one sample is sound: its files in the archive, or those that its receipt lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from amos_dask.archive.packed import is_packed
from amos_dask.archive.sources import read_ends
from amos_dask.datasets import Kind
from amos_dask.errors import BadMaskError
from amos_dask.file_refs import FileRef, file_ref
from amos_dask.issues import Issue, make_issue
from amos_dask.nifti import ImageInfo, ImageReader, open_image, read_info
from amos_dask.records import Sample, StepResult
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.receipts import AlteredFile, Change, Edit, Output, Receipts
from amos_dask.sample.publish import can_take_up
from amos_dask.sample.source import CANNOT_BE_READ
from amos_dask.steps.header_check import check_headers, check_tail, require_same_grid, unreadable
from amos_dask.steps.mask import check_pair, read_mask
from amos_dask.steps.mask_labels import MaskMerger

_CODES = {
    Change.GONE: "missing_output",
    Change.OTHER: "altered_output",
    Change.EXTRA: "extra_file",
}
# What file managers leave in every folder that is looked at.
_IGNORED = frozenset({"Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at of a sample."""

    n_files: int
    n_without_end: int = 0  # of them, packed in a zip so that their ends were not seen
    # Volume threshold in mm3 -> small regions below it before and after denoising.
    n_regions: Mapping[float, tuple[int, int]] = field(default_factory=dict)
    masks_made_with: Any = None  # what its receipt says of that; None without masks
    n_edited: int = 0  # files that were edited by hand and taken up by a run


def verify_sample(
    sample: Sample, *, full: bool, label_values: Mapping[int, int] | None = None
) -> StepResult[Verified]:
    """Verify the files of a sample in the archive.

    Headers are read, and the ends of each file are held against its header and the zip's
    directory. Voxels are unpacked when that is asked for in ``full``, or where the ends do not
    agree: only so a damaged file is told from one of several gzip members. ``label_values`` says
    what values in masks stand for.
    """
    headers = check_headers(sample)
    found = list(headers.issues)
    grids = {f.file_path: (f.shape, f.affine_json) for f in headers.files if f.shape is not None}
    labels = {ref.path: label for label, ref in sample.masks}
    files = [(kind, ref) for kind, ref in sample.files if ref.path in grids]
    for kind, ref in files:
        of_mask = partial(_read_mask, label=labels.get(ref.path, 0), values=label_values)
        read = _unpack if kind == "volume" else of_mask
        found += _verify_file(sample, kind, ref, read, full=full)
    if len(set(grids.values())) > 1:
        found += _compare_grids(sample, files)
    nothing_done = tuple(dict.fromkeys(replace(issue, action="") for issue in found))
    n_without_end = 0 if full else sum(is_packed(ref) for _, ref in sample.files)
    verified = Verified(len(sample.files), n_without_end)
    return StepResult(sample.sample_id, verified, nothing_done)


def _compare_grids(sample: Sample, files: Iterable[tuple[Kind, FileRef]]) -> Iterator[Issue]:
    """Yield which files cannot be used with the first: not masks that lie turned on their scan."""
    first: dict[Kind, ImageInfo] = {}
    for kind, ref in files:
        try:
            info = read_info(ref, _n_channels(sample, kind))
            if kind in first:
                require_same_grid(first[kind], info)
            elif first:
                check_pair(first["volume"], info)
            first.setdefault(kind, info)
        except CANNOT_BE_READ as error:
            yield unreadable(sample, ref, kind, error)
        except BadMaskError as error:
            yield make_issue(error.code, error.message, sample=sample.sample_id, file=ref.path)


def _n_channels(sample: Sample, kind: Kind) -> int:
    return sample.n_channels_a_file if kind == "volume" else 1


def _read_mask(image: ImageReader, *, label: int, values: Mapping[int, int] | None) -> None:
    """Read a mask to its end: that of a label, or with 0 one that holds all of them."""
    if label:
        MaskMerger(image.info.shape, values).add(label, image)
    else:
        read_mask(image, values)


def _verify_file(
    sample: Sample, kind: Kind, ref: FileRef, read: Callable[[ImageReader], None], *, full: bool
) -> list[Issue]:
    """Return what is wrong with a file, of which ``read`` reads every voxel where need be."""
    issue = partial(make_issue, sample=sample.sample_id, file=ref.path)
    try:
        ends = read_ends(ref)
        if ends.zip_fault:
            return [issue("damaged_zip", ends.zip_fault)]
        with open_image(ref, _n_channels(sample, kind)) as image:
            if not full and ends.agree_with(image.info.data_offset + image.info.n_bytes):
                return []
            read(image)
    except CANNOT_BE_READ as error:
        return [unreadable(sample, ref, kind, error)]
    except BadMaskError as error:
        return [issue(error.code, error.message)]
    return [issue(*each) for each in check_tail(image)]


@dataclass(frozen=True, slots=True)
class RootSample:
    """A sample of ROOT_DIR to verify."""

    name: str  # its id
    layout: Layout
    folders: tuple[SampleFolder, ...]  # all that are there, or the one that its receipt speaks of

    def issue(self, code: str, message: str, path: Path) -> Issue:
        """Return an issue of one of the sample's files or folders."""
        issue = make_issue(code, message, sample=self.name, file=self.layout.shown(path))
        return replace(issue, severity="warning") if code == "foreign_file" else issue


def verify_outputs(sample: RootSample, *, full: bool) -> StepResult[Verified]:
    """Verify the files of a sample in ROOT_DIR against its receipt.

    Every image is unpacked when that is asked for in ``full``. No value without a usable receipt.
    """
    layout, receipts = sample.layout, Receipts(sample.layout)
    receipt = receipts.read(sample.name)
    if receipt is None or receipt.record.files is None:
        paths, message = [receipts.path_for(sample.name)], "the receipt cannot be understood"
        if not paths[0].exists():
            paths, message = [f.path for f in sample.folders], "there is no receipt of it"
        no_receipt = tuple(sample.issue("no_receipt", message, path) for path in paths)
        return StepResult(sample.name, None, no_receipt)
    folder, listed = layout.folder_of(receipt.record.files), set(receipt.identities())
    own = folder.path
    altered = [file for files in receipts.altered_files(receipt).values() for file in files]
    altered = [_say_edited(layout, folder, file) for file in altered]
    if full:
        altered += find_damaged(layout.root, listed - {file.path for file in altered})
    altered += _find_strangers(layout.root, own, listed)
    altered.sort(key=lambda file: file.path)
    issues = [issue_of(file, sample.name) for file in altered]
    message = f"the sample's receipt speaks for {layout.shown(own)}"
    others = (folder.path for folder in sample.folders if folder.path != own)
    issues += [sample.issue("foreign_file", message, path) for path in others]
    after = dict(receipt.record.after)
    n_regions = {
        threshold: (len(before), len(after[threshold]))
        for threshold, before in receipt.record.before
        if threshold in after
    }
    made_by = receipt.made_with[Output.MASKS] if receipt.outputs[Output.MASKS] else None
    verified = Verified(len(listed), 0, n_regions, made_by, len(receipt.edited))
    return StepResult(sample.name, verified, tuple(issues))


def _say_edited(layout: Layout, folder: SampleFolder, file: AlteredFile) -> AlteredFile:
    """Say of a mask or info file that was edited by hand that the next run takes it up."""
    edit = {folder.mask: Edit.MASK, folder.info: Edit.INFO}.get(layout.root / file.path)
    if file.change != Change.OTHER or edit is None or not can_take_up(layout, folder, edit):
        return file
    return replace(file, message="edited, run takes it up")


def issue_of(altered: AlteredFile, sample_id: str = "") -> Issue:
    """Return the issue of a file under ROOT_DIR that is not as it was written."""
    code = _CODES[altered.change]
    return make_issue(code, altered.message, sample=sample_id, file=altered.path)


def _find_strangers(root: Path, folder: Path, listed: set[str]) -> Iterator[AlteredFile]:
    """Yield what else is in a sample's folder; temporary files are looked for elsewhere."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = path.relative_to(root).as_posix()
        if name not in listed and not path.name.startswith(".") and path.name not in _IGNORED:
            message = "is nothing that this program wrote, and stays"
            yield AlteredFile(name, Change.EXTRA, message)


def find_damaged(root: Path, paths: Iterable[str]) -> Iterator[AlteredFile]:
    """Yield the images that cannot be unpacked although their size and checksum are as written.

    ``paths`` are relative to ROOT_DIR or to an export's folder.
    """
    for path in sorted(paths):
        if not path.endswith(".nii.gz"):
            continue  # of other files all bytes have been compared
        try:
            with open_image(file_ref(root / path, path)) as image:
                _unpack(image)
        except CANNOT_BE_READ as error:
            # 'run' goes by what is compared quickly, and would not see it.
            message = f"{error}; remove the file, then run the same command again"
            yield AlteredFile(path, Change.OTHER, message)


def _unpack(image: ImageReader) -> None:
    """Read an opened image to its end, so that all checksums are compared."""
    for _ in image.chunks():
        pass
