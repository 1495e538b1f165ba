"""Which scans there are: in an archive, in zips of scans without labels, or in a ROOT_DIR."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from amos_dask.archive.discover import discover, new_sample
from amos_dask.archive.listing import file_ref, list_beside, list_files
from amos_dask.archive.locations import is_one_file, is_url
from amos_dask.archive.metadata import MetadataTable, Rows, find_row, read_rows
from amos_dask.datasets import AMOS22, METADATA_FIELDS, SUBSETS, DatasetDefinition
from amos_dask.errors import ArchiveError, ManifestError
from amos_dask.records import FileRef, Kind, Metadata, Sample
from amos_dask.root.layout import MANIFEST_SHEET, Layout, absolute, find_root, find_samples_of
from amos_dask.tables.workbook import read_sheet, require_columns

_MANIFEST_COLUMNS = ("seq", "subset", "manufacturer_model_name", "volume", "mask")


def find_scans(
    root: str,
    labeled_data_meta: str | None,
    mr_metadata_offset: str,
    definition: DatasetDefinition,
    metadata_encoding: str | None = None,
) -> tuple[DatasetDefinition, dict[str, Sample]]:
    """Return the scans at a root by seq, in order, and the definition of their dataset.

    Arguments are as for `AMOS`; the definition is that of an archive, a ROOT_DIR has its own. The
    subset of scans without labels beside the archive is empty.

    Raises
    ------
    AmosDaskError
        When there is nothing usable at the root.
    """
    inside = [] if is_one_file(root) else _files_inside(root)
    around = {ref.location: ref for ref in (*inside, *list_beside(root))}.values()
    manifest = None if is_one_file(root) or is_url(root) else _find_manifest(absolute(root))
    found: list[Sample] = []
    if manifest is not None:
        definition = Layout.of(find_root(manifest.parent)).dataset
        found += _from_manifest(manifest, definition)
    elif (location := _find_archive(root, inside)) is not None:
        archive = discover(
            location, labeled_data_meta, mr_metadata_offset, definition, metadata_encoding
        )
        definition = archive.definition
        found += archive.samples
    found += _from_unlabelled_zips(around, definition, metadata_encoding)
    scans = {sample.seq: sample for sample in reversed(found)}  # of two the first counts
    return definition, {seq: scans[seq] for seq in sorted(scans, key=int)}


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
    return AMOS22.unlabelled.zips.fullmatch(_name(location)) is not None


def _name(location: str) -> str:
    return PurePosixPath(location.partition("?")[0]).name


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

    def file(shown: Any) -> FileRef | None:
        """Return the file that a cell names."""
        return None if shown is None else file_ref(path.parent / str(shown), str(shown))

    for row in frame.to_dict("records"):
        seq = str(row["seq"] or "")
        if not (seq.isascii() and seq.isdigit()):
            raise ManifestError(f"{path}: {row['seq']!r} in column 'seq' is not a number.")
        subset = str(row["subset"]) if row["subset"] in SUBSETS else ""
        known = {name: str(row[name]) for name in METADATA_FIELDS if row.get(name) is not None}
        files = {kind: file(row[kind]) for kind in get_args(Kind)}
        yield new_sample(int(seq), subset, Metadata(**known), files, definition)


def _from_unlabelled_zips(
    around: Iterable[FileRef], definition: DatasetDefinition, encoding: str | None
) -> Iterator[Sample]:
    table = MetadataTable(_unlabelled_metadata(around, definition, encoding))
    zips = definition.unlabelled.zips
    for zip_ref, kind in [(ref, zips.fullmatch(_name(ref.path))) for ref in around]:
        if kind is None:
            continue
        for ref in list_files(zip_ref.location):
            path = PurePosixPath(ref.path)
            number = definition.number_of(path.name)
            if number is not None and "__MACOSX" not in path.parts:
                metadata, _ = find_row(table, number, definition)
                sample = new_sample(number, "", metadata, {"volume": ref}, definition)
                yield replace(sample, modality=kind[1].lower())


def _unlabelled_metadata(
    around: Iterable[FileRef], definition: DatasetDefinition, encoding: str | None
) -> Rows:
    """Return the rows of the csv files of scans without labels; one that is unusable is said."""
    rows: Rows = {}
    for ref in around:
        if definition.unlabelled.csvs.fullmatch(ref.path):
            try:
                found, _ = read_rows(ref, definition, encoding)
            except ArchiveError as error:
                warnings.warn(f"{error} Metadata of its scans is None.", stacklevel=5)
                continue
            for number, candidates in found.items():
                rows.setdefault(number, []).extend(candidates)
    return rows
