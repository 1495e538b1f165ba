"""From a definition's YAML file to the record, with one sentence for every mistake."""

from __future__ import annotations

import reprlib
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from amos_dask.datasets.definition import (
    FROM_ARCHIVE,
    FROM_DATASET_JSON,
    WHOLE_FILE,
    DatasetDefinition,
)
from amos_dask.errors import DatasetError
from amos_dask.labels import LabelMap
from amos_dask.strict_yaml import read_yaml

PACKAGED = {
    "amos22": "amos22.yaml",
    "ct-org": "ct_org.yaml",
    "decathlon": "decathlon.yaml",
    "brats": "brats.yaml",
    "totalsegmentator": "totalsegmentator.yaml",
    "kits23": "kits23.yaml",
    "nnunet": "nnunet.yaml",
}
DEFAULT = "amos22"  # where nobody says which
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
    """Return a dataset's definition.

    Parameters
    ----------
    dataset : str or Path
        One of `PACKAGED`, or the path of a YAML file.

    Raises
    ------
    DatasetError
        When there is no such dataset, or its file is not usable.
    """
    name = str(dataset)
    if name in PACKAGED:
        return _read_packaged(PACKAGED[name])
    if not name.lower().endswith((".yaml", ".yml")):
        raise DatasetError(
            f"dataset {name!r} is not known; choose from {', '.join(PACKAGED)}, or name a file of "
            "your own (.yaml)."
        )
    return read_definition(Path(dataset))


@cache
def _read_packaged(file_name: str) -> DatasetDefinition:
    return read_definition(Path(__file__).with_name(file_name))


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
        return _RECORD.validate_python({**content, **untold, WHOLE_FILE: content})
    except ValidationError as error:
        raise DatasetError(_first_mistake(error, where)) from error


def _first_mistake(error: ValidationError, where: str) -> str:
    """Return a sentence that names the file, the key and what it may be."""
    mistake = error.errors(include_url=False)[0]
    loc = mistake["loc"][: -2 if mistake["loc"][-1:] == ("[key]",) else None]
    # No items of lists, and no names of types.
    keys = [key for key in loc if isinstance(key, str) and key != "None" and "[" not in key]
    words, what = mistake["msg"], mistake["type"]
    if what == "missing":
        words = f"{keys.pop()} is missing"
    elif what == "unexpected_keyword_argument":
        words = f"{keys.pop()!r} is not a key of a dataset definition"
    elif what == "value_error":
        words = words.removeprefix("Value error, ")
    else:
        words = _PLAIN_WORDS.get(what, words.removeprefix("Input "))
        words = f"{reprlib.repr(mistake['input'])} {words}"
    return f"{', '.join([where, *keys])}: {words}."
