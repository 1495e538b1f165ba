"""From the names of an archive's files to Samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from amos_dask.archive.dataset_json import complete_definition, find_subsets, read_subset_lists
from amos_dask.archive.listing import (
    Files,
    Names,
    find_dataset_json,
    list_all,
    list_beside,
    sort_names,
)
from amos_dask.archive.metadata import MetadataTable, read_metadata
from amos_dask.archive.recognise import CONVERT_DICOM, find_annex_link, is_dicom
from amos_dask.archive.sources import read_blocks
from amos_dask.compact import Compact
from amos_dask.datasets import DatasetDefinition
from amos_dask.errors import ArchiveError, InaccessibleFileError, UnreadableImageError, first_of
from amos_dask.file_refs import NEEDS_SIMPLEITK, FileRef, file_name, file_ref, is_url, shown
from amos_dask.issues import Issue, make_issue
from amos_dask.records import UNDEFINED, Metadata, Sample, by_number

_MOST_NAMED = 5


@dataclass(frozen=True)
class Discovery:
    """What was found in an archive."""

    locations: tuple[str, ...]  # several where it is in several files or folders
    samples: Sequence[Sample]  # by number or id; each has at least one of volume and mask
    issues: tuple[Issue, ...]  # oddities of names, subsets and metadata
    definition: DatasetDefinition  # with what the archive itself tells of it
    without_subset: frozenset[str] = frozenset()  # ids of samples whose subset is not told

    @property
    def shown(self) -> str:
        """The archive, for messages."""
        return " and ".join(map(shown, self.locations))

    @property
    def has_metadata(self) -> bool:
        """Whether there are metadata."""
        is_missing = any(issue.code == "metadata_missing" for issue in self.issues)
        return self.definition.metadata is not None and not is_missing

    @property
    def listed_but_absent(self) -> frozenset[str]:
        """Ids of the samples that ``dataset.json`` lists and that are not there."""
        return frozenset(issue.sample for issue in self.issues if issue.code == "listed_but_absent")


def discover(
    locations: Sequence[str],
    definition: DatasetDefinition,
    labeled_data_meta: str | None = None,
    mr_metadata_offset: str = "auto",
    metadata_encoding: str | None = None,
) -> Discovery:
    """Find the samples of an archive and their metadata.

    Parameters
    ----------
    locations : sequence of str
        A folder, a zip, a tar, or a URL of any; several of these are one archive together.
    definition : DatasetDefinition
        The dataset.
    labeled_data_meta : str, optional
        The metadata; by default what the definition names, inside or beside the archive.
    mr_metadata_offset : {"auto", "0", "-1"}
        Which row of the metadata MR scans take.
    metadata_encoding : str, optional
        That of a csv; by default it is recognised.

    Raises
    ------
    ArchiveError
        When the archive or the metadata cannot be used as a whole, or there are no scans.
    """
    samples = Compact[Sample]()  # first: what lives longest lies apart from what comes and goes
    _require_metadata(definition, labeled_data_meta, mr_metadata_offset)
    files, said = list_all(locations), " and ".join(map(shown, locations))
    definition = complete_definition(definition, files, find_dataset_json(files), said)
    names = sort_names(files, definition)
    if not names.scans:
        if names.dicom or _begins_as_dicom(files):
            raise ArchiveError(f"{said}: holds DICOM files, which are not read; {CONVERT_DICOM}.")
        raise ArchiveError(
            f"{said}: no scans found; expected files such as {definition.example}; "
            f"name another dataset than {definition.name} with --dataset."
        )
    _require_distinct(names, said)
    is_itk = any(ref.is_itk for found in names.scans.values() for ref in found.values())
    if is_itk and find_spec("SimpleITK") is None:
        raise ArchiveError(f"{said}: {NEEDS_SIMPLEITK}.")
    table = _read_metadata(
        names, locations, labeled_data_meta, mr_metadata_offset, metadata_encoding
    )
    subsets, untold = _find_subsets(names, table)
    for seq in names.scans:
        metadata, found = table.find_row(seq)
        sample = new_sample(seq, subsets[seq], metadata, names.scans[seq], definition)
        names.issues += found
        names.issues += _check_scanner(sample, table.path, definition)
        names.issues += check_files(sample, definition)
        samples.append(sample)
    names.issues += _check_counts(samples, definition)
    return Discovery(
        tuple(locations),
        samples,
        tuple(names.issues),
        definition,
        frozenset(map(definition.sample_id, untold)),
    )


def _begins_as_dicom(files: Sequence[FileRef]) -> bool:
    """Return whether one of the first files is DICOM, whose names often tell nothing."""
    for ref in files[:_MOST_NAMED]:
        with suppress(UnreadableImageError, InaccessibleFileError):
            if is_dicom(next(read_blocks(ref), b"")):
                return True
    return False


def _require_distinct(names: Names, shown_as: str) -> None:
    """Raise where ids cannot be told apart: by case only, or from others with the prefix."""
    taken: dict[str, str] = {}
    prefix = f"{names.definition.prefix}_"
    for seq in names.scans:
        first = taken.setdefault(seq.casefold(), seq)
        if first != seq:
            raise ArchiveError(
                f"{shown_as}: the ids {first} and {seq} differ by upper and lower case only, so "
                "that their files may be one; rename one of the two."
            )
        if seq.startswith(prefix):
            raise ArchiveError(
                f"{shown_as}: the id {seq} begins with the prefix {prefix}; choose another prefix "
                f"in the definition, or write {prefix}{{id}} in its places."
            )


def _find_subsets(names: Names, table: MetadataTable) -> tuple[dict[str, str], list[str]]:
    """Return seq -> subset of all scans, and of which it is not told, which is said."""
    definition = names.definition
    told = names.subsets
    if names.dataset_json is not None:
        told, found = find_subsets(names.dataset_json, told, definition)
        names.issues += found
    elif definition.subset_lists:
        if names.subset_lists is None:
            raise ArchiveError(
                f"there is no {definition.subset_lists}, which tells the subsets of "
                f"{definition.name}; put it into the archive."
            )
        listed = read_subset_lists(names.subset_lists, definition)
        told = listed | told
        for seq in sorted(listed.keys() - names.scans.keys(), key=by_number):
            message = f"listed as {listed[seq]}, but there is no file of it"
            names.say("listed_but_absent", message, sample=definition.sample_id(seq))
    told = {**table.subsets, **told}
    untold = [seq for seq in names.scans if seq not in told]
    if untold:
        who = definition.subset_lists or f"column {definition.subset_column!r} of the metadata"
        ids = first_of([definition.sample_id(seq) for seq in untold], _MOST_NAMED)
        names.say(
            "subset_unknown",
            f"{who} does not tell the subset of {ids}",
            action="train taken, of finished samples the subset that they have",
        )
    return {**dict.fromkeys(untold, "train"), **told}, untold


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


def _read_metadata(
    names: Names,
    locations: Sequence[str],
    labeled_data_meta: str | None,
    mr_metadata_offset: str,
    encoding: str | None,
) -> MetadataTable:
    """Read the metadata; a table without rows where there are none, which is said."""
    definition, form = names.definition, names.definition.metadata
    if form is None:
        return MetadataTable(definition)
    ref = names.metadata if labeled_data_meta is None else _ref_of(labeled_data_meta)
    if ref is None:
        around = (ref for location in locations for ref in list_beside(location))
        beside = [ref for ref in around if form.is_name_of(ref.path)]
        ref = min(beside, key=lambda ref: ref.path != form.official_file, default=None)
    if ref is None:
        names.say(
            "metadata_missing",
            f"no {form.files} inside or beside the archive",
            action="all metadata UND; name the csv with --labeled_data_meta",
        )
        return MetadataTable(definition)
    table, found = read_metadata(ref, definition, encoding)
    names.issues += found
    if form.mr_rows_may_be_shifted:
        mr_scans = {
            seq: ("mask", 0) in files
            for seq, files in names.scans.items()
            if definition.id_modality(seq) == "mri"
        }
        table, found = table.with_mr_offset(mr_metadata_offset, mr_scans)
        names.issues += found
    return table


def _ref_of(csv: str) -> FileRef:
    """Return the reference to a csv that somebody names."""
    if is_url(csv):
        return FileRef(file_name(csv), csv, 0)
    if not Path(csv).is_file():
        raise ArchiveError(f"{csv}: {find_annex_link(csv) or 'there is no such metadata csv'}.")
    return file_ref(Path(csv), Path(csv).name)


def new_sample(
    seq: str, subset: str, metadata: Metadata, files: Files, definition: DatasetDefinition
) -> Sample:
    """Return a Sample of a scan's files by kind and channel or label, by the dataset's rules."""
    scanner = metadata.manufacturer_model_name
    channels = range(len(definition.channels) if definition.has_channel_files else 1)
    volumes = tuple(files.get(("volume", channel)) for channel in channels)
    labels = sorted(label for kind, label in files if kind == "mask")
    return Sample(
        seq=seq,
        prefix=definition.prefix,
        subset=subset,
        modality=definition.modality(seq, scanner),
        scanner=scanner if definition.scanner_modality(scanner) else UNDEFINED,
        metadata=metadata,
        volumes=volumes if any(volumes) else (),
        masks=tuple((n, files["mask", n]) for n in labels),
        channels=definition.channel_names,
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
    absent = sample.absent_channels
    if sample.volume is not None and absent:
        message = f"no file of {'the channel' if len(absent) == 1 else 'the channels'} "
        message += ", ".join(absent)
        yield issue("missing_channel", message, file=sample.volume.path, action="nothing written")
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
