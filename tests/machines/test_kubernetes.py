"""On a real Kubernetes: the job, a client here and one in a pod, what is lost, what cannot be.

``pytest -m kubernetes`` with KUBECONFIG for an administrator of a cluster with the Dask operator,
and AMOS_DASK_KUBERNETES_IMAGE for an image of this checkout with EXTRAS='[kubernetes]'. Where nodes
do not see this machine's temporary folder, AMOS_DASK_KUBERNETES_FOLDER is one that they see
under the same path.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from required import missing
from roots import assert_same, contents

import amos_dask
from amos_dask.engine import kubernetes as ours

pytestmark = pytest.mark.kubernetes
DEPLOY = Path(__file__).parents[2] / "deploy" / "kubernetes"
LABELS = {"app.kubernetes.io/name": "amos-dask"}
# For an image to be pulled and pods to start, on a machine that has other things to do.
PATIENCE_SECONDS = 300


@dataclass(frozen=True)
class Cluster:
    """A namespace of a real cluster, and a folder that this machine and the claim share."""

    namespace: str
    image: str
    folder: Path
    kubeconfig: Path

    def kubectl(self, *words: object, document: Any = None) -> str:
        done = subprocess.run(
            ["kubectl", "--namespace", self.namespace, *map(str, words)],
            input=None if document is None else yaml.safe_dump_all(document),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def names(self, kind: str, component: str = "") -> list[str]:
        selector = [f"--selector=dask.org/component={component}"] if component else []
        return self.kubectl("get", kind, "--output=name", *selector).split()

    @property
    def environment(self) -> dict[str, str]:
        keys = {"IMAGE": self.image, "NAMESPACE": self.namespace, "MOUNT": self.folder}
        return {f"DASK_AMOS_DASK__KUBERNETES__{key}": str(value) for key, value in keys.items()}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Make a namespace with a claim, and a client that has the rights of the guide, no others."""
    image = os.environ.get("AMOS_DASK_KUBERNETES_IMAGE")
    if not image or "KUBECONFIG" not in os.environ or shutil.which("kubectl") is None:
        missing("kubernetes", "it needs KUBECONFIG, AMOS_DASK_KUBERNETES_IMAGE and kubectl")
    name = f"amos-dask-{secrets.token_hex(3)}"
    with tempfile.TemporaryDirectory(dir=os.environ.get("AMOS_DASK_KUBERNETES_FOLDER")) as made:
        folder = Path(made)
        folder.chmod(0o777)  # pods that root starts are not root
        found = Cluster(name, image, folder, folder / "kubeconfig")
        try:
            found.kubectl("create", "--filename=-", document=prepared(found))
            found.kubectl("apply", f"--filename={DEPLOY / 'network-policy.yaml'}")
            write_kubeconfig(found, "client", found.kubeconfig)
            yield found
        finally:
            for kind in ("namespace", "persistentvolume"):
                found.kubectl("delete", kind, name, "--ignore-not-found")


