"""The commands, in the tutorial's order. Each parses, makes one library call, and closes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import amos_dask
from amos_dask.cli import options as opt
from amos_dask.cli.show import (
    close_check,
    close_command,
    close_demo,
    close_leaks,
    close_phantom,
    close_plan,
    close_run,
    close_verify,
)

# Options of run that say what is written besides the dataset.
_OUTPUTS_OF_RUN = ("performance_report", "statistics", "report")


@click.command(epilog="Example: amos-dask download data/AMOS22")
@click.argument("root_dir", type=opt.FOLDER)
@click.option("--unlabelled", is_flag=True, help="The scans without labels as well.")
@click.option(
    "--from",
    "source",
    metavar="URL",
    help="A mirror that has the files under their names below this URL.",
)
@opt.progress
def download(**arguments: Any) -> int:
    """Download amos22.zip and its metadata csv.

    From Zenodo, 24 GB, to ROOT_DIR, where 'run' finds them. After an interruption, run the same
    command again: it goes on where it was. A file appears under its name when its size and MD5 are
    the published ones; nothing that is there is overwritten.
    """
    return close_command(amos_dask.download(**arguments), arguments)


@click.command(
    epilog="Example: amos-dask run data/AMOS22 --archive downloads/amos22.zip --workers 8"
)
@click.argument("root_dir", type=opt.FOLDER)
@click.option("--archive", metavar="PATH_OR_URL", help="Folder, amos22.zip, or a URL of either.")
@opt.dataset
@opt.labeled_data_meta
@opt.mr_metadata_offset
@opt.label_explanation
@click.option(
    "--region_volume_thresh",
    type=click.FloatRange(0),
    multiple=True,
    default=(100.0,),
    show_default=True,
    metavar="MM3",
    help="List regions smaller than this; may be given several times.",
)
@opt.denoise_parameters
@opt.selection
@click.option("--force", is_flag=True, help="Process complete samples again.")
@click.option("--statistics/--no_statistics", default=True, help="Write statistics.xlsx as well.")
@click.option("--report/--no_report", default=True, help="Write report.html as well.")
@click.option("--break_lock", is_flag=True, help="Take over from a run that died elsewhere.")
@click.option("--performance_report", type=opt.FILE, help="Write Dask's report (HTML) here.")
@click.option("--dry_run", is_flag=True, help="Say what would be done; write nothing.")
@opt.cluster
def run(dry_run: bool, **arguments: Any) -> int:
    """Do everything: archive in, clean dataset out.

    Without --archive, ROOT_DIR/archive or ROOT_DIR/amos22.zip is taken. The archive is never
    written to. While it runs, open the dashboard that is printed first. Run the same command again
    after an interruption, or when something has changed: complete samples are not done twice.

    --exclude is kept as ROOT_DIR/descriptor/denoise_exclude.csv, which later runs go by; edit it,
    and the next run makes the masks of just the samples concerned. 'denoise --help' shows such a
    file.
    """
    json_lines = arguments["progress"] == "json"
    if dry_run:
        for name in ("cluster", "progress", "break_lock", *_OUTPUTS_OF_RUN):
            del arguments[name]
        return close_plan(amos_dask.plan_run(**arguments), json_lines)
    return close_run(amos_dask.run(**arguments), json_lines)


@click.command(epilog="Example: amos-dask verify downloads/amos22.zip --md5")
@click.argument("path", metavar="PATH_OR_URL")
@click.option("--full", is_flag=True, help="Decode everything, so that all checksums are compared.")
@click.option("--md5", is_flag=True, help="Compare amos22.zip with the published one first.")
@opt.dataset
@opt.selection
@opt.cluster
def verify(**arguments: Any) -> int:
    """Say whether a download or a result is sound.

    PATH_OR_URL is an archive (folder, amos22.zip, or a URL of either) or a ROOT_DIR that 'run'
    made. Nothing is written and, without --full, no voxel is decoded: of an archive, the ends of
    every file are held against its header; of a ROOT_DIR, every file against the size and checksum
    that 'run' kept. The end of a file that the zip has packed again is seen with --full only.
    --json lists everything that was found.

    Exit status: 0 sound; 3 something is wrong and named; 1 neither an archive nor a ROOT_DIR.
    """
    return close_verify(amos_dask.verify(**arguments), arguments)


@click.command(
    "archive-manifest",
    epilog="Example: amos-dask archive-manifest --root_dir AMOS22/archive "
    "--output_manifest_file AMOS22/descriptor/archive_manifest.xlsx",
)
@click.option("--root_dir", required=True, metavar="PATH_OR_URL", help="The archive.")
@click.option("--output_manifest_file", required=True, type=opt.FILE, help="Workbook to write.")
@opt.dataset
@opt.labeled_data_meta
@click.option("--sheet_name", default="Manifest", show_default=True, help="Worksheet to write.")
@opt.mr_metadata_offset
@opt.cluster
def archive_manifest(**arguments: Any) -> int:
    """01: list every file with geometry and metadata."""
    return close_command(amos_dask.archive_manifest(**arguments), arguments)


@click.command(
    "confirm-pairs",
    epilog="Example: amos-dask confirm-pairs --modality ct --root_dir AMOS22/archive "
    "--output_dir AMOS22/grouped/AMOS-CT "
    "--archive_manifest AMOS22/descriptor/archive_manifest.xlsx",
)
@click.option(
    "--modality", required=True, type=click.Choice(["ct", "mri", "und"]), help="Which samples."
)
@click.option("--root_dir", required=True, metavar="PATH_OR_URL", help="The archive.")
@click.option("--output_dir", required=True, type=opt.FOLDER, help="Such as grouped/AMOS-CT.")
@click.option(
    "--archive_manifest", required=True, type=opt.FILE, help="Workbook of archive-manifest."
)
@opt.ids
@opt.subset
@opt.cluster
def confirm_pairs(ids: tuple[str, ...], subset: str | None, **arguments: Any) -> int:
    """02: write volumes and masks with one geometry.

    Samples go to OUTPUT_DIR/{train,val,test}/{scanner}/amos_{seq}_{sex}: a float32 volume, a uint8
    mask that takes its volume's geometry, and an info file.
    """
    selection = amos_dask.Selection(ids or None, subset)
    return close_command(amos_dask.confirm_pairs(selection=selection, **arguments), arguments)


@click.command(
    "split-prostate-uterus",
    epilog="Example: amos-dask split-prostate-uterus --root_dir AMOS22/grouped",
)
@opt.root_dir
@opt.selection
@opt.cluster
def split_prostate_uterus(**arguments: Any) -> int:
    """03: label 15 of female patients becomes 16.

    Masks are replaced in place; running it again changes nothing.
    """
    return close_command(amos_dask.split_prostate_uterus(**arguments), arguments)


@click.command(
    "binary-masks",
    epilog="Example: amos-dask binary-masks --root_dir AMOS22/grouped "
    "--label_explanation AMOS22/descriptor/label_map.yaml",
)
@opt.root_dir
@opt.label_explanation
@opt.selection
@opt.cluster
def binary_masks(**arguments: Any) -> int:
    """04: write a binary mask for each label."""
    return close_command(amos_dask.binary_masks(**arguments), arguments)


@click.command(
    "small-regions",
    epilog="Example: amos-dask small-regions --root_dir AMOS22/grouped "
    "--region_volume_thresh 100.0 "
    "--output_manifest AMOS22/descriptor/small_connected_region_100_manifest.xlsx",
)
@opt.root_dir
@click.option(
    "--region_volume_thresh",
    required=True,
    type=click.FloatRange(0),
    metavar="MM3",
    help="List regions smaller than this.",
)
@click.option("--output_manifest", required=True, type=opt.FILE, help="Workbook to write.")
@opt.label_explanation
@opt.selection
@opt.cluster
def small_regions(**arguments: Any) -> int:
    """List small connected regions of every label.

    Worksheet Manifest has a row a sample with entries (x,y,z,mm3), worksheet Regions a row a
    region.
    """
    return close_command(amos_dask.small_regions(**arguments), arguments)


@click.command(
    epilog="Example: amos-dask denoise --root_dir AMOS22/grouped --output_dir AMOS22/grouped "
    "--kernel_size 5 5 --filter_halfedge 3 --region_area_thresh 10.0"
)
@opt.root_dir
@click.option(
    "--output_dir",
    required=True,
    type=opt.FOLDER,
    help="The same folder to work in place, or another for masks only.",
)
@opt.denoise_parameters
@opt.label_explanation
@opt.selection
@opt.cluster
def denoise(**arguments: Any) -> int:
    """Remove islands and fill pinholes on slices.

    Binary masks are rewritten with the mask. A mask that was denoised with the same parameters is
    left as it is; with others, the undenoised mask is restored first. In place, what was changed is
    listed in ROOT's descriptor/denoise_changes.xlsx.

    --exclude names a csv file of what is left exactly as it was: a first line 'sample,label', then
    lines such as 'amos_0004,' (a whole sample), 'amos_0507,bladder' or '*,15' (in all samples).
    """
    return close_command(amos_dask.denoise(**arguments), arguments)


@click.command(epilog="Example: amos-dask restore --root_dir AMOS22/grouped --ids 4,507")
@opt.root_dir
@opt.selection
@opt.cluster
def restore(**arguments: Any) -> int:
    """Undo denoising: masks as they were before.

    Mask and binary masks get back every voxel; without --ids and the like, those of all samples.
    The next 'run' denoises them again, unless ROOT's descriptor/denoise_exclude.csv excludes them:
    see 'denoise --help'.
    """
    return close_command(amos_dask.restore(**arguments), arguments)


@click.command(
    "dataset-manifest",
    epilog="Example: amos-dask dataset-manifest --root_dir AMOS22/grouped "
    "--output_manifest_file AMOS22/grouped/dataset_manifest.xlsx",
)
@opt.root_dir
@click.option("--output_manifest_file", required=True, type=opt.FILE, help="Workbook to write.")
@opt.label_explanation
@opt.cluster
def dataset_manifest(**arguments: Any) -> int:
    """05: check and index all samples.

    Any inconsistency between the files of a sample is listed, and nothing is written then.
    """
    return close_command(amos_dask.dataset_manifest(**arguments), arguments)


@click.command(
    "make-split",
    epilog="Example: amos-dask make-split --manifest_file AMOS22/grouped/dataset_manifest.xlsx "
    "--kind kfold --folds 5 --seed 0 --stratify scanner,sex,modality --group patient",
)
@click.option("--manifest_file", required=True, type=opt.FILE, help="Workbook of dataset-manifest.")
@click.option(
    "--split_name",
    help="Worksheet of the split; default: split01_standard, for others the one made in the same "
    "way before, else the next free number, such as split02_kfold5.",
)
@click.option(
    "--kind",
    type=click.Choice(["official", "kfold", "holdout"]),
    default="official",
    show_default=True,
    help="What to make; the options below are for kfold and holdout.",
)
@click.option("--folds", type=click.IntRange(2), help="Of kfold: how many.  [default: 5]")
@click.option(
    "--fractions",
    metavar="X,Y[,Z]",
    callback=opt.comma_separated(float),
    help="Of holdout: train,val or train,val,test.  [default: 0.7,0.1,0.2]",
)
@click.option("--seed", type=int, help="Another seed, another split.  [default: 0]")
@click.option(
    "--stratify",
    metavar="scanner,sex,modality",
    default="",
    callback=opt.comma_separated(click.Choice(["scanner", "sex", "modality"])),
    help="Any of these: every part gets its share of each combination.",
)
@click.option(
    "--group", type=click.Choice(["patient"]), help="Keep the scans of a patient together."
)
@click.option("--unlabelled", is_flag=True, help="Deal out the samples without masks as well.")
def make_split(**arguments: Any) -> int:
    """06: add a split as a worksheet.

    The official one, or folds fold0, fold1, … for cross-validation (kfold), or train, val and test
    of your own (holdout), of the samples that have masks. The same samples and options give the
    same split anywhere; worksheet Splits says how it was made, with its SHA-256.

    Scans are of one patient when birth date and sex are known and the same, and so are the site or
    the day of the scan.
    """
    return close_command(amos_dask.make_split(**arguments), arguments)


@click.command(
    "index-manifests",
    cls=opt.RepeatedValues,
    epilog="Example: amos-dask index-manifests "
    "--manifest_file AMOS22/grouped/dataset_manifest.xlsx --split_name split01_standard "
    "--output_index_manifest_dir AMOS22/grouped/splits/split01_standard "
    "--subsets train val --subsets train --subsets val --subsets test",
)
@click.option("--manifest_file", required=True, type=opt.FILE, help="Workbook with the split.")
@opt.split_name
@click.option(
    "--output_index_manifest_dir", required=True, type=opt.FOLDER, help="Folder to write to."
)
@click.option(
    "--subsets",
    required=True,
    multiple=True,
    metavar="SUBSET [SUBSET ...]",
    help="Subsets of one file; may be given several times.",
)
def index_manifests(subsets: tuple[str, ...], **arguments: Any) -> int:
    """07: write a workbook for each set of subsets."""
    combinations = [[name for name in text.split(",") if name] for text in subsets]
    if not all(combinations):
        raise click.UsageError("--subsets needs at least one subset each time.")
    return close_command(amos_dask.index_manifests(subsets=combinations, **arguments), arguments)


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
    help="Number of the dataset.  [default: 622, 623 for CT alone, 624 for MR alone]",
)
@click.option(
    "--link",
    type=click.Choice(["auto", "hard", "symbolic", "copy"]),
    default="auto",
    show_default=True,
    help="How unchanged files get there; auto: hard where possible, else symbolic.",
)
@opt.exported_labels
@opt.label_explanation
@opt.selection
@opt.cluster
def nnunet(**arguments: Any) -> int:
    """Make a dataset of nnU-Net v2 in DIRECTORY, nnUNet_raw.

    Training and validation scans are in imagesTr; splits_final.json makes the official validation
    set fold 0. Masks are linked unless labels are merged or left out.
    """
    return close_command(amos_dask.export_nnunet(**arguments), arguments)


@export_group.command("monai", epilog="Example: amos-dask export monai data/AMOS22/monai.json")
@click.argument("file", type=opt.FILE)
@opt.exported_root
@opt.exported_labels
@opt.label_explanation
@opt.selection
@opt.cluster
def monai_datalist(**arguments: Any) -> int:
    """Write a datalist of MONAI to FILE.

    It lists scans and masks where they lie, relative to FILE; fold 0 is the official validation
    set, fold 1 the training set. Changed masks are written beside FILE.
    """
    return close_command(amos_dask.export_monai(**arguments), arguments)


@click.command(epilog="Example: amos-dask leaks data/AMOS22")
@click.argument("root_dir", type=opt.FOLDER)
@click.option("--split_name", help="Worksheet of another split than the official one.")
@opt.cluster
def leaks(**arguments: Any) -> int:
    """List patients and duplicate scans that cross a split.

    Of ROOT_DIR/grouped/dataset_manifest.xlsx. Duplicates have the same voxels, whatever their
    headers and metadata say. 'run' looks for them as well and says so in its issues, for
    information: the official split stays as it is.
    """
    return close_leaks(amos_dask.leaks(**arguments), arguments)


@click.command(epilog="Example: amos-dask phantom /tmp/phantom --form zip --n_ct 8 --n_mri 4")
@click.argument("directory", type=opt.FOLDER)
@click.option("--n_ct", type=click.IntRange(0, 500), default=8, show_default=True, help="CT scans.")
@click.option(
    "--n_mri", type=click.IntRange(0, 100), default=4, show_default=True, help="MR scans."
)
@click.option(
    "--size",
    type=click.Choice(["tiny", "small", "full"]),
    default="small",
    show_default=True,
    help="full: 512x512x90 CT, 320x260x72 MR.",
)
@click.option("--form", type=click.Choice(["folder", "zip"]), default="folder", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same bytes.")
@click.option("--quirks/--no-quirks", default=True, help="The oddities of the real archive.")
@click.option("--defects", is_flag=True, help="Add four damaged samples.")
def phantom(directory: Path, **arguments: Any) -> int:
    """Make a synthetic AMOS22 archive to try things on."""
    try:
        return close_phantom(amos_dask.write_archive(directory, **arguments))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@click.command(epilog="Example: amos-dask demo --workers 2")
@click.argument("directory", type=opt.FOLDER, default="amos-dask-demo")
@click.option("--n_ct", type=click.IntRange(0, 500), default=8, show_default=True, help="CT scans.")
@click.option(
    "--n_mri", type=click.IntRange(0, 100), default=4, show_default=True, help="MR scans."
)
@opt.cluster
def demo(**arguments: Any) -> int:
    """Make a phantom archive and run everything on it."""
    return close_demo(amos_dask.demo(**arguments), arguments["progress"] == "json")


@click.command(epilog="Example: amos-dask stats data/AMOS22")
@click.argument("root_dir", type=opt.FOLDER)
@opt.label_explanation
@opt.cluster
def stats(**arguments: Any) -> int:
    """Write statistics of intensities, organs and geometry.

    ROOT_DIR/descriptor/statistics.xlsx and .json: by organ and modality, and by scanner, site and
    subset. 'run' writes them already; this is for folders that other steps have changed.
    """
    return close_command(amos_dask.stats(**arguments), arguments)


@click.command(epilog="Example: amos-dask report data/AMOS22")
@click.argument("root_dir", type=opt.FOLDER)
@opt.label_explanation
@click.option("--statistics/--no_statistics", default=True, help="Write statistics.xlsx as well.")
@opt.cluster
def report(**arguments: Any) -> int:
    """Write the page that shows what was changed.

    ROOT_DIR/descriptor/report.html, one file to open in a browser: before and after of the slices
    that denoising changed most, counts, issues, distributions, repairs and times. Reject changes
    in it and save the file that --exclude takes. 'run' writes it already; this is for folders that
    other steps have changed.
    """
    return close_command(amos_dask.make_report(**arguments), arguments)


@click.group(name="cluster")
def cluster_group() -> None:
    """Look at the cluster before work is given to it."""


@cluster_group.command(
    epilog="Example: amos-dask cluster check --cluster slurm --root_dir data/AMOS22"
)
@click.option("--root_dir", type=opt.FOLDER, help="ROOT_DIR: must be seen and written by all.")
@click.option("--archive", metavar="PATH_OR_URL", help="The archive: must be seen by all.")
@opt.dataset
@opt.cluster
def check(**arguments: Any) -> int:
    """Start or reach the cluster and say whether 'run' would work there.

    Compares versions, looks at shared folders, memory and disk on every worker, and prints the
    dashboard's link with the ssh command that forwards it. Exit status 1 when there are problems.
    """
    return close_check(amos_dask.check_cluster(**arguments), arguments["progress"] == "json")


ALL = (
    download,
    run,
    verify,
    demo,
    archive_manifest,
    confirm_pairs,
    split_prostate_uterus,
    binary_masks,
    small_regions,
    denoise,
    restore,
    dataset_manifest,
    make_split,
    index_manifests,
    leaks,
    stats,
    report,
    phantom,
    export_group,
    cluster_group,
)
