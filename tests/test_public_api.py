"""The public API: every name resolves and is described."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from types import ModuleType
from typing import Any

import pytest

import amos_dask


def all_modules() -> dict[str, ModuleType]:
    names = [amos_dask.__name__]
    names += [m.name for m in pkgutil.walk_packages(amos_dask.__path__, "amos_dask.")]
    return {name: importlib.import_module(name) for name in names}


def public_members(owner: Any, module: str) -> Iterator[tuple[str, Any]]:
    """Yield the public functions and classes that were defined in the module."""
    for name, value in vars(owner).items():
        home = getattr(value, "__module__", None)
        value = getattr(value, "py_func", value)  # what numba compiled
        if name.startswith("_") or home != module:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            yield name, value


def public_methods(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that the class itself defines."""
    for name, value in vars(cls).items():
        if isinstance(value, property):
            value = value.fget
        value = getattr(value, "__func__", value)
        if not name.startswith("_") and inspect.isfunction(value):
            yield name, value


def everything_public() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for module_name, module in all_modules().items():
        for name, value in public_members(module, module_name):
            found[f"{module_name}.{name}"] = value
            if inspect.isclass(value):
                found |= {f"{module_name}.{name}.{n}": m for n, m in public_methods(value)}
    return found


PUBLIC = everything_public()
EXPORTED = {name: getattr(amos_dask, name) for name in amos_dask.__all__}


def docstring(value: Any) -> str:
    """Return a docstring somebody wrote: none that Python makes up or a class inherits."""
    written = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    if not written or (inspect.isclass(value) and written.startswith(f"{value.__name__}(")):
        return ""
    return inspect.cleandoc(written)


def documented_parameters(text: str) -> list[str] | None:
    """Return the names in the section ``Parameters``; None when there is no such section."""
    lines = text.splitlines()
    starts = [
        i + 2
        for i, line in enumerate(lines[:-1])
        if line == "Parameters" and set(lines[i + 1]) == {"-"}
    ]
    if not starts:
        return None
    names: list[str] = []
    for i in range(starts[0], len(lines)):
        line = lines[i]
        if i + 1 < len(lines) and line and set(lines[i + 1]) == {"-"}:
            break  # the next section
        if line and not line.startswith(" "):
            names += [name.strip().lstrip("*") for name in line.split(" : ")[0].split(",")]
    return names


def actual_parameters(value: Any) -> list[str]:
    if inspect.isclass(value) and is_dataclass(value):
        inherited = {
            f.name for base in value.__mro__[1:] if is_dataclass(base) for f in fields(base)
        }
        own = (field for field in fields(value) if field.init and field.name not in inherited)
        return [field.name for field in own]
    names = list(inspect.signature(value).parameters)
    return [name for name in names if name not in ("self", "cls")]


def takes_documented_parameters(value: Any) -> bool:
    if inspect.isclass(value) and issubclass(value, Enum | Exception):
        return False
    return inspect.isclass(value) or bool(actual_parameters(value))


def test_the_walk_finds_every_kind_of_public_thing() -> None:
    assert {
        "amos_dask.engine.graph.run_tasks",
        "amos_dask.records.Sample",
        "amos_dask.records.Sample.n_channels",
        "amos_dask.root.staging.Staging.publish",
    } <= set(PUBLIC)


def test_every_module_has_a_docstring() -> None:
    assert [name for name, module in all_modules().items() if not module.__doc__] == []


def test_every_public_function_class_and_method_has_a_docstring() -> None:
    assert [name for name, value in PUBLIC.items() if not docstring(value)] == []


def test_every_parameters_section_is_complete_and_has_no_strangers() -> None:
    wrong = []
    for name, value in PUBLIC.items():
        documented = documented_parameters(docstring(value))
        if documented is None or not takes_documented_parameters(value):
            continue
        actual = actual_parameters(value)
        if sorted(documented) != sorted(actual):
            wrong.append(f"{name}: documents {documented}, takes {actual}")
    assert wrong == []


@pytest.mark.parametrize("name", sorted(amos_dask.__all__))
def test_the_exported_api_documents_its_parameters(name: str) -> None:
    value = EXPORTED[name]
    assert docstring(value)
    if takes_documented_parameters(value):
        assert documented_parameters(docstring(value))


def test_the_docstring_parser_reads_numpydoc() -> None:
    text = (
        "Do it.\n\nParameters\n----------\na, b : int\n    Two.\n*rest\n    More.\n\n"
        "Returns\n-------\nint\n"
    )
    assert documented_parameters(text) == ["a", "b", "rest"]
    assert documented_parameters("Do it.") is None


def test_everything_exported_has_a_home_and_nothing_else_has() -> None:
    assert sorted(amos_dask.__all__) == sorted(amos_dask._HOMES)


@pytest.mark.parametrize("name", sorted(amos_dask._HOMES))
def test_an_exported_name_is_what_its_home_defines(name: str) -> None:
    value = getattr(importlib.import_module(amos_dask._HOMES[name]), name)
    assert EXPORTED[name] is value
    assert name in dir(amos_dask)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        amos_dask.no_such_thing  # noqa: B018


def test_importing_everything_by_star_works() -> None:
    names: dict[str, Callable[..., Any]] = {}
    exec("from amos_dask import *", names)
    assert set(amos_dask.__all__) <= set(names)
