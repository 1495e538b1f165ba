"""The import rule: which room of the package may know which other, and which libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import amos_dask

PACKAGE = Path(amos_dask.__file__).parent
VOCABULARY = {"errors", "labels", "datasets", "exclusions", "geometry", "issues", "records"}
FACADE = "amos_dask"

# Room -> rooms it may import. A room is a module or a folder directly below the package; the
# facade is the package itself, which imports the public API when it is first used.
MAY_IMPORT: dict[str, set[str]] = {
    "version": set(),
    "errors": set(),
    "events": set(),
    "issues": set(),
    "strict_yaml": set(),
    "labels": {"errors", "strict_yaml"},
    "datasets": {"errors", "labels", "strict_yaml"},
    "exclusions": {"errors", "labels", "datasets"},
    "geometry": set(),
    "records": {"labels", "datasets", "issues"},
    "archive": {"errors", "issues", "records", "datasets"},
    "nifti": {"geometry", "errors", "records", "archive"},
    "kernels": set(),
    "difference": {"records"},
    "overlay": set(),
    "stages": VOCABULARY | {"nifti", "kernels", "overlay", "difference"},
    "store": {"errors", "issues", "records", "datasets", "archive", "difference"},
    "recipe": VOCABULARY | {"difference", "stages", "store", "nifti", "archive"},
    "graph": {"errors", "events"},
    "cluster": {"errors"},
    "progress": {"events"},
    "tables": VOCABULARY | {"store"},
    "phantom": set(),
    "report": VOCABULARY | {"overlay"},
    "exports": VOCABULARY | {"nifti", "kernels", "store", "recipe", "archive"},
    "loader": VOCABULARY | {"archive", "nifti", "store", "tables"},
    "pipeline": VOCABULARY
    | {"archive", "nifti", "kernels", "stages", "store", "recipe", "graph", "cluster", "progress"}
    | {"tables", "phantom", "exports", "report", "version", "events"},
    "cli": {FACADE, "version", "pipeline", "errors", "issues", "phantom"},
    FACADE: {"version", "pipeline", "loader", "cluster", "errors", "issues", "phantom"},
    "__main__": {"cli"},
}

# Modules of a room that its neighbour may import, where that is not all of them.
ONLY_MODULES = {
    ("nifti", "archive"): {"archive.sources"},
    ("store", "archive"): {"archive.listing", "archive.sources"},
    ("recipe", "archive"): {"archive.listing", "archive.ends"},
    ("tables", "store"): {"store.layout", "store.staging"},
    ("exports", "archive"): {"archive.listing"},
    ("exports", "store"): {"store.layout", "store.staging"},
    ("exports", "recipe"): {"recipe.folders"},
    ("loader", "store"): {"store.layout"},
    ("loader", "tables"): {"tables.workbook"},
}

# Library -> the only rooms that may import it.
LIBRARY_ROOMS = {
    "numba": {"kernels"},
    "click": {"cli"},
    "rich": {"progress"},
    "openpyxl": {"tables"},
    "fsspec": {"archive"},
    "nibabel": {"geometry", "nifti", "phantom"},
    "isal": {"archive", "nifti", "phantom"},
    "pandas": {"tables", "pipeline", "loader"},
    "PIL": {"overlay"},
    "dask_jobqueue": {"cluster"},
    "dask_kubernetes": {"cluster"},
    "pydantic": {"datasets"},
    "yaml": {"labels", "strict_yaml", "stages", "cluster", "phantom"},
}

HEAVY = ("numpy", "pandas", "dask", "distributed", "nibabel", "numba", "openpyxl", "scipy")
HEAVY += ("pydantic", "yaml")


def module_name(path: Path, package: Path) -> str:
    """Return the dotted name below the package, and an empty name for the package itself."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_of(package: Path) -> dict[str, Path]:
    return {module_name(path, package): path for path in sorted(package.rglob("*.py"))}


def imported_names(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[str, ...]]:
    """Yield what each import statement asks for, wherever it stands, as absolute dotted parts.

    ``from a.b import c`` gives ``a.b.c``: c may be a module or something in one.
    """
    here = [FACADE, *module.split(".")] if module else [FACADE]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = node.level - 1 if is_package else node.level
            base = here[: len(here) - up] if node.level else []
            parts = [*base, *(node.module.split(".") if node.module else [])]
            yield from ((*parts, alias.name) for alias in node.names)


