"""The form of MONAI: a datalist of the Medical Segmentation Decathlon with fold keys.

In MONAI a fold is what is validated on: official validation scans have fold 0, training scans 1.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from amos_dask.datasets import DatasetDefinition
from amos_dask.errors import AmosDaskError
from amos_dask.export.files import OWN_KEY
from amos_dask.export.labels_of_exports import ExportLabels
from amos_dask.export.placing import Exported

OFFICIAL_FOLDS = {"val": 0, "train": 1}
_CHANNELS = {"ct": "CT", "mri": "MR"}


def labels_folder(file: Path) -> Path:
    """Return where masks are written whose values change."""
    return file.with_name(f"{file.stem}_labels")


def require_own(file: Path) -> None:
    """Raise `AmosDaskError` when there is a file and it is no export of ours."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or OWN_KEY not in content:
        raise AmosDaskError(f"{file}: there already, and no export of amos-dask; choose another.")


def datalist(
    file: Path,
    samples: Sequence[tuple[str, Exported]],
    definition: DatasetDefinition,
    modalities: Collection[str],
    labels: ExportLabels,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of a datalist; paths are relative to its folder.

    Parameters
    ----------
    file : Path
        Where it will be.
    samples : sequence of (str, Exported)
        Subset and files of each sample.
    definition : DatasetDefinition
        Whose samples.
    modalities : collection of str
        Of the samples.
    labels : ExportLabels
        Names and values.
    extra : mapping
        Kept under the key ``amos_dask``.
    """

    def entry(exported: Exported) -> dict[str, Any]:
        paths = {"image": exported.image, "label": exported.label}
        return {
            key: Path(os.path.relpath(path, file.parent)).as_posix()
            for key, path in paths.items()
            if path is not None
        }

    training = [
        {**entry(exported), "fold": OFFICIAL_FOLDS[subset]}
        for subset, exported in samples
        if subset != "test"
    ]
    testing = [entry(exported) for subset, exported in samples if subset == "test"]
    return {
        "name": definition.name,
        "description": f"{definition.name}, organised and denoised by amos-dask; fold 0 is the "
        "official validation set, fold 1 the training set",
        "reference": definition.reference,
        "licence": definition.licence,
        "tensorImageSize": "3D",
        "modality": {"0": "_or_".join(_CHANNELS.get(m, "UND") for m in sorted(modalities))},
        "labels": {str(value): name for name, value in labels.by_name().items()},
        "numTraining": len(training),
        "numTest": len(testing),
        "training": training,
        "testing": testing,
        OWN_KEY: dict(extra),
    }
