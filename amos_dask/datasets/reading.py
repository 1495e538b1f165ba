"""From a definition's YAML file to the record, with one sentence for every mistake."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path

from amos_dask.datasets.definition import (
    FROM_ARCHIVE,
    FROM_DATASET_JSON,
    NEVER,
    DatasetDefinition,
    FileRule,
    MetadataCsv,
    PublishedZip,
)
from amos_dask.errors import DatasetError, LabelMapError
from amos_dask.labels import LabelMap, make_label_map
from amos_dask.strict_yaml import read_yaml

SUBSETS = ("train", "val", "test")
MODALITIES = ("ct", "mri", "und")
# Fields of a metadata row, in the csv's order.
METADATA_FIELDS = (
    "birth_date",
    "sex",
    "age",
    "manufacturer_model_name",
    "manufacturer",
    "acquisition_date",
    "site",
)
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,29}")
_NAME = re.compile(r"\w[\w .+()-]{0,49}")
_PLACE = re.compile(r"(?:[\w.+()-]+/)?[\w.+()-]*\{number\}", re.ASCII)
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_LARGEST_NUMBER = 999_999_999
# nnU-Net's names of images end in the channel's number. Forms that cannot be read are told apart
# from stray files.
_ENDING = r"(?:_0000)?\.(?:nii|hdr|img)(?:\.gz)?"
_UNKNOWN_PREFIX = "task"
_WORDS = {"yes": True, "true": True, "no": False, "false": False}


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
    top = _Section(content, where)
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
        damaged_numbers=frozenset(map(int, unlabelled.numbers("damaged"))),
        nnunet_id=top.number("nnunet_id", 0) or None,
        reference=top.text("reference", ""),
        licence=top.text("licence", ""),
        open_questions=unknown,
        content=top.content,
    )
    unlabelled.require_no_more()
    top.require_no_more()
    return definition


class _Section:
    """A mapping of a definition, and which of its keys have been asked for."""

    def __init__(self, content: object, where: str) -> None:
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise DatasetError(f"{where}: expected lines such as 'name: AMOS22'.")
        self.content: Mapping[str, object] = content
        self.where = where
        self._asked: set[str] = set()

    def get(self, key: str) -> object:
        self._asked.add(key)
        return self.content.get(key)

    def require_no_more(self) -> None:
        more = [key for key in self.content if key not in self._asked]
        if more:
            raise DatasetError(f"{self.where}: {more[0]!r} is not a key of a dataset definition.")

    def section(self, key: str) -> _Section:
        """Return a mapping; without keys where there is none."""
        found = self.get(key)
        return _Section({} if found is None else found, f"{self.where}, {key}")

    def text(self, key: str, default: str | None = None) -> str:
        found = self.get(key)
        if found is None and default is not None:
            return default
        if not isinstance(found, str) or not found:
            raise DatasetError(f"{self.where}: {key} is missing, or is not a text.")
        return found

    def word(self, key: str, form: re.Pattern[str]) -> str:
        found = self.text(key)
        if not form.fullmatch(found):
            raise DatasetError(f"{self.where}: {found!r} is not possible as {key}.")
        return found

    def number(self, key: str, default: int) -> int:
        found = self.get(key)
        if found is None:
            return default
        if not isinstance(found, str) or not re.fullmatch("[0-9]{1,15}", found):
            raise DatasetError(f"{self.where}: {key} {found!r} is not a whole number.")
        return int(found)

    def flag(self, key: str) -> bool:
        found = self.text(key, "no")
        if found.lower() not in _WORDS:
            raise DatasetError(f"{self.where}: {key} must be yes or no, not {found!r}.")
        return _WORDS[found.lower()]

    def words(self, key: str, known: Collection[str] | None = None) -> list[str]:
        found = self.get(key)
        items = [] if found is None else found
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise DatasetError(f"{self.where}: {key} is not a list of texts such as [a, b].")
        for item in items:
            if known is not None and item not in known:
                names = ", ".join(known) or "those named"
                raise DatasetError(f"{self.where}: {item!r} in {key} is none of {names}.")
        return items

    def numbers(self, key: str) -> list[str]:
        found = self.words(key)
        for item in found:
            if not item.isascii() or not item.isdecimal():
                raise DatasetError(f"{self.where}: {item!r} in {key} is not a whole number.")
        return found

    def keys_among(self, known: Collection[str]) -> Iterable[str]:
        for key in self.content:
            if key not in known:
                raise DatasetError(f"{self.where}: {key!r} is none of {', '.join(known)}.")
            yield key

    def ranges(self, known: Collection[str]) -> tuple[tuple[int, int, str], ...]:
        """Return first number, last number and key, of lines such as ``ct: 1-500, 601``."""
        found = []
        for key in self.keys_among(known):
            for part in self.text(key).split(","):
                match = _RANGE.fullmatch(part.strip())
                first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
                if first > last:
                    raise DatasetError(
                        f"{self.where}: {part.strip()!r} of {key} is not a range such as 1-500."
                    )
                found.append((first, last, key))
        found.sort()
        for (_, last, _), (first, _, key) in pairwise(found):
            if first <= last:
                raise DatasetError(f"{self.where}: number {first} of {key} is in two ranges.")
        return tuple(found)


def _read_files(
    top: _Section, prefix: str
) -> tuple[tuple[FileRule, ...], tuple[tuple[int, int, str], ...]]:
    ranges = top.section("subsets").ranges(SUBSETS)
    rules = [rule for kind in ("volume", "mask") for rule in _read_rules(top, kind, prefix, ranges)]
    if not any(rule.kind == "volume" for rule in rules):
        raise DatasetError(f"{top.where}: volumes are missing.")
    return tuple(rules), ranges


def _read_rules(
    top: _Section, kind: str, prefix: str, ranges: Collection[object]
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
    section: _Section, kind: str, subset: str | None, place: str, prefix: str, digits: int
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


def _read_labels(top: _Section) -> LabelMap:
    try:
        return make_label_map(top.get("labels"), f"{top.where}, labels")
    except LabelMapError as error:
        raise DatasetError(str(error)) from error


def _read_split(top: _Section, labels: LabelMap) -> bool:
    splits = top.flag("split_prostate_uterus")
    if splits and labels.unknown((15, 16)):
        raise DatasetError(f"{top.where}: split_prostate_uterus needs the labels 15 and 16.")
    return splits


def _read_sections(top: _Section, unknown: Collection[str]) -> Mapping[str, str]:
    section = top.section("dataset_json")
    for key in section.content:
        if section.text(key) not in SUBSETS:
            raise DatasetError(f"{section.where}: {key} is none of {', '.join(SUBSETS)}.")
    if unknown and not section.content:
        raise DatasetError(
            f"{top.where}: {next(iter(unknown))} is to come from dataset.json, so dataset_json "
            "must say which of its sections is which subset."
        )
    return {key: section.text(key) for key in section.content}


def _read_modality(top: _Section, scanners: Mapping[str, str]) -> tuple[tuple[int, int, str], ...]:
    found = top.get("modality")
    if isinstance(found, str):
        if found not in MODALITIES:
            raise DatasetError(f"{top.where}: modality {found!r} is none of ct, mri, und.")
        return ((0, _LARGEST_NUMBER, found),)
    if found is None and not scanners:
        raise DatasetError(f"{top.where}: modality is missing.")
    return top.section("modality").ranges(MODALITIES)


def _read_scanners(top: _Section) -> Mapping[str, str]:
    section = top.section("scanners")
    return {
        model: modality
        for modality in section.keys_among(MODALITIES)
        for model in section.words(modality)
    }


def _read_counts(top: _Section) -> Mapping[tuple[str, str], int]:
    section = top.section("official_counts")
    counts = {}
    for subset in section.keys_among(SUBSETS):
        row = section.section(subset)
        for modality in row.keys_among(MODALITIES):
            counts[subset, modality] = row.number(modality, 0)
    return counts


def _read_metadata(top: _Section) -> MetadataCsv | None:
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


def _read_published(top: _Section) -> PublishedZip | None:
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
