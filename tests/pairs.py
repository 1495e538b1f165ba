"""Start two runs at once on one ROOT_DIR, again and again: ``python tests/pairs.py --help``.

The two ask for other parameters of denoising, another label map and other exclusions. Afterwards
the tree must be, to the byte, what one of them makes of it alone.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roots import BARE, besides_replaced, contents, program

from amos_dask.datasets import AMOS22
from amos_dask.phantom import write_archive

_SECONDS_OF_A_RUN = 600
_OPTIONS = ("--quiet", *BARE)
_ALONE = ("--workers", "1", "--dashboard_port", "0")


@dataclass(frozen=True)
class Rivals:
    """An archive, and two ways to run on it with what each of them makes of it alone.

    Parameters
    ----------
    archive : Path
        The archive.
    root : Path
        Where both run.
    words : pair of list of str
        What each of them asks for.
    expected : pair of Path
        What each of them makes of it alone.
    cluster : tuple of str
        The options for where they run.
    """

    archive: Path
    root: Path
    words: tuple[list[str], list[str]]
    expected: tuple[Path, Path]
    cluster: tuple[str, ...] = _ALONE


def prepare(folder: Path, cluster: tuple[str, ...] = _ALONE) -> Rivals:
    """Make an archive and run each of the two ways on it."""
    archive = write_archive(folder, n_ct=2, n_mri=1, size="tiny", seed=3).path
    words = (_ways(folder, "5", "liver", "amos_0001,"), _ways(folder, "7", "hepar", "amos_0004,6"))
    expected = (folder / "first", folder / "second")
    rivals = Rivals(archive, folder / "AMOS22", words, expected, cluster)
    for asked, root in zip(rivals.words, rivals.expected, strict=True):
        program(*_command(rivals, asked, root))
    assert contents(rivals.expected[0]) != contents(rivals.expected[1])
    return rivals


def _ways(folder: Path, size: str, liver: str, excluded: str) -> list[str]:
    label_map, exclude = folder / f"{liver}.yaml", folder / f"exclude_{size}.csv"
    names = AMOS22.label_map.names() | {6: liver}
    lines = (f"{label}: {name}\n" for label, name in names.items())
    label_map.write_text("".join(lines), encoding="utf-8")
    exclude.write_text(f"sample,label\n{excluded}\n", encoding="utf-8")
    denoise = ["--kernel_size", size, size, "--region_area_thresh", f"{size}0"]
    return [*denoise, "--label_explanation", str(label_map), "--exclude", str(exclude)]


def _command(rivals: Rivals, asked: list[str], root: Path) -> list[str]:
    where = ["run", str(root), "--archive", str(rivals.archive)]
    return [*where, *asked, *_OPTIONS, *rivals.cluster]


def start(rivals: Rivals, asked: list[str], root: Path) -> subprocess.Popen[str]:
    """Start a run."""
    command = [sys.executable, "-m", "amos_dask", *_command(rivals, asked, root)]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes)


def one_pair(rivals: Rivals, seed: int) -> str:
    """Run both at once; return whose tree it is, or raise AssertionError when it is nobody's.

    The next pair goes on with the same tree, or begins anew, as the seed has it.
    """
    chance = random.Random(seed)
    if chance.random() < 0.3:
        shutil.rmtree(rivals.root, ignore_errors=True)
    order = chance.sample((0, 1), 2)
    processes = {}
    for which in order:
        processes[which] = start(rivals, rivals.words[which], rivals.root)
        if which == order[0]:
            time.sleep(chance.choice((0, 0, 0.05, 1, 3)))
    said = {
        n: process.communicate(timeout=_SECONDS_OF_A_RUN)[1] for n, process in processes.items()
    }
    codes = {which: process.returncode for which, process in processes.items()}
    done = [which for which in order if codes[which] == 0]
    assert done, f"none of them ran: {said}"
    assert all(code == 0 or "in use" in said[which] for which, code in codes.items()), said
    found = _tree(rivals.root)
    winners = [which for which in done if _tree(rivals.expected[which]) == found]
    assert winners, f"a tree of neither: {codes}"
    again = program(*_command(rivals, [], rivals.root))  # what is remembered made the tree
    assert again.stderr.count("\n") <= 1
    assert _tree(rivals.root) == found
    return f"{'both' if len(done) == 2 else 'one'} ran, the tree is of {winners}"


def _tree(root: Path) -> dict[str, Any]:
    """Return what is in a tree, but for what tells that another list or map had to make way."""
    return besides_replaced(contents(root))


def main() -> None:
    """Go on for as many pairs as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the first pair")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rivals = prepare(Path(folder))
        for seed in range(arguments.seed, arguments.seed + arguments.pairs):
            print(f"seed {seed}: {one_pair(rivals, seed)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
