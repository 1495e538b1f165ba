"""The rooms of the package: CONTRIBUTING's table is what may import what."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import amos_dask

PACKAGE = Path(amos_dask.__file__).parent
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
FACADE = "__init__"
VOCABULARY = {
    *("errors", "handwritten", "labels", "datasets", "issues", "geometry", "file_refs"),
    *("compact", "records", "params"),
}

# Library -> the only rooms that may import it.
LIBRARY_ROOMS = {
    "numba": {"kernels"},
    "click": {"cli"},
    "rich": {"engine"},
    "distributed": {"engine"},
    "dask": {"engine", "loader"},  # the loader gives dask arrays to whoever asks; it runs nothing
    "dask_jobqueue": {"engine"},
    "anyio": {"engine"},
    "kr8s": {"engine"},
    "openpyxl": {"tables", "archive"},
    "fsspec": {"archive"},
    "urllib3": {"transfer"},
    "nibabel": {"geometry", "nifti", "phantom"},
    "isal": {"archive", "nifti"},
    "SimpleITK": {"nifti"},
    "scipy": {"export"},
    "zarr": {"export"},
    "PIL": {"steps"},
    "charset_normalizer": {"handwritten"},
    "pydantic": {"datasets", "root"},
}
HEAVY = ("numpy", "pandas", "dask", "distributed", "nibabel", "numba", "openpyxl")
HEAVY += ("pydantic", "yaml", "urllib3")


def read_table() -> dict[str, set[str]]:
    """Return room -> rooms it may import, in the table's order."""
    table: dict[str, set[str]] = {}
    for line in CONTRIBUTING.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 3 or not re.fullmatch(r"`\w+(\.py|/)`", cells[0]):
            continue
        named = {name.strip(" `").removesuffix(".py") for name in cells[2].split(",")} - {""}
        if "everything" in named:
            named = set(table)
        if "vocabulary" in named:
            named = named - {"vocabulary"} | VOCABULARY
        table[cells[0].strip("`/").removesuffix(".py")] = named
    return table


TABLE = read_table()
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imported(path: Path) -> list[tuple[str, ...]]:
    """Return what each import statement of a file asks for, wherever it stands."""
    found: list[tuple[str, ...]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found += ((*str(node.module).split("."), alias.name) for alias in node.names)
    return found


def imported_rooms(path: Path) -> set[str]:
    found = {parts[1] if len(parts) > 1 else FACADE for parts in imported(path) if is_ours(parts)}
    return {room if room in TABLE else FACADE for room in found} - {room_of(path)}


def is_ours(parts: tuple[str, ...]) -> bool:
    return parts[0] == "amos_dask"


def test_the_table_has_a_row_for_every_room_and_no_other() -> None:
    assert {room_of(path) for path in FILES} == set(TABLE)


def test_rooms_import_only_those_above_them() -> None:
    """So there is no arrow back and no circle."""
    above: set[str] = set()
    for room, named in TABLE.items():
        assert named <= above | {FACADE}, f"{room} may import {sorted(named - above)}"
        above.add(room)


@pytest.mark.parametrize("room", TABLE)
def test_a_room_imports_what_the_table_says(room: str) -> None:
    found = {
        f"{path.relative_to(PACKAGE)} -> {other}"
        for path in FILES
        if room_of(path) == room
        for other in imported_rooms(path) - TABLE[room]
    }
    assert found == set()


def test_no_file_name_occurs_twice_and_each_says_what_it_owns() -> None:
    names = Counter(path.name for path in FILES if path.name != "__init__.py")
    assert [name for name, n in names.items() if n > 1] == []
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_steps_do_not_import_each_other() -> None:
    steps = [path for path in FILES if room_of(path) == "steps" and path.name != "__init__.py"]
    assert steps
    assert [p for p in steps if any(i[:2] == ("amos_dask", "steps") for i in imported(p))] == []


@pytest.mark.parametrize("library", LIBRARY_ROOMS)
def test_a_library_is_imported_only_in_its_rooms(library: str) -> None:
    users = {room_of(path) for path in FILES for parts in imported(path) if parts[0] == library}
    assert users, f"nothing imports {library} any more: take it out of the table"
    assert users <= LIBRARY_ROOMS[library]


def test_kernels_import_numpy_and_numba_only() -> None:
    kernels = [path for path in FILES if room_of(path) == "kernels"]
    found = {parts[0] for path in kernels for parts in imported(path) if not is_ours(parts)}
    assert found - sys.stdlib_module_names == {"numpy", "numba"}


@pytest.mark.parametrize(
    "statement",
    [
        "import amos_dask",
        "import amos_dask.cli",
        "from amos_dask.cli import main; main(['--help'], standalone_mode=False)",
    ],
)
def test_the_program_starts_without_heavy_modules(statement: str) -> None:
    # With --help the program exits by itself: what was loaded is said on the way out.
    script = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('LOADED', *sorted(sys.modules), file=sys.stderr))\n"
        f"{statement}\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = done.stderr.split("LOADED", 1)[1].split()
    assert [name for name in loaded if name.split(".")[0] in HEAVY] == []


def test_a_function_stays_one_when_the_module_of_its_name_is_imported() -> None:
    script = "import amos_dask\n" + "".join(
        f"import amos_dask.{name}\nassert callable(amos_dask.{name})\n"
        for name in ("run", "verify", "download", "leaks", "demo")
    )
    subprocess.run([sys.executable, "-c", script], check=True)
