"""The examples in the docstrings of the public API run, and give what they show."""

from __future__ import annotations

import doctest
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

import amos_dask
from amos_dask.phantom import Archive

FINDER = doctest.DocTestFinder(recurse=False)
EXAMPLES = {
    name: test
    for name in amos_dask.__all__
    for test in FINDER.find(getattr(amos_dask, name), name, globs={"amos_dask": amos_dask})
    if test.examples
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_gives_what_it_shows(
    name: str,
    processed_root: Path,
    phantom: Archive,
    cluster_address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def connect(*_: Any) -> Iterator[Client]:
        with Client(cluster_address) as client:
            yield client

    monkeypatch.setattr("amos_dask.engine.session.connect", connect)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(processed_root, "data/AMOS22")
    Path("downloads").mkdir()
    Path("downloads/amos22").symlink_to(phantom.path)
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(EXAMPLES[name], out=said.append)
    assert "".join(said) == ""
