"""The image's recipe: rules for it, and its steps run for real in a clean virtual environment."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from required import missing

import amos_dask

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "deploy" / "kubernetes"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="deploy/ is not part of this tree")

USER = 10001
_PINNED = re.compile(r"python:\d+\.\d+\.\d+-slim-[a-z]+")


@dataclass(frozen=True)
class Step:
    """One instruction of a Dockerfile."""

    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.rest)


def read_stages(text: str) -> list[list[Step]]:
    """Return the instructions of each stage, its FROM first."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    steps = [Step(*line.split(maxsplit=1)) for line in lines if line.strip()]
    starts = [n for n, step in enumerate(steps) if step.word == "FROM"] + [len(steps)]
    return [steps[a:b] for a, b in pairwise(starts)]


def dockerfile(kind: str = "kubernetes") -> str:
    return (FOLDER.with_name(kind) / "Dockerfile").read_text(encoding="utf-8")


def environment_of(stage: list[Step]) -> dict[str, str]:
    pairs = [word for step in stage if step.word == "ENV" for word in step.words]
    return dict(pair.split("=", 1) for pair in pairs)


def copied_from(stage: list[Step]) -> list[str]:
    return [source for step in stage if step.word == "COPY" for source in step.words[:-1]]


# ---------------------------------------------------------------- rules


