"""The program: exact library calls, exit codes, help that can be read, JSON that can be parsed."""

from __future__ import annotations

import csv
import inspect
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import amos_dask
from amos_dask import ClusterOptions, CommandResult, RunPlan, RunResult, Selection
from amos_dask.cli import main
from amos_dask.datasets import PACKAGED, find_definition
from amos_dask.errors import AmosDaskError, InconsistentDatasetError, ManifestError, Terminated
from amos_dask.issues import CATALOGUE, make_issue
from amos_dask.phantom import Archive
from amos_dask.root.table_state import TableCounts

LOCAL = ClusterOptions()
COMMANDS = ["download", "run", "verify", "demo", "archive-manifest", "confirm-pairs",
            "split-prostate-uterus", "binary-masks", "small-regions", "denoise", "restore",
            "dataset-manifest", "make-split", "index-manifests", "leaks", "stats", "card",
            "report", "phantom"]  # fmt: skip
FUNCTIONS = {"report": "make_report"}  # where they are not named as the command is


def invoke(*arguments: str | Path, **settings: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **settings)


class Library:
    """Stands for the package's functions: records each call and gives a prepared answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def answer(self, name: str, result: Any) -> None:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            if isinstance(result, BaseException):
                raise result
            return result

        self._monkeypatch.setattr(amos_dask, name, call)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library(monkeypatch)
    for name in COMMANDS:
        if name not in ("run", "demo", "phantom"):
            library.answer(FUNCTIONS.get(name, name.replace("-", "_")), command_result())
    library.answer("run", run_result())
    library.answer("demo", run_result())
    library.answer("plan_run", run_plan())
    library.answer("write_archive", Archive(Path("d/amos22.zip"), Path("d/meta.csv"), ()))
    return library


ERROR = make_issue("shape_mismatch", "(3, 3, 3) and (4, 4, 4)", sample="amos_0004", file="m.nii.gz")
WARNING = make_issue("unknown_sex", "sex UND", sample="amos_0007", file="n.nii.gz")


def command_result(*issues: amos_dask.Issue) -> CommandResult:
    return CommandResult((Path("out/manifest.xlsx"),), 3, "3 of 3 written", tuple(issues))


def run_result(
    *issues: amos_dask.Issue, reasons: Mapping[str, int] | None = None, n_failed_others: int = 0
) -> RunResult:
    return RunResult(
        root_dir=Path("AMOS22"),
        counts=TableCounts(4, 2, ((100.0, 2, 1), (12.5, 1_000, 0))),
        issues=tuple(issues),
        reasons=dict(reasons or {}),
        n_processed=2,
        n_failed=sum(issue.severity == "error" for issue in issues),
        n_failed_others=n_failed_others,
        n_changed_voxels=12_345,
        seconds=1.25,
        outputs=(Path("AMOS22/grouped/dataset_manifest.xlsx"),),
    )


def run_plan() -> RunPlan:
    folder = "grouped/AMOS-CT/{}/UND/amos_{}"
    rows = [
        ("amos_0001", "train", "ct", "changed", "masks", 2_000_000, 60_000,
         folder.format("train", "0001_M")),
        ("amos_0004", "val", "ct", "complete", "", 0, 0, folder.format("val", "0004_F")),
    ]  # fmt: skip
    columns = ["ID", "subset", "modality", "reason", "todo", "read_bytes", "write_bytes", "folder"]
    return RunPlan(
        root_dir=Path("AMOS22"),
        archive="AMOS22/archive",
        samples=pd.DataFrame(rows, columns=columns),
        n_bytes_to_read=2_000_000,
        n_bytes_to_write=60_000,
        peak_memory_bytes=500_000_000,
        cpu_seconds=90.04,
        startup_seconds=19.0,
        are_kernels_compiled=False,
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory that has what the tutorial's command lines name."""
    for folder in ("root_dir/archive", "root_dir/grouped", "root_dir/descriptor"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "root_dir/descriptor/label_map.yaml").write_text("0: background\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---------------------------------------------------------------- exact library calls

STANDARD = [["train", "val"], ["train"], ["val"], ["test"]]
ORGANISED = {"selection": Selection(), "cluster": LOCAL, "progress": "auto"}
GROUPED = Path("root_dir/grouped")
DESCRIPTOR = Path("root_dir/descriptor")

# The tutorial's command lines: what stood after ``python``, the function, its arguments.
TUTORIAL: list[tuple[str, str, dict[str, Any]]] = [
    (
        (
            "archive-manifest --root_dir root_dir/archive "
            "--output_manifest_file root_dir/descriptor/archive_manifest.xlsx"
        ),
        "archive_manifest",
        {
            "root_dir": "root_dir/archive",
            "output_manifest_file": DESCRIPTOR / "archive_manifest.xlsx",
            "dataset": None,
            "labeled_data_meta": None,
            "metadata_encoding": None,
            "sheet_name": "Manifest",
            "mr_metadata_offset": None,
            "cluster": LOCAL,
            "progress": "auto",
        },
    ),
    *(
        (
            (
                f"confirm-pairs --modality {modality} --root_dir root_dir/archive "
                f"--output_dir root_dir/grouped/AMOS-{modality.upper()} "
                "--archive_manifest root_dir/descriptor/archive_manifest.xlsx"
            ),
            "confirm_pairs",
            {
                "modality": modality,
                "root_dir": "root_dir/archive",
                "output_dir": GROUPED / f"AMOS-{modality.upper()}",
                "archive_manifest": DESCRIPTOR / "archive_manifest.xlsx",
                "adopt": False,
                **ORGANISED,
            },
        )
        for modality in ("ct", "mri")
    ),
    (
        "split-prostate-uterus --root_dir root_dir/grouped",
        "split_prostate_uterus",
        {"root_dir": GROUPED, **ORGANISED},
    ),
    (
        (
            "binary-masks --root_dir root_dir/grouped "
            "--label_explanation root_dir/descriptor/label_map.yaml"
        ),
        "binary_masks",
        {"root_dir": GROUPED, "label_explanation": DESCRIPTOR / "label_map.yaml", **ORGANISED},
    ),
    *(
        (
            (
                f"small-regions --root_dir root_dir/grouped --region_volume_thresh {threshold} "
                f"--output_manifest root_dir/descriptor/{name}"
            ),
            "small_regions",
            {
                "root_dir": GROUPED,
                "region_volume_thresh": threshold,
                "output_manifest": DESCRIPTOR / name,
                "label_explanation": None,
                **ORGANISED,
            },
        )
        for threshold, name in (
            (300.0, "small_connected_region_300_manifest.xlsx"),
            (100.0, "small_connected_region_100_manifest.xlsx"),
            (100.0, "small_connected_region_100_after_modification_manifest.xlsx"),
        )
    ),
    (
        (
            "denoise --root_dir root_dir/grouped --output_dir root_dir/grouped --kernel_size 5 5 "
            "--filter_halfedge 3 --region_area_thresh 10.0"
        ),
        "denoise",
        {
            "root_dir": GROUPED,
            "output_dir": GROUPED,
            "kernel_size": (5, 5),
            "filter_halfedge": 3,
            "region_area_thresh": 10.0,
            "exclude": None,
            "label_explanation": None,
            "adopt": False,
            **ORGANISED,
        },
    ),
    (
        (
            "dataset-manifest --root_dir root_dir/grouped "
            "--output_manifest_file root_dir/grouped/dataset_manifest.xlsx"
        ),
        "dataset_manifest",
        {
            "root_dir": GROUPED,
            "output_manifest_file": GROUPED / "dataset_manifest.xlsx",
            "label_explanation": None,
            "cluster": LOCAL,
            "progress": "auto",
        },
    ),
    (
        (
            "make-split --manifest_file root_dir/grouped/dataset_manifest.xlsx "
            "--split_name split01_standard"
        ),
        "make_split",
        {
            "manifest_file": GROUPED / "dataset_manifest.xlsx",
            "split_name": "split01_standard",
            "kind": "official",
            "folds": None,
            "fractions": None,
            "seed": None,
            "stratify": (),
            "group": None,
            "unlabelled": False,
        },
    ),
    *(
        (
            (
                f"index-manifests --manifest_file root_dir/grouped/{manifest} "
                "--split_name split01_standard "
                f"--output_index_manifest_dir root_dir/grouped/{folder}splits/split01_standard "
                "--subsets train val --subsets train --subsets val --subsets test"
            ),
            "index_manifests",
            {
                "manifest_file": GROUPED / manifest,
                "split_name": "split01_standard",
                "output_index_manifest_dir": GROUPED / f"{folder}splits/split01_standard",
                "subsets": STANDARD,
            },
        )
        for folder, manifest in (
            ("", "dataset_manifest.xlsx"),
            ("AMOS-CT/", "AMOS-CT/dataset_manifest_amos_ct.xlsx"),
            ("AMOS-MRI/", "AMOS-MRI/dataset_manifest_amos_mri.xlsx"),
        )
    ),
]


def dashed(line: str) -> str:
    return re.sub(r"--\w+", lambda option: option[0].replace("_", "-"), line)


# Commands that write a file which may be in the way of somebody's.
ADOPTING = (
    *("archive_manifest", "small_regions", "dataset_manifest", "make_split", "index_manifests"),
)


@pytest.mark.parametrize("spelling", [str, dashed], ids=["underscores", "dashes"])
@pytest.mark.parametrize(("line", "function", "arguments"), TUTORIAL, ids=lambda v: str(v)[:20])
def test_a_command_line_of_the_tutorial_makes_exactly_this_call(
    line: str, function: str, arguments: dict[str, Any], spelling: Any, library: Library, here: Path
) -> None:
    result = invoke(*shlex.split(spelling(line)))
    assert result.exit_code == 0, result.output
    adopt = {"adopt": False} if function in ADOPTING else {}
    assert library.calls == [(function, (), {**arguments, **adopt, "no_lock": False})]


RUN_DEFAULTS: dict[str, Any] = {
    "root_dir": Path("data/AMOS22"),
    "archive": None,
    "dataset": None,
    "labeled_data_meta": None,
    "metadata_encoding": None,
    "mr_metadata_offset": None,
    "label_explanation": None,
    "region_volume_thresh": (100.0,),
    "kernel_size": None,
    "filter_halfedge": None,
    "region_area_thresh": None,
    "exclude": None,
    "selection": Selection(),
    "force": False,
    "adopt": False,
    "discard_edits": False,
    "prune": False,
    "switch_archive": False,
    "without_metadata": False,
    "statistics": True,
    "report": True,
    "csv": None,
    "parquet": None,
    "no_lock": False,
    "performance_report": None,
    "cluster": LOCAL,
    "progress": "auto",
}


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ("", {}),
        ("--archive downloads/amos22.zip", {"archive": "downloads/amos22.zip"}),
        ("--dataset ct-org", {"dataset": "ct-org"}),
        ("--archive s3://bucket/amos22", {"archive": "s3://bucket/amos22"}),
        ("--labeled_data_meta m.csv", {"labeled_data_meta": "m.csv"}),
        ("--metadata_encoding gb18030", {"metadata_encoding": "gb18030"}),
        ("--mr_metadata_offset -1", {"mr_metadata_offset": "-1"}),
        ("--mr-metadata-offset=0", {"mr_metadata_offset": "0"}),
        (
            "--label_explanation root_dir/descriptor/label_map.yaml",
            {"label_explanation": DESCRIPTOR / "label_map.yaml"},
        ),
        (
            "--region_volume_thresh 100 --region-volume-thresh 300",
            {"region_volume_thresh": (100.0, 300.0)},
        ),
        (
            "--kernel_size 3 7 --filter_halfedge 2 --region_area_thresh 4.5",
            {"kernel_size": (3, 7), "filter_halfedge": 2, "region_area_thresh": 4.5},
        ),
        (
            "--exclude root_dir/descriptor/label_map.yaml",  # a file that is there
            {"exclude": DESCRIPTOR / "label_map.yaml"},
        ),
        ("--ids 1-20 --ids 507,510", {"selection": Selection(("1-20", "507,510"))}),
        ("--subset val --modality mri", {"selection": Selection(None, "val", "mri")}),
        ("--force", {"force": True}),
        ("--no_lock", {"no_lock": True}),
        ("--no-statistics", {"statistics": False}),
        ("--no_report", {"report": False}),
        ("--csv --no_parquet", {"csv": True, "parquet": False}),
        ("--force --no-lock", {"force": True, "no_lock": True}),
        ("--performance_report r.html", {"performance_report": Path("r.html")}),
        ("--json", {"progress": "json"}),
        ("--quiet", {"progress": "none"}),
        (
            "--workers 8 --memory_limit 4GB --dashboard_port 9000 --local_directory /scratch",
            {
                "cluster": ClusterOptions(
                    workers=8, memory="4GB", dashboard_port=9000, local_directory="/scratch"
                )
            },
        ),
        ("--cluster tcp://node1:8786", {"cluster": ClusterOptions("tcp://node1:8786")}),
    ],
)
def test_run_passes_its_options_on(
    options: str, changed: dict[str, Any], library: Library, here: Path
) -> None:
    result = invoke("run", "data/AMOS22", *shlex.split(options))
    assert result.exit_code == 0, result.output
    assert library.calls == [("run", (), RUN_DEFAULTS | changed)]


