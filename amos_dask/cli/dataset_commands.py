"""On an organised dataset: ``leaks``, ``stats``, ``report`` and ``export``."""

from __future__ import annotations

from typing import Any

import click

import amos_dask
from amos_dask.cli import shared_options as opt
from amos_dask.cli.show import close_command, close_export, close_search


@opt.command("leaks", "data/AMOS22")
@opt.root
@click.option("--split_name", help="Worksheet of another split than the official one.")
@opt.no_lock
@opt.cluster
def leaks(**arguments: Any) -> int:
    """List patients and duplicates that cross a split.

    Of ROOT_DIR/grouped/dataset_manifest.xlsx. Duplicates have the same voxels, whatever their
    headers and metadata say. 'run' looks for them as well and says so in its issues, for
    information: the official split stays as it is.
    """
    return close_search(amos_dask.leaks(**arguments), arguments, with_notes=True)


@opt.command("stats", "data/AMOS22")
@opt.root
@opt.label_explanation
@opt.no_lock
@opt.cluster
def stats(**arguments: Any) -> int:
    """Write statistics: intensities, organs, geometry.

    ROOT_DIR/descriptor/statistics.xlsx and .json: by organ and modality, and by scanner, site and
    subset. 'run' writes them already; this is for folders that other steps have changed.
    """
    return close_command(amos_dask.stats(**arguments), arguments)


@opt.command("report", "data/AMOS22")
@opt.root
@opt.label_explanation
@opt.statistics
@opt.no_lock
@opt.cluster
def report(**arguments: Any) -> int:
    """Write the page that shows what was changed.

    ROOT_DIR/descriptor/report.html, one file to open in a browser: before and after of the slices
    that denoising changed most, counts, issues, distributions, repairs and times. Reject changes
    in it and save the file that --exclude takes. 'run' writes it already; this is for folders that
    other steps have changed.
    """
    return close_command(amos_dask.make_report(**arguments), arguments)


@click.group(name="export")
def export_group() -> None:
    """Hand the samples to a training program."""


@export_group.command(epilog="Example: amos-dask export nnunet nnUNet_raw --root_dir data/AMOS22")
@click.argument("directory", type=opt.FOLDER)
@opt.exported_root
@click.option(
    "--dataset_id",
    type=click.IntRange(1, 999),
    metavar="N",
    help="Number of the dataset.  [default: of AMOS22 622, 623 for CT alone, 624 for MR alone]",
)
@click.option(
    "--link",
    type=click.Choice(["copy", "symbolic"]),
    default="copy",
    show_default=True,
    help="How unchanged files get there. What is written to a link is written to ROOT_DIR.",
)
@opt.exported_labels
@opt.label_explanation
@opt.selection
@opt.adopt_in_export
@opt.no_lock
@opt.cluster
def nnunet(**arguments: Any) -> int:
    """Make a dataset of nnU-Net v2 in DIRECTORY, nnUNet_raw.

    Training and validation scans are in imagesTr; splits_final.json makes the official validation
    set fold 0. Again, it brings the dataset up to date and says what was outdated: files in it that
    are not as they were exported stay and are named.
    """
    return close_export(amos_dask.export_nnunet(**arguments), arguments)


@export_group.command("monai", epilog="Example: amos-dask export monai data/AMOS22/monai.json")
@click.argument("file", type=opt.FILE)
@opt.exported_root
@opt.exported_labels
@opt.label_explanation
@opt.selection
@opt.adopt_in_export
@opt.no_lock
@opt.cluster
def monai_datalist(**arguments: Any) -> int:
    """Write a datalist of MONAI to FILE.

    It lists scans and masks where they lie, relative to FILE; fold 0 is the official validation
    set, fold 1 the training set. Changed masks are written beside FILE, to {its stem}_labels, where
    the export's mark lies as well. Again, it brings both up to date.
    """
    return close_export(amos_dask.export_monai(**arguments), arguments)
