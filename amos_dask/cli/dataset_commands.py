"""The whole job, what there is to do with its result, trying it out, and looking at a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click import Choice, FloatRange, IntRange, argument, option

import amos_dask
from amos_dask.cli import shared_options as opt
from amos_dask.cli.show import (
    close_check,
    close_command,
    close_export,
    close_phantom,
    close_plan,
    close_run,
    close_search,
    show_codes,
    show_datasets,
)

_OF_DOWNLOADS = ["name", "title", "download", "licence"]  # what --list says
# Options of run that say how it is done or what is written besides the dataset.
_HOW = {"cluster", "progress", "no_lock", "performance_report"}
_NOT_OF_A_PLAN = _HOW | {"statistics", "report", "csv", "parquet"}


@opt.command("data/Liver --dataset decathlon --task liver")
@argument("root_dir", type=opt.FOLDER, required=False)
@option("--dataset", metavar="NAME|FILE", help="Of which set.  [default: amos22]")
@option(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME|NUMBER",
    help="Of the Decathlon: which, such as liver or 3; may be given several times.",
)
@opt.flag("--list", "is_list", help="Say what there is, or where to ask, of one or all sets.")
@opt.flag("--unlabelled", help="The scans without labels as well.")
@option(
    "--from",
    "source",
    metavar="URL",
    help="A mirror that has the files under their names below this URL.",
)
@opt.progress
def download(is_list: bool, **arguments: Any) -> int:
    """Download amos22.zip and its csv, or other sets.

    AMOS22 from Zenodo, 24 GB, or tasks of the Decathlon, a tar each, to ROOT_DIR, where 'run' finds
    them. After an interruption, run the same command again: it goes on where it was. A file appears
    under its name when its size and MD5 are the published ones; nothing that is there is
    overwritten. Of sets that are not downloaded it says where to ask.
    """
    if is_list:
        found = amos_dask.list_datasets(*filter(None, [arguments["dataset"]]))
        show_datasets(found[_OF_DOWNLOADS], as_json=arguments["progress"] == "json")
        return 0
    if arguments["root_dir"] is None:
        raise click.UsageError("Missing argument 'ROOT_DIR'.")
    return close_command(amos_dask.download(**arguments), arguments)


@opt.command("data/AMOS22 --archive downloads/amos22.zip --workers 8")
@opt.root
@option(
    "--archive",
    metavar="PATH_OR_URL",
    multiple=True,
    callback=lambda ctx, option, values: values if len(values) > 1 else next(iter(values), None),
    help="Folder, zip, tar, or a URL of any; may be given several times.",
)
@opt.dataset
@opt.labeled_data_meta
@opt.mr_metadata_offset
@opt.label_explanation
@option(
    "--region_volume_thresh",
    type=FloatRange(0),
    multiple=True,
    default=(100.0,),
    show_default=True,
    metavar="MM3",
    help="List regions smaller than this; may be given several times.",
)
@opt.denoise_parameters
@opt.selection
@opt.flag("--force", help="Process complete samples again.")
@opt.adopt
@opt.flag("--discard_edits", help="Make masks edited by hand anew.")
@opt.flag("--prune", help="Remove samples that the archive has no more.")
@opt.flag("--switch_archive", help="Go on with another archive than before.")
@opt.flag("--without_metadata", help="Go on though the csv is gone.")
@opt.statistics
@option("--report/--no_report", default=True, help="Write report.html as well.")
@option("--csv/--no_csv", default=None, help="Write each worksheet as csv as well.")
@option("--parquet/--no_parquet", default=None, help="Write each worksheet as Parquet as well.")
@opt.no_lock
@option("--performance_report", type=opt.FILE, help="Write Dask's report (HTML) here.")
@opt.flag("--dry_run", help="Say what would be done; write nothing.")
@opt.cluster
def run(dry_run: bool, **arguments: Any) -> int:
    """Do everything: archive in, clean dataset out.

    Without --archive, that of the last run is taken, else ROOT_DIR/archive or ROOT_DIR/amos22.zip.
    The metadata csv and the parameters of denoising are those of the last run, too, unless given.
    The archive is never written to. While it runs, open the dashboard that is printed first. Run
    the same command again after an interruption, or when something has changed: complete samples
    are not done twice.

    --exclude is kept as ROOT_DIR/descriptor/denoise_exclude.csv, which later runs go by; edit it,
    and the next run makes the masks of just the samples concerned. 'denoise --help' shows such a
    file.
    """
    if not dry_run:
        return close_run(amos_dask.run(**arguments), arguments)
    asked = {name: value for name, value in arguments.items() if name not in _NOT_OF_A_PLAN}
    return close_plan(amos_dask.plan_run(**asked), arguments)


@opt.command("downloads/amos22.zip --md5")
@argument("path", metavar="PATH_OR_URL")
@opt.flag("--full", help="Decode everything, so that all checksums are compared.")
@opt.flag("--md5", help="Compare amos22.zip with the published one first.")
@opt.dataset
@opt.selection
@opt.cluster
def verify(**arguments: Any) -> int:
    """Say whether a download or a result is sound.

    PATH_OR_URL is an archive (folder, amos22.zip, tar, or a URL of any), a ROOT_DIR that 'run'
    made, or an export: the folder of a dataset, or a datalist. Nothing is written and, without
    --full, no voxel is decoded: of an archive, the ends of every file are held against its header;
    of a ROOT_DIR, every file against the size and checksum that 'run' kept; of an export, every
    file alike, and what it was made from against ROOT_DIR. The end of a file that the zip has
    packed again is seen with --full only.
    --json lists everything that was found.

    Exit status: 0 sound; 3 something is wrong and named; 1 none of the three.
    """
    return close_search(amos_dask.verify(**arguments), arguments)


@opt.command("totalsegmentator > mine.yaml")
@argument("name", required=False)
@option("--json", "as_json", is_flag=True, help="JSON.")
def datasets(name: str | None, as_json: bool) -> None:
    """List known datasets, or print one's definition.

    A definition is a YAML file: what 'run --dataset FILE' goes by. Start from the one that is most
    like yours.
    """
    if name is None:
        show_datasets(amos_dask.list_datasets(), as_json=as_json)
    else:
        click.echo(amos_dask.dataset_yaml(name), nl=False)


@opt.command("label_vanished")
@argument("codes", nargs=-1, metavar="[CODE]...")
def explain(codes: tuple[str, ...]) -> None:
    """Say what codes of issues mean; without any, all.

    A run lists the issues of a dataset, with their codes, in descriptor/issues.xlsx.
    """
    show_codes(codes)


@opt.command("data/AMOS22")
@opt.root
@option("--split_name", help="Worksheet of another split than the official one.")
@opt.working
def leaks(**arguments: Any) -> int:
    """List patients and duplicates that cross a split.

    Of ROOT_DIR/grouped/dataset_manifest.xlsx. Duplicates have the same voxels, whatever their
    headers and metadata say. 'run' looks for them as well and says so in its issues, for
    information: the official split stays as it is.
    """
    return close_search(amos_dask.leaks(**arguments), arguments, with_notes=True)


@opt.command("data/AMOS22")
@opt.root
@opt.label_explanation
@opt.writing
def stats(**arguments: Any) -> int:
    """Write statistics: intensities, organs, geometry.

    ROOT_DIR/descriptor/statistics.xlsx and .json: by organ and modality, and by scanner, site and
    subset. 'run' writes them already; this is for folders that other steps have changed.
    """
    return close_command(amos_dask.stats(**arguments), arguments)


@opt.command("data/AMOS22")
@opt.root
@opt.adopt
@opt.no_lock
def card(**arguments: Any) -> int:
    """Write the dataset's card, and Croissant.

    ROOT_DIR/dataset_card.md has the tables of AMOS22's data card, of this dataset; croissant.json
    is what catalogues of datasets read. 'run' keeps both up to date once they are there.
    """
    return close_command(amos_dask.card(**arguments), arguments)


@opt.command("data/AMOS22")
@opt.root
@opt.label_explanation
@opt.statistics
@opt.writing
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
@argument("directory", type=opt.FOLDER)
@opt.exported_root
@option(
    "--dataset_id",
    type=IntRange(1, 999),
    metavar="N",
    help="Number of the dataset.  [default: of AMOS22 622, 623 for CT alone, 624 for MR alone]",
)
@option(
    "--link",
    type=Choice(["copy", "symbolic"]),
    default="copy",
    show_default=True,
    help="How unchanged files get there. What is written to a link is written to ROOT_DIR.",
)
@opt.exporting
def nnunet(**arguments: Any) -> int:
    """Make a dataset of nnU-Net v2 in DIRECTORY, nnUNet_raw.

    Training and validation scans are in imagesTr; splits_final.json makes the official validation
    set fold 0, or has all folds of a split of yours (--split_name). Again, it brings the dataset up
    to date and says what was outdated: files in it that are not as they were exported stay and are
    named.
    """
    return close_export(amos_dask.export_nnunet(**arguments), arguments)


@export_group.command("monai", epilog="Example: amos-dask export monai data/AMOS22/monai.json")
@argument("file", type=opt.FILE)
@opt.exported_root
@opt.exporting
def monai_datalist(**arguments: Any) -> int:
    """Write a datalist of MONAI to FILE.

    It lists scans and masks where they lie, relative to FILE; fold 0 is the official validation
    set, fold 1 the training set. Changed masks are written beside FILE, to {its stem}_labels, where
    the export's mark lies as well. Again, it brings both up to date.
    """
    return close_export(amos_dask.export_monai(**arguments), arguments)


@export_group.command(
    cls=opt.SpacingValues,
    epilog="Example: amos-dask export arrays arrays --root_dir data/AMOS22 --orientation RAS "
    "--spacing 1.5 1.5 2.0 --window -160 240 --crop body --format npz",
)
@argument("directory", type=opt.FOLDER)
@opt.exported_root
@opt.as_arrays
@opt.exporting
def arrays(**arguments: Any) -> int:
    """Write arrays to train on to DIRECTORY.

    Volumes and masks turned, resampled, cut out and scaled as asked for, in folders train, val and
    test; arrays.json lists them, and a record beside each sample says what it was made from and
    how. Again, it makes what is missing, outdated, or was made otherwise.
    """
    return close_export(amos_dask.export_arrays(**arguments), arguments)


@opt.command("--workers 2")
@argument("directory", type=opt.FOLDER, default="amos-dask-demo")
@opt.phantom_scans
@opt.cluster
def demo(**arguments: Any) -> int:
    """Make a phantom archive and run everything on it."""
    return close_run(amos_dask.demo(**arguments), arguments)


@opt.command("--form zip --n_ct 8 --n_mri 4 /tmp/phantom")
@argument("directory", type=opt.FOLDER)
@opt.phantom_scans
@option(
    "--size",
    type=Choice(["tiny", "small", "full"]),
    default="small",
    show_default=True,
    help="full: 512x512x90 CT, 320x260x72 MR.",
)
@option("--form", type=Choice(["folder", "zip"]), default="folder", show_default=True)
@option("--seed", type=int, default=0, show_default=True, help="Same seed, same bytes.")
@option("--quirks/--no-quirks", default=True, help="The oddities of the real archive.")
@opt.flag("--defects", help="Add four damaged samples.")
def phantom(directory: Path, **arguments: Any) -> int:
    """Make a synthetic AMOS22 archive to try things on."""
    try:
        return close_phantom(amos_dask.write_archive(directory, **arguments), arguments)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@click.group(name="cluster")
def cluster_group() -> None:
    """Look at the cluster before work is given to it."""


@cluster_group.command(
    epilog="Example: amos-dask cluster check --cluster slurm --root_dir data/AMOS22"
)
@option("--root_dir", type=opt.FOLDER, help="ROOT_DIR: must be seen and written by all.")
@option("--archive", metavar="PATH_OR_URL", help="The archive: must be seen by all.")
@opt.dataset
@opt.cluster
def check(**arguments: Any) -> int:
    """Start or reach the cluster and say whether 'run' would work there.

    Compares versions, looks at shared folders, memory and disk on every worker, and prints the
    dashboard's link with the ssh command that forwards it. Exit status 1 when there are problems.
    """
    return close_check(amos_dask.check_cluster(**arguments), arguments)