PLAN_DEFAULTS = {
    name: value
    for name, value in RUN_DEFAULTS.items()
    if name not in ("cluster", "progress", "no_lock", "performance_report")
    and name not in ("statistics", "report", "csv", "parquet")
}


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ("", {}),
        ("--archive a.zip --ids 4", {"archive": "a.zip", "selection": Selection(("4",))}),
        ("--force", {"force": True}),
        (
            "--region_volume_thresh 300 --kernel_size 3 7 --filter_halfedge 2",
            {"region_volume_thresh": (300.0,), "kernel_size": (3, 7), "filter_halfedge": 2},
        ),
        (
            "--label_explanation root_dir/descriptor/label_map.yaml --region_area_thresh 4.5",
            {"label_explanation": DESCRIPTOR / "label_map.yaml", "region_area_thresh": 4.5},
        ),
        (
            "--labeled_data_meta m.csv --metadata-encoding big5 --mr_metadata_offset -1",
            {
                "labeled_data_meta": "m.csv",
                "metadata_encoding": "big5",
                "mr_metadata_offset": "-1",
            },
        ),
        (
            "--workers 2 --no_lock --quiet --performance_report r.html",
            {},
        ),  # these say how, not what
    ],
)
def test_a_dry_run_plans_with_the_options_of_a_run(
    options: str, changed: dict[str, Any], library: Library, here: Path
) -> None:
    result = invoke("run", "data/AMOS22", "--dry-run", *shlex.split(options))
    assert result.exit_code == 0, result.output
    assert library.calls == [("plan_run", (), PLAN_DEFAULTS | changed)]


