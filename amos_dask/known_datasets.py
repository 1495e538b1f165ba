"""``datasets``: the packaged definitions as people look at them, and to start one's own from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amos_dask import datasets as packaged
from amos_dask.datasets import PACKAGED, DatasetDefinition, find_definition
from amos_dask.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

_MOST_LABELS = 8  # of a dataset's, that are named


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

    asked = datasets or tuple(PACKAGED)
    return pd.DataFrame([_describe(str(name), find_definition(name)) for name in asked])


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
    return (Path(packaged.__file__).parent / PACKAGED[name]).read_text(encoding="utf-8")


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
        "labels": of_json.get("labels", _some(labels)),
        "denoises": _some(denoised),
        "metadata": "" if known.metadata is None else known.metadata.files,
        "download": known.access,
        "url": known.url,
        "licence": known.licence,
        "cite": known.cite,
    }


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LABELS} more" if len(names) > _MOST_LABELS else ""
    return ", ".join(names[:_MOST_LABELS]) + more
