"""Sets besides AMOS22: the Decathlon's tars by task, also by ranges; where to ask for others."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from distributed import Client
from phantoms import OtherArchive, write_decathlon
from roots import assert_same, contents, program
from scripted_server import Plan, ScriptedServer

import amos_dask
from amos_dask import AmosDaskError, transfer
from amos_dask.cli import main
from amos_dask.datasets import PACKAGED, find_definition
from amos_dask.handwritten import dump_yaml

QUICK: dict[str, Any] = {"statistics": False, "report": False, "progress": "none"}


@dataclass
class Publisher(ScriptedServer):
    """A server with the tars of some tasks, and a definition that names it."""

    folder: Path
    sets: dict[str, OtherArchive]

    def __post_init__(self) -> None:
        super().__init__()
        for made in self.sets.values():
            self.files[f"/{made.path.name}.tar"] = Path(f"{made.path}.tar").read_bytes()

    @property
    def definition(self) -> Path:
        md5s = {name[1:]: hashlib.md5(tar).hexdigest() for name, tar in self.files.items()}
        content = dict(find_definition("decathlon").content)
        content["published_tasks"] = {"where": f"{self.url}/", "md5": md5s}
        path = self.folder / "decathlon.yaml"
        path.write_text(dump_yaml(content))
        return path

    def download(self, root: Path, *tasks: str, **settings: Any) -> amos_dask.CommandResult:
        how = {"dataset": self.definition, "tasks": tasks, "progress": "none", **settings}
        return amos_dask.download(root, **how)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OtherArchive]:
    """Return two tasks, each with its tar beside it, that no test changes."""
    folder = tmp_path_factory.mktemp("made")
    sets = {task: write_decathlon(folder, task) for task in ("spleen", "hippocampus")}
    for made in sets.values():
        shutil.make_archive(str(made.path), "tar", made.path.parent, made.path.name)
    return sets


@pytest.fixture
def publisher(
    sets: dict[str, OtherArchive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Publisher]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(transfer, "sleep", lambda _: None)
    server = Publisher(tmp_path / "publisher", sets)
    server.folder.mkdir()
    with server.running():
        yield server


def refusal(root: Path, **settings: Any) -> str:
    with pytest.raises(AmosDaskError) as caught:
        amos_dask.download(root, progress="none", **settings)
    assert not root.exists()
    return str(caught.value)


# ---------------------------------------------------------------- which


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("liver", "Task03_Liver.tar"),
        ("Liver", "Task03_Liver.tar"),
        ("3", "Task03_Liver.tar"),
        ("03", "Task03_Liver.tar"),
        ("task03", "Task03_Liver.tar"),
        ("Task03_Liver", "Task03_Liver.tar"),
        ("1", "Task01_BrainTumour.tar"),
        ("10", "Task10_Colon.tar"),
        ("hepaticvessel", "Task08_HepaticVessel.tar"),
        *((word, None) for word in ("0", "11", "", "task", "liv", "3.0", "-3", ".tar")),
    ],
)
def test_tasks_are_told_by_name_or_number(task: str, name: str | None) -> None:
    published = find_definition("decathlon").published_tasks
    assert published is not None
    assert published.choose(task) == name


def test_the_ten_tasks_are_published_with_their_checksums() -> None:
    files = find_definition("decathlon").published
    assert [int(name[4:6]) for name in files] == list(range(1, 11))
    assert len({file.md5 for file in files.values()}) == 10
    spleen = files["Task09_Spleen.tar"]
    assert spleen.where == "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task09_Spleen.tar"
    assert spleen.md5 == "410d4a301da4e5b2f6f86ec3ddba524e"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dataset": "btcv"}, "registration at https://www.synapse.org/Synapse:syn3193805"),
        ({"dataset": "flare22"}, "registration at https://flare22.grand-challenge.org"),
        ({"dataset": "word"}, "at https://github.com/HiLab-git/WORD"),
        ({"dataset": "nnunet"}, "name what you have"),
        ({"dataset": "decathlon"}, "name one or more with --task: Task01_BrainTumour.tar, Task02"),
        ({"dataset": "decathlon", "tasks": ["liver", "livr"]}, "has no task 'livr'; name one"),
        ({"dataset": "decathlon", "tasks": ["liver"], "unlabelled": True}, "leave --unlabelled"),
        ({"tasks": ["liver"]}, "amos22 is not published by task; leave --task out"),
        ({"dataset": "amos23"}, "'amos23' is not known"),
    ],
)
def test_what_is_not_to_be_had_is_one_sentence(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    text = refusal(tmp_path / "root", **settings)
    assert said in text
    assert "\n" not in text
    assert text.endswith(".")


def test_a_definition_of_ones_own_names_plain_http_urls(
    publisher: Publisher, tmp_path: Path
) -> None:
    text = publisher.definition.read_text()
    publisher.folder.joinpath("own.yaml").write_text(text.replace("http:", "ftp:"))
    settings = {"dataset": publisher.folder / "own.yaml", "tasks": ["9"]}
    assert "only http:// and https://" in refusal(tmp_path / "root", **settings)


def test_the_program_lists_what_there_is_and_where_to_ask() -> None:
    said = CliRunner().invoke(main, ["download", "--list"])
    assert said.exit_code == 0
    assert [line.partition(":")[0] for line in said.stdout.splitlines() if line[:1].strip()] == [
        *PACKAGED
    ]
    assert "after registration at https://www.synapse.org/Synapse:syn3193805" in said.stdout
    said = CliRunner().invoke(main, ["download", "--dataset", "decathlon", "--list"])
    assert "Task09_Spleen.tar" in said.stdout
    assert "amos22" not in said.stdout
    said = CliRunner().invoke(main, ["download"])
    assert said.exit_code == 2
    assert "ROOT_DIR" in said.stderr


# ---------------------------------------------------------------- onto the disk


def test_tasks_arrive_whole_and_once(publisher: Publisher, tmp_path: Path) -> None:
    root, both = tmp_path / "root", ("Task04_Hippocampus.tar", "Task09_Spleen.tar")
    publisher.next("/Task09_Spleen.tar", Plan(cut_after=5000))
    result = publisher.download(root, "spleen")
    assert result.summary == f"{root}: 1 file complete."
    assert publisher.ranges("/Task09_Spleen.tar") == [None, "bytes=5000-"]
    result = publisher.download(root, "9", "4", "hippocampus")
    assert result.outputs == (root / both[0],)
    assert result.summary == f"{root}: 2 files complete, 1 of them from before."
    assert publisher.ranges("/Task09_Spleen.tar") == [None, "bytes=5000-"]
    assert {path.name: path.read_bytes() for path in root.iterdir()} == {
        name: publisher.files[f"/{name}"] for name in both
    }


def test_a_mirror_is_held_against_the_same_checksum(publisher: Publisher, tmp_path: Path) -> None:
    how = {"dataset": publisher.definition, "source": f"{publisher.url}/mirror"}
    publisher.files["/mirror/Task09_Spleen.tar"] = b"something else"
    assert "what was sent has the MD5" in refusal(tmp_path / "root", tasks=["9"], **how)


def test_another_file_of_its_name_is_not_taken_for_it(publisher: Publisher, tmp_path: Path) -> None:
    theirs = tmp_path / "root" / "Task09_Spleen.tar"
    theirs.parent.mkdir()
    theirs.write_bytes(b"mine")
    with pytest.raises(AmosDaskError, match="is not the published file"):
        publisher.download(theirs.parent, "spleen")
    assert theirs.read_bytes() == b"mine"


def test_a_download_is_verified_by_its_checksum(
    publisher: Publisher, tmp_path: Path, cluster_address: str
) -> None:
    publisher.download(tmp_path, "spleen")
    how = ("--dataset", publisher.definition, "--md5", "--quiet")
    how += ("--cluster", cluster_address)
    program("verify", tmp_path / "Task09_Spleen.tar", *how)
    other = tmp_path / "Task04_Hippocampus.tar"
    shutil.copyfile(tmp_path / "Task09_Spleen.tar", other)
    assert "wrong_checksum" in program("verify", other, *how, exit_code=3).output
    other.rename(tmp_path / "mine.tar")
    assert "this is none" in program("verify", tmp_path / "mine.tar", *how, exit_code=1).stderr


# ---------------------------------------------------------------- and processed in place


def test_a_tar_from_disk_and_by_ranges_gives_the_bytes_of_its_folder(
    publisher: Publisher, client: Client, tmp_path: Path
) -> None:
    given = {"dataset": publisher.definition, "cluster": client, **QUICK}
    disk, web, folder = tmp_path / "disk", tmp_path / "web", tmp_path / "folder"
    publisher.download(disk, "spleen")
    publisher.asked.clear()
    loaded = amos_dask.AMOS(disk, dataset=publisher.definition)
    expected = [sample.sample_id for sample in publisher.sets["spleen"].samples]
    assert [f"spleen_{seq}" for seq in loaded.ids] == expected
    found = amos_dask.run(disk, **given)  # without being told where
    url = f"{publisher.url}/Task09_Spleen.tar"
    amos_dask.run(web, url, **given)
    amos_dask.run(folder, publisher.sets["spleen"].path, **given)
    assert found.exit_code == 0
    assert list(found.dataset_manifest["ID"]) == expected
    (disk / "Task09_Spleen.tar").unlink()
    for other in (web, folder):
        assert_same(contents(disk, "grouped"), contents(other, "grouped"))
    asked = publisher.ranges("/Task09_Spleen.tar")
    assert asked
    assert all(part is not None for part in asked)
    publisher.asked.clear()
    again = amos_dask.run(web, **given)
    assert again.reasons == {"complete": len(found.dataset_manifest)}


def test_of_two_tasks_in_one_place_one_is_to_be_named(publisher: Publisher, tmp_path: Path) -> None:
    publisher.download(tmp_path / "root", "4", "9")
    how = {"dataset": publisher.definition}
    with pytest.raises(AmosDaskError, match=r"and Task04_Hippocampus\.tar are here; name one"):
        amos_dask.plan_run(tmp_path / "root", **how)
    with pytest.raises(AmosDaskError, match="name the folder of one task"):
        amos_dask.plan_run(tmp_path / "other", tmp_path / "root", **how)
    (tmp_path / "root" / "Task09_Spleen.tar").unlink()
    shutil.copytree(publisher.sets["spleen"].path, tmp_path / "root" / "archive")
    with pytest.raises(AmosDaskError, match=r"archive and Task04_Hippocampus\.tar are here"):
        amos_dask.plan_run(tmp_path / "root", **how)
    tar = tmp_path / "root" / "Task04_Hippocampus.tar"
    plan = amos_dask.plan_run(tmp_path / "root", tar, **how)
    assert len(plan.samples) == len(publisher.sets["hippocampus"].samples)