def test_run_and_plan_take_what_the_program_passes_on() -> None:
    run, plan = (set(inspect.signature(f).parameters) for f in (amos_dask.run, amos_dask.plan_run))
    assert run == set(RUN_DEFAULTS)
    assert plan == set(PLAN_DEFAULTS)


def test_a_plan_says_what_is_to_be_done_why_and_what_it_costs(library: Library) -> None:
    lines = invoke("run", "d", "--dry-run").stdout.splitlines()
    assert lines[0].split() == [
        *("amos_0001", "changed", "masks", "2.0", "MB", "grouped/AMOS-CT/train/UND/amos_0001_M")
    ]
    assert lines[1:] == [
        "archive:       AMOS22/archive",
        "would process: 1 of 2 samples; 1 other is complete",
        "would read:    2.0 MB",
        "would write:   about 0.1 MB to AMOS22",
        "would take:    about 19 s to start and compile, then about 1.5 minutes of one core",
        "memory:        0.5 GB a worker",
    ]


@pytest.mark.parametrize(
    ("line", "selection"),
    [
        ("split-prostate-uterus --root_dir root_dir/grouped", Selection(("4",), "val", "ct")),
        ("binary-masks --root_dir root_dir/grouped", Selection(("4",), "val", "ct")),
        (
            (
                "small-regions --root_dir root_dir/grouped --region_volume_thresh 1 "
                "--output_manifest m.xlsx"
            ),
            Selection(("4",), "val", "ct"),
        ),
        ("denoise --root_dir root_dir/grouped --output_dir o", Selection(("4",), "val", "ct")),
        ("restore --root_dir root_dir/grouped", Selection(("4",), "val", "ct")),
        # here --modality says which group is made
        (
            "confirm-pairs --root_dir root_dir/archive --output_dir o --archive_manifest m.xlsx",
            Selection(("4",), "val"),
        ),
    ],
)
def test_single_commands_take_a_choice_of_samples(
    line: str, selection: Selection, library: Library, here: Path
) -> None:
    result = invoke(*shlex.split(line), *shlex.split("--ids 4 --subset val --modality ct"))
    assert result.exit_code == 0, result.output
    assert library.calls[0][2]["selection"] == selection


