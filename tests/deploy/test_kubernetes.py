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
from amos_dask.engine import ClusterOptions
from amos_dask.engine.environment import WORKER_ENVIRONMENT
from amos_dask.engine.kubernetes import cluster_spec
from amos_dask.engine.options import configured, load_defaults
from amos_dask.errors import ClusterError

_WHY = "the validation needs amos-dask[test]"
pytest.importorskip("kubernetes_validate", reason=_WHY)
pytest.importorskip("jsonschema", reason=_WHY)
pytest.importorskip("dask_kubernetes", reason=_WHY)

from deploy.manifests import (  # noqa: E402
    Pod,
    Resource,
    containers_of,
    custom_schemas,
    find_errors,
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


def test_the_operators_schemas_are_those_in_use() -> None:
    assert {kind for _, kind in custom_schemas()} >= {"DaskJob", "DaskCluster", "DaskAutoscaler"}


def scheduler_of(documents: list[Resource]) -> Resource:
    scheduler: Resource = of_kind(documents, "DaskJob")["spec"]["cluster"]["spec"]["scheduler"]
    return scheduler


def worker_of(documents: list[Resource]) -> Resource:
    worker: Resource = of_kind(documents, "DaskJob")["spec"]["cluster"]["spec"]["worker"]
    return worker


def rename(mapping: dict[str, Any], old: str, new: str) -> None:
    mapping[new] = mapping.pop(old)


Mutation = Callable[[list[Resource]], None]
MUTATIONS: list[Any] = []


def mutation(text: str) -> Callable[[Mutation], Mutation]:
    """Add a mistake to those that must be found; ``text`` is part of what is said of it."""

    def add(function: Mutation) -> Mutation:
        MUTATIONS.append(pytest.param(function, text, id=function.__name__))
        return function

    return add


@mutation("'imge' was unexpected")
def misspelt_image(d: list[Resource]) -> None:
    rename(worker_of(d)["spec"]["containers"][0], "image", "imge")


@mutation("'replica' was unexpected")
def misspelt_replicas(d: list[Resource]) -> None:
    rename(worker_of(d), "replicas", "replica")


@mutation("'lables' was unexpected")
def misspelt_labels(d: list[Resource]) -> None:
    rename(of_kind(d, "DaskJob")["metadata"], "labels", "lables")


@mutation("'runAsNonroot' was unexpected")
def misspelt_security(d: list[Resource]) -> None:
    rename(worker_of(d)["spec"]["securityContext"], "runAsNonRoot", "runAsNonroot")


@mutation("'accessMode' was unexpected")
def misspelt_access_modes(d: list[Resource]) -> None:
    rename(of_kind(d, "PersistentVolumeClaim")["spec"], "accessModes", "accessMode")


@mutation("'maximun' was unexpected")
def misspelt_maximum(d: list[Resource]) -> None:
    rename(of_kind(d, "DaskAutoscaler")["spec"], "maximum", "maximun")


@mutation("'podSelector' is a required property")
def misspelt_policy(d: list[Resource]) -> None:
    policies = [found for found in d if found["kind"] == "NetworkPolicy"]
    rename(policies[0]["spec"], "podSelector", "podSelektor")


@mutation("'two' is not of type 'integer'")
def replicas_as_a_word(d: list[Resource]) -> None:
    worker_of(d)["replicas"] = "two"


@mutation("'1' is not of type 'integer'")
def minimum_in_quotes(d: list[Resource]) -> None:
    of_kind(d, "DaskAutoscaler")["spec"]["minimum"] = "1"


@mutation("'10001' is not of type 'integer'")
def user_in_quotes(d: list[Resource]) -> None:
    scheduler_of(d)["spec"]["securityContext"]["runAsUser"] = "10001"


@mutation("1 is not of type 'string'")
def cpu_without_quotes(d: list[Resource]) -> None:
    worker_of(d)["spec"]["containers"][0]["resources"]["limits"]["cpu"] = 1


@mutation("1 is not of type 'string'")
def environment_without_quotes(d: list[Resource]) -> None:
    worker_of(d)["spec"]["containers"][0]["env"][0]["value"] = 1


@mutation("'8786' is not of type 'integer'")
def port_in_quotes(d: list[Resource]) -> None:
    scheduler_of(d)["service"]["ports"][0]["port"] = "8786"


@mutation("'service' is a required property")
def missing_service(d: list[Resource]) -> None:
    del scheduler_of(d)["service"]


@mutation("'cluster' is a required property")
def missing_cluster(d: list[Resource]) -> None:
    del of_kind(d, "DaskJob")["spec"]["cluster"]


@mutation("'containers' is a required property")
def missing_containers(d: list[Resource]) -> None:
    del worker_of(d)["spec"]["containers"]


@mutation("Service amos-dask-scheduler selects 0 pods")
def service_for_another_cluster(d: list[Resource]) -> None:
    scheduler_of(d)["service"]["selector"]["dask.org/cluster-name"] = "amos"


@mutation("Service amos-dask-scheduler leads to port comm")
def service_for_another_port(d: list[Resource]) -> None:
    scheduler_of(d)["service"]["ports"][0]["targetPort"] = "comm"


@mutation("there is no volume claim amos-data")
def missing_claim(d: list[Resource]) -> None:
    d.remove(of_kind(d, "PersistentVolumeClaim"))


@mutation("there is no volume claim amos-dta")
def misspelt_claim(d: list[Resource]) -> None:
    worker_of(d)["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = "amos-dta"


@mutation("several images")
def another_image(d: list[Resource]) -> None:
    worker_of(d)["spec"]["containers"][0]["image"] = "amos-dask:0.0.9"


@mutation("is not pinned")
def image_of_the_day(d: list[Resource]) -> None:
    worker_of(d)["spec"]["containers"][0]["image"] = "amos-dask:latest"


@mutation("no NetworkPolicy selects it")
def pods_without_the_policys_label(d: list[Resource]) -> None:
    of_kind(d, "DaskJob")["metadata"]["labels"] = {}


@mutation("lets everybody in")
def policy_for_everybody(d: list[Resource]) -> None:
    policies = [found for found in d if found["kind"] == "NetworkPolicy"]
    del policies[0]["spec"]["ingress"][0]["from"]


@mutation("DaskAutoscaler is for amos")
def autoscaler_of_another_cluster(d: list[Resource]) -> None:
    of_kind(d, "DaskAutoscaler")["spec"]["cluster"] = "amos"


@mutation("may run as root")
def root(d: list[Resource]) -> None:
    worker_of(d)["spec"]["securityContext"]["runAsUser"] = 0


@mutation("may write into its image")
def writable_image(d: list[Resource]) -> None:
    scheduler_of(d)["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False


@mutation("requests are not its limits")
def no_memory_limit(d: list[Resource]) -> None:
    worker_of(d)["spec"]["containers"][0]["resources"]["limits"]["memory"] = "4Gi"


@mutation("no volume scratsh")
def misspelt_volume(d: list[Resource]) -> None:
    worker_of(d)["spec"]["containers"][0]["volumeMounts"][1]["name"] = "scratsh"


@pytest.mark.parametrize(("change", "text"), MUTATIONS)
def test_a_mistake_in_a_manifest_is_found(change: Mutation, text: str) -> None:
    documents = manifests()
    change(documents)
    assert any(text in error for error in find_errors(documents)), find_errors(documents)


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


@pytest.mark.parametrize("field", ["spec", "service"])
def test_a_mistake_in_what_is_generated_is_found(field: str, settings: Callable[..., None]) -> None:
    spec = cluster_spec(ClusterOptions())
    rename(spec["spec"]["scheduler"], field, field[:-1])
    assert find_errors([spec], outside=CLAIM) != []


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
