"""Options, declared once and reused; every name is accepted with ``_`` and with ``-``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from itertools import groupby
from pathlib import Path
from typing import Any

import click
from click import Choice, FloatRange, IntRange, argument, option

import amos_dask

_Declaration = Callable[[Callable[..., Any]], Callable[..., Any]]

FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(file_okay=False, exists=True, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
EXISTING_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)


def same_word(name: str) -> str:
    """Return a name as it is declared, with ``_`` for ``-``: people may type either."""
    return name.replace("-", "_") if name[:1].isalpha() else name  # -1 stays a number


def command(
    example: str, cls: type[click.Command] = click.Command
) -> Callable[[Callable[..., Any]], click.Command]:
    """Return a decorator for a command, named as its function is, whose help has an example."""

    def declare(function: Callable[..., Any]) -> click.Command:
        name = function.__name__.replace("_", "-")
        return click.command(name, cls, epilog=f"Example: amos-dask {name} {example}")(function)

    return declare


def _together(*options: _Declaration) -> _Declaration:
    """Return one decorator that declares several options, in this order."""

    def declare(command: Callable[..., Any]) -> Callable[..., Any]:
        """Declare the options of a command."""
        for declaration in reversed(options):
            command = declaration(command)
        return command

    return declare


def _as_one(name: str, make: Callable[..., Any], **options: _Declaration) -> _Declaration:
    """Return a decorator that declares options of which a function makes a command's argument."""

    def declare(command: Callable[..., Any]) -> Callable[..., Any]:
        """Declare the options of a command."""

        @wraps(command)
        def with_one(**arguments: Any) -> Any:
            values = {key: arguments.pop(key) for key in options}
            return command(**{name: make(**values)}, **arguments)

        return _together(*options.values())(with_one)

    return declare


def comma_separated(kind: Any) -> Callable[[str], tuple[Any, ...]]:
    """Return an option's type: a tuple of values of one type, with commas between them."""
    one = click.types.convert_type(kind)

    def split(text: str) -> tuple[Any, ...]:
        words = (word.strip() for word in text.split(","))
        return tuple(one.convert(word, None, None) for word in words if word)

    return split


AS_JSON = "amos_dask.as_json"
flag = partial(option, is_flag=True)


class RepeatedValues(click.Command):
    """A command whose ``--subsets`` takes several values each time, as the tutorial writes it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join the values after each ``--subsets`` with commas before click sees them."""
        joined: list[str] = []
        for is_option, group in groupby(args, key=lambda word: word.startswith("-")):
            words = list(group)
            is_values = not is_option and joined[-1:] == ["--subsets"]
            joined += [",".join(words)] if is_values else words
        return super().parse_args(ctx, joined)


class SpacingValues(click.Command):
    """A command whose ``--spacing`` takes three sizes, or one word such as ``median``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join three sizes with commas before click sees them."""
        at = 1 + args.index("--spacing") if "--spacing" in args else len(args)
        sizes = args[at : at + 3]
        if sizes and sizes[0][:1].isdigit() and "," not in sizes[0]:
            args = [*args[:at], ",".join(sizes), *args[at + 3 :]]
        return super().parse_args(ctx, args)


def _spacing(ctx: click.Context, option: click.Parameter, text: str | None) -> Any:
    """Return the sizes of ``--spacing`` in mm, or its word."""
    try:
        return text if text in (None, "median") else tuple(map(float, str(text).split(",")))
    except ValueError as error:
        raise click.BadParameter("three sizes in mm, or median") from error


# ROOT_DIR, the archive and what is read besides.
root = argument("root_dir", type=FOLDER)
root_dir = option(
    "--root_dir", required=True, type=EXISTING_FOLDER, help="Folder with sample folders below it."
)
exported_root = option(
    "--root_dir",
    default=".",
    show_default="this folder",
    type=EXISTING_FOLDER,
    help="ROOT_DIR that 'run' made, or a folder with sample folders below it.",
)
archive_root = option("--root_dir", required=True, metavar="PATH_OR_URL", help="The archive.")
label_explanation = option(
    "--label_explanation",
    type=EXISTING_FILE,
    help="Label map (YAML); default: ROOT's descriptor/label_map.yaml, else the dataset's.",
)
dataset = option(
    "--dataset",
    metavar="NAME|FILE",
    help="What 'amos-dask datasets' lists, or a definition (YAML); default: what ROOT_DIR holds, "
    "else amos22.",
)
labeled_data_meta = _together(
    option(
        "--labeled_data_meta",
        metavar="CSV",
        help="Metadata csv; default: that of the last run, else the one inside or beside the "
        "archive.",
    ),
    option(
        "--metadata_encoding",
        metavar="NAME",
        help="Encoding of the metadata csv, such as gb18030; default: as in the last run, "
        "else it is recognised.",
    ),
)
mr_metadata_offset = option(
    "--mr_metadata_offset",
    type=Choice(["auto", "0", "-1"]),
    help="Which csv row MR scan N takes: N + offset (the official csv is shifted by one).  "
    "[default: as in the last run, else auto]",
)

# What is written.
output_manifest_file = option(
    "--output_manifest_file", required=True, type=FILE, help="Workbook to write."
)
statistics = option(
    "--statistics/--no_statistics", default=True, help="Write statistics.xlsx as well."
)
adopt = flag("--adopt", help="Move what is in the way and not ours to ROOT_DIR/replaced.")
no_lock = flag("--no_lock", help="For a file system without locks: be alone there.")
phantom_scans = _together(
    option("--n_ct", type=IntRange(0, 500), default=8, show_default=True, help="CT scans."),
    option("--n_mri", type=IntRange(0, 100), default=4, show_default=True, help="MR scans."),
)