def test_archive_manifest_takes_metadata_and_sheet_name(library: Library, here: Path) -> None:
    invoke("archive-manifest", "--root_dir", "https://host/amos22.zip", "--output_manifest_file",
           "m.xlsx", "--labeled_data_meta", "meta.csv", "--sheet_name", "Files")  # fmt: skip
    arguments = library.calls[0][2]
    assert arguments["root_dir"] == "https://host/amos22.zip"
    assert (arguments["labeled_data_meta"], arguments["sheet_name"]) == ("meta.csv", "Files")


@pytest.mark.parametrize(
    ("options", "subsets"),
    [
        ("--subsets train", [["train"]]),
        ("--subsets train val test", [["train", "val", "test"]]),
        ("--subsets val train --subsets test", [["val", "train"], ["test"]]),
        ("--subsets=train --subsets test", [["train"], ["test"]]),
        ("--subsets train,val", [["train", "val"]]),
        ("--subsets fold_1 fold_2", [["fold_1", "fold_2"]]),
    ],
)
def test_subsets_take_several_values_each_time(
    options: str, subsets: list[list[str]], library: Library
) -> None:
    # the values are followed by another option, as nothing in the tutorial forbids
    line = f"{options} --manifest_file m.xlsx --output_index_manifest_dir out"
    assert invoke("index-manifests", *shlex.split(line)).exit_code == 0
    assert library.calls[0][2]["subsets"] == subsets


