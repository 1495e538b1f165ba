"""Comparing two ROOT_DIRs: images and YAML byte by byte, workbooks cell by cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openpyxl import load_workbook


def contents(root: Path, *folders: str) -> dict[str, Any]:
    """Return relative path -> bytes, or for a workbook its cells by worksheet."""
    return {
        path.relative_to(root).as_posix(): _content(path)
        for folder in folders or ("descriptor", "grouped")
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    }


def _content(path: Path) -> Any:
    if path.suffix != ".xlsx":
        return path.read_bytes()
    workbook = load_workbook(path)
    return {sheet.title: [list(row) for row in sheet.values] for sheet in workbook}


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Fail with the names of the files that differ or are missing on one side."""
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []
