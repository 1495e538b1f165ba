"""From the names of an archive's files to Samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from amos_dask.archive import metadata as meta
from amos_dask.archive.dataset_json import complete_definition, find_subsets
from amos_dask.archive.listing import file_ref, list_beside, list_files
from amos_dask.archive.locations import is_url, shown
from amos_dask.archive.names import Names, Scan, sort_names
from amos_dask.datasets import AMOS22, DatasetDefinition, MetadataCsv
from amos_dask.errors import ArchiveError
from amos_dask.issues import Issue, make_issue
from amos_dask.records import UNDEFINED, FileRef, Metadata, Sample


@dataclass(frozen=True)
class Discovery:
    """What was found in an archive.

    Parameters
    ----------
    location : str
        Path or URL of the archive.
    samples : tuple of Sample
        By number; a sample has at least one of volume and mask.
    issues : tuple of Issue
        Oddities of names, subsets and metadata.
    definition : DatasetDefinition
        The dataset, with what the archive itself tells of it.
    """

    location: str
    samples: tuple[Sample, ...]
    issues: tuple[Issue, ...]
    definition: DatasetDefinition = AMOS22


def discover(
    location: str,
    labeled_data_meta: str | None = None,
    mr_metadata_offset: str = "auto",
    definition: DatasetDefinition = AMOS22,
) -> Discovery:
    """Find the samples of an archive and their metadata.

    Parameters
    ----------
    location : str
        A folder, ``amos22.zip``, or a URL of either.
    labeled_data_meta : str, optional
        The metadata csv; by default ``labeled_data_meta*.csv`` inside or beside the archive.
    mr_metadata_offset : {"auto", "0", "-1"}
        Which row of the csv MR scans take.
    definition : DatasetDefinition
        The dataset.

    Raises
    ------
    ArchiveError
        When the archive or the csv cannot be used as a whole, or holds no scans.
    """
    _require_metadata(definition, labeled_data_meta, mr_metadata_offset)
    files = list_files(location)
    definition = complete_definition(definition, files, shown(location))
    names = sort_names(files, definition)
    if not names.scans:
        raise ArchiveError(
            f"{shown(location)}: no scans found; expected files such as {definition.example}; "
            f"name another dataset than {definition.name} with --dataset."
        )
    issues = list(names.issues)
    subsets = find_subsets(names, issues)
    table = _find_table(names, location, labeled_data_meta, mr_metadata_offset, issues)
    samples = tuple(
        _make_sample(scan, subsets[scan.number], table, definition, issues)
        for scan in sorted(names.scans.values(), key=lambda scan: scan.number)
    )
    issues.extend(_check_counts(samples, definition))
    return Discovery(location, samples, tuple(issues), definition)


def _require_metadata(
    definition: DatasetDefinition, labeled_data_meta: str | None, mr_metadata_offset: str
) -> None:
    """Raise when something is said of a metadata csv that the dataset has not."""
    csv = definition.metadata
    if csv is None and labeled_data_meta is not None:
        raise ArchiveError(f"{definition.name} has no metadata csv; leave --labeled_data_meta out.")
    is_shifted = mr_metadata_offset not in ("auto", "0")
    if is_shifted and (csv is None or not csv.mr_rows_may_be_shifted):
        raise ArchiveError(
            f"--mr_metadata_offset {mr_metadata_offset} is for AMOS22; {definition.name} has no "
            "metadata with shifted rows."
        )


def _find_table(
    names: Names,
    location: str,
    labeled_data_meta: str | None,
    mr_metadata_offset: str,
    issues: list[Issue],
) -> meta.MetadataTable:
    definition = names.definition
    if definition.metadata is None:
        return meta.MetadataTable({})
    ref = _find_csv(names, definition.metadata, location, labeled_data_meta)
    if ref is None:
        issues.append(
            make_issue(
                "metadata_missing",
                f"no {definition.metadata.files} inside or beside the archive",
                action="all metadata UND; name the csv with --labeled_data_meta",
            )
        )
        return meta.MetadataTable({})
    rows, found = meta.read_rows(ref, definition)
    issues.extend(found)
    if not definition.metadata.mr_rows_may_be_shifted:
        return meta.MetadataTable(rows, 0, ref.path)
    mr_scans = [n for n in names.scans if definition.id_modality(n) == "mri"]
    labelled = [n for n in mr_scans if "mask" in names.scans[n].files]
    offset, found = meta.decide_mr_offset(
        mr_metadata_offset, rows, mr_scans, labelled, definition, ref.path
    )
    issues.extend(found)
    return meta.MetadataTable(rows, offset, ref.path)


def _find_csv(
    names: Names, csv: MetadataCsv, location: str, labeled_data_meta: str | None
) -> FileRef | None:
    if labeled_data_meta is not None:
        if is_url(labeled_data_meta):
            return FileRef(shown(labeled_data_meta).rpartition("/")[2], labeled_data_meta, 0)
        if not Path(labeled_data_meta).is_file():
            raise ArchiveError(f"{labeled_data_meta}: there is no such metadata csv.")
        return file_ref(Path(labeled_data_meta), Path(labeled_data_meta).name)
    if names.metadata_csv is not None:
        return names.metadata_csv
    beside = [ref for ref in list_beside(location) if csv.is_name_of(ref.path)]
    return min(beside, key=lambda ref: ref.path != csv.official_file, default=None)


def _make_sample(
    scan: Scan,
    subset: str,
    table: meta.MetadataTable,
    definition: DatasetDefinition,
    issues: list[Issue],
) -> Sample:
    metadata = Metadata()
    if table.path:
        metadata, found = meta.find_row(
            table, scan.number, definition, definition.sample_id(scan.number)
        )
        issues.extend(found)
    sample = make_sample(
        scan.number,
        subset,
        metadata,
        scan.files.get("volume"),
        scan.files.get("mask"),
        definition,
    )
    issues.extend(_check_scanner(sample, table.path, definition))
    issues.extend(check_files(sample, definition))
    return sample


def make_sample(
    number: int,
    subset: str,
    metadata: Metadata,
    volume: FileRef | None,
    mask: FileRef | None,
    definition: DatasetDefinition = AMOS22,
) -> Sample:
    """Make a Sample, applying the dataset's modality and scanner rules.

    Parameters
    ----------
    number : int
        The scan's.
    subset : {"train", "val", "test"}
        Official subset.
    metadata : Metadata
        The scan's row of the csv.
    volume, mask : FileRef or None
        The scan's files.
    definition : DatasetDefinition
        The dataset.
    """
    scanner = metadata.manufacturer_model_name
    return Sample(
        seq=f"{number:04d}",
        prefix=definition.prefix,
        subset=subset,
        modality=definition.modality(number, scanner),
        scanner=scanner if definition.scanner_modality(scanner) else UNDEFINED,
        metadata=metadata,
        volume=volume,
        mask=mask,
    )


def _check_scanner(sample: Sample, path: str, definition: DatasetDefinition) -> Iterator[Issue]:
    name = sample.metadata.manufacturer_model_name
    if not definition.scanners:
        return
    if sample.scanner == UNDEFINED:
        yield make_issue(
            "unknown_scanner",
            f"scanner {name!r} is not among {definition.name}'s",
            sample=sample.sample_id,
            file=path,
            action="folder UND; the name stays in the columns",
        )
    elif (told := definition.scanner_modality(name)) != sample.modality:
        yield make_issue(
            "modality_mismatch",
            f"its number says {sample.modality}, its scanner {name!r} {told}",
            sample=sample.sample_id,
            file=path,
            action=f"{sample.modality} used",
        )


def check_files(sample: Sample, definition: DatasetDefinition) -> Iterator[Issue]:
    """Yield an issue when a sample lacks its volume, or its mask where one is expected."""
    if sample.volume is None and sample.mask is not None:
        yield make_issue(
            "mask_without_volume",
            "there is a mask but no scan",
            sample=sample.sample_id,
            file=sample.mask.path,
            action="nothing written",
        )
    elif (
        sample.mask is None
        and sample.volume is not None
        and sample.subset in definition.subsets_with_masks
    ):
        yield make_issue(
            "missing_mask",
            f"a {sample.subset} scan without a mask",
            sample=sample.sample_id,
            file=sample.volume.path,
            action="only the volume is written",
        )


def _check_counts(samples: Iterable[Sample], definition: DatasetDefinition) -> Iterator[Issue]:
    found = Counter((s.subset, s.modality) for s in samples if s.volume is not None)
    official: Counter[tuple[str, str]] = Counter(
        {(s, m): n for s, row in definition.official_counts.items() for m, n in row.items()}
    )
    if official and found != official:
        ours, theirs = _describe_counts(found, definition), _describe_counts(official, definition)
        yield make_issue("subset_counts", f"found {ours}; official {theirs}")


def _describe_counts(counts: Counter[tuple[str, str]], definition: DatasetDefinition) -> str:
    """Return such as ``train 200+40, val 100+20``: of each modality that there may be."""
    others = ("und",) if any(m == "und" for _, m in counts) else ()
    modalities = tuple(dict.fromkeys((*definition.modalities, *others)))
    return ", ".join(
        f"{subset} " + "+".join(str(counts[subset, modality]) for modality in modalities)
        for subset in definition.subsets
    )
