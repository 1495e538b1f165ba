"""The cluster: ``cluster check``."""

from __future__ import annotations

from typing import Any

import click

import amos_dask
from amos_dask.cli import options as opt
from amos_dask.cli.show import close_check


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