def read_imports(package: Path) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return module -> modules of the package it imports, and module -> libraries it imports."""
    modules = modules_of(package)
    inside: dict[str, set[str]] = {}
    outside: dict[str, set[str]] = {}
    for module, path in modules.items():
        inside[module], outside[module] = set(), set()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for parts in imported_names(tree, module, path.name == "__init__.py"):
            if parts[0] != FACADE:
                outside[module].add(parts[0])
                continue
            known = [".".join(parts[1:n]) for n in range(len(parts), 0, -1)]
            inside[module].add(next(name for name in known if name in modules))
    return inside, outside


INSIDE, OUTSIDE = read_imports(PACKAGE)


def room_of(module: str) -> str:
    return module.split(".")[0] or FACADE


def forbidden_imports(inside: dict[str, set[str]]) -> list[str]:
    """Return ``module -> imported`` for each import that the table of rooms does not allow."""
    found = []
    for module, targets in inside.items():
        room = room_of(module)
        for target in sorted(targets):
            other = room_of(target)
            only = ONLY_MODULES.get((room, other))
            allowed = other == room or other in MAY_IMPORT[room]
            if not allowed or (only is not None and target not in only):
                found.append(f"{module or FACADE} -> {target or FACADE}")
    return found


def test_every_module_of_the_package_lives_in_a_known_room() -> None:
    assert {room_of(module) for module in INSIDE} == set(MAY_IMPORT)


def test_no_room_imports_what_the_design_does_not_allow() -> None:
    assert forbidden_imports(INSIDE) == []


def test_stages_do_not_import_each_other() -> None:
    stages = {module: found for module, found in INSIDE.items() if module.startswith("stages.")}
    assert stages
    assert [f"{m} -> {t}" for m, found in stages.items() for t in found if t in stages] == []


@pytest.mark.parametrize("library", LIBRARY_ROOMS)
def test_a_library_is_imported_only_in_its_rooms(library: str) -> None:
    users = {module for module, libraries in OUTSIDE.items() if library in libraries}
    assert users, f"nothing imports {library} any more: take it out of the table"
    assert {module for module in users if room_of(module) not in LIBRARY_ROOMS[library]} == set()


def test_only_graph_and_cluster_touch_dask() -> None:
    dask = {room_of(m) for m, found in OUTSIDE.items() if "dask" in found}
    distributed = {room_of(m) for m, found in OUTSIDE.items() if "distributed" in found}
    assert distributed == {"graph", "cluster"}
    # The loader gives dask arrays to whoever asks for them; it runs nothing.
    assert dask - distributed == {"loader"}


def test_only_the_downloader_speaks_http_itself() -> None:
    users = set()
    for module, path in modules_of(PACKAGE).items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = imported_names(tree, module, path.name == "__init__.py")
        if {parts[:2] for parts in names} & {("urllib", "request"), ("http", "client")}:
            users.add(module)
    assert users == {"archive.http"}


def test_kernels_import_numpy_and_numba_only() -> None:
    kernels = {m: libraries for m, libraries in OUTSIDE.items() if room_of(m) == "kernels"}
    libraries = set().union(*kernels.values()) - sys.stdlib_module_names
    assert libraries == {"numpy", "numba"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    order = list(TopologicalSorter(INSIDE).static_order())  # raises CycleError with the circle
    assert set(order) == set(INSIDE)


def test_the_reader_sees_imports_wherever_they_stand(tmp_path: Path) -> None:
    package = tmp_path / FACADE
    (package / "stages").mkdir(parents=True)
    for name in ("__init__", "errors", "graph", "labels", "stages/__init__", "stages/mask"):
        (package / f"{name}.py").write_text("")
    (package / "stages" / "volume.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from ..errors import AmosDaskError\n"
        "from .mask import read_mask\n"
        "if TYPE_CHECKING:\n    from amos_dask import labels\n"
        "def late():\n    import amos_dask.engine.graph\n    from distributed import Client\n"
    )
    inside, outside = read_imports(package)
    assert inside["stages.volume"] == {"errors", "stages.mask", "labels", "graph"}
    assert outside["stages.volume"] == {"typing", "distributed"}
    assert forbidden_imports(inside) == ["stages.volume -> graph"]


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
    assert "amos_dask" in loaded
    assert [name for name in HEAVY if name in loaded] == []
