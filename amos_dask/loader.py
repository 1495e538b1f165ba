"""``AMOS``: scans, masks and metadata by id, from the archive as downloaded or from a ROOT_DIR."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from amos_dask import geometry
from amos_dask.archive.discover import discover, new_sample
from amos_dask.archive.listing import file_ref, list_beside, list_files
from amos_dask.archive.locations import file_name, is_one_file, is_url, shown
from amos_dask.archive.metadata import MetadataTable, Rows, read_metadata
from amos_dask.datasets import (
    AMOS22,
    DEFAULT,
    METADATA_FIELDS,
    SUBSETS,
    DatasetDefinition,
    Kind,
    find_definition,
)
from amos_dask.errors import (
    AmosDaskError,
    ArchiveError,
    InaccessibleFileError,
    ManifestError,
    UnreadableImageError,
)
from amos_dask.nifti import open_image, read_info
from amos_dask.records import UNDEFINED, FileRef, Metadata, Sample, by_number
from amos_dask.root.layout import MANIFEST_SHEET, Layout, absolute, find_root, find_samples_of
from amos_dask.tables.workbook import read_sheet, require_columns

if TYPE_CHECKING:
    import pandas as pd

_MODALITIES = {"ct": "CT", "mri": "MRI"}
# Fields of the metadata whose methods have other names.
_METHODS = {"manufacturer_model_name": "manufacturer_model"}
_MANIFEST_COLUMNS = ("seq", "subset", "manufacturer_model_name", "volume", "mask")


class AMOS:
    """The scans of AMOS22, or of another dataset, by id, read where they lie.

    Parameters
    ----------
    root : str or Path
        What was downloaded (``amos22.zip``, the folder that holds it, an unpacked folder, a tar,
        or a URL of any but the second), or a ROOT_DIR made by `run`. Zips of scans without labels
        are found in and beside it.
    labeled_data_meta : str, optional
        The metadata csv; by default the one inside or beside the archive.
    metadata_encoding : str, optional
        Its encoding, such as ``gb18030``; by default it is recognised.
    mr_metadata_offset : {"auto", "0", "-1"}
        Which row of the csv MR scans take.
    dataset : str or Path
        Of an archive: the name of a packaged dataset, or the path of a definition (YAML). A
        ROOT_DIR says itself what it holds.

    Raises
    ------
    AmosDaskError
        When there is nothing usable at ``root``.

    Examples
    --------
    >>> ds = amos_dask.AMOS("data/AMOS22")
    >>> ds.image_modality("0507"), ds.image("0507").dtype.name
    ('MRI', 'float32')
    >>> ds.image("0507", lazy=True).npartitions
    1
    """

    def __init__(
        self,
        root: str | Path,
        *,
        labeled_data_meta: str | None = None,
        metadata_encoding: str | None = None,
        mr_metadata_offset: str = "auto",
        dataset: str | Path = DEFAULT,
    ) -> None:
        self.root = str(root)
        self._definition, self._scans = _find_scans(
            self.root,
            labeled_data_meta,
            mr_metadata_offset,
            find_definition(dataset),
            metadata_encoding,
        )

    def __repr__(self) -> str:
        return f"AMOS({self.root!r}): {len(self)} scans"

    def __len__(self) -> int:
        return len(self._scans)

    @property
    def ids(self) -> list[str]:
        """Ids of all scans, such as ``0001``, in order."""
        return list(self._scans)

    def image(self, i: str | int, *, lazy: bool = False) -> Any:
        """Return the scan's voxels, or None without a scan.

        Parameters
        ----------
        i : str or int
            The id.
        lazy : bool
            Read the header only, and return a dask array of one chunk: a compressed file cannot
            be read in parts.

        Returns
        -------
        (x, y, z) array, dask array or None
            As stored, in Fortran order, of the stored type; float64 where the header scales
            values. A fourth axis of length 1 is dropped.

        Raises
        ------
        AmosDaskError
            When the file is damaged; of two ids without labels the published file itself is.
        """
        return self._read(i, self._scan(i).volume, lazy)

    def mask(self, i: str | int, *, lazy: bool = False) -> Any:
        """Return the labels of a scan's voxels as stored, or None without a mask.

        Parameters
        ----------
        i, lazy
            As for `image`.
        """
        return self._read(i, self._scan(i).mask, lazy)

    def affine(self, i: str | int) -> NDArray[np.float64] | None:
        """Return the (4, 4) matrix from voxel index to RAS+ mm, or None without a scan.

        Raises
        ------
        AmosDaskError
            When the scan's header cannot be read.
        """
        sample = self._scan(i)
        if sample.volume is None:
            return None
        with _saying_where(sample.volume, self._published_damaged(sample)):
            return read_info(sample.volume).affine

    def spacing(self, i: str | int) -> NDArray[np.float64] | None:
        """Return the (3,) voxel size along x, y, z in mm, or None without a scan."""
        affine = self.affine(i)
        return None if affine is None else geometry.voxel_sizes_mm(affine)

    def image_modality(self, i: str | int) -> str | None:
        """Return ``CT`` or ``MRI``."""
        return _MODALITIES.get(self._scan(i).modality)

    def subset(self, i: str | int) -> str | None:
        """Return ``train``, ``val`` or ``test``; None of scans without labels beside the 600."""
        return self._scan(i).subset or None

    def birth_date(self, i: str | int) -> str | None:
        """Return the patient's date of birth, ``YYYYMMDD``."""
        return self._metadata(i, "birth_date")

    def sex(self, i: str | int) -> str | None:
        """Return the patient's sex, ``F`` or ``M``."""
        return self._metadata(i, "sex")

    def age(self, i: str | int) -> str | None:
        """Return the patient's age, such as ``062Y``."""
        return self._metadata(i, "age")

    def manufacturer_model(self, i: str | int) -> str | None:
        """Return the scanner's model."""
        return self._metadata(i, "manufacturer_model_name")

    def manufacturer(self, i: str | int) -> str | None:
        """Return the scanner's manufacturer."""
        return self._metadata(i, "manufacturer")

    def acquisition_date(self, i: str | int) -> str | None:
        """Return the date of the scan, ``YYYYMMDD``."""
        return self._metadata(i, "acquisition_date")

    def site(self, i: str | int) -> str | None:
        """Return where the scan was made."""
        return self._metadata(i, "site")

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row an id: modality, subset, metadata, files; ``damaged`` where published so."""
        import pandas as pd

        rows = {
            i: {
                "image_modality": self.image_modality(i),
                "subset": self.subset(i),
                **{_METHODS.get(name, name): self._metadata(i, name) for name in METADATA_FIELDS},
                "image": None if sample.volume is None else sample.volume.path,
                "mask": None if sample.mask is None else sample.mask.path,
                "damaged": bool(self._published_damaged(sample)),
            }
            for i, sample in self._scans.items()
        }
        frame = pd.DataFrame.from_dict(rows, orient="index", dtype=object)
        return frame.rename_axis("id").astype({"damaged": bool} if rows else {})

    def _scan(self, i: str | int) -> Sample:
        sample = self._scans.get(self._definition.find_seq(str(i)) or "")
        if sample is None:
            raise AmosDaskError(f"{self.root}: there is no scan {i!r}.")
        return sample

    def _read(self, i: str | int, ref: FileRef | None, lazy: bool) -> Any:
        if ref is None:
            return None
        damaged = self._published_damaged(self._scan(i))
        if not lazy:
            return _read_voxels(ref, damaged)
        import dask.array
        from dask import delayed

        with _saying_where(ref, damaged):
            info = read_info(ref)
        voxels = delayed(_read_voxels, pure=True)(ref, damaged)
        return dask.array.from_delayed(voxels, info.shape, np.dtype(info.dtype))

    def _published_damaged(self, sample: Sample) -> str:
        """Return the id of a scan whose published file is damaged; empty for all others."""
        damaged = self._definition.unlabelled.damaged
        is_damaged = sample.seq.isdecimal() and int(sample.seq) in damaged
        return sample.sample_id if is_damaged else ""

    def _metadata(self, i: str | int, name: str) -> str | None:
        value = str(getattr(self._scan(i).metadata, name))
        return None if value == UNDEFINED else value


def _read_voxels(ref: FileRef, damaged: str) -> NDArray[Any]:
    """Return the voxels that nibabel would give; the file is read to its end and so verified."""
    with _saying_where(ref, damaged), open_image(ref) as image:
        info = image.info
        values = np.empty(info.n_voxels, info.dtype)
        start = 0
        for chunk in image.chunks():
            if info.is_scaled:
                with np.errstate(all="ignore"):
                    chunk = chunk.astype(np.float64) * info.slope + info.inter
            values[start : start + chunk.size] = chunk
            start += chunk.size
    return values.reshape(info.shape, order="F")


@contextmanager
def _saying_where(ref: FileRef, damaged: str) -> Iterator[None]:
    """Raise `ArchiveError` that says which file cannot be read, why, and what to do."""
    where = shown(ref.location) + ("" if ref.member is None else f", {ref.path}")
    try:
        yield
    except (UnreadableImageError, InaccessibleFileError) as error:
        advice = f"{error}; 'amos-dask verify' says whether more is wrong."
        if damaged and isinstance(error, UnreadableImageError):
            advice = (
                f"{damaged} is damaged in the archive as it was published; downloading it again "
                f"does not help ({error})."
            )
        raise ArchiveError(f"{where}: {advice}") from error


def _find_scans(
    root: str,
    labeled_data_meta: str | None,
    mr_metadata_offset: str,
    definition: DatasetDefinition,
    encoding: str | None,
) -> tuple[DatasetDefinition, dict[str, Sample]]:
    """Return the scans at a root by seq, in order, and the definition of their dataset.

    Arguments are as for `AMOS`; the definition is that of an archive, a ROOT_DIR has its own. The
    subset of scans without labels beside the archive is empty.
    """
    inside = [] if is_one_file(root) else _files_inside(root)
    around = {ref.location: ref for ref in (*inside, *list_beside(root))}.values()
    manifest = None if is_one_file(root) or is_url(root) else _find_manifest(absolute(root))
    found: list[Sample] = []
    if manifest is not None:
        definition = Layout.of(find_root(manifest.parent)).dataset
        found += _from_manifest(manifest, definition)
    elif (location := _find_archive(root, inside)) is not None:
        archive = discover([location], definition, labeled_data_meta, mr_metadata_offset, encoding)
        definition = archive.definition
        found += archive.samples
    found += _from_unlabelled_zips(around, definition, encoding)
    scans = {sample.seq: sample for sample in reversed(found)}  # of two the first counts
    return definition, {seq: scans[seq] for seq in sorted(scans, key=by_number)}


def _files_inside(root: str) -> list[FileRef]:
    """Return the files of a folder without those of its subfolders."""
    if is_url(root):
        return [ref for ref in list_files(root) if "/" not in ref.path]
    folder = Path(root)
    if not folder.is_dir():
        return list_files(root)  # which raises, and says what is there instead
    folders = (folder, folder / "archive")  # where `run` looks
    found = [path for place in folders if place.is_dir() for path in sorted(place.iterdir())]
    return [file_ref(path, path.name) for path in found if path.is_file()]


def _find_archive(root: str, inside: Sequence[FileRef]) -> str | None:
    """Return where the archive is; None where there are only zips of scans without labels."""
    if is_one_file(root):
        return None if _is_unlabelled(root) else root
    published = AMOS22.published_zip
    named = [ref for ref in inside if published is not None and ref.path == published.name]
    is_of_zips = bool(named) or any(_is_unlabelled(ref.path) for ref in inside)
    if not is_of_zips or _has_scans(root):
        return root
    return named[0].location if named else None


def _is_unlabelled(location: str) -> bool:
    return AMOS22.unlabelled.zips.fullmatch(file_name(location)) is not None


def _has_scans(root: str) -> bool:
    folders = {rule.folder for rule in AMOS22.files}
    if is_url(root):
        return any(PurePosixPath(ref.path).parent.name in folders for ref in list_files(root))
    return any(path.name in folders for path in Path(root).glob("**/images*"))


def _find_manifest(root: Path) -> Path | None:
    """Return the dataset manifest of a ROOT_DIR, of its ``grouped``, or of one modality."""
    layout = Layout.of(root)
    candidates = [layout.dataset_manifest(), root / "dataset_manifest.xlsx"]
    candidates += sorted(root.glob("dataset_manifest_*.xlsx"))
    found = next((path for path in candidates if path.is_file()), None)
    if found is None and find_samples_of(layout):
        raise ManifestError(f"{root}: samples but no dataset manifest yet; finish 'amos-dask run'.")
    return found


def _from_manifest(path: Path, definition: DatasetDefinition) -> Iterator[Sample]:
    frame = read_sheet(path, MANIFEST_SHEET)
    require_columns(frame, _MANIFEST_COLUMNS, path)

    def file(cell: Any) -> FileRef | None:
        """Return the file that a cell names."""
        return None if cell is None else file_ref(path.parent / str(cell), str(cell))

    for row in frame.to_dict("records"):
        seq = str(row["seq"] or "")
        if definition.find_seq(seq) != seq:
            what = "number" if definition.has_numbers else "id"
            raise ManifestError(f"{path}: {row['seq']!r} in column 'seq' is not a {what}.")
        subset = str(row["subset"]) if row["subset"] in SUBSETS else ""
        known = {name: str(row[name]) for name in METADATA_FIELDS if row.get(name) is not None}
        files = {(kind, 0): ref for kind in get_args(Kind) if (ref := file(row[kind])) is not None}
        yield new_sample(seq, subset, Metadata(**known), files, definition)


def _from_unlabelled_zips(
    around: Iterable[FileRef], definition: DatasetDefinition, encoding: str | None
) -> Iterator[Sample]:
    rows = _unlabelled_metadata(around, definition, encoding)
    table = MetadataTable(definition, rows)
    zips = definition.unlabelled.zips
    for zip_ref, kind in [(ref, zips.fullmatch(file_name(ref.path))) for ref in around]:
        if kind is None:
            continue
        for ref in list_files(zip_ref.location):
            path = PurePosixPath(ref.path)
            seq = definition.seq_in(path.name)
            if seq is not None and "__MACOSX" not in path.parts:
                metadata, _ = table.find_row(seq)
                sample = new_sample(seq, "", metadata, {("volume", 0): ref}, definition)
                yield replace(sample, modality=kind[1].lower())


def _unlabelled_metadata(
    around: Iterable[FileRef], definition: DatasetDefinition, encoding: str | None
) -> Rows:
    """Return the rows of the csv files of scans without labels; one that is unusable is said."""
    rows: Rows = {}
    for ref in around:
        if definition.unlabelled.csvs.fullmatch(ref.path):
            try:
                found = read_metadata(ref, definition, encoding)[0].rows
            except ArchiveError as error:
                warnings.warn(f"{error} Metadata of its scans is None.", stacklevel=5)
                continue
            for seq, candidates in found.items():
                rows.setdefault(seq, []).extend(candidates)
    return rows