@pytest.mark.parametrize(
    ("options", "given"),
    [
        (
            (
                "--kind kfold --folds 3 --seed -7 --stratify scanner,sex,modality --group patient "
                "--unlabelled"
            ),
            {
                "split_name": None,
                "kind": "kfold",
                "folds": 3,
                "fractions": None,
                "seed": -7,
                "stratify": ("scanner", "sex", "modality"),
                "group": "patient",
                "unlabelled": True,
            },
        ),
        (
            "--kind holdout --fractions 0.8,0.2 --stratify 'sex, scanner' --split_name mine",
            {
                "split_name": "mine",
                "kind": "holdout",
                "folds": None,
                "fractions": (0.8, 0.2),
                "seed": None,
                "stratify": ("sex", "scanner"),
                "group": None,
                "unlabelled": False,
            },
        ),
    ],
)
def test_make_split_passes_its_options_on(
    options: str, given: dict[str, Any], library: Library
) -> None:
    result = invoke("make-split", "--manifest_file", "m.xlsx", *shlex.split(options))
    assert result.exit_code == 0, result.output
    given = {"manifest_file": Path("m.xlsx"), "adopt": False, "no_lock": False, **given}
    assert library.calls == [("make_split", (), given)]


def test_leaks_passes_its_options_on(library: Library) -> None:
    line = "leaks R --split_name split02_kfold5 --quiet --no_lock"
    assert invoke(*line.split()).exit_code == 0
    given = {"split_name": "split02_kfold5", "no_lock": True, "cluster": LOCAL, "progress": "none"}
    assert library.calls == [("leaks", (), {"root_dir": Path("R"), **given})]


def test_phantom_passes_its_options_on(library: Library) -> None:
    result = invoke("phantom", "d", *shlex.split("--n_ct 2 --n-mri 1 --size tiny --form zip"),
                    *shlex.split("--seed 5 --no-quirks --defects"))  # fmt: skip
    assert result.exit_code == 0, result.output
    expected = {"n_ct": 2, "n_mri": 1, "size": "tiny", "form": "zip", "seed": 5, "quirks": False,
                "defects": True}  # fmt: skip
    assert library.calls == [("write_archive", (Path("d"),), expected)]


def test_demo_passes_its_options_on(library: Library) -> None:
    result = invoke("demo", "there", "--n_ct", "2", "--n_mri", "1", "--workers", "2")
    assert result.exit_code == 0, result.output
    expected = {
        "directory": Path("there"),
        "n_ct": 2,
        "n_mri": 1,
        "cluster": ClusterOptions(workers=2),
        "progress": "auto",
    }
    assert library.calls == [("demo", (), expected)]
    assert "AMOS22/grouped/dataset_manifest.xlsx" in result.stdout


# ---------------------------------------------------------------- exit codes

MAKE_SPLIT = ("make-split", "--manifest_file", "m.xlsx")


def test_done_is_0(library: Library) -> None:
    assert invoke(*MAKE_SPLIT).exit_code == 0
    library.answer("make_split", command_result(WARNING))
    assert invoke(*MAKE_SPLIT).exit_code == 0


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (AmosDaskError("there are no samples."), "amos-dask: there are no samples."),
        (ManifestError("m.xlsx: no such workbook."), "amos-dask: m.xlsx: no such workbook."),
        (FileNotFoundError(2, "No such file", "a.csv"), "amos-dask: a.csv: No such file"),
        (OSError(28, "No space left on device"), "amos-dask: No space left on device"),
        (
            IsADirectoryError(21, "Is a directory", ".a.html.1f.part~", None, "a.html"),
            "amos-dask: a.html: Is a directory",
        ),
        (OSError("odd"), "amos-dask: odd"),
    ],
)
def test_could_not_run_is_1_with_one_line_on_stderr(
    failure: Exception, line: str, library: Library
) -> None:
    library.answer("make_split", failure)
    result = invoke(*MAKE_SPLIT)
    assert result.exit_code == 1
    assert result.stderr == f"{line}\n"
    assert result.stdout == ""


def test_a_fault_of_the_program_itself_is_1_with_one_line_on_stderr(library: Library) -> None:
    library.answer("make_split", RuntimeError("boom"))
    result = invoke(*MAKE_SPLIT)
    assert result.exit_code == 1
    assert result.stderr.startswith("amos-dask: ")
    assert "boom" in result.stderr
    assert result.stderr.count("\n") == 1


def test_all_inconsistencies_are_listed_below_one_another(library: Library) -> None:
    library.answer("make_split", InconsistentDatasetError("2 inconsistencies:\n  a\n  b"))
    result = invoke(*MAKE_SPLIT)
    assert (result.exit_code, result.stderr) == (1, "amos-dask: 2 inconsistencies:\n  a\n  b\n")


