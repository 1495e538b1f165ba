"""``AMOS``: scans, masks and metadata by id, from the archive as downloaded or from a ROOT_DIR."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amos_dask import geometry
from amos_dask.archive import metadata as meta
from amos_dask.archive.discover import Discovery, discover
from amos_dask.archive.http import shown
from amos_dask.archive.listing import file_ref, list_beside, list_files
from amos_dask.archive.sources import is_url, is_zip
from amos_dask.datasets import AMOS22, DatasetDefinition, find_definition
from amos_dask.errors import (
    AmosDaskError,
    ArchiveError,
    InaccessibleFileError,
    ManifestError,
    UnreadableImageError,
)
from amos_dask.nifti import open_image, read_info
from amos_dask.records import SUBSETS, UNDEFINED, FileRef, Metadata
from amos_dask.store.layout import (
    MANIFEST_SHEET,
    Layout,
    absolute,
    find_root,
    find_samples_of,
)
from amos_dask.tables.workbook import read_sheet, require_columns

if TYPE_CHECKING:
    import pandas as pd

_MODALITIES = {"ct": "CT", "mri": "MRI"}
_MANIFEST_COLUMNS = ("seq", "subset", "manufacturer_model_name", "volume", "mask")
_FIELDS = tuple(Metadata.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class _Scan:
    """What is known of one scan before any of its files is opened."""

    modality: str
    subset: str
    metadata: Metadata
    image: FileRef | None
    mask: FileRef | None


class AMOS:
    """The scans of AMOS22, or of another dataset, by id, read where they lie.

    Parameters
    ----------
    root : str or Path
        What was downloaded (``amos22.zip``, the folder that holds it, an unpacked folder, or a URL
        of a zip or folder), or a ROOT_DIR made by `run`. Zips of scans without labels are found
        in and beside it.
    labeled_data_meta : str, optional
        The metadata csv; by default the one inside or beside the archive.
    mr_metadata_offset : {"auto", "0", "-1"}
        Which row of the csv MR scans take.
    dataset : str or Path
        Of an archive: ``amos22``, ``ct-org``, ``decathlon``, or the path of a definition (YAML). A
        ROOT_DIR says itself what it holds.

    Raises
    ------
    AmosDaskError
        When there is nothing usable at ``root``.

    Examples
    --------
    >>> ds = AMOS("downloads/amos22.zip")  # doctest: +SKIP
    >>> ds.image("0001").shape, ds.sex("0507")  # doctest: +SKIP
    ((768, 768, 90), 'M')
    """

    def __init__(
        self,
        root: str | Path,
        *,
        labeled_data_meta: str | None = None,
        mr_metadata_offset: str = "auto",
        dataset: str | Path = "amos22",
    ) -> None:
        self.root = str(root)
        self._definition = find_definition(dataset)
        place = _find_place(self.root)
        if place.manifest is not None:
            self._definition = find_root(place.manifest.parent).dataset
            found = dict(_from_manifest(place.manifest, self._definition))
        elif place.archive is not None:
            csv = (labeled_data_meta, mr_metadata_offset)
            archive = discover(place.archive, *csv, self._definition)
            self._definition = archive.definition
            found = dict(_from_archive(archive))
        else:
            found = {}
        for number, scan in _from_unlabelled_zips(place.around, self._definition):
            found.setdefault(number, scan)
        self._scans = {f"{number:04d}": found[number] for number in sorted(found)}

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
        return self._read(i, self._scan(i).image, lazy)

    def mask(self, i: str | int, *, lazy: bool = False) -> Any:
        """Return the labels of a scan's voxels as stored, or None without a mask.

        Parameters
        ----------
        i, lazy
            As for `image`.
        """
        return self._read(i, self._scan(i).mask, lazy)

    def affine(self, i: str | int) -> NDArray[np.float64] | None:
        """Return the (4, 4) matrix from voxel index to RAS+ mm, or None without a scan."""
        ref = self._scan(i).image
        if ref is None:
            return None
        try:
            return read_info(ref).affine
        except (UnreadableImageError, InaccessibleFileError) as error:
            raise _damaged(ref, self._published_damaged(i), error) from error

    def spacing(self, i: str | int) -> NDArray[np.float64] | None:
        """Return the voxel size along x, y, z in mm, or None without a scan."""
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
                **{_METHODS.get(name, name): self._metadata(i, name) for name in _FIELDS},
                "image": None if scan.image is None else scan.image.path,
                "mask": None if scan.mask is None else scan.mask.path,
                "damaged": int(i) in self._definition.damaged_numbers,
            }
            for i, scan in self._scans.items()
        }
        frame = pd.DataFrame.from_dict(rows, orient="index", dtype=object)
        return frame.rename_axis("id").astype({"damaged": bool} if rows else {})

    def _scan(self, i: str | int) -> _Scan:
        try:
            return self._scans[f"{self._number(i):04d}"]
        except KeyError:
            raise AmosDaskError(f"{self.root}: there is no scan {i!r}.") from None

    def _number(self, i: str | int) -> int:
        return _number(str(i).removeprefix(f"{self._definition.prefix}_"))

    def _read(self, i: str | int, ref: FileRef | None, lazy: bool) -> Any:
        return _read(ref, self._published_damaged(i), lazy)

    def _published_damaged(self, i: str | int) -> str:
        """Return the id of a scan whose published file is damaged; empty for all others."""
        number = self._number(i)
        is_damaged = number in self._definition.damaged_numbers
        return self._definition.sample_id(number) if is_damaged else ""

    def _metadata(self, i: str | int, name: str) -> str | None:
        value = str(getattr(self._scan(i).metadata, name))
        return None if value == UNDEFINED else value


_METHODS = {"manufacturer_model_name": "manufacturer_model"}


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else -1


# ---------------------------------------------------------------- where things are


@dataclass(frozen=True, slots=True)
class _Place:
    """What a root is: a dataset manifest, or else an archive; and the files around it."""

    manifest: Path | None = None
    archive: str | None = None
    around: tuple[FileRef, ...] = ()


def _find_place(root: str) -> _Place:
    if is_zip(root):
        around = tuple(list_beside(root))
        is_unlabelled = AMOS22.unlabelled_zip.fullmatch(_name(root)) is not None
        return _Place(archive=None if is_unlabelled else root, around=around)
    inside = _files_inside(root)
    around = (*inside, *list_beside(root))
    if not is_url(root):
        manifest = _find_manifest(absolute(root))
        if manifest is not None:
            return _Place(manifest=manifest, around=around)
    zips = [ref for ref in inside if AMOS22.unlabelled_zip.fullmatch(ref.path)]
    published = AMOS22.published_zip
    named = [ref for ref in inside if published is not None and ref.path == published.name]
    if not (zips or named) or _has_scans(root):
        return _Place(archive=root, around=around)
    return _Place(archive=named[0].location if named else None, around=around)


def _name(location: str) -> str:
    return PurePosixPath(location.partition("?")[0]).name


def _files_inside(root: str) -> list[FileRef]:
    """Return the files of a folder without those of its subfolders."""
    if is_url(root):
        return [ref for ref in list_files(root) if "/" not in ref.path]
    folder = Path(root)
    if not folder.is_dir():
        raise ArchiveError(f"{root}: there is no such folder or zip file.")
    folders = (folder, folder / "archive")  # where `run` looks
    found = [path for place in folders if place.is_dir() for path in sorted(place.iterdir())]
    return [file_ref(path, path.name) for path in found if path.is_file()]


def _has_scans(root: str) -> bool:
    folders = {rule.folder for rule in AMOS22.files}
    if is_url(root):
        paths = (PurePosixPath(ref.path).parent.name for ref in list_files(root))
        return any(name in folders for name in paths)
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


# ---------------------------------------------------------------- what is there


def _from_manifest(path: Path, definition: DatasetDefinition) -> Iterator[tuple[int, _Scan]]:
    frame = read_sheet(path, MANIFEST_SHEET)
    require_columns(frame, _MANIFEST_COLUMNS, path)
    for row in frame.to_dict("records"):
        number = _number(str(row["seq"] or ""))
        if number < 0:
            raise ManifestError(f"{path}: {row['seq']!r} in column 'seq' is not a number.")
        scanner = str(row["manufacturer_model_name"])
        yield (
            number,
            _Scan(
                modality=definition.modality(number, scanner),
                subset=str(row["subset"]) if row["subset"] in SUBSETS else "",
                metadata=Metadata(**{name: _text(row.get(name)) for name in _FIELDS}),
                image=_beside(path, row["volume"]),
                mask=_beside(path, row["mask"]),
            ),
        )


def _text(value: Any) -> str:
    return UNDEFINED if value is None else str(value)


def _beside(manifest: Path, path: Any) -> FileRef | None:
    return None if path is None else file_ref(manifest.parent / str(path), str(path))


def _from_archive(found: Discovery) -> Iterator[tuple[int, _Scan]]:
    for sample in found.samples:
        yield (
            int(sample.seq),
            _Scan(sample.modality, sample.subset, sample.metadata, sample.volume, sample.mask),
        )


def _from_unlabelled_zips(
    around: Iterable[FileRef], definition: DatasetDefinition
) -> Iterator[tuple[int, _Scan]]:
    around = list({ref.location: ref for ref in around}.values())
    rows = _unlabelled_metadata(around, definition)
    for zip_ref in around:
        kind = definition.unlabelled_zip.fullmatch(_name(zip_ref.path))
        if kind is None:
            continue
        for ref in list_files(zip_ref.location):
            path = PurePosixPath(ref.path)
            number = definition.number_of(path.name)
            if number is not None and "__MACOSX" not in path.parts:
                table = meta.MetadataTable(rows)
                metadata, _ = meta.find_row(table, number, definition, path.name)
                yield number, _Scan(kind[1].lower(), "", metadata, ref, None)


def _unlabelled_metadata(around: Iterable[FileRef], definition: DatasetDefinition) -> meta.Rows:
    """Return the rows of the csv files of scans without labels; one that is unusable is said."""
    rows: meta.Rows = {}
    for ref in around:
        if definition.unlabelled_csv.fullmatch(ref.path):
            try:
                found, _ = meta.read_rows(ref, definition)
            except ArchiveError as error:
                warnings.warn(f"{error} Metadata of its scans is None.", stacklevel=4)
                continue
            for number, candidates in found.items():
                rows.setdefault(number, []).extend(candidates)
    return rows


# ---------------------------------------------------------------- reading


def _read(ref: FileRef | None, damaged: str, lazy: bool) -> Any:
    if ref is None:
        return None
    if not lazy:
        return _read_voxels(ref, damaged)
    import dask.array
    from dask import delayed

    try:
        info = read_info(ref)
    except (UnreadableImageError, InaccessibleFileError) as error:
        raise _damaged(ref, damaged, error) from error
    voxels = delayed(_read_voxels, pure=True)(ref, damaged)
    return dask.array.from_delayed(voxels, info.shape, np.dtype(info.dtype))


def _read_voxels(ref: FileRef, damaged: str) -> NDArray[Any]:
    """Return the voxels that nibabel would give; the file is read to its end and so verified."""
    try:
        with open_image(ref) as image:
            info = image.info
            values = np.empty(info.n_voxels, info.dtype)
            start = 0
            for chunk in image.chunks():
                part = values[start : start + chunk.size]
                if info.is_scaled:
                    with np.errstate(all="ignore"):
                        part[:] = chunk.astype(np.float64) * info.slope + info.inter
                else:
                    part[:] = chunk
                start += chunk.size
    except (UnreadableImageError, InaccessibleFileError) as error:
        raise _damaged(ref, damaged, error) from error
    return values.reshape(info.shape, order="F")


def _damaged(ref: FileRef, damaged: str, error: Exception) -> AmosDaskError:
    where = shown(ref.location) + ("" if ref.member is None else f", {ref.path}")
    if isinstance(error, UnreadableImageError) and damaged:
        return ArchiveError(
            f"{where}: {damaged} is damaged in the archive as it was published; downloading "
            f"it again does not help ({error})."
        )
    return ArchiveError(f"{where}: {error}; 'amos-dask verify' says whether more is wrong.")
