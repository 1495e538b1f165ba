"""Kill runs again and again, and look whether anything was lost: ``python tests/soak.py --help``.

Each round runs the program on a phantom archive, kills the client or a worker with SIGKILL after a
number of finished samples and a fraction of a second drawn from the seed, runs it again, and
compares the tree with that of an undisturbed run. What is not killed runs in this process, and on
a cluster that is there already where one is named.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import nibabel as nib
import numpy as np
import psutil
from roots import assert_same, contents, program

from amos_dask.phantom import write_archive

VICTIMS = ("client", "worker")
_SECONDS_OF_A_RUN = 120


@dataclass(frozen=True)
class Moment:
    """Who is killed, and when: so many seconds after so many samples have ended."""

    victim: str
    n_samples: int
    seconds: float


def draw(seed: int, n_samples: int) -> Moment:
    """Return the moment that belongs to a seed."""
    chance = random.Random(seed)
    return Moment(chance.choice(VICTIMS), chance.randrange(n_samples), chance.uniform(0, 0.3))


@dataclass(frozen=True)
class Place:
    """An archive, the tree of an undisturbed run on it, where to run, and further options.

    On ``cluster`` goes what is not killed.
    """

    archive: Path
    expected: Path
    root: Path
    words: tuple[str, ...] = ()
    cluster: str = "local"

    @property
    def n_samples(self) -> int:
        return len(list((self.expected / ".amos-dask" / "receipts").glob("*.json")))


def prepare(folder: Path, size: str = "small", cluster: str = "local") -> Place:
    """Make an archive and run on it undisturbed."""
    archive = write_archive(folder, n_ct=8, n_mri=4, size=size, form="zip", seed=3).path
    return prepare_of(archive, cluster=cluster)


def prepare_of(archive: Path, *words: str, cluster: str = "local") -> Place:
    """Run on an archive undisturbed, with such options."""
    folder = archive.parent
    place = Place(archive, folder / "expected", folder / "ROOT", words, cluster)
    run(place, place.expected)
    return place


def edit(root: Path) -> None:
    """Correct one mask by hand, spoil another, correct an info file, and spoil a binary mask."""
    masks = sorted(root.glob("grouped/*/*/*/*/*_mask.nii.gz"))
    image = nib.load(masks[0])
    labels = np.asarray(image.dataobj).astype(np.int16)
    labels[1:4, 1:4, 1] = 6
    nib.save(nib.Nifti1Image(labels, image.affine), masks[0])
    masks[1].write_bytes(masks[1].read_bytes()[:200])
    (info,) = masks[2].parent.glob("*_info.yaml")
    info.write_text(info.read_text(encoding="utf-8").replace("site: '", "site: 'my "), "utf-8")
    (binary,) = masks[3].parent.glob("*_mask_06_*.nii.gz")
    shutil.copyfile(next(masks[3].parent.glob("*_mask_01_*.nii.gz")), binary)


def run(place: Place, root: Path, *words: str) -> list[dict[str, object]]:
    """Run undisturbed, in this process; return the events."""
    command = ["run", root, "--archive", place.archive, "--json", "--dashboard_port", "0"]
    said = program(*command, "--cluster", place.cluster, *place.words, *words)
    return [json.loads(line) for line in said.stdout.splitlines()]


def start(place: Place, root: Path, *words: str) -> subprocess.Popen[str]:
    """Start the program with JSON lines on its stdout."""
    command = [sys.executable, "-m", "amos_dask", "run", root, "--archive", place.archive]
    options = ["--json", "--workers", "2", "--dashboard_port", "0", *place.words, *words]
    return subprocess.Popen(
        [str(word) for word in (*command, *options)], stdout=subprocess.PIPE, text=True
    )


def events(stream: IO[str]) -> Iterator[dict[str, object]]:
    """Yield the events that the program tells."""
    for line in stream:
        yield json.loads(line)


def is_sample(event: dict[str, object]) -> bool:
    return event["event"] == "TaskEnded" and event["phase"] == "sample"


def kill(process: subprocess.Popen[str], victim: str) -> None:
    """Send SIGKILL to the client, or to the first of its workers."""
    parent = psutil.Process(process.pid)
    workers = [p for p in parent.children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
    target = parent if victim == "client" else workers[0]
    target.send_signal(signal.SIGKILL)


def run_and_kill(place: Place, moment: Moment, *words: str) -> int:
    """Run until the moment, kill, and return the exit code."""
    with start(place, place.root, *words) as process:
        assert process.stdout is not None
        told = events(process.stdout)
        n_left = moment.n_samples
        for event in told:
            is_begun = event["event"] == "PhaseStarted" and event["phase"] == "sample"
            n_left -= is_sample(event)
            if n_left <= 0 and (is_begun or is_sample(event)):
                break
        time.sleep(moment.seconds)
        with suppress(psutil.NoSuchProcess, IndexError):  # it may be faster than we are
            kill(process, moment.victim)
        for _ in told:
            pass
        return process.wait(_SECONDS_OF_A_RUN)


def finished(root: Path) -> dict[str, int]:
    """Return the samples that have a receipt, and when their volume was written."""
    receipts = (root / ".amos-dask" / "receipts").glob("*.json")
    written = {path.stem: root.glob(f"grouped/*/*/*/*/{path.stem}_volume*.gz") for path in receipts}
    return {name: max(path.stat().st_mtime_ns for path in found) for name, found in written.items()}


def one_round(place: Place, moment: Moment) -> None:
    """Run, kill, run again; raise AssertionError when anything was lost or done twice."""
    shutil.rmtree(place.root, ignore_errors=True)
    exit_code = run_and_kill(place, moment)
    assert moment.victim == "client" or exit_code == 0, f"a lost worker ended the run: {exit_code}"
    before = finished(place.root)
    done_again = {str(event["name"]) for event in run(place, place.root) if is_sample(event)}
    assert not done_again & before.keys(), "finished samples were done twice"
    after = finished(place.root)
    assert before.items() <= after.items()
    assert_same(contents(place.expected), contents(place.root))
    assert list(place.root.rglob("*~")) == []
    assert not (place.root / ".amos-dask" / "lock").exists()


def one_round_after_edits(place: Place, moment: Moment) -> None:
    """Edit a finished tree, run and kill, run again; compare with an undisturbed run."""
    undisturbed = place.root.with_name("EDITED")
    if not undisturbed.exists():
        shutil.copytree(place.expected, undisturbed)
        edit(undisturbed)
        before = place.root.with_name("BEFORE")
        shutil.copytree(undisturbed, before)
        run(place, undisturbed, "--force")
    shutil.rmtree(place.root, ignore_errors=True)
    shutil.copytree(place.root.with_name("BEFORE"), place.root)
    if run_and_kill(place, moment, "--force") != 0:  # a lost worker does not end the run
        run(place, place.root, "--force")
    places = ("descriptor", "grouped", "replaced/1")
    assert_same(contents(undisturbed, *places), contents(place.root, *places))
    assert [path.name for path in (place.root / "replaced").iterdir()] == ["1"]
    assert not list((place.root / ".amos-dask").glob("journal/*"))


def main() -> None:
    """Go on for as long as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--minutes", type=float, help="go on for so long instead")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * (arguments.minutes or 1e9)
    with tempfile.TemporaryDirectory() as folder:
        place = prepare(Path(folder))
        seed = arguments.seed
        while time.monotonic() < end and (arguments.minutes or seed < arguments.rounds):
            moment = draw(seed, place.n_samples)
            one_round(place, moment)
            one_round_after_edits(place, moment)
            print(f"seed {seed}: {moment}: nothing lost", flush=True)  # noqa: T201
            seed += 1


if __name__ == "__main__":
    main()
