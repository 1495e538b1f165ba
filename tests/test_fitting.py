"""Closing lines on a terminal: broken between words, indented; elsewhere as they are."""

from __future__ import annotations

import io
import sys

import pytest

from amos_dask.cli.show import fitted

LINES = [
    "warning: amos_0001: label_vanished: denoising took away all 27.47 mm3 of label 12 (aorta)",
    "  amos_0001  new  volume+masks  0.1 MB  grouped/AMOS-CT/train/Aquilion ONE/amos_0001_M",
    "report: /" + "a_long_folder/" * 8 + "report.html",
    "short",
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [60, 80])
def test_on_a_terminal_no_line_is_longer_and_no_word_is_broken(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = [part for line in LINES for part in fitted(line)]
    assert " ".join(shown).split() == " ".join(LINES).split()
    assert all(len(line) <= columns or " " not in line.strip() for line in shown)
    assert any(line.endswith("grouped/AMOS-CT/train/Aquilion ONE/amos_0001_M") for line in shown)
    assert all(line.startswith("    ") for line in shown[1:2])
    assert shown[-1] == "short"


def test_elsewhere_lines_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setenv("COLUMNS", "60")
    assert [part for line in LINES for part in fitted(line)] == LINES
