"""The documents: what they list is what there is, their commands are ours, their blocks run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import dask
import pytest
from click.testing import CliRunner
from roots import program

import amos_dask
from amos_dask.cli import main
from amos_dask.datasets import AMOS22, read_definition
from amos_dask.issues import CATALOGUE
from amos_dask.leaks import LEAK_COLUMNS
from amos_dask.params import read_exclusions
from amos_dask.phantom import Archive
from amos_dask.statistics import stats
from amos_dask.tables import manifests
from amos_dask.tables.cells import explain_columns
from amos_dask.tables.splits import SPLIT_COLUMNS

HERE = Path(__file__).parents[1]
PAGES = [HERE / "README.md", *sorted((HERE / "docs").rglob("*.md"))]
_ISSUE_ROW = re.compile(
    r"^\| <a id=\"(\w+)\"></a>`(\w+)`\s*\|\s*(info|warning|error)\b[^|]*\|\s*(\S.*?)\s*\|$", re.M
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def text_of(page: Path | str) -> str:
    return (HERE / "docs" / page).read_text(encoding="utf-8")


def blocks(page: Path | str, language: str) -> list[str]:
    return [code for kind, code in _BLOCK.findall(text_of(page)) if kind == language]


def commands(page: Path) -> Iterator[str]:
    """Yield what a page shows to be typed: lines of the program, continued ones joined."""
    text = text_of(page).replace("\\\n", " ")
    for line in text.splitlines():
        command = line.strip().removeprefix(".venv/bin/")
        if re.match(r"amos-dask [a-z-]+( |$)", command) and not line.startswith("amos-dask "):
            yield command
    for command in re.findall(r"`(amos-dask [a-z-]+ [^`…]*)`", text):
        yield command
    for block in blocks(page, "sh"):
        yield from (line for line in block.splitlines() if line.startswith("amos-dask "))


TYPED = sorted({(page.name, command) for page in PAGES for command in commands(page)})


def test_there_are_pages_and_commands() -> None:
    assert len(PAGES) > 20
    assert len(TYPED) > 50


@pytest.mark.parametrize(("page", "command"), TYPED, ids=lambda value: str(value)[:60])
def test_a_command_in_the_documents_is_one(page: str, command: str) -> None:
    words = shlex.split(command.partition("  #")[0].partition(" | ")[0].partition(" > ")[0])
    words = [word.replace("$M", "manifest.xlsx") for word in words[1:] if word != "…"]
    found: click.Command = main
    context = click.Context(main, info_name="amos-dask")
    while isinstance(found, click.Group):
        name, command_found, words = found.resolve_command(context, words)
        assert command_found is not None
        context = click.Context(command_found, info_name=name, parent=context)
        found = command_found
    context.resilient_parsing = True  # paths need not be there
    found.parse_args(context, words)
    known = {spelled(option) for parameter in found.params for option in parameter.opts}
    given = {spelled(word.partition("=")[0]) for word in words if re.match(r"--?[a-z]", word)}
    assert given <= known


# What needs another machine, a download or an archive that is not here: tests/machines,
# test_download*.py and test_every_dataset.py do these. The tutorial's own commands are below.
_ELSEWHERE = re.compile(
    r"--cluster (slurm|kubernetes|tcp)|amos-dask (download|demo|datasets)|--md5|--size full|://|"
    r"data/(BraTS|CTORG|Liver)|phantom/root|big/amos22|verify --full"
)
PAGES_THAT_RUN = {
    "data/AMOS22": ("howto/run.md", "howto/report.md", "howto/splits.md", "howto/training.md",
                    "howto/download_and_verify.md", "reference/statistics.md",
                    "reference/outputs.md", "howto/undo_denoising.md"),
    "R": ("reference/tutorial_steps.md",),
}  # fmt: skip


def test_every_command_runs_here_or_elsewhere() -> None:
    here = {Path(page).name for pages in PAGES_THAT_RUN.values() for page in pages}
    here |= {"tutorial.md", "README.md"}  # whose lines are those of other pages
    assert {page for page, command in TYPED if not _ELSEWHERE.search(command)} <= here


@pytest.mark.integration
@pytest.mark.parametrize("root", PAGES_THAT_RUN)
def test_the_commands_in_the_documents_run(
    root: str,
    processed_root: Path,
    phantom: Archive,
    tmp_path: Path,
    cluster_address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if root == "R":
        shutil.copytree(phantom.path, tmp_path / "R" / "archive")
        shutil.copy(phantom.metadata_path, tmp_path / "R" / "archive")
    else:
        shutil.copytree(processed_root, tmp_path / root)
    for name in ("denoise_exclude.csv", "exclude.csv"):
        (tmp_path / name).write_text("sample,label\n4,\n", encoding="utf-8")
    for page in PAGES_THAT_RUN[root]:
        shown = dict.fromkeys(commands(HERE / "docs" / page))
        for command in (one for each in shown for one in as_the_page_says(each)):
            if _ELSEWHERE.search(command):
                continue
            words = shlex.split(command.partition("  #")[0])[1:]
            words = [w.replace("$M", f"{root}/grouped/dataset_manifest.xlsx") for w in words]
            if "--cluster" in help_of(words):
                words += ["--cluster", cluster_address]
            done = CliRunner().invoke(main, words)
            as_said = 3 if (root, words[0]) == ("R", "verify") else 0
            assert done.exit_code == as_said, f"{page}: {command}\n{done.output}"


def as_the_page_says(command: str) -> list[str]:
    """Return a command, and those which the page names as the same for MR, or for everything."""
    others = {
        " confirm-pairs ": {"--modality ct": "--modality mri", "AMOS-CT": "AMOS-MRI"},
        " dataset-manifest ": {"/AMOS-CT": "", "_amos_ct": ""},
    }
    found = [command]
    for name, changes in others.items():
        other = command
        for old, new in changes.items():
            other = other.replace(old, new)
        found += [other] if name in command else []
    return found


def help_of(words: Sequence[str]) -> str:
    """Return the help of the command that words begin with."""
    group = main.commands[words[0]]
    name = words[:2] if isinstance(group, click.Group) else words[:1]
    return CliRunner().invoke(main, [*name, "--help"]).output


def spelled(option: str) -> str:
    """Return an option with ``_`` for ``-``, which is the same."""
    return option[:2] + option[2:].replace("-", "_")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in _LINK.findall(text_of(page)):
        assert (page.parent / target).exists(), target


def test_the_documents_list_exactly_the_issue_codes() -> None:
    rows = _ISSUE_ROW.findall(text_of("reference/issues.md"))
    assert [anchor for anchor, *_ in rows] == [code for _, code, *_ in rows]
    assert len(rows) == len(CATALOGUE)
    assert {code: severity for _, code, severity, _ in rows} == CATALOGUE


COLUMNS: dict[str, Sequence[str]] = {
    "archive manifest": manifests.ARCHIVE_COLUMNS,
    "dataset manifest": manifests.dataset_columns(AMOS22.label_map, ["FLAIR", "T1w"]),
    "regions": manifests.REGION_COLUMNS,
    "changes": manifests.CHANGE_COLUMNS,
    "overlaps": manifests.OVERLAP_COLUMNS,
    "issues": manifests.ISSUE_COLUMNS,
    "splits": SPLIT_COLUMNS,
    "intensities": stats.INTENSITY_COLUMNS,
    "organs": stats.ORGAN_COLUMNS,
    "geometry": stats.GEOMETRY_COLUMNS,
    "leaks": LEAK_COLUMNS,
}


@pytest.mark.parametrize("table", COLUMNS)
def test_every_column_is_explained(table: str) -> None:
    told = set(re.findall(r"`([^`\n]+)`", text_of("reference/workbooks.md")))
    assert set(COLUMNS[table]) <= told | set(explain_columns(tuple(COLUMNS[table])))


def test_every_public_name_is_documented() -> None:
    told = re.findall(
        r"auto(?:function|class|exception):: amos_dask\.(\w+)", text_of("reference/api.md")
    )
    assert sorted(told) == sorted(amos_dask.__all__)


def test_every_page_is_in_a_table_of_contents() -> None:
    pages = {page.relative_to(HERE / "docs").with_suffix("").as_posix() for page in PAGES[1:]}
    listed = set()
    for page in PAGES[1:]:
        folder = page.parent.relative_to(HERE / "docs")
        for block in re.findall(r"```\{toctree\}(.*?)```", text_of(page), re.S):
            names = [line for line in block.splitlines() if line and not line.startswith(":")]
            listed |= {
                name.lstrip("/") if name.startswith("/") else (folder / name).as_posix()
                for name in names
            }
    assert pages - {"index"} == {name for name in listed if not name.startswith("notebooks/")}


def test_the_exclusions_shown_are_ones(tmp_path: Path) -> None:
    text = text_of("howto/undo_denoising.md")
    shown = re.search(r"^```\n(sample,label\n.*?)^```", text, re.M | re.S)
    assert shown is not None
    path = tmp_path / "exclude.csv"
    path.write_text(shown[1], encoding="utf-8")
    found = read_exclusions(path, AMOS22.label_map, AMOS22)
    assert set(found.by_sample) == {"amos_0004", "amos_0507"}


def test_the_definition_shown_is_one(tmp_path: Path) -> None:
    shown = re.search(r"^    name: Ours\n(?:    .*\n)+", text_of("howto/other_datasets.md"), re.M)
    assert shown is not None
    path = tmp_path / "mine.yaml"
    path.write_text(textwrap.dedent(shown[0]), encoding="utf-8")
    definition = read_definition(path)
    assert (definition.prefix, definition.subsets) == ("ours", ("train", "test"))


@pytest.mark.parametrize("page", ["../README.md", "howto/python.md"])
def test_python_in_the_documents_runs(
    page: str,
    phantom: Archive,
    cluster_address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("downloads").mkdir()
    Path("data").mkdir()
    shutil.make_archive("downloads/amos22", "zip", phantom.path.parent, phantom.path.name)
    found = blocks(page, "python")
    assert found
    with dask.config.set({"scheduler-address": cluster_address}):
        for code in found:
            exec(compile(code, page, "exec"), {"__name__": "__main__"})


COMPLETION = re.findall(
    r"^    (.*_COMPLETE=(\w+)_source .*?) *#", text_of("howto/install.md"), re.M
)


@pytest.mark.parametrize(("line", "shell"), COMPLETION, ids=[shell for _, shell in COMPLETION])
def test_completion_goes_as_it_says(line: str, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    asked = {"_AMOS_DASK_COMPLETE": f"{shell}_source"}
    made = subprocess.run(
        ["amos-dask"], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert f"{shell}_complete" in made.stdout
    if shell == "bash":
        typed = "COMP_WORDS=(amos-dask export n) COMP_CWORD=2"
        ask = f'{line}\n{typed}; _amos_dask_completion amos-dask; echo "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-euc", ask], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["nnunet"]


def test_a_notebook_that_is_not_run_shows_its_outputs() -> None:
    kept = re.findall(r'"(notebooks/.*)"', text_of("conf.py"))
    assert kept
    for name in kept:
        cells = json.loads(text_of(name))["cells"]
        ran = [cell for cell in cells if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in ran] == list(range(1, len(ran) + 1))
        told = json.dumps([cell["outputs"] for cell in ran])
        assert "/tmp/" not in told
        assert '"error"' not in told


@pytest.mark.integration
def test_the_tutorial_goes_as_it_says(
    tmp_path: Path, cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run is typed and starts workers, as everyone's does; what follows needs neither."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.chdir(tmp_path)
    for line in (line for block in blocks("tutorial.md", "sh") for line in block.splitlines()):
        if Path("first/R").exists() and line.startswith("amos-dask "):
            words = shlex.split(line)[1:]
            where = ["--cluster", cluster_address] if "--cluster" in help_of(words) else []
            program(*words, *where)
        else:
            done = subprocess.run(["bash", "-euc", line], capture_output=True, text=True)
            assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert (tmp_path / "first/R/descriptor/report.html").exists()
    assert (tmp_path / "first/nnUNet_raw/Dataset622_AMOS22/dataset.json").exists()
