"""Datasets: what is particular about each, in a YAML file, and the record made of it.

Every mistake in such a file is said in one sentence.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from amos_dask.datasets.definition import (
    FROM_ARCHIVE,
    FROM_DATASET_JSON,
    WHOLE_FILE,
    DatasetDefinition,
    number_seq,
)
from amos_dask.datasets.forms import (
    METADATA_FIELDS,
    MODALITIES,
    SUBSETS,
    SUBSETS_AS_WRITTEN,
    Kind,
    MaskGeometry,
    PublishedFile,
)
from amos_dask.errors import DatasetError, first_of
from amos_dask.handwritten import read_yaml
from amos_dask.labels import LabelMap, label_key

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AMOS22",
    "DEFAULT",
    "METADATA_FIELDS",
    "MODALITIES",
    "PACKAGED",
    "SUBSETS",
    "SUBSETS_AS_WRITTEN",
    "DatasetDefinition",
    "Kind",
    "MaskGeometry",
    "PublishedFile",
    "dataset_yaml",
    "find_definition",
    "list_datasets",
    "make_definition",
    "number_seq",
    "read_definition",
]

PACKAGED = (  # each a file beside this one
    *("amos22", "ct-org", "decathlon", "brats", "totalsegmentator", "kits23", "abdomenatlas"),
    *("flare22", "btcv", "word", "nnunet"),
)
DEFAULT = "amos22"  # where nobody says which
_MOST_LABELS = 8  # of a dataset's, that are named
_PARTS = ("{channel}", "{label}")  # of volumes, of masks
_RECORD = TypeAdapter(DatasetDefinition)
# What stands for what dataset.json has not told yet.
_UNTOLD = {
    "name": "the task",
    "prefix": "task",
    "labels": LabelMap(()),
    "modality": {},
    "channels": {},
}
# Where pydantic's own words are not for people who write YAML.
_PLAIN_WORDS = {
    "bool_parsing": "should be yes or no",
    "bool_type": "should be yes or no",
    "dataclass_type": "should be lines such as 'key: value'",
    "dict_type": "should be lines such as 'key: value'",
    "frozen_set_type": "should be a list such as [a, b]",
    "int_parsing": "should be a whole number",
    "int_type": "should be a whole number",
    "pattern_type": "should be a text",
    "string_too_short": "should not be empty",
    "string_type": "should be a text",
    "tuple_type": "should be a list such as [a, b]",
}


def find_definition(dataset: str | Path) -> DatasetDefinition:
    """Return the definition of one of `PACKAGED`, or that in a YAML file of this path.

    Raises `DatasetError` when there is no such dataset, or its file is not usable.
    """
    name = str(dataset)
    if name in PACKAGED:
        return _read_packaged(name)
    if not name.lower().endswith((".yaml", ".yml")):
        raise DatasetError(
            f"dataset {name!r} is not known; choose from {', '.join(PACKAGED)}, or name a file of "
            "your own (.yaml)."
        )
    return read_definition(Path(dataset))


@cache
def _read_packaged(name: str) -> DatasetDefinition:
    return read_definition(Path(__file__).with_name(f"{name}.yaml"))


def read_definition(path: Path) -> DatasetDefinition:
    """Read a dataset's definition from a YAML file; the documents say what stands in it.

    Raises `DatasetError` when it cannot be read, or something in it is not understood.
    """
    return make_definition(read_yaml(path, "dataset definition", DatasetError), str(path))


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
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise DatasetError(f"{where}: expected lines such as 'name: AMOS22'.")
    untold = {key: _UNTOLD[key] for key in FROM_ARCHIVE if content.get(key) == FROM_DATASET_JSON}
    try:
        definition = _RECORD.validate_python({**content, **untold, WHOLE_FILE: content})
    except ValidationError as error:
        raise DatasetError(_first_mistake(error, where)) from error
    for mistake in _find_contradictions(definition):
        raise DatasetError(f"{where}: {mistake}.")
    return definition


def _first_mistake(error: ValidationError, where: str) -> str:
    """Return a sentence that names the file, the key and what it may be."""
    # A misspelt key is one that is missing as well.
    mistakes = error.errors(include_url=False)
    mistake = min(mistakes, key=lambda one: one["type"] != "unexpected_keyword_argument")
    loc = mistake["loc"][: -2 if mistake["loc"][-1:] == ("[key]",) else None]
    # No items of lists, and no names of types.
    keys = [key for key in loc if isinstance(key, str) and key != "None" and "[" not in key]
    words, what = mistake["msg"], mistake["type"]
    if what == "missing":
        words = f"{keys.pop()} is missing"
    elif what == "unexpected_keyword_argument":
        words = f"{(key := keys.pop())!r} is not a key of a dataset definition"
        known = {one for name in PACKAGED for one in find_definition(name).content}
        if near := get_close_matches(key, known, 1):
            words += f" (did you mean {near[0]}?)"
    elif what == "value_error":
        words = words.removeprefix("Value error, ")
    else:
        words = _PLAIN_WORDS.get(what, words.removeprefix("Input "))
        words = f"{reprlib.repr(mistake['input'])} {words}"
    return f"{', '.join([where, *keys])}: {words}."


def _find_contradictions(made: DatasetDefinition) -> Iterator[str]:
    """Yield what in several keys does not go together."""
    if not made.volumes:
        yield "volumes are missing"
    tells_subset = made.subset_numbers or made.subset_column or made.subset_lists
    for key, places in (("volumes", made.volumes), ("masks", made.masks)):
        if None in places and not tells_subset:
            yield (
                f"{key} name one place for all, so subsets must say which numbers are in "
                "train, val and test, or subset_column or subset_lists who tells"
            )
    yield from _find_contradicting_places(made)
    if made.published_zip is not None and made.published_tasks is not None:
        yield "published_zip and published_tasks are two downloads; leave one out"
    if made.subset_column and made.metadata is None:
        yield "subset_column needs metadata, whose column it names"
    if not (made.modality_numbers or made.scanners or "modality" in made.open_questions):
        yield "modality is missing"
    for scanner in made.unlabelled_mr_scanners:
        if made.scanner_modality(scanner) is None:
            yield f"{scanner!r} in mr_scanners_without_masks is none of the scanners"
    is_shifted = made.metadata is not None and made.metadata.mr_rows_may_be_shifted
    if is_shifted and not made.modality_numbers.get("mri"):
        yield "mr_rows_may_be_shifted needs the numbers of mri in modality"
    if made.splits_prostate_uterus and made.label_map.unknown((15, 16)):
        yield "split_prostate_uterus needs the labels 15 and 16"
    if "labels" in made.open_questions:
        return
    known = {label_key(name) for name in made.label_map.names().values()}
    for key, names in (("precedence", made.precedence), ("denoise", made.denoised)):
        for name in names if isinstance(names, tuple) else ():
            if label_key(name) not in known:
                yield f"{key} names {name!r}, which is none of the labels"
    for label in made.label_map.unknown(made.label_values.values()):
        yield f"label_values name the label {label}, which is none of the labels"
    if made.report_channel and made.report_channel not in made.channels:
        yield f"report_channel {made.report_channel!r} is none of the channels"


def _find_contradicting_places(made: DatasetDefinition) -> Iterator[str]:
    for one, other in combinations(made.files, 2):
        if one.path.pattern == other.path.pattern:
            yield (
                f"{one.example} would be two things; volumes and masks of each subset need "
                "places of their own"
            )
    for rule in made.files:
        part, wrong = _PARTS if rule.kind == "volume" else _PARTS[::-1]
        where = f"{rule.place!r} in {rule.kind}s"
        if wrong in rule.place:
            yield f"{where} has {wrong}, which is for the others"
        if rule.kind == "mask" or "channels" in made.open_questions:
            continue
        if part in rule.place and not rule.spellings:
            yield f"{where} has {part}, so channels must say what stands there"
        if part not in rule.place and rule.spellings:
            yield f"{where} needs {part}, as channels have files of their own"
    if made.has_numbers and any("{id}" in rule.place for rule in made.files):
        yield "volumes and masks have {number} in some places and {id} in others"
    of_masks = [rule.place for rule in made.files if rule.kind == "mask"]
    if made.has_label_files and not all("{label}" in place for place in of_masks):
        yield "masks have {label} in some places only; each label has a file, or none has"


def list_datasets(*datasets: str | Path) -> pd.DataFrame:
    """Return what is known of each packaged dataset.

    Parameters
    ----------
    *datasets : str or Path
        Only of these, by name or the YAML file of a definition.

    Returns
    -------
    pandas.DataFrame
        A row a dataset: ``name`` (as for ``--dataset``), ``title``, ``scans`` and ``masks`` (such
        files), ``channels``, ``labels``, ``denoises`` (what denoising may change), ``metadata``,
        ``download`` (files that `download` fetches, or where to ask), ``url``, ``licence``,
        ``cite``.

    Raises
    ------
    DatasetError
        When there is no such dataset, or its file is not usable.

    Examples
    --------
    >>> list(amos_dask.list_datasets()["name"])[:3]
    ['amos22', 'ct-org', 'decathlon']
    """
    import pandas as pd

    return pd.DataFrame(
        [_describe(str(name), find_definition(name)) for name in datasets or PACKAGED]
    )


def dataset_yaml(name: str) -> str:
    """Return the text of a packaged definition, with its comments.

    Parameters
    ----------
    name : str
        As `list_datasets` gives it.

    Raises
    ------
    DatasetError
        When there is no such dataset.

    Examples
    --------
    >>> print(amos_dask.dataset_yaml("kits23").splitlines()[2])
    name: KiTS23
    """
    if name not in PACKAGED:
        raise DatasetError(f"dataset {name!r} is not known; choose from {', '.join(PACKAGED)}.")
    return Path(__file__).with_name(f"{name}.yaml").read_text(encoding="utf-8")


def _describe(name: str, known: DatasetDefinition) -> dict[str, str]:
    def places(of: Mapping[Any, Sequence[str]]) -> str:
        return ", ".join(dict.fromkeys(place for each in of.values() for place in each))

    of_json = dict.fromkeys(known.open_questions, "as dataset.json says")
    labels = [label for index, label in known.label_map.names().items() if index]
    denoised = [known.denoised] if isinstance(known.denoised, str) else known.denoised
    return {
        "name": name,
        "title": of_json.get("name", known.name),
        "scans": places(known.volumes),
        "masks": places(known.masks),
        "channels": of_json.get("channels", ", ".join(known.channel_names)),
        "labels": of_json.get("labels", first_of(labels, _MOST_LABELS)),
        "denoises": first_of(denoised, _MOST_LABELS),
        "metadata": "" if known.metadata is None else known.metadata.files,
        "download": known.access,
        "url": known.url,
        "licence": known.licence,
        "cite": known.cite,
    }


AMOS22 = find_definition(DEFAULT)
