"""Issues: what was found, repaired or failed, each with a stable code and its severity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")  # the worst first


# docs/reference/issues.md says what each of them means.
CATALOGUE: Mapping[str, Severity] = {
    # the archive and its metadata
    "junk_ignored": "info",
    "unexpected_file": "warning",
    "duplicate_file": "warning",
    "bad_dataset_json": "warning",
    "subset_mismatch": "warning",
    "not_in_dataset_json": "warning",
    "listed_but_absent": "warning",
    "subset_counts": "info",
    "missing_mask": "warning",
    "mask_without_volume": "error",
    "missing_channel": "error",
    "subset_unknown": "warning",
    "metadata_missing": "warning",
    "metadata_row_missing": "warning",
    "duplicate_metadata_row": "warning",
    "metadata_encoding": "warning",
    "ambiguous_date": "warning",
    "unknown_metadata_value": "warning",
    "bad_metadata_row": "warning",
    "mr_metadata_offset": "info",
    "mr_metadata_offset_unknown": "warning",
    "modality_mismatch": "warning",
    "unknown_scanner": "warning",
    # the image files
    "unreadable_volume": "error",
    "unreadable_mask": "error",
    "bad_affine": "error",
    "bad_spacing": "warning",
    "units_converted": "info",
    "units_implausible": "warning",
    "forms_disagree": "warning",
    "implausible_spacing": "warning",
    "not_orthonormal": "info",
    "constant_volume": "warning",
    "empty_slices": "info",
    "non_finite_voxels": "warning",
    "trailing_bytes": "warning",
    "shape_mismatch": "error",
    "affine_repaired": "info",
    "mask_turned": "warning",
    "labels_rounded": "warning",
    "bad_mask_values": "error",
    "labels_overlap": "info",
    "unknown_label": "error",
    "empty_mask": "warning",
    "label_vanished": "warning",
    "unknown_sex": "warning",
    # ours and theirs
    "foreign_file": "error",
    "replaced": "warning",
    "edited_mask": "info",
    "edited_info": "info",
    "edited_source_changed": "warning",
    "source_missing": "error",
    "not_in_archive": "warning",
    # the outputs
    "inconsistent": "error",
    "missing_file": "error",
    "bad_info_file": "error",
    "not_restorable": "error",
    "unknown_changes": "warning",
    "no_samples": "info",
    "patient_crosses_split": "info",
    "duplicate_scan": "info",
    "unassigned_sample": "warning",
    "only_fold": "warning",
    "outdated_output": "info",
    "workbook_locked": "error",
    # what `verify` finds
    "damaged_zip": "error",
    "incomplete_download": "error",
    "wrong_checksum": "error",
    "missing_output": "error",
    "altered_output": "error",
    "extra_file": "info",
    "no_receipt": "error",
    "changed_choice": "error",
    "leftover": "error",
    "outdated_export": "error",
    "incomplete_run": "error",
    "sample_failed": "error",
}


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that was found, repaired or failed.

    Parameters
    ----------
    code : str
        A key of ``CATALOGUE``.
    severity : {"info", "warning", "error"}
        ``error`` exactly when a promised output is missing.
    sample : str
        ``amos_0001``, or empty when the issue is not about one sample.
    file : str
        POSIX path relative to the archive or to ROOT_DIR, or empty.
    message : str
        What was found.
    action : str
        What was done about it.
    """

    code: str
    severity: Severity
    sample: str
    file: str
    message: str
    action: str


def in_order(issues: Iterable[Issue]) -> list[Issue]:
    """Return issues in the order of the worksheets: sample, file, code, then all else."""
    return sorted(issues, key=lambda i: (i.sample, i.file, i.code, i.message, i.severity, i.action))


def make_issue(
    code: str,
    message: str,
    *,
    sample: str = "",
    file: str = "",
    action: str = "",
    severity: Severity | None = None,
) -> Issue:
    """Make an issue with the catalogue's severity unless another is given."""
    return Issue(code, severity or CATALOGUE[code], sample, file, message, action)
