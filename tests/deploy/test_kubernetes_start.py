"""``--cluster kubernetes``: from nothing to a client and back, and one sentence when it cannot."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dask
import pytest

from amos_dask.engine import kubernetes as ours
from amos_dask.engine.connect import connect
from amos_dask.engine.options import ClusterOptions, load_defaults
from amos_dask.engine.pods import cluster_spec
from amos_dask.errors import ClusterError

_WHY = "clusters of pods need amos-dask[kubernetes]; the stand-in for one, amos-dask[test]"
pytest.importorskip("dask_kubernetes", reason=_WHY)
pytest.importorskip("kubernetes_validate", reason=_WHY)

from deploy.fake_kubernetes import FakeKubernetes  # noqa: E402
from deploy.manifests import find_errors, read_documents  # noqa: E402
from deploy.processes import (  # noqa: E402
    command_of,
    environment_of,
    running,
    scheduler_of,
    workers_of,
)

pytestmark = pytest.mark.integration

JOB = Path(__file__).parents[2] / "deploy" / "kubernetes" / "job.yaml"


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKubernetes]:
    """Return a stand-in for Kubernetes that the kubeconfig leads to."""
    with FakeKubernetes() as api:
        monkeypatch.setenv("KUBECONFIG", str(api.write_kubeconfig(tmp_path / "config")))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.setattr(ours, "_LOOK_SECONDS", 0.05)
        load_defaults()
        yield api


def refused(tell: Callable[[str], None] = print, **options: Any) -> str:
    with (
        pytest.raises(ClusterError) as caught,
        connect(ClusterOptions("kubernetes", **options), tell),
    ):
        pass
    message = str(caught.value)
    assert "\n" not in message
    assert ".." not in message
    return message


# ---------------------------------------------------------------- it works


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    """Return the cluster that is asked for where nothing is said."""
    load_defaults()
    return cluster_spec(ClusterOptions())


@pytest.fixture(scope="module")
def ports(
    spec: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, int]]:
    """Ports of a scheduler and its dashboard by those of the pod; a worker runs as well."""
    folder = tmp_path_factory.mktemp("pods")
    with scheduler_of(spec, folder) as (port, dashboard), workers_of(spec, folder, port, 1):
        yield {8786: port, 8787: dashboard}


@pytest.fixture
def with_scheduler(
    kubernetes: FakeKubernetes, ports: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> FakeKubernetes:
    """Return a stand-in whose scheduler and worker run, with the commands of the pods."""
    monkeypatch.setattr(ours._Cluster, "forwarding", lambda self, port, _: nullcontext(ports[port]))
    return kubernetes


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_cluster_is_made_used_and_deleted(with_scheduler: FakeKubernetes) -> None:
    made = with_scheduler.objects["daskclusters"]
    with connect(ClusterOptions("kubernetes", workers=3)) as client:
        assert client.submit(abs, -4).result() == 4
        assert get(client.dashboard_link.replace("/status", "/health")) == "ok"
        [cluster] = made.values()
        assert cluster["spec"]["worker"]["replicas"] == 3
        sent = {key: value for key, value in cluster.items() if key != "status"}
        assert find_errors([sent], outside=("amos-data",)) == []
    assert made == {}
    assert len(with_scheduler.deleted) == 1
    assert with_scheduler.objects["daskautoscalers"] == {}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_with_a_minimum_the_operator_is_asked_to_scale(with_scheduler: FakeKubernetes) -> None:
    with (
        dask.config.set({"amos-dask.kubernetes.minimum-workers": 1}),
        connect(ClusterOptions("kubernetes", workers=9)) as client,
    ):
        assert client.submit(abs, -4).result() == 4
        [cluster] = with_scheduler.objects["daskclusters"].values()
        [scaler] = with_scheduler.objects["daskautoscalers"].values()
        assert cluster["spec"]["worker"]["replicas"] == 1
        name = cluster["metadata"]["name"]
        assert scaler["spec"] == {"cluster": name, "minimum": 1, "maximum": 9}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_it_works_where_an_event_loop_runs_already_as_in_a_notebook(
    with_scheduler: FakeKubernetes,
) -> None:
    import asyncio

    async def cell() -> int:
        with connect(ClusterOptions("kubernetes")) as client:
            return int(client.submit(abs, -4).result())

    assert asyncio.run(cell()) == 4
    assert with_scheduler.objects["daskclusters"] == {}


# ---------------------------------------------------------------- the commands of the pods


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return str(response.read(), "utf-8")


def test_scheduler_and_worker_start_as_their_pods_would(
    spec: dict[str, Any], ports: dict[int, int]
) -> None:
    from distributed import Client

    with Client(f"tcp://127.0.0.1:{ports[8786]}", set_as_default=False) as client:
        client.wait_for_workers(1, timeout=60)
        [worker] = client.scheduler_info(n_workers=-1)["workers"].values()
        assert worker["name"] == "worker-0"  # by which the operator takes it away again
        assert worker["nthreads"] == 1
        assert worker["memory_limit"] == 1843 * 2**20
        [found] = client.run(lambda: dict(os.environ)).values()
        [container] = spec["spec"]["worker"]["spec"]["containers"]
        assert {e["name"]: found[e["name"]] for e in container["env"]} == {
            e["name"]: e["value"] for e in container["env"]
        }
        # What the operator asks, over HTTP.
        assert "workers" in get(f"http://127.0.0.1:{ports[8787]}/api/v1/adaptive_target")


def test_the_jobs_containers_do_a_run_when_the_runner_starts_first(tmp_path: Path) -> None:
    from amos_dask.phantom import write_archive

    write_archive(tmp_path / "AMOS22", n_ct=2, n_mri=0, size="tiny", form="zip")
    [job] = read_documents(JOB)
    cluster = job["spec"]["cluster"]
    [container] = job["spec"]["job"]["spec"]["containers"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = environment_of(container, DASK_SCHEDULER_ADDRESS=f"tcp://127.0.0.1:{port}")
    command = [w.replace("/data/", f"{tmp_path}/") for w in command_of(container, environment)]
    log = tmp_path / "runner.log"
    with running(command, environment, log) as runner:
        time.sleep(3)
        assert runner.poll() is None, log.read_text()
        with scheduler_of(cluster, tmp_path, port), workers_of(cluster, tmp_path, port, 1):
            assert runner.wait(120) == 0, log.read_text()
    assert (tmp_path / "AMOS22" / "grouped" / "dataset_manifest.xlsx").stat().st_size > 0


@pytest.mark.parametrize(("seconds", "attempts"), [(10, 1), (30, 3), (0, 1)])
def test_a_scheduler_at_an_address_is_tried_for_as_long_as_configured(
    seconds: int, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refuse(address: str, **settings: Any) -> None:
        tried.append(address)
        raise OSError

    monkeypatch.setattr("distributed.Client", refuse)
    load_defaults()
    with (
        dask.config.set({"amos-dask.connect-timeout": seconds}),
        pytest.raises(ClusterError, match="no Dask scheduler answers there"),
        connect(ClusterOptions("tcp://amos-dask-scheduler:8786")),
    ):
        pass
    assert len(tried) == attempts


# ---------------------------------------------------------------- it does not


def test_without_a_kubeconfig_there_is_one_sentence_in_seconds(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KUBE")}
    environment["HOME"] = str(tmp_path)
    started = time.monotonic()
    words = ["demo", str(tmp_path / "demo"), "--n_ct", "1", "--n_mri", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "amos_dask", *words, "--cluster", "kubernetes"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("amos-dask: no Dask cluster can be started on Kubernetes: ")
    assert "kubeconfig" in last
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 30


def test_an_api_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeKubernetes() as api:
        monkeypatch.setenv("KUBECONFIG", str(api.write_kubeconfig(tmp_path / "config")))
    assert "its API does not answer (" in refused()


def test_an_api_that_does_not_answer_is_given_up(
    kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "_ANSWER_SECONDS", 0.3)
    kubernetes.answers.clear()
    assert "its API does not answer within" in refused()


def test_a_missing_operator_is_said(kubernetes: FakeKubernetes) -> None:
    kubernetes.has_operator = False
    assert "the Dask operator is not installed there" in refused()


def test_all_missing_rights_are_said_before_anything_is_made(kubernetes: FakeKubernetes) -> None:
    kubernetes.denied = {"get pods/portforward", "delete daskclusters", "create daskautoscalers"}
    assert refused().endswith(
        "you lack rights in namespace team: delete daskclusters, get pods/portforward."
    )
    with dask.config.set({"amos-dask.kubernetes.minimum-workers": 2}):
        assert "create daskautoscalers" in refused()
    assert kubernetes.deleted == []


def test_in_a_pod_no_ports_are_forwarded_and_no_rights_needed_for_it(
    kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    kubernetes.denied = {"get pods/portforward", "create pods/portforward"}
    monkeypatch.setattr("distributed.Client", not_there)
    assert ".team:8786: no Dask scheduler answers there" in refused()
    assert kubernetes.objects["daskclusters"] == {}


def not_there(address: str, **settings: Any) -> None:
    raise OSError


def test_a_refusal_is_told_in_kubernetes_words(kubernetes: FakeKubernetes) -> None:
    kubernetes.refusal = "daskclusters is forbidden: exceeded quota."
    assert refused().endswith("on Kubernetes: daskclusters is forbidden: exceeded quota.")


def test_a_missing_claim_is_said_before_anything_is_made(kubernetes: FakeKubernetes) -> None:
    kubernetes.claims = set()
    assert "namespace team has no volume claim amos-data" in refused()
    assert kubernetes.deleted == []


def test_an_operator_that_does_not_act_is_said(
    kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "_OPERATOR_SECONDS", 0.2)
    kubernetes.operator_acts = False
    assert "the Dask operator does not act" in refused()
    assert kubernetes.objects["daskclusters"] == {}
    assert len(kubernetes.deleted) == 1


def test_a_cluster_that_is_deleted_while_it_starts_is_said(
    kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: kubernetes.objects["daskclusters"].clear())
    kubernetes.pod_status["scheduler"] = {"phase": "Pending"}
    assert "its cluster was deleted" in refused()


@pytest.mark.parametrize("component", ["scheduler", "worker"])
@pytest.mark.parametrize("kind", ["initContainerStatuses", "containerStatuses"])
def test_an_image_that_cannot_be_pulled_is_said_and_nothing_stays(
    kubernetes: FakeKubernetes, kind: str, component: str
) -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling amos-dask:0.1.0."}
    kubernetes.pod_status[component] = {
        "phase": "Pending",
        kind: [{"state": {"waiting": waiting}}],
    }
    message = refused()
    assert f"the {component}'s pod does not start: ImagePullBackOff: Back-off pulling" in message
    assert kubernetes.objects["daskclusters"] == {}


@pytest.mark.parametrize("component", ["scheduler", "worker"])
def test_a_pod_for_which_there_is_no_room_is_told_of_and_given_up_with_the_reason(
    kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch, component: str
) -> None:
    monkeypatch.setattr(ours, "_START_SECONDS", 0.3)
    monkeypatch.setattr(ours, "SECONDS_OF_SILENCE", 0.1)
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu.",
    }
    kubernetes.pod_status[component] = {"phase": "Pending", "conditions": [condition]}
    told: list[str] = []
    reason = "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu"
    with dask.config.set({"amos-dask.patience": 0.3}):
        assert reason in refused(told.append)
    assert told == [f"waiting for the {component}'s pod: {reason}"]
    assert kubernetes.objects["daskclusters"] == {}


def test_ctrl_c_while_it_starts_leaves_nothing_behind(
    kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    kubernetes.pod_status["scheduler"] = {"phase": "Pending"}
    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt), connect(ClusterOptions("kubernetes")):
        pass
    assert kubernetes.objects["daskclusters"] == {}
    assert len(kubernetes.deleted) == 1


def test_ctrl_c_while_the_cluster_is_being_made_leaves_nothing_behind(
    kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = kubernetes.answer

    def slowly(method: str, *arguments: Any) -> tuple[int, Any]:
        if method == "POST" and "daskclusters" in arguments[0]:
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.5)
        return answer(method, *arguments)

    monkeypatch.setattr(kubernetes, "answer", slowly)
    with pytest.raises(KeyboardInterrupt), connect(ClusterOptions("kubernetes")):
        pass
    assert kubernetes.objects["daskclusters"] == {}
    assert len(kubernetes.deleted) == 1


def test_what_cannot_be_deleted_is_told_with_the_command_for_it(
    kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = kubernetes.answer

    def forgetful(method: str, *arguments: Any) -> tuple[int, Any]:
        return (403, {"message": "no"}) if method == "DELETE" else answer(method, *arguments)

    monkeypatch.setattr(kubernetes, "answer", forgetful)
    monkeypatch.setattr(ours, "_START_SECONDS", 0)
    kubernetes.pod_status["scheduler"] = {"phase": "Pending"}
    told: list[str] = []
    assert "still not ready: Pending" in refused(told.append)
    [name] = kubernetes.objects["daskclusters"]
    assert f"'kubectl delete daskcluster {name} --namespace team' does it" in told[-1]


def test_keys_may_be_set_by_variables_and_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "DASK_AMOS_DASK__KUBERNETES__IDLE_TIMEOUT": "60",
        "DASK_AMOS_DASK__KUBERNETES__MINIMUM_WORKERS": "2",
        "DASK_AMOS_DASK__KUBERNETES__IMAGE_PULL_SECRET": "pull",
        "DASK_AMOS_DASK__KUBERNETES__WORKER_SELECTOR": '{"pool": "spot"}',
        "DASK_AMOS_DASK__KUBERNETES__USER": "1000:2000",
    }
    code = (
        "import json; from amos_dask.engine.pods import cluster_spec;"
        "from amos_dask import ClusterOptions; print(json.dumps(cluster_spec(ClusterOptions())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    spec = json.loads(done.stdout)["spec"]
    pod = spec["worker"]["spec"]
    assert spec["idleTimeout"] == 60
    assert spec["worker"]["replicas"] == 2
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["nodeSelector"] == {"pool": "spot"}
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (
        1000,
        2000,
    )


def test_a_user_without_a_name_may_start_a_cluster(
    with_scheduler: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_name(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", no_name)
    monkeypatch.setattr(os, "geteuid", lambda: 20001)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    with connect(ClusterOptions("kubernetes")) as client:
        assert client.submit(abs, -4).result() == 4
        [cluster] = with_scheduler.objects["daskclusters"].values()
    worker = cluster["spec"]["worker"]["spec"]
    assert worker["securityContext"]["runAsUser"] == 20001  # what pods write is the user's own


def test_tls_is_refused_rather_than_left_out(kubernetes: FakeKubernetes) -> None:
    assert "--tls" in refused(tls=True)


def test_without_kr8s_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kr8s", None)
    assert "amos-dask[kubernetes]" in refused()
