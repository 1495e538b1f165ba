"""Which scans there are at a place: in an archive, a ROOT_DIR, zips of scans without labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from amos_dask.archive.discover import discover, new_sample
from amos_dask.archive.listing import list_beside, list_files
from amos_dask.archive.metadata import MetadataTable, Rows, read_metadata
from amos_dask.datasets import METADATA_FIELDS, SUBSETS, DatasetDefinition
from amos_dask.errors import ArchiveError, ManifestError
from amos_dask.file_refs import FileRef, file_name, file_ref, is_one_file, is_url
from amos_dask.records import Metadata, Sample, by_number
from amos_dask.root.layout import (
    MANIFEST_SHEET,
    Layout,
    absolute,
    channel_columns,
    find_root,
    find_samples_of,
)
from amos_dask.tables.workbook import read_sheet, require_columns

_MANIFEST_COLUMNS = ("seq", "subset", "manufacturer_model_name", "volume", "mask")


def find_scans(
    roots: Sequence[str],
    labeled_data_meta: str | None,
    mr_metadata_offset: str,
    definition: DatasetDefinition,
    encoding: str | None,
) -> tuple[DatasetDefinition, dict[str, Sample]]:
    """Find the scans at one place, or in several archives that are one together.

    Parameters
    ----------
    roots : sequence of str
        As `AMOS` takes them; of several, all are archives.
    labeled_data_meta, mr_metadata_offset, encoding
        As for `AMOS`.
    definition : DatasetDefinition
        That of an archive.

    Returns
    -------
    definition : DatasetDefinition
        That of the scans: a ROOT_DIR has its own, whose masks hold labels already.
    scans : dict of str to Sample
        By seq, in order. The subset of scans without labels beside the archive is empty.

    Raises
    ------
    AmosDaskError
        When there is nothing usable.
    """
    root, found = roots[0], list[Sample]()
    is_folder = len(roots) == 1 and not is_one_file(root)
    inside = _files_inside(root) if is_folder else []
    beside = [ref for place in roots for ref in list_beside(place)]
    around = list({ref.location: ref for ref in (*inside, *beside)}.values())
    manifest = _find_manifest(absolute(root)) if is_folder and not is_url(root) else None
    if manifest is not None:
        definition = replace(Layout.of(find_root(manifest.parent)).dataset, label_values={})
        found += _from_manifest(manifest, definition)
    elif locations := roots if len(roots) > 1 else _find_archive(root, inside, definition):
        archive = discover(locations, definition, labeled_data_meta, mr_metadata_offset, encoding)
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


def _find_archive(
    root: str, inside: Sequence[FileRef], definition: DatasetDefinition
) -> Sequence[str]:
    """Return where the archive is; nothing where there are only zips of scans without labels."""
    is_unlabelled = definition.unlabelled.zips.fullmatch
    if is_one_file(root):
        return [] if is_unlabelled(file_name(root)) else [root]
    named = [ref for ref in inside if ref.path in definition.published]
    is_of_zips = bool(named) or any(is_unlabelled(file_name(ref.path)) for ref in inside)
    is_of_several = len({ref.path for ref in named}) > 1
    if not is_of_zips or is_of_several or _has_scans(root, definition):
        return [root]
    return [ref.location for ref in named[:1]]


def _has_scans(root: str, definition: DatasetDefinition) -> bool:
    folders = {rule.folder for rule in definition.files}
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
    columns = channel_columns(definition.channel_names) or ("volume",)
    frame = read_sheet(path, MANIFEST_SHEET)
    require_columns(frame, (*_MANIFEST_COLUMNS, *columns), path)

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
        volumes, mask = tuple(file(row[column]) for column in columns), file(row["mask"])
        sample = new_sample(seq, subset, Metadata(**known), {}, definition)
        masks = () if mask is None else ((0, mask),)
        yield replace(sample, volumes=volumes if any(volumes) else (), masks=masks)


def _from_unlabelled_zips(
    around: Iterable[FileRef], definition: DatasetDefinition, encoding: str | None
) -> Iterator[Sample]:
    table = MetadataTable(definition, _unlabelled_metadata(around, definition, encoding))
    for place in around:
        kind = definition.unlabelled.zips.fullmatch(file_name(place.path))
        if kind is None:
            continue
        for ref in list_files(place.location):
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
