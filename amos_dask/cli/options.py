"""Options, declared once and reused; every name is accepted with ``_`` and with ``-``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(file_okay=False, exists=True, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
EXISTING_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)


def same_word(name: str) -> str:
    """Return a name as it is declared, with ``_`` for ``-``: people may type either."""
    return name.replace("-", "_") if name[:1].isalpha() else name  # -1 stays a number


root_dir = click.option(
    "--root_dir", required=True, type=EXISTING_FOLDER, help="Folder with sample folders below it."
)
label_explanation = click.option(
    "--label_explanation",
    type=EXISTING_FILE,
    help="Label map (YAML); default: ROOT's descriptor/label_map.yaml, else the dataset's.",
)
dataset = click.option(
    "--dataset",
    metavar="NAME|FILE",
    help="amos22, ct-org, decathlon, or a definition (YAML); default: what ROOT_DIR holds, else "
    "amos22.",
)
labeled_data_meta = click.option(
    "--labeled_data_meta",
    metavar="CSV",
    help="Metadata csv; default: the one inside or beside the archive.",
)
mr_metadata_offset = click.option(
    "--mr_metadata_offset",
    type=click.Choice(["auto", "0", "-1"]),
    default="auto",
    show_default=True,
    help="Which csv row MR scan N takes: N + offset (the official csv is shifted by one).",
)


def comma_separated(
    kind: Any = str,
) -> Callable[[click.Context, click.Parameter, str | None], tuple[Any, ...] | None]:
    """Return a callback that makes a tuple of values with commas between them."""
    one = click.types.convert_type(kind)

    def split(
        ctx: click.Context, parameter: click.Parameter, text: str | None
    ) -> tuple[Any, ...] | None:
        if text is None:
            return None
        values = (value.strip() for value in text.split(","))
        return tuple(one.convert(value, parameter, ctx) for value in values if value)

    return split


split_name = click.option(
    "--split_name", default="split01_standard", show_default=True, help="Worksheet of the split."
)


exported_root = click.option(
    "--root_dir",
    default=".",
    show_default="this folder",
    type=EXISTING_FOLDER,
    help="ROOT_DIR that 'run' made, or a folder with sample folders below it.",
)


def exported_labels(command: F) -> F:
    """Add ``--merge_prostate_uterus`` and ``--mr_without_14_16``."""
    for declare in (
        click.option(
            "--mr_without_14_16",
            is_flag=True,
            help="Leave bladder, prostate and uterus out of MR masks: too few are annotated.",
        ),
        click.option(
            "--merge_prostate_uterus", is_flag=True, help="One label for both, as in the archive."
        ),
    ):
        command = declare(command)
    return command


def denoise_parameters(command: F) -> F:
    """Add ``--kernel_size``, ``--filter_halfedge``, ``--region_area_thresh``, ``--exclude``."""
    for declare in (
        click.option(
            "--exclude",
            type=EXISTING_FILE,
            help="What denoising leaves as it was (csv: sample,label); default: ROOT's "
            "descriptor/denoise_exclude.csv, if there is one.",
        ),
        click.option(
            "--region_area_thresh",
            type=click.FloatRange(0),
            default=10.0,
            show_default=True,
            metavar="MM2",
            help="Slice regions smaller than this may change.",
        ),
        click.option(
            "--filter_halfedge",
            type=click.IntRange(0, 1000),
            default=3,
            show_default=True,
            help="Votes are counted in a box of 2n+1 pixels.",
        ),
        click.option(
            "--kernel_size",
            type=click.IntRange(1, 1000),
            nargs=2,
            default=(5, 5),
            show_default=True,
            metavar="X Y",
            help="Pixels of the structuring element.",
        ),
    ):
        command = declare(command)
    return command


def selection(command: F) -> F:
    """Add ``--ids``, ``--subset`` and ``--modality``, passed on as one ``selection``."""

    @wraps(command)
    def with_selection(
        *args: Any, ids: tuple[str, ...], subset: str | None, modality: str | None, **kwargs: Any
    ) -> Any:
        from amos_dask import Selection

        chosen = Selection(tuple(ids) or None, subset, modality)
        return command(*args, selection=chosen, **kwargs)

    for declare in (
        click.option(
            "--modality", type=click.Choice(["ct", "mri", "und"]), help="Only this modality."
        ),
        subset,
        ids,
    ):
        with_selection = declare(with_selection)
    return with_selection  # type: ignore[return-value]


ids = click.option(
    "--ids",
    multiple=True,
    metavar="IDS",
    help="Only these samples: 4, amos_0004, 1-20, or several with commas.",
)
subset = click.option(
    "--subset", type=click.Choice(["train", "val", "test"]), help="Only this subset."
)


_CLUSTER_OPTIONS = (
    click.option("--tls", is_flag=True, default=None, help="Encrypt between the processes."),
    click.option("--account", help="Account of batch jobs."),
    click.option("--walltime", metavar="HH:MM:SS", help="Walltime of batch jobs."),
    click.option("--queue", help="Queue or partition of batch jobs."),
    click.option(
        "--local_directory", type=click.Path(file_okay=False), help="For workers' temporary files."
    ),
    click.option(
        "--dashboard_port",
        type=click.IntRange(0, 65535),
        help="Port of the dashboard; a free one if taken.  [default: 8787]",
    ),
    click.option(
        "--memory",
        "--memory_limit",
        metavar="SIZE",
        help="Memory of each worker, such as 4GB; default: its share of this machine.",
    ),
    click.option(
        "--workers", type=click.IntRange(1), help="Processes; default: one a core of this machine."
    ),
    click.option(
        "--cluster",
        metavar="KIND|ADDRESS",
        help="local, slurm, pbs, lsf, sge, …, kubernetes, or the address of a Dask scheduler.  "
        "[default: local, or as configured]",
    ),
)


def progress(command: F) -> F:
    """Add ``--json`` and ``--quiet``, passed on as ``progress``."""

    @wraps(command)
    def with_progress(*args: Any, json_lines: bool, quiet: bool, **kwargs: Any) -> Any:
        style = "json" if json_lines else "none" if quiet else "auto"
        return command(*args, progress=style, **kwargs)

    for declare in (
        click.option("--quiet", is_flag=True, help="No progress."),
        click.option(
            "--json", "json_lines", is_flag=True, help="Progress and result as JSON lines."
        ),
    ):
        with_progress = declare(with_progress)
    return with_progress  # type: ignore[return-value]


def cluster(command: F) -> F:
    """Add where to run and how to show progress, passed on as ``cluster`` and ``progress``."""

    @progress
    @wraps(command)
    def with_cluster(*args: Any, **kwargs: Any) -> Any:
        from amos_dask import ClusterOptions

        names = {field.name for field in fields(ClusterOptions)}
        options = ClusterOptions(**{name: kwargs.pop(name) for name in names})
        return command(*args, cluster=options, **kwargs)

    for declare in _CLUSTER_OPTIONS:
        with_cluster = declare(with_cluster)
    return with_cluster  # type: ignore[return-value]


class RepeatedValues(click.Command):
    """A command whose ``--subsets`` takes several values each time, as the tutorial writes it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join the values after each ``--subsets`` with commas before click sees them."""
        joined: list[str] = []
        rest = list(args)
        while rest:
            word = rest.pop(0)
            joined.append(word)
            if word == "--subsets":
                values = []
                while rest and not rest[0].startswith("-"):
                    values.append(rest.pop(0))
                joined += [",".join(values)] if values else []
        return super().parse_args(ctx, joined)