def prepared(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """Yield what an administrator makes."""
    name, path = cluster.namespace, str(cluster.folder)
    size, modes = {"storage": "10Gi"}, ["ReadWriteMany"]
    asked = {"resources": {"requests": size}, "storageClassName": "", "volumeName": name}
    claim = {"accessModes": modes, **asked}
    disk = {"accessModes": modes, "capacity": size, "hostPath": {"path": path}}
    role = {"kind": "Role", "name": "amos-dask-client", "apiGroup": "rbac.authorization.k8s.io"}
    for version, kind, called, more in (
        ("v1", "Namespace", name, {}),
        ("v1", "PersistentVolume", name, {"spec": disk}),
        ("v1", "PersistentVolumeClaim", "amos-data", {"spec": claim}),
        ("v1", "ServiceAccount", "client", {}),
        ("v1", "ServiceAccount", "nobody", {}),
        (
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            "client",
            {"roleRef": role, "subjects": [{"kind": "ServiceAccount", "name": "client"}]},
        ),
    ):
        yield {"apiVersion": version, "kind": kind, "metadata": {"name": called}, **more}
    yield from yaml.safe_load_all((DEPLOY / "client" / "role.yaml").read_text())


def write_kubeconfig(cluster: Cluster, account: str, path: Path) -> None:
    view = cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json")
    config = json.loads(view)
    token = cluster.kubectl("create", "token", account, "--duration=4h").strip()
    config["users"] = [{"name": account, "user": {"token": token}}]
    config["contexts"][0]["context"]["user"] = account
    path.write_text(json.dumps(config))


@dataclass(frozen=True)
class Place:
    """An archive on the claim, and the tree of a local run on it."""

    archive: Path
    expected: dict[str, Any]


@pytest.fixture(scope="module")
def place(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, cluster_address: str
) -> Place:
    """The demo's archive, larger so that something can happen meanwhile."""
    archive = amos_dask.write_archive(cluster.folder, n_ct=14, n_mri=6, form="zip").path
    root = tmp_path_factory.mktemp("local") / "R"
    amos_dask.run(root, archive, cluster=cluster_address, progress="none")
    return Place(archive, contents(root))


class Program:
    """The program with a cluster of pods, telling its events."""

    def __init__(
        self,
        cluster: Cluster,
        place: Place,
        root: Path,
        *options: str,
        umask: int = -1,
        **settings: object,
    ) -> None:
        command = ["run", root, "--archive", place.archive, "--cluster", "kubernetes", "--workers"]
        command += ["2", "--memory", "1GiB", "--dashboard_port", "0", "--json", *options]
        keys = {f"DASK_AMOS_DASK__{key.upper()}": str(value) for key, value in settings.items()}
        self.notices: list[str] = []
        # What root makes here others may write to, since pods that root starts are not root.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "amos_dask", *map(str, command)],
            env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)} | cluster.environment | keys,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=0 if umask < 0 and os.getuid() == 0 else umask,
        )

    def events(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            if event.get("event") == "Notice":
                self.notices.append(event["message"])
            yield event

    def wait_for_samples(self, count: int) -> None:
        """Return when so many samples have ended."""
        for event in self.events():
            count -= event["event"] == "TaskEnded" and event["phase"] == "sample"
            if count <= 0:
                return
        assert self.process.stderr is not None
        raise AssertionError(f"the run ended too early: {self.process.stderr.read()}")

    def finish(self) -> tuple[int, str]:
        with self.process:
            for _ in self.events():
                pass
            assert self.process.stderr is not None
            words = self.process.stderr.read()
        return self.process.returncode, words


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.5)


def assert_nothing_left(cluster: Cluster, seconds: float = 120.0) -> None:
    """Wait until no pod is left; a kubelet takes its time with pods that it was starting."""
    wait_until(lambda: not cluster.names("daskclusters") + cluster.names("pods"), seconds)


# ---------------------------------------------------------------- it works


def test_a_run_from_here_is_a_local_run(cluster: Cluster, place: Place) -> None:
    root = cluster.folder / "R"
    program = Program(cluster, place, root)
    assert program.finish() == (0, "")
    assert_same(place.expected, contents(root))
    assert_nothing_left(cluster, 30)


def test_a_run_that_scales_is_a_local_run(cluster: Cluster, place: Place) -> None:
    root = cluster.folder / "scaled"
    program = Program(cluster, place, root, kubernetes__minimum_workers=1)
    assert program.finish() == (0, "")
    assert_same(place.expected, contents(root))
    assert_nothing_left(cluster)


def test_a_run_in_a_pod_without_a_name_for_its_user_is_a_local_run(
    cluster: Cluster, place: Place
) -> None:
    root = cluster.folder / "in_a_pod"
    [job] = yaml.safe_load_all((DEPLOY / "job.yaml").read_text())
    pod = configured_for(cluster, job["spec"]["job"]["spec"])
    [container] = pod["containers"]
    container["args"] = ["run", str(root), "--archive", str(place.archive), "--workers", "2"]
    container["args"] += ["--memory", "1GiB", "--cluster", "kubernetes"]
    container["env"] = [{"name": k, "value": v} for k, v in cluster.environment.items()]
    pod |= {"serviceAccountName": "client", "automountServiceAccountToken": True}
    about = {"name": "notebook", "labels": LABELS}
    cluster.kubectl(
        *("create", "--filename=-"),
        document=[{"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": pod}],
    )
    assert end_of_pod(cluster, "notebook") == "Succeeded", cluster.kubectl("logs", "notebook")
    log = cluster.kubectl("logs", "notebook")
    cluster.kubectl("delete", "pod", "notebook")
    assert f"kubectl port-forward --namespace {cluster.namespace} service/amos-dask-" in log
    assert_same(place.expected, contents(root))
    assert_nothing_left(cluster)


def test_the_job_is_a_local_run_and_tells_the_way_to_its_dashboard(
    cluster: Cluster, place: Place
) -> None:
    root = cluster.folder / "job"
    [job] = yaml.safe_load_all((DEPLOY / "job.yaml").read_text())
    runner = configured_for(cluster, job["spec"]["job"]["spec"])
    runner["containers"][0]["args"] = ["run", str(root), "--archive", str(place.archive)]
    for kind in ("scheduler", "worker"):
        configured_for(cluster, job["spec"]["cluster"]["spec"][kind]["spec"])
    [scaler] = yaml.safe_load_all((DEPLOY / "autoscaler.yaml").read_text())
    cluster.kubectl("apply", "--filename=-", document=[job, scaler])
    state = ("get", "daskjob", "amos-dask", "--output=jsonpath={.status.jobStatus}")
    wait_until(
        lambda: cluster.kubectl(*state) in ("Successful", "Failed"), seconds=2 * PATIENCE_SECONDS
    )
    log = cluster.kubectl("logs", "amos-dask-runner")
    assert cluster.kubectl(*state) == "Successful", log
    assert (
        f"from elsewhere: kubectl port-forward --namespace {cluster.namespace} "
        "service/amos-dask-scheduler 8787:8787\n"
    ) in log
    assert_same(place.expected, contents(root))
    cluster.kubectl("delete", "daskjob", "amos-dask")
    assert_nothing_left(cluster)


def configured_for(cluster: Cluster, pod: dict[str, Any]) -> dict[str, Any]:
    """Return a pod of the manifest with the test's image, and the claim under the path of here."""
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        container["image"] = cluster.image
        for mount in container["volumeMounts"]:
            if mount["name"] == "data":
                mount["mountPath"] = str(cluster.folder)
    return pod


def end_of_pod(cluster: Cluster, name: str, seconds: float = 2 * PATIENCE_SECONDS) -> str:
    state = ("get", "pod", name, "--output=jsonpath={.status.phase}")
    wait_until(lambda: cluster.kubectl(*state) in ("Succeeded", "Failed"), seconds)
    return cluster.kubectl(*state)


# ---------------------------------------------------------------- what is lost


def test_a_worker_that_is_deleted_costs_nothing(cluster: Cluster, place: Place) -> None:
    root = cluster.folder / "worker"
    program = Program(cluster, place, root)
    program.wait_for_samples(4)
    cluster.kubectl("delete", "--wait=false", cluster.names("pods", "worker")[0])
    assert program.finish() == (0, "")
    assert_same(place.expected, contents(root))
    assert_nothing_left(cluster)


def test_a_scheduler_that_is_deleted_ends_the_run_and_the_next_goes_on(
    cluster: Cluster, place: Place
) -> None:
    root = cluster.folder / "scheduler"
    program = Program(cluster, place, root)
    program.wait_for_samples(1)
    program.process.send_signal(signal.SIGSTOP)  # so that it is in the middle, however fast
    [scheduler] = cluster.names("pods", "scheduler")
    cluster.kubectl("delete", "--grace-period=1", scheduler)
    program.process.send_signal(signal.SIGCONT)
    code, words = program.finish()
    assert code == 1
    assert "is gone; run the same command again" in words
    assert words.count("\n") == 1, words
    assert_nothing_left(cluster)
    assert Program(cluster, place, root).finish() == (0, "")
    assert_same(place.expected, contents(root))
    assert_nothing_left(cluster)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["made", "at work"])
def test_a_signal_takes_everything_away(
    cluster: Cluster, place: Place, number: signal.Signals, when: str
) -> None:
    program = Program(cluster, place, cluster.folder / f"{when}-{number}")
    if when == "made":
        wait_until(lambda: bool(cluster.names("daskclusters")), PATIENCE_SECONDS)
    else:
        program.wait_for_samples(2)
    program.process.send_signal(number)
    code, words = program.finish()
    assert code == 128 + number
    assert words.count("\n") <= 1, words
    assert_nothing_left(cluster)


def test_the_cluster_of_a_client_that_is_killed_goes_when_it_has_been_idle(
    cluster: Cluster, place: Place
) -> None:
    program = Program(cluster, place, cluster.folder / "killed", kubernetes__idle_timeout=20)
    program.wait_for_samples(2)
    program.process.kill()
    program.finish()
    assert cluster.names("daskclusters") != []
    wait_until(lambda: not cluster.names("daskclusters"), 120)
    assert_nothing_left(cluster)


