"""The program ``amos-dask``: parse, one library call, closing lines, exit code."""

from amos_dask.cli.main import main

__all__ = ["main"]
