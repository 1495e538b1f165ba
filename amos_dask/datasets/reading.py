"""From a definition's YAML file to the record, with one sentence for every mistake."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from importlib.resources import as_file, files
from itertools import combinations
from pathlib import Path

from amos_dask.datasets.definition import (
    FROM_ARCHIVE,
    FROM_DATASET_JSON,
    METADATA_FIELDS,
    MODALITIES,
    NEVER,
    SUBSETS,
    DatasetDefinition,
    FileRule,
    MetadataCsv,
    PublishedZip,
)
from amos_dask.datasets.section import Section
from amos_dask.errors import DatasetError, LabelMapError
from amos_dask.labels import LabelMap, make_label_map
from amos_dask.strict_yaml import read_yaml

_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,29}")
_NAME = re.compile(r"\w[\w .+()-]{0,49}")
_PLACE = re.compile(r"(?:[\w.+()-]+/)?[\w.+()-]*\{number\}", re.ASCII)
_LARGEST_NUMBER = 999_999_999
# nnU-Net's names of images end in the channel's number. Forms that cannot be read are told apart
# from stray files.
_ENDING = r"(?:_0000)?\.(?:nii|hdr|img)(?:\.gz)?"
_UNKNOWN_PREFIX = "task"


def read_definition(path: Path) -> DatasetDefinition:
    """Read a dataset's definition.

    Parameters
    ----------
    path : Path
        A YAML file; the README says what stands in it.

    Raises
    ------
    DatasetError
        When it cannot be read, or something in it is not understood.
    """
    try:
        content = read_yaml(path, "dataset definition")
    except ValueError as error:
        raise DatasetError(str(error)) from error
    return make_definition(content, str(path))


def read_packaged(file_name: str) -> DatasetDefinition:
    """Read a definition that comes with the program."""
    with as_file(files("amos_dask.datasets") / file_name) as path:
        return make_definition(read_yaml(path, "dataset definition"), file_name)


def make_definition(content: object, where: str) -> DatasetDefinition:
    """Return the definition that the content of such a file stands for.

    Parameters
    ----------
    content : object
        Mappings, lists and text.
    where : str
        Where it stands, for messages.

    Raises
    ------
    DatasetError
        When something in it is not understood.
    """
    top = Section(content, where)
    unknown = tuple(key for key in FROM_ARCHIVE if top.get(key) == FROM_DATASET_JSON)
    prefix = _UNKNOWN_PREFIX if "prefix" in unknown else top.word("prefix", _PREFIX)
    rules, ranges = _read_files(top, "the_task" if "prefix" in unknown else prefix)
    labels = LabelMap(()) if "labels" in unknown else _read_labels(top)
    scanners = _read_scanners(top)
    unlabelled = top.section("unlabelled")
    definition = DatasetDefinition(
        name="the task" if "name" in unknown else top.word("name", _NAME),
        prefix=prefix,
        label_map=labels,
        files=rules,
        subset_ranges=ranges,
        subsets_with_masks=frozenset(top.words("with_masks", SUBSETS)),
        dataset_json=_read_sections(top, unknown),
        id_modalities=() if "modality" in unknown else _read_modality(top, scanners),
        scanners=scanners,
        unlabelled_mr_scanners=frozenset(top.words("mr_scanners_without_masks", scanners)),
        official_counts=_read_counts(top),
        metadata=_read_metadata(top),
        splits_prostate_uterus=_read_split(top, labels),
        published_zip=_read_published(top),
        unlabelled_files=tuple(unlabelled.words("published")),
        unlabelled_zip=_pattern(unlabelled.text("zips", "")),
        unlabelled_csv=_pattern(unlabelled.text("csvs", "")),
        damaged_numbers=frozenset(unlabelled.numbers("damaged")),
        nnunet_id=top.number("nnunet_id", 0) or None,
        reference=top.text("reference", ""),
        licence=top.text("licence", ""),
        open_questions=unknown,
        content=top.content,
    )
    unlabelled.require_no_more()
    top.require_no_more()
    return definition


def _read_files(
    top: Section, prefix: str
) -> tuple[tuple[FileRule, ...], tuple[tuple[int, int, str], ...]]:
    ranges = top.section("subsets").ranges(SUBSETS)
    rules = [rule for kind in ("volume", "mask") for rule in _read_rules(top, kind, prefix, ranges)]
    if not any(rule.kind == "volume" for rule in rules):
        raise DatasetError(f"{top.where}: volumes are missing.")
    for one, other in combinations(rules, 2):
        if (one.folder, one.file_name) == (other.folder, other.file_name):
            raise DatasetError(
                f"{top.where}: {one.example} would be two things; volumes and masks of each subset "
                "need places of their own."
            )
    return tuple(rules), ranges


def _read_rules(
    top: Section, kind: str, prefix: str, ranges: Collection[object]
) -> Iterable[FileRule]:
    found, digits = top.get(f"{kind}s"), top.number("digits", 1)
    if not 1 <= digits <= 9:
        raise DatasetError(f"{top.where}: digits must be a number from 1 to 9, not {digits}.")
    if isinstance(found, str):
        if not ranges:
            raise DatasetError(
                f"{top.where}: {kind}s name one place for all, so subsets must say which numbers "
                "are in train, val and test."
            )
        yield _rule(top, kind, None, found, prefix, digits)
        return
    places = top.section(f"{kind}s")
    for subset in places.keys_among(SUBSETS):
        yield _rule(places, kind, subset, places.text(subset), prefix, digits)


def _rule(
    section: Section, kind: str, subset: str | None, place: str, prefix: str, digits: int
) -> FileRule:
    place = place.replace("{prefix}", prefix)
    if not _PLACE.fullmatch(place):
        raise DatasetError(
            f"{section.where}: {place!r} is not such as 'imagesTr/amos_{{number}}': a folder or "
            "none, a name, and the number at its end."
        )
    folder, _, name = place.rpartition("/")
    stem = re.escape(name.removesuffix("{number}"))
    return FileRule(
        kind="volume" if kind == "volume" else "mask",
        subset=subset,
        folder=folder,
        file_name=re.compile(f"{stem}([0-9]{{{digits},9}}){_ENDING}"),
        example=f"{place.replace('{number}', '1'.zfill(digits))}.nii.gz",
    )


def _read_labels(top: Section) -> LabelMap:
    try:
        return make_label_map(top.get("labels"), f"{top.where}, labels")
    except LabelMapError as error:
        raise DatasetError(str(error)) from error


def _read_split(top: Section, labels: LabelMap) -> bool:
    splits = top.flag("split_prostate_uterus")
    if splits and labels.unknown((15, 16)):
        raise DatasetError(f"{top.where}: split_prostate_uterus needs the labels 15 and 16.")
    return splits


def _read_sections(top: Section, unknown: Collection[str]) -> Mapping[str, str]:
    section = top.section("dataset_json")
    subsets = {key: section.text(key) for key in section.content}
    for key, subset in subsets.items():
        if subset not in SUBSETS:
            raise DatasetError(f"{section.where}: {key} is none of {', '.join(SUBSETS)}.")
    if unknown and not subsets:
        raise DatasetError(
            f"{top.where}: {next(iter(unknown))} is to come from dataset.json, so dataset_json "
            "must say which of its sections is which subset."
        )
    return subsets


def _read_modality(top: Section, scanners: Mapping[str, str]) -> tuple[tuple[int, int, str], ...]:
    found = top.get("modality")
    if isinstance(found, str):
        if found not in MODALITIES:
            raise DatasetError(f"{top.where}: modality {found!r} is none of ct, mri, und.")
        return ((0, _LARGEST_NUMBER, found),)
    if found is None and not scanners:
        raise DatasetError(f"{top.where}: modality is missing.")
    return top.section("modality").ranges(MODALITIES)


def _read_scanners(top: Section) -> Mapping[str, str]:
    section = top.section("scanners")
    return {
        model: modality
        for modality in section.keys_among(MODALITIES)
        for model in section.words(modality)
    }


def _read_counts(top: Section) -> Mapping[tuple[str, str], int]:
    section = top.section("official_counts")
    counts = {}
    for subset in section.keys_among(SUBSETS):
        row = section.section(subset)
        for modality in row.keys_among(MODALITIES):
            counts[subset, modality] = row.number(modality, 0)
    return counts


def _read_metadata(top: Section) -> MetadataCsv | None:
    section = top.section("metadata")
    if not section.content:
        return None
    columns = section.section("columns")
    metadata = MetadataCsv(
        files=section.text("files"),
        official_file=section.text("official_file", ""),
        id_column=section.text("id"),
        columns={key: columns.text(key) for key in columns.keys_among(METADATA_FIELDS)},
        mr_rows_may_be_shifted=section.flag("mr_rows_may_be_shifted"),
    )
    section.require_no_more()
    return metadata


def _read_published(top: Section) -> PublishedZip | None:
    section = top.section("published_zip")
    if not section.content:
        return None
    published = PublishedZip(
        where=section.text("where"),
        md5=section.text("md5"),
        n_bytes=section.number("n_bytes", 0),
        n_bytes_uncertain=section.number("n_bytes_uncertain", 0),
        name=section.text("name"),
    )
    section.require_no_more()
    return published


def _pattern(text: str) -> re.Pattern[str]:
    """Return what matches a name with ``*``, ``{modality}`` (a group) and ``{numbers}``."""
    if not text:
        return NEVER
    parts = {"*": ".*", "{modality}": "(ct|mri)", "{numbers}": "[0-9_]+"}
    pieces = re.split(r"(\*|\{modality\}|\{numbers\})", text)
    return re.compile("".join(parts.get(p) or re.escape(p) for p in pieces), re.IGNORECASE)