# ---------------------------------------------------------------- what cannot be

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "image": ({"kubernetes__image": "registry.example.org/nothing:1"}, "ImagePullBackOff: "),
    "claim": ({"kubernetes__claim": "missing"}, "has no volume claim missing"),
    "room": ({"patience": 25, "memory": "900GiB"}, "Unschedulable: "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_start_is_one_sentence_and_nothing_stays(
    cluster: Cluster, place: Place, case: str
) -> None:
    settings, reason = REFUSED[case]
    options = ["--memory", settings["memory"]] if "memory" in settings else []
    program = Program(cluster, place, cluster.folder / case, *options, **settings)
    code, words = program.finish()
    assert code == 1
    assert words.startswith("amos-dask: no Dask cluster can be started on Kubernetes: ")
    assert reason in words
    assert words.count("\n") == 1, words
    assert ".." not in words.replace("...", "")
    if case == "room":
        assert any(reason in notice for notice in program.notices)
    assert_nothing_left(cluster)


def test_rights_that_lack_are_all_named(cluster: Cluster, place: Place, tmp_path: Path) -> None:
    write_kubeconfig(cluster, "nobody", tmp_path / "nobody")
    powerless = Cluster(cluster.namespace, cluster.image, cluster.folder, tmp_path / "nobody")
    code, words = Program(powerless, place, cluster.folder / "nobody").finish()
    assert code == 1
    named = ", ".join((*ours.RIGHTS, *ours.RIGHTS_TO_FORWARD))
    assert words.endswith(f"you lack rights in namespace {cluster.namespace}: {named}.\n")


@pytest.mark.skipif(os.getuid() != 0, reason="pods run as whoever starts them, unless it is root")
def test_folders_that_pods_cannot_write_to_are_noticed_before_work(
    cluster: Cluster, place: Place
) -> None:
    root = cluster.folder / "closed"
    root.mkdir()
    root.chmod(0o777)
    code, words = Program(cluster, place, root, umask=0o022).finish()
    assert code == 1
    assert "(user 10001:10001) and this machine (user 0:0) cannot write to each other's" in words
    assert not (root / "grouped").exists()
    assert_nothing_left(cluster)


def test_an_operator_that_does_not_act_is_said(cluster: Cluster, place: Place) -> None:
    of_operators = "--selector=app.kubernetes.io/name=dask-kubernetes-operator"
    where = "--output=jsonpath={.items[0].metadata.namespace}"
    space = cluster.kubectl("get", "deployments", "--all-namespaces", of_operators, where)
    scale = ("scale", "deployments", f"--namespace={space}", of_operators)
    cluster.kubectl(*scale, "--replicas=0")
    try:
        wait_until(lambda: not cluster.kubectl("get", "pods", f"--namespace={space}", of_operators))
        code, words = Program(cluster, place, cluster.folder / "no_operator").finish()
    finally:
        cluster.kubectl(*scale, "--replicas=1")
    assert code == 1
    assert "the Dask operator does not act; is it running?" in words
    assert_nothing_left(cluster)


def test_others_do_not_reach_the_scheduler(
    cluster: Cluster, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(cluster, place, cluster.folder / "network", kubernetes__idle_timeout=600)
    wait_until(lambda: bool(cluster.names("services")), PATIENCE_SECONDS)
    [service] = cluster.names("services")
    code = (
        "import socket, sys, time\n"
        f"where = '{service.partition('/')[2]}.{cluster.namespace}.svc.cluster.local', 8786\n"
        "for _ in range(8):\n"
        "    try: sys.exit(socket.create_connection(where, 3).close())\n"
        "    except OSError as error: print(error); time.sleep(1)\n"
        "sys.exit(1)\n"
    )
    program.wait_for_samples(1)
    program.process.send_signal(signal.SIGSTOP)  # so that the scheduler stays
    try:
        for name, labels in (("friend", LABELS), ("stranger", {})):
            [pod] = yaml.safe_load_all((DEPLOY / "files.yaml").read_text())
            pod["metadata"] = {"name": name, "labels": labels}
            pod["spec"]["restartPolicy"] = "Never"
            configured_for(cluster, pod["spec"])
            pod["spec"]["containers"][0]["command"] = ["python", "-c", code]
            cluster.kubectl("create", "--filename=-", document=[pod])
        ends = {name: end_of_pod(cluster, name) for name in ("friend", "stranger")}
    finally:
        program.process.send_signal(signal.SIGCONT)
        cluster.kubectl("delete", "pod", "friend", "stranger", "--ignore-not-found")
        program.finish()
    assert ends["friend"] == "Succeeded"
    if ends["stranger"] == "Succeeded":
        pytest.skip("this cluster's network does not enforce policies")
    assert_nothing_left(cluster)
