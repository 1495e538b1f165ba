"""Which scans there are: in an archive, in zips of scans without labels, or in a ROOT_DIR."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from amos_dask.archive import metadata as meta
from amos_dask.archive.discover import Discovery, discover
from amos_dask.archive.listing import file_ref, list_beside, list_files
from amos_dask.archive.locations import is_url, is_zip
from amos_dask.datasets import AMOS22, METADATA_FIELDS, SUBSETS, DatasetDefinition
from amos_dask.errors import ArchiveError, ManifestError
from amos_dask.records import UNDEFINED, FileRef, Metadata
from amos_dask.root.layout import MANIFEST_SHEET, Layout, absolute, find_root, find_samples_of
from amos_dask.tables.workbook import read_sheet, require_columns

_MANIFEST_COLUMNS = ("seq", "subset", "manufacturer_model_name", "volume", "mask")


@dataclass(frozen=True, slots=True)
class Scan:
    """What is known of one scan before any of its files is opened.

    Parameters
    ----------
    modality : {"ct", "mri", "und"}
        As the dataset's definition decides it.
    subset : str
        ``train``, ``val`` or ``test``; empty of scans without labels beside the archive.
    metadata : Metadata
        Its row of the csv.
    image, mask : FileRef or None
        Its files.
    """

    modality: str
    subset: str
    metadata: Metadata
    image: FileRef | None
    mask: FileRef | None


def find_scans(
    root: str, labeled_data_meta: str | None, mr_metadata_offset: str, definition: DatasetDefinition
) -> tuple[DatasetDefinition, dict[int, Scan]]:
    """Return the scans at a root by number, in order, and the definition of their dataset.

    Parameters
    ----------
    root, labeled_data_meta, mr_metadata_offset
        As for `AMOS`.
    definition : DatasetDefinition
        Of an archive; a ROOT_DIR has its own, and an archive may fill in what is left open.

    Raises
    ------
    AmosDaskError
        When there is nothing usable at the root.
    """
    place = _find_place(root)
    if place.manifest is not None:
        definition = Layout.of(find_root(place.manifest.parent)).dataset
        found = dict(_from_manifest(place.manifest, definition))
    elif place.archive is not None:
        archive = discover(place.archive, labeled_data_meta, mr_metadata_offset, definition)
        definition = archive.definition
        found = dict(_from_archive(archive))
    else:
        found = {}
    for number, scan in _from_unlabelled_zips(place.around, definition):
        found.setdefault(number, scan)
    return definition, {number: found[number] for number in sorted(found)}


def number_of(text: str) -> int:
    """Return the number that a text of digits stands for; -1 for any other text."""
    return int(text) if text.isascii() and text.isdigit() else -1


@dataclass(frozen=True, slots=True)
class _Place:
    """What a root is: a dataset manifest, or else an archive; and the files around it."""

    manifest: Path | None = None
    archive: str | None = None
    around: tuple[FileRef, ...] = ()


def _find_place(root: str) -> _Place:
    if is_zip(root):
        around = tuple(list_beside(root))
        is_unlabelled = AMOS22.unlabelled.zips.fullmatch(_name(root)) is not None
        return _Place(archive=None if is_unlabelled else root, around=around)
    inside = _files_inside(root)
    around = (*inside, *list_beside(root))
    if not is_url(root):
        manifest = _find_manifest(absolute(root))
        if manifest is not None:
            return _Place(manifest=manifest, around=around)
    zips = [ref for ref in inside if AMOS22.unlabelled.zips.fullmatch(ref.path)]
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


def _from_manifest(path: Path, definition: DatasetDefinition) -> Iterator[tuple[int, Scan]]:
    frame = read_sheet(path, MANIFEST_SHEET)
    require_columns(frame, _MANIFEST_COLUMNS, path)
    for row in frame.to_dict("records"):
        number = number_of(str(row["seq"] or ""))
        if number < 0:
            raise ManifestError(f"{path}: {row['seq']!r} in column 'seq' is not a number.")
        scanner = str(row["manufacturer_model_name"])
        yield (
            number,
            Scan(
                modality=definition.modality(number, scanner),
                subset=str(row["subset"]) if row["subset"] in SUBSETS else "",
                metadata=Metadata(**{name: _text(row.get(name)) for name in METADATA_FIELDS}),
                image=_beside(path, row["volume"]),
                mask=_beside(path, row["mask"]),
            ),
        )


def _text(value: Any) -> str:
    return UNDEFINED if value is None else str(value)


def _beside(manifest: Path, path: Any) -> FileRef | None:
    return None if path is None else file_ref(manifest.parent / str(path), str(path))


def _from_archive(found: Discovery) -> Iterator[tuple[int, Scan]]:
    for sample in found.samples:
        yield (
            int(sample.seq),
            Scan(sample.modality, sample.subset, sample.metadata, sample.volume, sample.mask),
        )


def _from_unlabelled_zips(
    around: Iterable[FileRef], definition: DatasetDefinition
) -> Iterator[tuple[int, Scan]]:
    around = list({ref.location: ref for ref in around}.values())
    rows = _unlabelled_metadata(around, definition)
    for zip_ref in around:
        kind = definition.unlabelled.zips.fullmatch(_name(zip_ref.path))
        if kind is None:
            continue
        for ref in list_files(zip_ref.location):
            path = PurePosixPath(ref.path)
            number = definition.number_of(path.name)
            if number is not None and "__MACOSX" not in path.parts:
                table = meta.MetadataTable(rows)
                metadata, _ = meta.find_row(table, number, definition, path.name)
                yield number, Scan(kind[1].lower(), "", metadata, ref, None)


def _unlabelled_metadata(around: Iterable[FileRef], definition: DatasetDefinition) -> meta.Rows:
    """Return the rows of the csv files of scans without labels; one that is unusable is said."""
    rows: meta.Rows = {}
    for ref in around:
        if definition.unlabelled.csvs.fullmatch(ref.path):
            try:
                found, _ = meta.read_rows(ref, definition)
            except ArchiveError as error:
                warnings.warn(f"{error} Metadata of its scans is None.", stacklevel=5)
                continue
            for number, candidates in found.items():
                rows.setdefault(number, []).extend(candidates)
    return rows