@pytest.mark.parametrize(
    "line",
    [
        "no-such-command",
        "run",
        "run d --no_such_option",
        "run d --workers 0",
        "run d --subset trian",
        "run d --modality pet",
        "run d --mr_metadata_offset 1",
        "run d --kernel_size 5",
        "run d --kernel_size 0 5",
        "run d --region_area_thresh=-1",
        "run d --dashboard_port 70000",
        "archive-manifest --root_dir a",
        "confirm-pairs --root_dir a --output_dir o --archive_manifest m.xlsx",
        "split-prostate-uterus --root_dir no_such_folder",
        "binary-masks --root_dir . --label_explanation no_such_file.yaml",
        "small-regions --root_dir . --output_manifest m.xlsx",
        "small-regions --root_dir . --output_manifest m.xlsx --region_volume_thresh many",
        "denoise --root_dir .",
        "dataset-manifest --root_dir .",
        "make-split",
        "make-split --manifest_file m.xlsx --kind random",
        "make-split --manifest_file m.xlsx --kind kfold --folds 1",
        "make-split --manifest_file m.xlsx --kind kfold --stratify scanner,age",
        "make-split --manifest_file m.xlsx --kind holdout --fractions many",
        "make-split --manifest_file m.xlsx --kind kfold --group site",
        "leaks",
        "index-manifests --manifest_file m.xlsx --output_index_manifest_dir o",
        "index-manifests --manifest_file m.xlsx --output_index_manifest_dir o --subsets",
        "index-manifests --manifest_file m.xlsx --output_index_manifest_dir o --subsets ''",
    ],
)
def test_wrong_usage_is_2_and_calls_nothing(line: str, library: Library) -> None:
    result = invoke(*shlex.split(line))
    assert result.exit_code == 2, result.output
    assert library.calls == []
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr


def test_failed_samples_are_3_and_named(library: Library) -> None:
    library.answer("make_split", command_result(WARNING, ERROR))
    result = invoke(*MAKE_SPLIT)
    assert result.exit_code == 3
    assert "amos_0004 m.nii.gz: shape_mismatch" in result.stdout


@pytest.mark.parametrize(("issues", "code"), [((), 0), ((WARNING,), 0), ((WARNING, ERROR), 3)])
def test_run_is_3_exactly_when_there_is_an_error(
    issues: tuple[amos_dask.Issue, ...], code: int, library: Library
) -> None:
    library.answer("run", run_result(*issues))
    result = invoke("run", "d")
    assert result.exit_code == code
    assert ("1 sample failed; see " in result.stdout) is (code == 3)


def test_a_run_with_failures_does_not_say_that_all_is_complete(library: Library) -> None:
    library.answer("run", run_result(ERROR))
    assert "1 of 2 samples complete" in invoke("run", "d").stdout


