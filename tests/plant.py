"""Plant what people make under a ROOT_DIR, run random commands, look whether all of it is there.

``python tests/plant.py --series 500`` goes on for as long as asked. Files, folders and links of
people's have names like ours and not; worksheets and columns are added to our workbooks.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from click.testing import CliRunner
from openpyxl import load_workbook
from roots import change_sex, ct_archive

from amos_dask.cli import main
from amos_dask.phantom import METADATA_NAME

NAMES = (
    "notes.txt",
    "amos_0001_mask_second_reader.nii.gz",
    "amos_0001_mask_99_mine.nii.gz",
    "amos_0001_volume (copy).nii.gz",
    ".amos_0001_mask.nii.gz.0badcafe.part~",
    "amos_9001_mask.nii.gz",
    "amos_9001_info.yaml",
    "dataset_manifest (2).xlsx",
    "dataset_manifest_old.xlsx",
    "small_connected_region_100_manifest.xlsx.bak",
    "split01_standard_train (mine).xlsx",
    "split02_kfold5_fold0.xlsx",
    "label_map.yaml.bak",
    "report_mine.html",
    "issues.jsonl~",
    "statistics (2).xlsx",
    "dataset.json",
    ".amos-dask-export.json.mine",
    "splits_final.json",
)
FOLDERS = ("amos_0001_unet", "amos_9001_M", "my_copy", "AMOS-CT (copy)", "labelsTs", "0", ".hidden")


@dataclass
class Planted:
    """What is somebody's: files with their bytes, empty folders, links, worksheets, columns."""

    files: dict[Path, bytes] = field(default_factory=dict)
    folders: set[Path] = field(default_factory=set)
    links: dict[Path, str] = field(default_factory=dict)
    sheets: dict[Path, str] = field(default_factory=dict)
    columns: dict[Path, dict[str, str]] = field(default_factory=dict)

    def find_lost(self, root: Path) -> list[str]:
        """Return what is not as it was."""
        lost = [
            f"{path}"
            for path, data in self.files.items()
            if not path.is_file() or path.read_bytes() != data
        ]
        lost += [f"{path}/" for path in self.folders if not path.is_dir()]
        lost += [
            f"{path} ->"
            for path, to in self.links.items()
            if not path.is_symlink() or str(path.readlink()) != to
        ]
        lost += [
            f"{path}[{title}]"
            for path, title in self.sheets.items()
            if not any(_has_sheet(p, title) for p in _versions(root, path))
        ]
        lost += [
            f"{path}[my_quality]"
            for path, cells in self.columns.items()
            if not any(_has_column(p, cells) for p in _versions(root, path))
        ]
        return lost


def _versions(root: Path, path: Path) -> Iterator[Path]:
    """Yield a workbook, and what of it had to make way."""
    found = [path, *(root / "replaced").glob(f"*/{path.relative_to(root).as_posix()}")]
    yield from (one for one in found if one.is_file())


def _has_sheet(path: Path, title: str) -> bool:
    workbook = load_workbook(path)
    return title in workbook.sheetnames and workbook[title]["A1"].value == "three weeks of notes"


def _has_column(path: Path, cells: dict[str, str]) -> bool:
    rows = list(load_workbook(path)["Manifest"].values)
    if "my_quality" not in rows[0]:
        return False
    column = rows[0].index("my_quality")
    key = rows[0].index("ID" if "ID" in rows[0] else "file_path")
    found = {row[key]: row[column] for row in rows[1:]}
    return all(found.get(name) == value for name, value in cells.items() if name in found)


