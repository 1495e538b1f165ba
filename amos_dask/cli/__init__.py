"""The program ``amos-dask``: a command is parsed and calls the library; errors become one line."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Any

import click

from amos_dask.cli import dataset_commands as on_dataset
from amos_dask.cli import step_commands
from amos_dask.cli.shared_options import AS_JSON, same_word
from amos_dask.cli.show import close_failure
from amos_dask.errors import AmosDaskError, ExitCode, Terminated, raise_on_sigterm
from amos_dask.version import __version__

# 128 and the signal's number, as shells report them.
_INTERRUPTED, _TERMINATED = 130, 143
_LONG = 200  # characters, longer than any summary


class Program(click.Group):
    """A group that keeps commands in the tutorial's order and reports errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order they were added."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list of the commands in which no summary is cut off."""
        names = self.list_commands(ctx)
        with formatter.section("Commands"):
            formatter.write_dl([(n, self.commands[n].get_short_help_str(_LONG)) for n in names])

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the program; once a command has ended, SIGTERM changes nothing of how it ended."""
        try:
            return super().main(*args, **extra)
        finally:
            if not (args or extra):  # a process of its own, which has nothing to do but to exit
                signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; its return value is the exit code."""
        if not ctx.params.get("debug"):
            logging.disable(logging.CRITICAL)  # what libraries meet, we say in one sentence
        try:
            with raise_on_sigterm():
                code = super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):
            raise  # click's own business
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"amos-dask: {_message(error)}", err=True)
            code = ExitCode.COULD_NOT_RUN
            if ctx.meta.get(AS_JSON):
                close_failure(_message(error), code)
        except KeyboardInterrupt as interruption:
            click.echo("amos-dask: interrupted; run the same command again", err=True)
            sys.exit(_TERMINATED if isinstance(interruption, Terminated) else _INTERRUPTED)
        finally:
            logging.disable(logging.NOTSET)
        sys.exit(int(code or 0))


def _message(error: Exception) -> str:
    if isinstance(error, AmosDaskError):
        return str(error)
    if isinstance(error, OSError):
        # A file that cannot get its name is told by that, not by its temporary name.
        file = error.filename2 or error.filename
        where = f"{file}: " if file else ""
        return f"{where}{error.strerror or error}"
    return f"unexpected {type(error).__name__}: {error}; 'amos-dask --debug …' shows where"


@click.group(
    cls=Program,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "token_normalize_func": same_word,
    },
    epilog="Start with 'amos-dask demo'. Every command explains itself with --help.",
)
@click.option("--debug", is_flag=True, help="Show a traceback when something goes wrong.")
@click.version_option(__version__, prog_name="amos-dask")
def main(debug: bool) -> None:
    """Turn the AMOS22 download into a clean, organised, verified dataset.

    'run' does everything in one pass, with --dataset for those that 'datasets' lists too. The
    commands from archive-manifest to index-manifests are its steps one by one, with the options of
    the AMOS22 preprocess tutorial.

    Exit status: 0 done; 1 could not run; 2 wrong usage; 3 done, but some samples failed (they are
    listed in descriptor/issues.xlsx).
    """


for command in (  # as --help lists them
    *(on_dataset.download, on_dataset.run, on_dataset.verify, on_dataset.demo, on_dataset.datasets),
    *step_commands.ALL,
    *(on_dataset.explain, on_dataset.leaks, on_dataset.stats, on_dataset.card, on_dataset.report),
    *(on_dataset.phantom, on_dataset.export_group, on_dataset.cluster_group),
):
    main.add_command(command)
