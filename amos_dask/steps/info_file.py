"""Info file: what is known of a sample, as YAML for people and programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import yaml

from amos_dask.records import UNDEFINED, Metadata, Sample

# Raised when what this step makes changes: samples made with an older one are made again.
RESULT_VERSION = 1
_INFO_ORDER = (
    "sex",
    "age",
    "birth_date",
    "acquisition_date",
    "manufacturer",
    "manufacturer_model_name",
    "site",
)


class _Quoted(str):
    """Text that stays text for every YAML reader, whatever it looks like."""


class _Dumper(yaml.SafeDumper):
    """Writes the values in quotes and the keys plain."""


_Dumper.add_representer(
    _Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")
)


def info_yaml(sample: Sample) -> str:
    """Return the text of such as ``amos_{seq}_info.yaml``: all values are strings."""
    metadata = asdict(sample.metadata)
    content = {"seq": sample.seq, "subset": sample.subset}
    content |= {name: metadata[name] for name in _INFO_ORDER}
    quoted = {name: _Quoted(value) for name, value in content.items()}
    return yaml.dump(quoted, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def parse_info_yaml(text: str) -> tuple[str, str, Metadata]:
    """Return seq, subset and metadata of an info file.

    Raises
    ------
    ValueError
        When the text is not such a file.
    """
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict) or not {"seq", "subset"} <= content.keys():
        raise ValueError("seq or subset is missing")
    found = {name: content.get(name) for name in _INFO_ORDER}
    if any(isinstance(value, (dict, list, set)) for value in (*found.values(), content["seq"])):
        raise ValueError("a value is not text")  # as text, aliases of lists would be endless
    values = {name: UNDEFINED if v is None else str(v) for name, v in found.items()}
    return str(content["seq"]), str(content["subset"]), Metadata(**values)