def find_offences(text: str) -> list[str]:
    stages = read_stages(text)
    last = stages[-1]
    found = []
    for stage in stages:
        base = stage[0].words[0]
        if not _PINNED.fullmatch(base):
            found.append(f"{base} is not a pinned slim Python")
        for step in stage:
            if step.word == "ADD":
                found.append("ADD; COPY says what it does")
            if step.word == "RUN" and re.search(r"\b(curl|wget|sudo|chmod 777)\b", step.rest):
                found.append(f"RUN {step.rest}")
    if len({stage[0].words[0] for stage in stages}) > 1:
        found.append("stages with several bases")
    users = [step.rest for step in last if step.word == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        found.append(f"runs as {users[-1:]}: not the number of a user that is not root")
    if len(stages) > 1 and [step for step in last if step.word == "RUN"]:
        found.append("the last stage runs something")
    return found


@pytest.mark.parametrize("kind", ["kubernetes", "docker"])
def test_the_dockerfile_keeps_the_rules(kind: str) -> None:
    assert find_offences(dockerfile(kind)) == []


def test_one_machine_gets_what_kubernetes_gets() -> None:
    [single] = read_stages(dockerfile("docker"))
    build, last = read_stages(dockerfile())
    assert single[0].words == last[0].words
    assert environment_of(last).items() <= environment_of(single).items()
    assert copied_from(single) == copied_from(build)


def test_the_image_is_what_the_manifests_take_it_for() -> None:
    build, last = read_stages(dockerfile())
    settings = environment_of(last)
    assert settings["HOME"] == "/tmp"  # the only folder there that can be written to
    for name in ("NUMBA_CPU_NAME", "NUMBA_CACHE_DIR"):
        assert settings[name] == environment_of(build)[name]
    [entry] = [step.rest for step in last if step.word == "ENTRYPOINT"]
    assert json.loads(entry) == ["amos-dask"]
    [user] = [step.rest for step in last if step.word == "USER"]
    assert user == f"{USER}:{USER}"
    job = (FOLDER / "job.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"runAsUser: (\d+)", job)) == {str(USER)}
    assert settings["NUMBA_CACHE_DIR"] in job
    kernels = [s.words for s in last if s.word == "COPY" and settings["NUMBA_CACHE_DIR"] in s.rest]
    assert [words[1] for words in kernels] == [f"--chown={USER}:{USER}"]
    assert f"amos-dask:{amos_dask.__version__} ." in dockerfile()


def test_docker_is_sent_what_is_copied_and_nothing_else() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = copied_from(read_stages(dockerfile())[0])
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied)
    assert all((REPOSITORY / source).exists() for source in copied)


def test_every_dependency_is_pinned_to_a_version_that_will_do() -> None:
    lines = (FOLDER / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    needed = project["project"]["dependencies"] + project["build-system"]["requires"]
    for requirement in map(Requirement, needed):
        assert Version(pins[requirement.name]) in requirement.specifier


# ---------------------------------------------------------------- its steps, run


@dataclass(frozen=True)
class Image:
    """What the steps made, below a folder instead of the root of a file system."""

    root: Path
    environment: dict[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        found = shutil.which(command[0], path=self.environment["PATH"])
        assert found is not None
        return subprocess.run(
            [found, *command[1:]],
            env=self.environment,
            cwd=self.root / "tmp",
            capture_output=True,
            text=True,
        )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Build in a folder; a fresh virtual environment stands in for the base image's Python.

    Its pip is the one that there is here, for one more takes seconds to install.
    """
    root = tmp_path_factory.mktemp("image")
    base = root / "usr"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", base], check=True)
    pip = base / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pip "$@"\n')
    pip.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_")) or "proxy" in k}
    path = f"{base / 'bin'}:/usr/bin:/bin"
    offline = _try_pip(base, kept | {"PATH": path}, root)
    if offline:
        missing("packages", f"the image's cannot be downloaded: {offline}")
    (root / "tmp").mkdir()

    def moved(text: str) -> str:
        return re.sub(r"(?<![\w.])/(opt|src|tmp)\b", rf"{root}/\1", text)

    build, last = read_stages(dockerfile())
    environment = kept | {"PATH": path, "HOME": str(root / "tmp")}
    folder = root
    for step in build[1:]:
        if step.word == "WORKDIR":
            folder = Path(moved(step.rest))
            folder.mkdir(parents=True)
        elif step.word in ("ENV", "ARG"):
            environment |= {k: moved(v) for k, v in (word.split("=", 1) for word in step.words)}
        elif step.word == "COPY":
            for source in step.words[:-1]:
                _copy(REPOSITORY / source, folder, step.words[-1])
        else:
            assert step.word == "RUN"
            done = subprocess.run(
                ["/bin/sh", "-ec", moved(step.rest)],
                cwd=folder,
                # Of the libraries little is imported, so little of them is compiled: 0 is for no.
                env=environment | {"PIP_NO_COMPILE": "0"},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{step.rest}\n{done.stdout}\n{done.stderr}"
    settings = {k: moved(v) for k, v in environment_of(last).items()}
    settings["PATH"] = settings["PATH"].replace("$PATH", "/usr/bin:/bin")
    return Image(root, settings)


def _try_pip(base: Path, environment: dict[str, str], folder: Path) -> str:
    """Return why pip cannot download here, if so."""
    command = [str(base / "bin" / "pip"), "download", "--no-deps", "--retries", "0", "hatchling"]
    done = subprocess.run(
        [*command, "--dest", str(folder / "probe")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def _copy(source: Path, folder: Path, target: str) -> None:
    """Copy as Docker does: a folder's content into the target, a file to it or into it."""
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / target, symlinks=True, ignore=ignored)
    else:
        if target.endswith("/"):
            (folder / target).mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, folder / target)


def listing(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.integration
def test_the_steps_make_an_amos_dask_that_works_without_compiling(image: Image) -> None:
    done = image.run("amos-dask", "--help")
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout
    assert image.run("amos-dask", "--version").stdout.split()[-1] == amos_dask.__version__
    assert image.run("dask", "worker", "--help").returncode == 0
    # As the pod of a worker does it: the machine code is copied, and found in the copy.
    kernels = Path(image.environment["NUMBA_CACHE_DIR"])
    built = kernels.rename(kernels.with_name("built"))
    kernels.mkdir()
    subprocess.run(["cp", "-r", f"{built}/.", kernels], check=True)
    before = listing(kernels)
    assert before
    demo = ("amos-dask", "demo", "d", "--n_ct", "1", "--n_mri", "1", "--dashboard_port", "0")
    done = image.run(*demo, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert listing(kernels) == before
    assert list((image.root / "tmp" / "d").rglob("dataset_manifest.xlsx"))


@pytest.mark.integration
def test_the_image_has_neither_pip_nor_the_libraries_tests(image: Image) -> None:
    [packages] = (image.root / "opt" / "amos-dask" / "lib").glob("python*/site-packages")
    assert not (packages / "pip").exists()
    assert not [path for path in packages.rglob("tests") if path.is_dir()]
    for name in ("engine/amos-dask.yaml", "engine/job.yaml", "cli/issue_codes.md"):
        assert (packages / "amos_dask" / name).exists()
