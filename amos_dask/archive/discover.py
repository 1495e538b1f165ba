"""From the names of an archive's files to Samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from amos_dask.archive.dataset_json import complete_definition, find_subsets
from amos_dask.archive.listing import file_ref, list_beside, list_files
from amos_dask.archive.locations import file_name, is_url, shown
from amos_dask.archive.metadata import MetadataTable, decide_mr_offset, find_row, read_rows
from amos_dask.archive.names import Names, sort_names
from amos_dask.archive.recognise import find_annex_link
from amos_dask.datasets import AMOS22, DatasetDefinition
from amos_dask.errors import ArchiveError
from amos_dask.issues import Issue, make_issue
from amos_dask.records import UNDEFINED, FileRef, Kind, Metadata, Sample


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

    @property
    def has_metadata(self) -> bool:
        """Whether there is a metadata csv."""
        is_missing = any(issue.code == "metadata_missing" for issue in self.issues)
        return self.definition.metadata is not None and not is_missing

    @property
    def listed_but_absent(self) -> frozenset[str]:
        """Ids of the samples that ``dataset.json`` lists and that are not there."""
        return frozenset(issue.sample for issue in self.issues if issue.code == "listed_but_absent")


def discover(
    location: str,
    labeled_data_meta: str | None = None,
    mr_metadata_offset: str = "auto",
    definition: DatasetDefinition = AMOS22,
    metadata_encoding: str | None = None,
) -> Discovery:
    """Find the samples of an archive and their metadata.

    Parameters
    ----------
    location : str
        A folder, ``amos22.zip``, a tar, or a URL of any.
    labeled_data_meta : str, optional
        The metadata csv; by default ``labeled_data_meta*.csv`` inside or beside the archive.
    mr_metadata_offset : {"auto", "0", "-1"}
        Which row of the csv MR scans take.
    definition : DatasetDefinition
        The dataset.
    metadata_encoding : str, optional
        The csv's, such as ``gb18030``; by default it is recognised.

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
    subsets = find_subsets(names)
    ref = _find_csv(names, location, labeled_data_meta)
    table = _read_table(names, ref, mr_metadata_offset, metadata_encoding)
    samples = []
    for number in sorted(names.scans):
        metadata, found = find_row(table, number, definition) if table.path else (Metadata(), [])
        sample = new_sample(number, subsets[number], metadata, names.scans[number], definition)
        names.issues += found
        names.issues += _check_scanner(sample, table.path, definition)
        names.issues += check_files(sample, definition)
        samples.append(sample)
    names.issues += _check_counts(samples, definition)
    return Discovery(location, tuple(samples), tuple(names.issues), definition)


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


def _read_table(
    names: Names, ref: FileRef | None, mr_metadata_offset: str, encoding: str | None
) -> MetadataTable:
    """Read the metadata; a table without rows where there is none."""
    definition = names.definition
    csv = definition.metadata
    if csv is None or ref is None:
        return MetadataTable({})
    rows, found = read_rows(ref, definition, encoding)
    names.issues += found
    table = MetadataTable(rows, path=ref.path)
    if csv.mr_rows_may_be_shifted:
        mr_scans = {
            number: "mask" in files
            for number, files in names.scans.items()
            if definition.id_modality(number) == "mri"
        }
        table, found = decide_mr_offset(table, mr_metadata_offset, mr_scans, definition)
        names.issues += found
    return table


def _find_csv(names: Names, location: str, labeled_data_meta: str | None) -> FileRef | None:
    """Return the metadata csv, and say where there is none though there should be."""
    csv = names.definition.metadata
    if csv is None:
        return None
    if labeled_data_meta is not None:
        if is_url(labeled_data_meta):
            return FileRef(file_name(labeled_data_meta), labeled_data_meta, 0)
        if not Path(labeled_data_meta).is_file():
            absent = find_annex_link(labeled_data_meta) or "there is no such metadata csv"
            raise ArchiveError(f"{labeled_data_meta}: {absent}.")
        return file_ref(Path(labeled_data_meta), Path(labeled_data_meta).name)
    if names.metadata_csv is not None:
        return names.metadata_csv
    beside = [ref for ref in list_beside(location) if csv.is_name_of(ref.path)]
    if not beside:
        names.say(
            "metadata_missing",
            f"no {csv.files} inside or beside the archive",
            action="all metadata UND; name the csv with --labeled_data_meta",
        )
    return min(beside, key=lambda ref: ref.path != csv.official_file, default=None)


def new_sample(
    number: int,
    subset: str,
    metadata: Metadata,
    files: Mapping[Kind, FileRef | None],
    definition: DatasetDefinition = AMOS22,
) -> Sample:
    """Return a Sample, applying the dataset's modality and scanner rules.

    Parameters
    ----------
    number : int
        The scan's.
    subset : {"train", "val", "test"}
        Official subset.
    metadata : Metadata
        The scan's row of the csv.
    files : mapping of {"volume", "mask"} to FileRef
        The scan's, as far as there are.
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
        volume=files.get("volume"),
        mask=files.get("mask"),
    )


def _check_scanner(sample: Sample, path: str, definition: DatasetDefinition) -> Iterator[Issue]:
    name = sample.metadata.manufacturer_model_name
    told = definition.scanner_modality(name)
    issue = partial(make_issue, sample=sample.sample_id, file=path)
    if definition.scanners and told is None:
        message = f"scanner {name!r} is not among {definition.name}'s"
        action = "folder UND; the name stays in the columns"
        yield issue("unknown_scanner", message, action=action)
    elif told not in (None, sample.modality):
        message = f"its number says {sample.modality}, its scanner {name!r} {told}"
        yield issue("modality_mismatch", message, action=f"{sample.modality} used")


def check_files(sample: Sample, definition: DatasetDefinition) -> Iterator[Issue]:
    """Yield an issue when a sample lacks its volume, or its mask where one is expected."""
    issue = partial(make_issue, sample=sample.sample_id)
    if sample.volume is None and sample.mask is not None:
        message, file = "there is a mask but no scan", sample.mask.path
        yield issue("mask_without_volume", message, file=file, action="nothing written")
    is_expected = sample.subset in definition.subsets_with_masks
    if sample.mask is None and sample.volume is not None and is_expected:
        message, file = f"a {sample.subset} scan without a mask", sample.volume.path
        yield issue("missing_mask", message, file=file, action="no mask is made of it")


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