def plant(chance: random.Random, root: Path, other: Path, planted: Planted) -> None:
    """Plant a few things at random places under a ROOT_DIR."""
    places = [p for p in root.rglob("*") if p.is_dir() and not p.is_symlink()]
    places = [p for p in places if "replaced" not in p.parts] + [root]
    for _ in range(chance.randrange(3, 8)):
        folder = chance.choice(places)
        kind = chance.choice(("file", "file", "file", "folder", "copy", "link", "sheet", "column"))
        if kind == "file":
            _add_file(planted, folder / chance.choice(NAMES), chance.randbytes(20))
        elif kind == "folder":
            path = folder / chance.choice(FOLDERS)
            if chance.random() < 0.5:
                _add_file(planted, path / chance.choice(NAMES), chance.randbytes(20))
            elif not path.exists():
                path.mkdir()
                planted.folders.add(path)
        elif kind == "copy":
            _copy_folder(chance, root, folder / chance.choice(FOLDERS), planted)
        elif kind == "link":
            path = folder / chance.choice(FOLDERS)
            if not os.path.lexists(path):
                path.symlink_to(other / "grouped")
                planted.links[path] = str(path.readlink())
        else:
            books = [
                p for p in root.rglob("*.xlsx") if _is_ours(p, root) and p not in planted.files
            ]
            if books:
                _add_to_workbook(chance.choice(sorted(books)), kind, planted)


