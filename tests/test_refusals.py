"""What cannot be done is said in one sentence that says what to do; nothing is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from roots import ct_archive, program

import amos_dask
from amos_dask import AmosDaskError, Selection
from amos_dask.phantom import Archive


def test_a_choice_that_fits_no_sample(phantom: Archive, tmp_path: Path) -> None:
    nothing = Selection(subset="test", modality="ct", ids=("507",))
    with pytest.raises(AmosDaskError, match="choose none of the"):
        amos_dask.run(tmp_path / "R", phantom.path, selection=nothing, progress="none")
    assert not (tmp_path / "R" / "grouped").exists()


def test_an_empty_archive_folder(tmp_path: Path) -> None:
    (tmp_path / "R" / "archive").mkdir(parents=True)
    said = program("run", tmp_path / "R", exit_code=1).stderr
    assert said.endswith("archive is empty; put the scans there, or name them with --archive.\n")
    assert said.count("\n") == 1


def test_an_export_without_root_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = program("export", "nnunet", "raw", exit_code=1).stderr
    assert "ROOT_DIR" in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_script_without_a_main_guard_gets_the_hint_first(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    where = f"{str(tmp_path / 'R')!r}, {str(ct_archive(tmp_path, 1))!r}"
    how = "progress='none', cluster=amos_dask.ClusterOptions(workers=1, dashboard_port=0)"
    script.write_text(f"import amos_dask\namos_dask.run({where}, {how})\n")
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    first, *_, last = done.stderr.strip().splitlines()
    assert "if __name__ == '__main__':" in first
    assert "__main__" in last
    assert "in use" not in done.stderr
