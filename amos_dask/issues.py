"""Issues: what was found, repaired or failed, each with a stable code.

The catalogue below is the one place where a code's severity and meaning are defined; the README's
table is checked against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class IssueKind:
    """A row of the catalogue.

    Parameters
    ----------
    severity : {"info", "warning", "error"}
        ``error`` means that a promised output is missing.
    meaning : str
        What the code says, for the README.
    """

    severity: Severity
    meaning: str


CATALOGUE: dict[str, IssueKind] = {
    # the archive and its metadata
    "junk_ignored": IssueKind("info", "System files and partial downloads were left aside"),
    "unexpected_file": IssueKind(
        "warning", "A file that is not part of the dataset was left aside"
    ),
    "duplicate_file": IssueKind(
        "warning",
        "Two files for one scan; the outermost, then the first by name, is used",
    ),
    "bad_dataset_json": IssueKind(
        "warning", "`dataset.json` cannot be used; subsets are taken from the folders"
    ),
    "subset_mismatch": IssueKind(
        "warning", "`dataset.json` and the folder disagree on the subset; `dataset.json` wins"
    ),
    "not_in_dataset_json": IssueKind(
        "warning", "A scan that `dataset.json` does not list; its folder gives the subset"
    ),
    "listed_but_absent": IssueKind("warning", "`dataset.json` lists a scan that is not there"),
    "subset_counts": IssueKind("info", "The numbers of scans differ from the official ones"),
    "missing_mask": IssueKind("warning", "A training or validation scan without a mask"),
    "mask_without_volume": IssueKind("error", "A mask whose scan is missing"),
    "missing_channel": IssueKind("error", "A scan that lacks the file of a channel"),
    "subset_unknown": IssueKind(
        "warning", "Scans whose subset is not told where it should be; they are taken for training"
    ),
    "metadata_missing": IssueKind("warning", "No metadata csv was found; fields are `UND`"),
    "metadata_row_missing": IssueKind("warning", "The csv has no row for a scan"),
    "duplicate_metadata_row": IssueKind(
        "warning", "Several csv rows for a scan and not exactly one fits; the first of them is used"
    ),
    "metadata_encoding": IssueKind(
        "warning", "The encoding of the csv was recognised by its words; they may be others"
    ),
    "ambiguous_date": IssueKind(
        "warning", "Dates such as 05/08/1971 in a column that does not tell the order; they stay"
    ),
    "unknown_metadata_value": IssueKind(
        "warning", "Sexes or dates in the csv that are not understood; they stay as they are"
    ),
    "bad_metadata_row": IssueKind(
        "warning", "A csv row whose id, such as `amos_id`, is not a number"
    ),
    "mr_metadata_offset": IssueKind("info", "Which csv row MR scans take, and the evidence"),
    "mr_metadata_offset_unknown": IssueKind(
        "warning", "The csv does not tell which row MR scans take; row N is used for scan N"
    ),
    "modality_mismatch": IssueKind("warning", "Id and scanner disagree on CT or MR; the id wins"),
    "unknown_scanner": IssueKind(
        "warning", "Scanner missing or not among the dataset's; the folder is `UND`"
    ),
    # the image files
    "unreadable_volume": IssueKind("error", "The scan's file is damaged or not supported"),
    "unreadable_mask": IssueKind("error", "The mask's file is damaged or not supported"),
    "bad_affine": IssueKind("error", "An affine that is not finite or cannot be inverted"),
    "bad_spacing": IssueKind("warning", "pixdim is zero or contradicts the affine"),
    "units_converted": IssueKind("info", "A header in micron or metre; its geometry was made mm"),
    "units_implausible": IssueKind(
        "warning", "A header in micron or metre whose voxels are those of a scan in mm; taken as mm"
    ),
    "forms_disagree": IssueKind(
        "warning", "sform and qform contradict each other; the message says which was taken"
    ),
    "implausible_spacing": IssueKind("warning", "Voxels below 0.1 mm or above 10 mm"),
    "not_orthonormal": IssueKind(
        "info", "Axes not at right angles: ITK and SimpleITK do not read the source as it is meant"
    ),
    "constant_volume": IssueKind("warning", "All voxels of the scan have one value"),
    "empty_slices": IssueKind("info", "Slices at an end of the scan that hold one value"),
    "non_finite_voxels": IssueKind("warning", "The scan holds NaN or infinite voxels, kept as is"),
    "trailing_bytes": IssueKind("warning", "Bytes after the image's data were ignored"),
    "shape_mismatch": IssueKind("error", "Mask and scan differ in shape; no mask is written"),
    "affine_repaired": IssueKind(
        "info", "The mask took its scan's affine (`warning` when the axis codes differ)"
    ),
    "mask_turned": IssueKind(
        "warning",
        "A mask on its scan's grid turned over; its voxels were put in the scan's order",
    ),
    "labels_rounded": IssueKind(
        "warning", "Mask values near whole numbers were rounded (`info` when by less than 0.001)"
    ),
    "bad_mask_values": IssueKind(
        "error",
        "Mask values that stand for no label (not 0 or 1 in a binary mask); no mask is written",
    ),
    "labels_overlap": IssueKind(
        "info", "Binary masks that share voxels, which one label got; `overlaps.xlsx` has them all"
    ),
    "unknown_label": IssueKind(
        "error", "A label that the label map lacks; the mask stays, no binary masks, no denoising"
    ),
    "empty_mask": IssueKind("warning", "A mask that holds background only"),
    "label_vanished": IssueKind(
        "warning", "A label that denoising took away as a whole; exclude it to keep it"
    ),
    "unknown_sex": IssueKind(
        "warning", "Label 15 with unknown sex: it stays 15, be it prostate or uterus"
    ),
    # ours and theirs
    "foreign_file": IssueKind(
        "error", "A file that is not ours is where an output goes (`warning`: a folder of a sample)"
    ),
    "replaced": IssueKind("warning", "Files that were not as written were moved to `replaced/`"),
    "edited_mask": IssueKind("info", "A mask that was edited by hand: its labels are kept"),
    "edited_info": IssueKind("info", "An info file that was edited by hand: its values are kept"),
    "edited_source_changed": IssueKind(
        "warning", "A mask that was edited by hand, and the archive's has changed since"
    ),
    "source_missing": IssueKind(
        "error", "A finished sample's scan or mask is gone from the archive; the output stays"
    ),
    "not_in_archive": IssueKind(
        "warning",
        "A finished sample of which the archive has nothing left stays (`error` when more than a "
        "tenth of them leave at once)",
    ),
    # the outputs
    "inconsistent": IssueKind("error", "Files of a sample contradict each other"),
    "missing_file": IssueKind("error", "A sample folder lacks some of the files that go together"),
    "bad_info_file": IssueKind("error", "A sample's `info.yaml` is missing or not usable"),
    "not_restorable": IssueKind(
        "error", "A denoised mask whose undenoised form is not kept, so that it stays as it is"
    ),
    "unknown_changes": IssueKind(
        "warning", "A denoised mask of which it is not known what was changed"
    ),
    "no_samples": IssueKind("info", "A modality or subset without samples gets no manifest"),
    "patient_crosses_split": IssueKind(
        "info", "Scans of one patient are in several subsets of the official split"
    ),
    "duplicate_scan": IssueKind(
        "info", "Scans with the same voxels are in several subsets of the official split"
    ),
    "unassigned_sample": IssueKind(
        "warning", "Samples that came after a split of one's own was made are in none of its parts"
    ),
    "outdated_output": IssueKind(
        "info", "Statistics or a report that speak of an earlier run, as none were asked for now"
    ),
    "workbook_locked": IssueKind(
        "error", "A workbook that is open in another program was not written anew"
    ),
    # what `verify` finds
    "damaged_zip": IssueKind(
        "error", "The zip's directory, or what it says of a file, does not hold"
    ),
    "incomplete_download": IssueKind("error", "The zip is smaller than the published one"),
    "wrong_checksum": IssueKind("error", "The zip's MD5 is not the published one"),
    "missing_output": IssueKind("error", "A file that `run` wrote is gone"),
    "altered_output": IssueKind("error", "A file is not as `run` wrote it"),
    "extra_file": IssueKind("info", "A file in a sample's folder that `run` did not write"),
    "no_receipt": IssueKind("error", "A sample's folder of which `run` keeps no usable receipt"),
    "changed_choice": IssueKind(
        "error", "Label map, exclusions or definition are not those that samples were made with"
    ),
    "leftover": IssueKind("error", "A temporary file of a run that was killed"),
    "outdated_export": IssueKind(
        "error", "An export was made from files that ROOT_DIR has no more, or has others of"
    ),
    "incomplete_run": IssueKind(
        "error", "A run did not finish: manifests are missing or older than the samples"
    ),
    "sample_failed": IssueKind("error", "A sample could not be processed; see the message"),
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
    return Issue(code, severity or CATALOGUE[code].severity, sample, file, message, action)