@pytest.mark.parametrize(("interruption", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_an_interrupted_run_says_how_to_go_on(
    interruption: type[BaseException], code: int, library: Library
) -> None:
    library.answer("run", interruption())
    result = invoke("run", "d")
    assert result.exit_code == code
    assert result.stderr == "amos-dask: interrupted; run the same command again\n"
    assert result.stdout == ""


def test_a_run_says_what_was_complete_before(library: Library) -> None:
    library.answer("run", run_result(reasons={"complete": 1, "new": 1}))
    line = "1 sample complete before; --force does them again."
    assert line in invoke("run", "d").stdout.splitlines()
    library.answer("run", run_result(reasons={"new": 2}))
    assert "complete before" not in invoke("run", "d").stdout


def test_a_run_says_how_many_rows_and_regions_there_are(library: Library) -> None:
    lines = [" ".join(line.split()) for line in invoke("run", "d").stdout.splitlines()]
    assert lines[1:6] == [
        "files in the archive manifest 4",
        "samples in the dataset manifest 2",
        "voxels changed by denoising 12,345",
        "regions below 100 mm3 2 -> 1",
        "regions below 12.5 mm3 1,000 -> 0",
    ]


def test_a_traceback_is_shown_with_debug_only(tmp_path: Path) -> None:
    missing = tmp_path / "dataset_manifest.xlsx"
    words = ["make-split", "--manifest_file", str(missing)]
    said = CliRunner().invoke(main, words)
    assert (said.exit_code, said.stdout, said.stderr.count("\n")) == (1, "", 1)
    command = [sys.executable, "-m", "amos_dask", "--debug", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" in done.stderr
    assert "Traceback" not in said.stderr
    assert all(str(missing) in text for text in (said.stderr, done.stderr))


# ---------------------------------------------------------------- help


def help_of(command: str, columns: int = 300) -> str:
    """Return what --help says on a terminal of so many columns."""
    with pytest.MonkeyPatch.context() as patch:  # click's own runner pretends to have 80
        patch.setenv("COLUMNS", str(columns))
        context = main.make_context("amos-dask", [], resilient_parsing=True)
        if not command:
            return main.get_help(context)
        return main.commands[command].get_help(
            click.Context(main.commands[command], context, command)
        )


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_100_columns_on_any_terminal(command: str) -> None:
    text = help_of(command)
    assert [line for line in text.splitlines() if len(line) > 100] == []
    assert max(map(len, text.splitlines())) > 60


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_an_example_that_can_be_parsed(command: str) -> None:
    text = help_of(command)
    example = " ".join(text.split("Example: ")[1].split())
    program, name, *arguments = shlex.split(example)
    assert (program, name) == ("amos-dask", command)
    with_paths = [a for a in arguments if a != "AMOS22/descriptor/label_map.yaml"]
    with_paths = [a for a in with_paths if a != "--label_explanation"]
    made = ["." if a == "AMOS22/grouped" else a for a in with_paths]
    click_command = main.commands[command]
    click_command.make_context(name, made).close()  # raises for wrong usage


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_every_option_is_for(command: str) -> None:
    options = [p for p in main.commands[command].params if isinstance(p, click.Option)]
    assert [option.name for option in options if not option.help and option.name != "form"] == []


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_no_summary_in_the_groups_help_is_cut_off(columns: int) -> None:
    listed = help_of("", columns).split("Commands:\n")[1]
    assert [line.strip() for line in listed.splitlines() if line.rstrip().endswith("...")] == []


def test_a_code_is_explained_by_the_words_of_the_documents() -> None:
    result = invoke("explain", "label_vanished")
    assert result.exit_code == 0
    assert result.stdout.startswith("warning: label_vanished: ")
    page = Path(__file__).parents[1] / "docs" / "reference" / "issues.md"
    meaning, where = result.stdout.splitlines()
    assert meaning.split(": ", 2)[2] in page.read_text(encoding="utf-8")
    assert where.strip() == "in the documents: reference/issues.md#label_vanished"
    assert '<a id="label_vanished">' in page.read_text(encoding="utf-8")


def test_all_codes_are_explained_and_a_code_that_is_none_is_said_with_the_nearest() -> None:
    lines = invoke("explain").stdout.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [[s, code] for code, s in CATALOGUE.items()]
    result = invoke("explain", "label_vanishd")
    assert result.exit_code == 2
    assert "did you mean label_vanished?" in result.stderr


def test_a_run_says_how_to_learn_what_its_codes_mean(library: Library) -> None:
    library.answer("run", run_result(WARNING))
    assert f"amos-dask explain {WARNING.code}" in invoke("run", "d").stdout
    library.answer("run", run_result())
    assert "explain" not in invoke("run", "d").stdout


def test_the_groups_help_lists_the_commands_in_the_tutorials_order() -> None:
    listed = help_of("").split("Commands:\n")[1]
    groups = ["export", "cluster"]
    assert re.findall(r"^  ([a-z][\w-]+)  ", listed, re.MULTILINE) == [
        *COMMANDS[:4],
        "datasets",
        *COMMANDS[4:14],
        "explain",
        *COMMANDS[14:],
        *groups,
    ]


def test_datasets_are_listed_and_a_definition_is_printed(tmp_path: Path) -> None:
    said = invoke("datasets")
    assert said.exit_code == 0
    listed = re.findall(r"^([a-z][\w-]+): ", said.stdout, re.MULTILINE)
    assert (
        listed
        == list(PACKAGED)
        == [row["name"] for row in json.loads(invoke("datasets", "--json").stdout)]
    )
    for name in PACKAGED:
        (tmp_path / "mine.yaml").write_text(invoke("datasets", name).stdout)
        assert find_definition(tmp_path / "mine.yaml") == find_definition(name)
    said = invoke("datasets", "amos23")
    assert said.exit_code == 1
    assert "choose from amos22, ct-org" in said.stderr


@pytest.mark.parametrize("code", ["0", "1", "2", "3"])
def test_the_groups_help_explains_the_exit_status(code: str) -> None:
    text = " ".join(help_of("").split())
    assert re.search(rf"\b{code} (done|could not run|wrong usage)", text)


def test_version_is_the_packages() -> None:
    assert invoke("--version").stdout.strip().endswith(amos_dask.__version__)


# ---------------------------------------------------------------- JSON


def json_lines(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines
    assert all("event" in line for line in lines)
    return lines


def test_a_commands_result_is_one_json_line(library: Library, here: Path) -> None:
    library.answer("binary_masks", command_result(WARNING, WARNING, ERROR))
    result = invoke("binary-masks", "--root_dir", "root_dir/grouped", "--json")
    assert result.exit_code == 3
    (line,) = json_lines(result.stdout)
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert [line] == [
        {
            "event": "Result",
            "severity": "error",
            "exit_code": 3,
            "n_samples": 3,
            "summary": "3 of 3 written",
            "issues": {"unknown_sex": 2, "shape_mismatch": 1},
            "outputs": ["out/manifest.xlsx"],
        }
    ]


@pytest.mark.parametrize("command", ["run", "demo"])
def test_a_runs_result_is_one_json_line(command: str, library: Library) -> None:
    reasons = {"complete": 1, "failed before": 1}
    library.answer(command, run_result(ERROR, reasons=reasons, n_failed_others=3))
    (line,) = json_lines(invoke(command, "d", "--json").stdout)
    assert line["event"] == "Result"
    assert (line["exit_code"], line["n_processed"], line["n_failed"]) == (3, 2, 1)
    assert line["n_failed_others"] == 3
    assert line["issues"] == {"shape_mismatch": 1}
    assert line["n_changed_voxels"] == 12_345
    assert line["reasons"] == reasons


def test_a_plan_is_one_json_line(library: Library) -> None:
    (line,) = json_lines(invoke("run", "d", "--dry_run", "--json").stdout)
    assert (line["n_samples"], line["n_todo"]) == (2, 1)
    assert (line["n_bytes_to_read"], line["n_bytes_to_write"]) == (2_000_000, 60_000)
    assert (line["peak_memory_bytes"], line["cpu_seconds"]) == (500_000_000, 90.0)
    assert line["samples"] == run_plan().samples.to_dict("records")


def test_progress_and_result_of_a_real_command_are_json_line_by_line(
    tmp_path: Path, cluster_address: str
) -> None:
    archive = amos_dask.write_archive(tmp_path / "download", n_ct=2, n_mri=1, size="tiny")
    output = tmp_path / "AMOS22" / "descriptor" / "archive_manifest.xlsx"
    result = invoke("archive-manifest", "--root_dir", archive.path, "--output_manifest_file",
                    output, "--cluster", cluster_address, "--json")  # fmt: skip
    assert result.exit_code in (0, 3), result.output
    assert result.stderr == ""
    lines = json_lines(result.stdout)
    events = [line["event"] for line in lines]
    n_samples = lines[-1]["n_samples"]
    # The row that MR scans take, and the dashboard.
    assert events[:3] == ["Notice", "Waiting", "Notice"]
    events = [event for event in events if event != "TasksRunning"]  # where the machine is slow
    assert events[3:-1] == ["PhaseStarted", *["TaskEnded"] * n_samples, "PhaseEnded"]
    assert events[-1] == "Result"
    assert lines[-1]["exit_code"] == result.exit_code
    assert lines[-1]["outputs"] == [str(output)]
    assert output.is_file()


def test_a_real_plan_lists_every_scan_and_writes_nothing(tmp_path: Path) -> None:
    archive = amos_dask.write_archive(tmp_path / "download", n_ct=2, n_mri=1, size="tiny")
    with archive.metadata_path.open(newline="") as file:
        assert len(list(csv.DictReader(file))) > 0
    root = tmp_path / "AMOS22"
    result = invoke("run", root, "--archive", archive.path, "--dry_run", "--json")
    assert result.exit_code == 0, result.output
    (line,) = json_lines(result.stdout)
    assert line["n_samples"] == line["n_todo"] == len(line["samples"]) == len(archive.samples)
    files = [path for path in archive.path.rglob("amos_*.nii.gz") if path.parent.name[0] in "il"]
    assert line["n_bytes_to_read"] == sum(path.stat().st_size for path in files) > 0
    for key in ("read", "write"):
        each = [sample[f"{key}_bytes"] for sample in line["samples"]]
        assert line[f"n_bytes_to_{key}"] == sum(each)
        assert min(each) > 0
    assert {sample["reason"] for sample in line["samples"]} == {"new"}
    assert not root.exists()


@pytest.mark.parametrize(
    ("given", "meant"), [("mr", "mri"), ("MR", "mri"), ("MRI", "mri"), ("CT", "ct"), ("und", "und")]
)
def test_a_modality_may_be_written_as_people_do(given: str, meant: str, library: Library) -> None:
    library.answer("run", run_result())
    assert invoke("run", "d", "--modality", given).exit_code == 0
    assert library.calls[-1][2]["selection"].modality == meant


def test_warnings_of_the_dataset_are_told_in_full_after_the_errors(library: Library) -> None:
    of_dataset = make_issue("metadata_missing", "no csv was found", file="amos22.zip")
    library.answer("run", run_result(WARNING, of_dataset, ERROR))
    lines = invoke("run", "d").stdout.splitlines()
    told = [line for line in lines if line.startswith(("error: ", "warning: "))]
    assert [line.partition(":")[0] for line in told] == ["error", "warning"]
    assert "no csv was found" in told[1]


def test_quiet_says_nothing_when_all_went_well(library: Library) -> None:
    library.answer("run", run_result(WARNING))
    assert invoke("run", "d", "--quiet").output == ""
    library.answer("run", run_result(ERROR))
    assert "1 sample failed" in invoke("run", "d", "--quiet").stdout


def test_a_failure_ends_json_lines_too(library: Library, here: Path) -> None:
    library.answer("run", AmosDaskError("no archive here"))
    result = invoke("run", "data/AMOS22", "--json")
    told = json.loads(result.stdout.splitlines()[-1])
    assert (result.exit_code, told["exit_code"]) == (1, 1)
    assert (told["event"], told["severity"], told["message"]) == (
        "Result",
        "error",
        "no archive here",
    )
    assert "no archive here" in result.stderr
    assert invoke("run", "data/AMOS22").stdout == ""
