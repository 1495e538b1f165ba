"""Which labels an export has, and what each label of a mask becomes in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from amos_dask.labels import BACKGROUND, PROSTATE, UTERUS, LabelMap

# Bladder, prostate, uterus: in MR too few are annotated to train on, as the tutorial says.
RARE_IN_MR = (14, PROSTATE, UTERUS)

Values = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class ExportLabels:
    """The labels of an export: consecutive values from 0, as training programs want them.

    Parameters
    ----------
    names : tuple of str
        Name of each value; ``background`` comes first.
    values : mapping of str to tuple of (int, int)
        Modality -> pairs of label and its value in the export; 0 where it is left out.
    """

    names: tuple[str, ...]
    values: Mapping[str, Values]

    def by_name(self) -> dict[str, int]:
        """Return name -> value."""
        return {name: value for value, name in enumerate(self.names)}

    @property
    def is_as_stored(self) -> bool:
        """Whether no mask has to change."""
        pairs = (pair for values in self.values.values() for pair in values)
        return all(label == value for label, value in pairs)

    def record(self) -> dict[str, dict[str, int]]:
        """Return modality -> label -> value, for JSON."""
        return {
            modality: {str(label): value for label, value in values}
            for modality, values in sorted(self.values.items())
        }


def plan_labels(
    label_map: LabelMap,
    modalities: Collection[str],
    *,
    merge_prostate_uterus: bool = False,
    mr_without_14_16: bool = False,
) -> ExportLabels:
    """Decide the labels of an export.

    Parameters
    ----------
    label_map : LabelMap
        Labels of the masks.
    modalities : collection of str
        Of the samples to be exported.
    merge_prostate_uterus : bool
        Prostate and uterus become one label, as in the archive.
    mr_without_14_16 : bool
        Labels 14 to 16 become background in MR masks; where there is only MR, they have no value
        at all.
    """
    names = label_map.names()
    names[BACKGROUND] = "background"  # nnU-Net knows it by this name
    merged = {label: label for label in label_map}
    if merge_prostate_uterus and {PROSTATE, UTERUS} <= names.keys():
        merged[UTERUS] = PROSTATE
        names[PROSTATE] = f"{names[PROSTATE]}/{names[UTERUS]}"
    left_out = {
        modality: set(RARE_IN_MR) if mr_without_14_16 and modality == "mri" else set()
        for modality in modalities
    }
    kept = sorted(
        {
            merged[label]
            for label in label_map
            if not left_out or any(label not in found for found in left_out.values())
        }
    )
    value_of = {label: value for value, label in enumerate(kept)}
    values = {
        modality: tuple(
            (label, BACKGROUND if label in left_out[modality] else value_of[merged[label]])
            for label in label_map
        )
        for modality in modalities
    }
    return ExportLabels(tuple(names[label] for label in kept), values)