def _is_ours(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return parts[0] in ("descriptor", "grouped") and not set(parts) & set(FOLDERS)


def _add_file(planted: Planted, path: Path, data: bytes) -> None:
    if os.path.lexists(path) or any(parent.is_symlink() for parent in path.parents):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    planted.files[path] = data


def _copy_folder(chance: random.Random, root: Path, to: Path, planted: Planted) -> None:
    found = sorted(p.parent for p in root.glob("grouped/*/*/*/*/*_volume.nii.gz"))
    samples = [folder for folder in found if not to.is_relative_to(folder)]
    if samples and not os.path.lexists(to):
        shutil.copytree(chance.choice(samples), to, symlinks=True)
        planted.files |= {p: p.read_bytes() for p in to.rglob("*") if p.is_file()}


def _add_to_workbook(path: Path, kind: str, planted: Planted) -> None:
    workbook = load_workbook(path)
    if kind == "sheet" and "reviews" not in workbook.sheetnames:
        workbook.create_sheet("reviews")["A1"] = "three weeks of notes"
        planted.sheets[path] = "reviews"
    elif kind == "column" and "Manifest" in workbook.sheetnames and path not in planted.columns:
        sheet = workbook["Manifest"]
        header = [cell.value for cell in sheet[1]]
        name = "ID" if "ID" in header else "file_path" if "file_path" in header else ""
        if not name:
            return
        column, key = len(header) + 1, header.index(name)
        sheet.cell(1, column, "my_quality")
        cells = {}
        for number in range(2, sheet.max_row + 1):
            cells[str(sheet.cell(number, key + 1).value)] = f"good {number}"
            sheet.cell(number, column, f"good {number}")
        planted.columns[path] = cells
    workbook.save(path)


def commands(
    chance: random.Random, root: Path, archive: Path, options: list[str], turn: int | None = None
) -> list[str]:
    """Return a command: the one whose turn it is, else a drawn one."""
    grouped, manifest = root / "grouped", root / "grouped" / "dataset_manifest.xlsx"
    run = ["run", root, "--archive", archive]
    below = ["--root_dir", grouped]
    choices: list[Callable[[], list[object]]] = [
        lambda: [*run],
        lambda: [*run, "--force"],
        lambda: [*run, "--kernel_size", "3", "3"],
        lambda: [*run, "--region_area_thresh", "300"],
        lambda: [*run, "--region_volume_thresh", "300"],
        lambda: [*run, "--no_report", "--no_statistics"],
        lambda: [*run, "--ids", "1"],
        lambda: [*run, "--discard_edits"],
        lambda: [*run, "--prune"],
        lambda: ["denoise", *below, "--output_dir", grouped, "--kernel_size", "3", "3"],
        lambda: ["denoise", *below, "--output_dir", root / "denoised"],
        lambda: ["restore", *below],
        lambda: ["split-prostate-uterus", *below],
        lambda: ["binary-masks", *below],
        lambda: [
            "small-regions",
            *below,
            "--region_volume_thresh",
            "55",
            "--output_manifest",
            root / "descriptor" / "small_connected_region_55_manifest.xlsx",
        ],
        lambda: ["dataset-manifest", *below, "--output_manifest_file", manifest],
        lambda: ["make-split", "--manifest_file", manifest, "--kind", "kfold", "--folds", "3"],
        lambda: ["make-split", "--manifest_file", manifest, "--split_name", "split01_standard"],
        lambda: [
            "index-manifests",
            "--manifest_file",
            manifest,
            "--split_name",
            "split01_standard",
            "--output_index_manifest_dir",
            grouped / "splits" / "split01_standard",
            "--subsets",
            "train",
            "val",
        ],
        lambda: ["stats", root],
        lambda: ["report", root],
        lambda: ["export", "nnunet", root / "exports", "--root_dir", root],
        lambda: ["export", "monai", root / "exports" / "monai", "--root_dir", root],
        lambda: ["verify", root],
    ]
    chosen = chance.choice(choices) if turn is None else choices[turn % len(choices)]
    words = [str(word) for word in chosen()]
    plain = words[0] in ("make-split", "index-manifests")
    return [*words, *([] if plain else [*options, "--quiet"])]


def change_archive(chance: random.Random, archive: Path, kept: Path) -> None:
    """Change something of the archive, or put it back as it was."""
    files = sorted(kept.glob("labels*/*.nii.gz"))
    file = chance.choice(files)
    place = archive / file.relative_to(kept)
    kind = chance.choice(("sex", "gone", "spoilt", "other", "back", "back"))
    if kind == "sex":
        change_sex(archive / METADATA_NAME, 1, chance.choice("FM"))
    elif kind == "gone":
        place.unlink(missing_ok=True)
    elif kind == "spoilt":
        place.write_bytes(file.read_bytes()[:100])
    elif kind == "other":
        shutil.copyfile(chance.choice(files), place)
    else:
        shutil.copytree(kept, archive, dirs_exist_ok=True)


@dataclass(frozen=True)
class Made:
    """An archive and a finished ROOT_DIR, both of which are copied for each series."""

    archive: Path
    root: Path
    options: list[str]


def make(folder: Path, cluster: str) -> Made:
    """Make an archive and run on it."""
    archive = ct_archive(folder / "ph", 4, seed=2)
    options = ["--cluster", cluster]
    made = Made(archive, folder / "made" / "AMOS22", options)
    words = ["run", str(made.root), "--archive", str(archive), *options, "--quiet"]
    assert CliRunner().invoke(main, words).exit_code == 0
    return made


def one_series(made: Made, folder: Path, seed: int, n_commands: int = 4) -> None:
    """Plant and run commands by turns; raise AssertionError when anything was lost.

    Every other command is drawn, the rest are the next ones: twelve series have all of them.
    """
    chance, planted = random.Random(seed), Planted()
    archive = shutil.copytree(made.archive, folder / "archive")
    root = shutil.copytree(made.root, folder / "AMOS22")
    other = shutil.copytree(made.root, folder / "OTHER")
    planted.files |= {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    told = []
    for n in range(n_commands):
        plant(chance, root, other, planted)
        if chance.random() < 0.4:
            change_archive(chance, archive, made.archive)
        turn = (seed * n_commands + n) // 2 if n % 2 else None
        words = commands(chance, root, archive, made.options, turn)
        before = {p: p.read_bytes() for p in archive.rglob("*") if p.is_file()}
        result = CliRunner().invoke(main, words)
        told.append(f"{' '.join(words)}: {result.exit_code}")
        said = "\n".join([*told, result.output])
        assert "unexpected" not in result.output, said
        assert result.exit_code in (0, 1, 3), said
        lost = planted.find_lost(root)
        assert not lost, "\n".join([*lost, said])
        after = {p: p.read_bytes() for p in archive.rglob("*") if p.is_file()}
        assert before == after, f"the archive was written to\n{said}"


def _main() -> None:
    from distributed import LocalCluster

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the first series")
    arguments = parser.parse_args()
    workers = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with tempfile.TemporaryDirectory() as base, LocalCluster(silence_logs=50, **workers) as cluster:
        made = make(Path(base), cluster.scheduler_address)
        for seed in range(arguments.seed, arguments.seed + arguments.series):
            with tempfile.TemporaryDirectory() as folder:
                one_series(made, Path(folder), seed)
            print(f"series {seed}: nothing lost", flush=True)  # noqa: T201


if __name__ == "__main__":
    _main()
