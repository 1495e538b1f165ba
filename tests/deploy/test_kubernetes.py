"""Manifests and generated resources: strictly by their schemas, and whether they fit together."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import dask
import pytest
import yaml

import amos_dask
from amos_dask.engine import kubernetes as ours
from amos_dask.engine.options import WORKER_ENVIRONMENT, ClusterOptions, configured, load_defaults
from amos_dask.engine.pods import cluster_spec
from amos_dask.errors import ClusterError

_WHY = "the validation needs amos-dask[test]"
pytest.importorskip("kubernetes_validate", reason=_WHY)
pytest.importorskip("jsonschema", reason=_WHY)
pytest.importorskip("dask_kubernetes", reason=_WHY)

from deploy.manifests import (  # noqa: E402
    Pod,
    Resource,
    containers_of,
    find_errors,
    find_schema_errors,
    made_by_operator,
    matches,
    pods_of,
    read_documents,
)

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="deploy/ is not part of this tree")

KUSTOMIZATION = "kustomization.yaml"
CLAIM = ("amos-data",)


def manifests() -> list[Resource]:
    paths = sorted(FOLDER.glob("*.yaml"))
    return [found for p in paths if p.name != KUSTOMIZATION for found in read_documents(p)]


def of_kind(documents: list[Resource], kind: str) -> Resource:
    [found] = [document for document in documents if document["kind"] == kind]
    return found


@pytest.fixture
def job() -> Resource:
    return of_kind(manifests(), "DaskJob")


# ---------------------------------------------------------------- the manifests


def test_the_manifests_are_valid_and_fit_together() -> None:
    documents = manifests()
    kinds = {document["kind"] for document in documents}
    assert kinds == {"DaskJob", "DaskAutoscaler", "NetworkPolicy", "PersistentVolumeClaim", "Pod"}
    assert find_errors(documents) == []


def test_the_policy_lets_in_the_operator_by_the_label_of_its_chart() -> None:
    chart = files("dask_kubernetes").joinpath(
        "operator/deployment/helm/dask-kubernetes-operator/Chart.yaml"
    )
    name = yaml.safe_load(chart.read_text(encoding="utf-8"))["name"]
    [policy] = [d for d in manifests() if d["metadata"]["name"] == "amos-dask-operator"]
    [rule] = policy["spec"]["ingress"]
    [peer] = rule["from"]
    assert peer["namespaceSelector"] == {}  # whichever namespace the operator is in
    assert peer["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": name}}
    schedulers = [labels for name, labels, _ in all_pods(manifests()) if "scheduler" in name]
    assert [matches(policy["spec"]["podSelector"], labels) for labels in schedulers] == [True]


def test_the_clients_role_has_the_rights_that_are_asked_for_and_no_others() -> None:
    [role] = read_documents(FOLDER / "client" / "role.yaml")
    assert find_schema_errors(role) == []
    given = {
        f"{verb} {resource}"
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert given == {*ours.RIGHTS, *ours.RIGHTS_TO_FORWARD, *ours.RIGHTS_TO_SCALE}


# ---------------------------------------------------------------- the kustomization

# Of kustomize's own reference; it refuses others.
_FIELDS = {"apiVersion", "kind", "namespace", "resources", "images"}


def test_the_kustomization_takes_every_manifest_and_the_image() -> None:
    [found] = read_documents(FOLDER / KUSTOMIZATION)
    assert set(found) == _FIELDS
    assert found["apiVersion"] == "kustomize.config.k8s.io/v1beta1"
    assert found["kind"] == "Kustomization"
    others = {path.name for path in FOLDER.glob("*.yaml")} - {KUSTOMIZATION}
    assert set(found["resources"]) == others
    assert len(found["resources"]) == len(others)
    [image] = found["images"]
    assert set(image) == {"name", "newName", "newTag"}
    used = {c["image"] for _, _, pod in all_pods(manifests()) for c in containers_of(pod)}
    assert used == {f"{image['name']}:{amos_dask.__version__}"}
    assert image["newTag"] == amos_dask.__version__


def all_pods(documents: list[Resource]) -> list[Pod]:
    return list(pods_of(documents + [made for d in documents for made in made_by_operator(d)]))


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl, which renders it")
def test_what_kustomize_makes_of_it_is_valid_and_has_the_users_image_everywhere() -> None:
    done = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    documents = [found for found in yaml.safe_load_all(done.stdout) if found]
    assert find_errors(documents) == []
    assert {document["metadata"]["namespace"] for document in documents} == {"amos-dask"}
    images = {c["image"] for _, _, pod in all_pods(documents) for c in containers_of(pod)}
    assert images == {f"registry.example.org/amos-dask:{amos_dask.__version__}"}


def test_every_manifest_can_be_chosen_by_its_component() -> None:
    found = {d["kind"]: d["metadata"]["labels"]["app.kubernetes.io/component"] for d in manifests()}
    assert found == {
        "PersistentVolumeClaim": "data",  # so that a run can be deleted without the data
        "Pod": "data",
        "NetworkPolicy": "network",
        "DaskJob": "run",
        "DaskAutoscaler": "run",
    }


def test_nothing_in_the_folder_is_a_secret() -> None:
    assert "Secret" not in {document["kind"] for document in manifests()}
    for _, _, pod in all_pods(manifests()):
        names = {e["name"] for c in containers_of(pod) for e in c.get("env", [])}
        assert not {n for n in names if any(w in n for w in ("TOKEN", "PASSWORD", "SECRET", "KEY"))}


# ---------------------------------------------------------------- what the code generates


@pytest.fixture
def settings() -> Any:
    """Return a function that sets values below amos-dask.kubernetes for the test."""
    load_defaults()
    with dask.config.set():

        def change(**values: Any) -> None:
            dask.config.set(
                {f"amos-dask.kubernetes.{k.replace('_', '-')}": v for k, v in values.items()}
            )

        before = copy.deepcopy(configured("kubernetes"))
        yield change
        dask.config.set({"amos-dask.kubernetes": before})


OPTIONS = {
    "defaults": (ClusterOptions(), {}),
    "workers and memory": (ClusterOptions(workers=32, memory="6GB"), {}),
    "memory auto": (ClusterOptions(memory="auto"), {}),
    "local directory": (ClusterOptions(local_directory="/data/scratch"), {}),
    "adaptive": (ClusterOptions(workers=8), {"minimum_workers": 1}),
    "adaptive from nothing": (ClusterOptions(workers=8), {"minimum_workers": 0}),
    "another user": (ClusterOptions(), {"user": "1000:100"}),
    "selectors": (
        ClusterOptions(),
        {"scheduler_selector": {"pool": "stable"}, "worker_selector": {"pool": "spot"}},
    ),
    "private registry": (
        ClusterOptions(),
        {"image": "registry.example.org:5000/team/amos-dask:0.1.0", "image_pull_secret": "pull"},
    ),
    "another mount": (ClusterOptions(), {"mount": "/mnt/nfs"}),
    "never idle": (ClusterOptions(), {"idle_timeout": 0}),
}


@pytest.mark.parametrize(("options", "values"), OPTIONS.values(), ids=OPTIONS)
def test_what_the_code_generates_is_valid(
    options: ClusterOptions, values: dict[str, Any], settings: Callable[..., None]
) -> None:
    settings(**values)
    policies = [found for found in manifests() if found["kind"] == "NetworkPolicy"]
    assert find_errors([cluster_spec(options), *policies], outside=CLAIM) == []


def test_by_default_the_code_has_the_pods_of_the_job(
    job: Resource, settings: Callable[..., None]
) -> None:
    ours = cluster_spec(ClusterOptions(workers=2))["spec"]
    theirs = job["spec"]["cluster"]["spec"]
    name = ours["scheduler"]["service"]["selector"]["dask.org/cluster-name"]
    ours["scheduler"]["service"]["selector"]["dask.org/cluster-name"] = "amos-dask"
    assert name.startswith("amos-dask-")
    assert theirs["scheduler"] == ours["scheduler"]
    assert theirs["worker"] == ours["worker"]


def test_workers_in_pods_start_with_the_environment_of_all_workers(job: Resource) -> None:
    [container] = job["spec"]["cluster"]["spec"]["worker"]["spec"]["containers"]
    found = {variable["name"]: variable["value"] for variable in container["env"]}
    assert found == {name: str(value) for name, value in WORKER_ENVIRONMENT.items()}


def test_the_runner_is_like_the_scheduler(job: Resource) -> None:
    runner = job["spec"]["job"]["spec"]
    scheduler = job["spec"]["cluster"]["spec"]["scheduler"]["spec"]
    for key in ("affinity", "securityContext", "volumes"):
        assert runner[key] == scheduler[key], key
    # In place, status 3 ("done, but some samples failed") would be tried again for ever.
    assert runner["restartPolicy"] == "Never"


def test_scheduler_and_runner_stay_off_nodes_that_clouds_take_away(job: Resource) -> None:
    taken_away = {
        ("cloud.google.com/gke-preemptible", "true"),
        ("cloud.google.com/gke-spot", "true"),
        ("eks.amazonaws.com/capacityType", "SPOT"),
        ("karpenter.sh/capacity-type", "spot"),
        ("kubernetes.azure.com/scalesetpriority", "spot"),
    }
    for pod in (job["spec"]["cluster"]["spec"]["scheduler"]["spec"], job["spec"]["job"]["spec"]):
        affinity = pod["affinity"]["nodeAffinity"]
        (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        rules = term["matchExpressions"]
        assert {rule["operator"] for rule in rules} == {"NotIn"}
        assert {(rule["key"], value) for rule in rules for value in rule["values"]} == taken_away


def test_settings_in_the_manifests_are_ones_that_exist(job: Resource) -> None:
    load_defaults()
    [runner] = job["spec"]["job"]["spec"]["containers"]
    [copying] = of_kind(manifests(), "Pod")["spec"]["containers"]
    for variable in runner["env"] + copying["env"]:
        found = dask.config.collect_env({variable["name"]: variable["value"]})
        [(key, value)] = found["amos_dask"].items()
        assert isinstance(value, int)
        configured(key.replace("_", "-"))  # raises KeyError


def test_options_arrive_in_the_pods(settings: Callable[..., None]) -> None:
    settings(worker_selector={"pool": "spot"}, image_pull_secret="pull", mount="/mnt/nfs")
    options = ClusterOptions(workers=7, memory="3GiB", local_directory="/mnt/nfs/scratch")
    worker = cluster_spec(options)["spec"]["worker"]
    [container] = worker["spec"]["containers"]
    assert worker["replicas"] == 7
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "3072Mi"}
    arguments = dict(zip(container["args"], container["args"][1:], strict=False))
    assert arguments["--memory-limit"] == "2764MiB"  # the rest is the nanny's
    assert arguments["--nthreads"] == arguments["--nworkers"] == "1"
    assert arguments["--local-directory"] == "/mnt/nfs/scratch"
    assert worker["spec"]["nodeSelector"] == {"pool": "spot"}
    assert worker["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert "/mnt/nfs" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_two_clusters_have_two_names_and_each_its_service(settings: Callable[..., None]) -> None:
    first, second = (cluster_spec(ClusterOptions()) for _ in range(2))
    assert first["metadata"]["name"] != second["metadata"]["name"]
    pods = list(pods_of(made_by_operator(second)))
    selector = {"matchLabels": first["spec"]["scheduler"]["service"]["selector"]}
    assert not any(matches(selector, labels) for _, labels, _ in pods)


@pytest.mark.parametrize("memory", ["plenty", "0", "100MB", "-1GB"])
def test_memory_that_is_none_is_refused(memory: str, settings: Callable[..., None]) -> None:
    with pytest.raises(ClusterError, match="memory") as caught:
        cluster_spec(ClusterOptions(memory=memory))
    assert "\n" not in str(caught.value)


def test_the_default_image_is_the_one_that_this_version_builds() -> None:
    load_defaults()
    assert configured("kubernetes.image") == f"amos-dask:{amos_dask.__version__}"
    assert configured("kubernetes.claim") == CLAIM[0]


def test_the_guide_names_every_key_and_this_version() -> None:
    load_defaults()
    guide = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert [key for key in configured("kubernetes") if f"`{key}`" not in guide] == []
    tags = re.findall(r"amos-dask:([\w.]+)", guide) + re.findall(r"newTag: (\S+)", guide)
    assert set(tags) == {amos_dask.__version__}
