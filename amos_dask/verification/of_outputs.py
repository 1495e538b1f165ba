"""One sample of ROOT_DIR, held against its receipt. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from amos_dask.archive.listing import file_ref
from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue, make_issue
from amos_dask.nifti import open_image
from amos_dask.records import StepResult
from amos_dask.root.identity import AlteredFile, Change
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.receipts import Receipt, Receipts
from amos_dask.verification.unpacking import unpack

CODES = {
    Change.GONE: "missing_output",
    Change.OTHER: "altered_output",
    Change.EXTRA: "extra_file",
}
# What file managers leave in every folder that is looked at.
_IGNORED = frozenset({"Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class OutputCheck:
    """A sample of ROOT_DIR to verify.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    sample_id : str
        The sample.
    folders : tuple of SampleFolder
        All folders of it that are there.
    full : bool
        Unpack every image.
    """

    layout: Layout
    sample_id: str
    folders: tuple[SampleFolder, ...]
    full: bool

    @property
    def name(self) -> str:
        """The sample's id."""
        return self.sample_id


@dataclass(frozen=True, slots=True)
class Receipted:
    """What a receipt stands for.

    Parameters
    ----------
    n_files : int
        Files of the sample.
    n_regions : tuple of (float, (int, int))
        Volume threshold in mm3, and the small regions below it before and after denoising.
    """

    n_files: int
    n_regions: tuple[tuple[float, tuple[int, int]], ...]


def verify_outputs(task: OutputCheck) -> StepResult[Receipted]:
    """Verify the files of a sample in ROOT_DIR against its receipt.

    Returns
    -------
    StepResult of Receipted
        What the receipt stands for; None without a usable one.
    """
    receipts = Receipts(task.layout)
    receipt = receipts.read(task.sample_id)
    if receipt is None or receipt.record.files is None:
        return StepResult(task.sample_id, None, tuple(_without_receipt(task, receipts)))
    root = task.layout.root
    own = task.layout.grouped / receipt.record.files.folder
    altered = [file for files in receipts.altered_files(receipt).values() for file in files]
    altered += _strangers(root, own, {file.path for file in altered} | _outputs(receipt))
    if task.full:
        altered += _damaged(root, _outputs(receipt) - {file.path for file in altered})
    issues = [
        make_issue(CODES[file.change], file.message, sample=task.sample_id, file=file.path)
        for file in sorted(altered, key=lambda file: file.path)
    ]
    others = (folder for folder in task.folders if folder.path != own)
    message = f"the sample's receipt speaks for {own.relative_to(root).as_posix()}"
    issues += [_no_receipt(task, folder.path, message) for folder in others]
    return StepResult(task.sample_id, _receipted(receipt), tuple(issues))


def _without_receipt(task: OutputCheck, receipts: Receipts) -> Iterator[Issue]:
    path = receipts.path_for(task.sample_id)
    if path.exists():
        yield _no_receipt(task, path, "the receipt cannot be understood")
    else:
        for folder in task.folders:
            yield _no_receipt(task, folder.path, "there is no receipt of it")


def _no_receipt(task: OutputCheck, path: Path, message: str) -> Issue:
    file = path.relative_to(task.layout.root).as_posix()
    return make_issue("no_receipt", message, sample=task.sample_id, file=file)


def _outputs(receipt: Receipt) -> set[str]:
    return {path for files in receipt.outputs.values() for path in files}


def _strangers(root: Path, folder: Path, known: set[str]) -> Iterator[AlteredFile]:
    """Yield what else is in a sample's folder; temporary files are looked for elsewhere."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = path.relative_to(root).as_posix()
        if name not in known and not path.name.startswith(".") and path.name not in _IGNORED:
            message = "is nothing that 'run' writes or removes; move it elsewhere"
            yield AlteredFile(name, Change.EXTRA, message)


def _damaged(root: Path, paths: Iterable[str]) -> Iterator[AlteredFile]:
    """Yield the images that cannot be unpacked although their size and checksum are as written."""
    for path in sorted(paths):
        if not path.endswith(".nii.gz"):
            continue  # of other files all bytes have been compared
        try:
            with open_image(file_ref(root / path, path)) as image:
                unpack(image)
        except (UnreadableImageError, InaccessibleFileError) as error:
            # 'run' goes by what is compared quickly, and would not see it.
            message = f"{error}; remove the file, then run the same command again"
            yield AlteredFile(path, Change.OTHER, message)


def _receipted(receipt: Receipt) -> Receipted:
    record = receipt.record
    after = dict(record.after)
    n_regions = tuple(
        (threshold, (len(found), len(after[threshold])))
        for threshold, found in record.before
        if threshold in after
    )
    return Receipted(len(_outputs(receipt)), n_regions)