# How masks are denoised.
denoise_parameters = _together(
    option(
        "--kernel_size",
        type=IntRange(1, 1000),
        nargs=2,
        metavar="X Y",
        help="Pixels of the structuring element.  [default: as in the last run, else 5 5]",
    ),
    option(
        "--filter_halfedge",
        type=IntRange(0, 1000),
        help="Votes are counted in a box of 2n+1 pixels.  [default: as in the last run, else 3]",
    ),
    option(
        "--region_area_thresh",
        type=FloatRange(0),
        metavar="MM2",
        help="Slice regions smaller than this may change.  [default: as in the last run, else 10]",
    ),
    option(
        "--exclude",
        type=EXISTING_FILE,
        help="What denoising leaves as it was (csv: sample,label); default: ROOT's "
        "descriptor/denoise_exclude.csv, if there is one.",
    ),
)

# Which samples.
_ids = option(
    "--ids",
    multiple=True,
    metavar="IDS",
    help="Only these samples: 4, amos_0004, 1-20, or several with commas.",
)
_subset = option(
    "--subset",
    type=Choice(["train", "val", "test"], case_sensitive=False),
    help="Only this subset.",
)


class Modality(Choice[str]):
    """A modality in any case; ``mr`` is ``mri``."""

    def __init__(self) -> None:
        super().__init__(["ct", "mri", "und"], case_sensitive=False)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the modality as the library knows it."""
        return super().convert("mri" if str(value).lower() == "mr" else value, param, ctx)


_modality = option("--modality", type=Modality(), help="Only this modality.")


def _select(
    ids: tuple[str, ...], subset: str | None, modality: str | None = None
) -> amos_dask.Selection:
    return amos_dask.Selection(ids or None, subset, modality)


selection = _as_one("selection", _select, ids=_ids, subset=_subset, modality=_modality)
selection_of_modality = _as_one("selection", _select, ids=_ids, subset=_subset)


# Where to run, and how to show progress.
def _style(json_lines: bool, quiet: bool) -> str:
    click.get_current_context().meta[AS_JSON] = json_lines  # also how a failure is told
    return "json" if json_lines else "none" if quiet else "auto"


progress = _as_one(
    "progress",
    _style,
    json_lines=flag("--json", "json_lines", help="Progress and result as JSON lines."),
    quiet=flag("--quiet", help="No progress; when all went well, only warnings of what is gone."),
)
cluster = _together(
    _as_one(
        "cluster",
        lambda **given: amos_dask.ClusterOptions(**given),
        cluster=option(
            "--cluster",
            metavar="KIND|ADDRESS",
            help="local, slurm, pbs, lsf, sge, …, kubernetes, or the address of a Dask scheduler.  "
            "[default: local, or as configured]",
        ),
        workers=option(
            "--workers", type=IntRange(1), help="Processes; default: one a core of this machine."
        ),
        memory=option(
            "--memory",
            "--memory_limit",
            metavar="SIZE",
            help="Memory of each worker, such as 4GB; default: its share of this machine.",
        ),
        dashboard_port=option(
            "--dashboard_port",
            type=IntRange(0, 65535),
            help="Port of the dashboard; a free one if taken.  [default: 8787]",
        ),
        local_directory=option(
            "--local_directory",
            type=click.Path(file_okay=False),
            help="For workers' temporary files.",
        ),
        queue=option("--queue", help="Queue or partition of batch jobs."),
        walltime=option("--walltime", metavar="HH:MM:SS", help="Walltime of batch jobs."),
        account=option("--account", help="Account of batch jobs."),
        tls=flag("--tls", default=None, help="Encrypt between the processes."),
    ),
    progress,
)

# What many commands take, in this order.
working = _together(no_lock, cluster)
writing = _together(adopt, working)
exporting = _together(
    flag("--merge_prostate_uterus", help="One label for both, as in the archive."),
    flag(
        "--mr_without_14_16",
        help="Leave bladder, prostate and uterus out of MR masks: too few are annotated.",
    ),
    label_explanation,
    option(
        "--split_name",
        help="A split of yours, such as split02_kfold5, whose folds are trained on.  "
        "[default: that of an earlier export there, else the official one, split01_standard]",
    ),
    selection,
    flag("--adopt", help="Move what is in the way to replaced/ in the export."),
    working,
)

_two_numbers = partial(option, type=float, nargs=2, metavar="LOW HIGH")
as_arrays = _together(
    option("--orientation", metavar="CODES", help="Where axes point to, such as RAS."),
    option(
        "--spacing",
        metavar="X Y Z|median",
        callback=_spacing,
        help="Voxel size in mm along these axes; median: of the chosen scans with labels.",
    ),
    option(
        "--interpolation",
        type=Choice(["linear", "cubic"]),
        default="linear",
        show_default=True,
        help="Of volumes; masks get the label with the largest share.",
    ),
    _two_numbers("--window", help="Values that become 0 and 1; what is outside is clipped."),
    _two_numbers("--percentiles", help="The same, as percentiles of each scan's values."),
    option("--crop", type=Choice(["body", "labels"]), help="Cut out its bounding box."),
    option(
        "--margin",
        type=FloatRange(0),
        default=10.0,
        show_default=True,
        metavar="MM",
        help="What a crop leaves around it.",
    ),
    option(
        "--format",
        "form",
        type=Choice(["nifti", "npz", "zarr"]),
        default="nifti",
        show_default=True,
        help="Files; zarr needs the extra 'zarr'.",
    ),
)
