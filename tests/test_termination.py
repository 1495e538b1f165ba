"""SIGTERM ends every command in order: one line, exit status 143, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mini import QUIET
from roots import ct_archive

import amos_dask
from amos_dask.errors import Terminated, raise_on_sigterm


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a folder with an archive and the ROOT_DIR made of it."""
    folder = tmp_path_factory.mktemp("made")
    amos_dask.run(folder / "AMOS22", ct_archive(folder, 1), cluster=cluster_address, **QUIET)
    return folder


# Stops at the moment when a command has begun to work, and waits there.
_STOP_AT_WORK = """
import sys, time
from amos_dask.cli import main
{patch}
def wait(*arguments, **options):
    print("at work", flush=True)
    for _ in range(600):
        time.sleep(0.1)  # a signal that arrives just before one sleep is answered after it
place.{name} = wait
main(sys.argv[1:])
"""


_TASKS, _ZIP = "engine.graph.run_tasks", "phantom.archive._write_zip"


@pytest.mark.parametrize(
    ("words", "patch", "number"),
    [
        ("export nnunet {tmp}/raw --root_dir {made}/AMOS22", _TASKS, signal.SIGTERM),
        ("verify {made}/amos22", _TASKS, signal.SIGINT),
        ("phantom {tmp}/ph --form zip", _ZIP, signal.SIGTERM),
    ],
)
def test_a_signal_ends_a_command_in_order(
    words: str, patch: str, number: signal.Signals, made: Path, tmp_path: Path, cluster_address: str
) -> None:
    module, _, name = patch.rpartition(".")
    script = _STOP_AT_WORK.format(patch=f"import amos_dask.{module} as place", name=name)
    arguments = words.format(made=made, tmp=tmp_path).split()
    if arguments[0] != "phantom":
        arguments += ["--cluster", cluster_address, "--quiet"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(number)
        said, complaint = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert complaint == "amos-dask: interrupted; run the same command again\n"
    assert said == ""
    assert list(tmp_path.rglob("*.nii.gz")) == []
    assert list(tmp_path.rglob("*~")) == []


# The signal arrives while workers start, of which Dask cannot close those that are half there.
_WHILE_THE_CLUSTER_STARTS = """
import os, sys
import distributed
from amos_dask.cli import main
true, sent = distributed.Nanny.start_unsafe, []
async def start(nanny):
    if not sent:
        sent.append(os.kill(os.getpid(), {number}))
    return await true(nanny)
distributed.Nanny.start_unsafe = start
if __name__ == "__main__":
    main(sys.argv[1:])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_local_cluster_starts_ends_in_order(
    number: signal.Signals, made: Path, tmp_path: Path
) -> None:
    script = tmp_path / "program.py"
    script.write_text(_WHILE_THE_CLUSTER_STARTS.format(number=int(number)))
    words = ["run", tmp_path / "R", "--archive", made / "amos22", "--workers", "2", "--quiet"]
    done = subprocess.run(
        [sys.executable, script, *map(str, words)], capture_output=True, text=True, timeout=120
    )
    assert done.stderr == "amos-dask: interrupted; run the same command again\n"
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert not (tmp_path / "R").exists()


def answer_sigterm_with_an_error() -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt as interruption:
        raise RuntimeError("Error calling __set_name__") from interruption


def test_sigterm_that_something_makes_an_error_of_is_still_sigterm() -> None:
    with pytest.raises(Terminated), raise_on_sigterm():
        answer_sigterm_with_an_error()
