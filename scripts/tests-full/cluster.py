"""A Kubernetes control plane on this machine, for tests: etcd, the real API server and controller manager, and in place
of scheduler and kubelet a thread that binds every pod to one node and says that its containers run."""

import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

CONTROLLERS = (
    "deployment,replicaset,statefulset,daemonset,job,namespace,garbagecollector,serviceaccount,endpointslice,"
    "horizontalpodautoscaling,disruption"
)
MERGE_PATCH = "application/merge-patch+json"


class Cluster:
    """`with Cluster(apiserver, controller_manager) as cluster`: ready inside, gone afterwards."""

    def __init__(self, apiserver: str, controller_manager: str):
        self.programs = (apiserver, controller_manager)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cluster-"))
        self.kubeconfig = self.folder / "kubeconfig"
        self.processes = []
        self.stop = threading.Event()
        self.context = ssl.create_default_context()
        # The API server makes its certificate itself, at each start.
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    def __enter__(self) -> "Cluster":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop.set()
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        client, peer, secure, manager = (free_port() for _ in range(4))
        self.url = f"https://127.0.0.1:{secure}"
        self.run(
            "etcd", "--data-dir", self.folder / "etcd", "--unsafe-no-fsync",
            "--listen-client-urls", f"http://127.0.0.1:{client}",
            "--advertise-client-urls", f"http://127.0.0.1:{client}",
            "--listen-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-cluster", f"default=http://127.0.0.1:{peer}",
        )
        key = self.folder / "service-account.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        (self.folder / "tokens.csv").write_text("secret,admin,1,system:masters\n")
        apiserver, controller_manager = self.programs
        self.run(
            apiserver, f"--etcd-servers=http://127.0.0.1:{client}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={secure}", f"--cert-dir={self.folder}/certificates",
            "--service-cluster-ip-range=10.0.0.0/24", "--service-account-issuer=https://local",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            f"--token-auth-file={self.folder}/tokens.csv", "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
        )
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "test", "user": {"token": "secret"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }))
        self.wait_for("the API server is ready", lambda: self.ask("GET", "/readyz") == "ok", 60)
        self.run(
            controller_manager, f"--kubeconfig={self.kubeconfig}", "--leader-elect=false",
            "--bind-address=127.0.0.1", f"--secure-port={manager}", "--authentication-skip-lookup",
            f"--controllers={CONTROLLERS}",
        )
        threading.Thread(target=Kubelet(self).serve, daemon=True).start()

    def run(self, *command) -> None:
        name = pathlib.Path(command[0]).name
        log = open(self.folder / f"{name}.log", "wb")
        self.processes.append(subprocess.Popen([str(part) for part in command], stdout=log, stderr=log))

    def ask(self, method: str, path: str, body=None, content_type: str = "application/json"):
        """The answer of the API server: an object, a text where it is no JSON, `None` where it refuses."""
        request = urllib.request.Request(
            self.url + path, method=method, data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": "Bearer secret", "Content-Type": content_type},
        )
        try:
            text = urllib.request.urlopen(request, context=self.context, timeout=20).read().decode()
        except (urllib.error.URLError, OSError):
            return None
        return json.loads(text) if text.startswith("{") else text

    def pods(self, namespace: str) -> list:
        return (self.ask("GET", f"/api/v1/namespaces/{namespace}/pods") or {}).get("items", [])

    def wait_for(self, what: str, is_so, patience: float = 30):
        deadline = time.time() + patience
        while time.time() < deadline:
            for process in self.processes:
                if process.poll() is not None:
                    raise SystemExit(f"{process.args[0]} ended:\n{self.log_of(process.args[0])}")
            result = is_so()
            if result:
                return result
            time.sleep(0.2)
        raise SystemExit(f"waited in vain until {what}\n{self.warnings()}")

    def warnings(self) -> str:
        events = (self.ask("GET", "/api/v1/events") or {}).get("items", [])
        return "\n".join(
            f"{event['involvedObject'].get('namespace')}/{event['involvedObject'].get('name')}: {event.get('message')}"
            for event in events if event.get("type") == "Warning"
        )

    def log_of(self, program: str) -> str:
        return (self.folder / f"{pathlib.Path(program).name}.log").read_text(errors="replace")[-4000:]


class Kubelet:
    """Scheduler and kubelet as far as a test of charts needs them: a pod with a restart policy other than Always is a
    job that succeeds, all others run and are ready."""

    NODE = "node-1"

    def __init__(self, cluster: Cluster):
        self.cluster = cluster

    def serve(self) -> None:
        self.register()
        while not self.cluster.stop.wait(0.2):
            self.cluster.ask("PATCH", f"/api/v1/nodes/{self.NODE}/status", self.node_status(), MERGE_PATCH)
            for pod in (self.cluster.ask("GET", "/api/v1/pods") or {}).get("items", []):
                self.attend(pod)

    def register(self) -> None:
        labels = {"kubernetes.io/hostname": self.NODE, "kubernetes.io/os": "linux"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.NODE, "labels": labels}}
        self.cluster.ask("POST", "/api/v1/nodes", node)
        # A new node is not ready, and no controller runs here that would take its word for it later.
        self.cluster.ask("PATCH", f"/api/v1/nodes/{self.NODE}", {"spec": {"taints": None}}, MERGE_PATCH)

    def node_status(self) -> dict:
        capacity = {"cpu": "8", "memory": "32Gi", "pods": "110"}
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": now()}
        return {"status": {"conditions": [ready], "capacity": capacity, "allocatable": capacity}}

    def attend(self, pod: dict) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if "deletionTimestamp" in metadata:
            self.cluster.ask("DELETE", path, {"gracePeriodSeconds": 0})
        elif not spec.get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": self.NODE}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": metadata["name"]}, "target": target}
            self.cluster.ask("POST", f"{path}/binding", binding)
        elif pod["status"].get("phase") not in ("Running", "Succeeded"):
            self.cluster.ask("PATCH", f"{path}/status", self.pod_status(spec), MERGE_PATCH)

    def pod_status(self, spec: dict) -> dict:
        is_job = spec.get("restartPolicy") != "Always"
        conditions = [
            {"type": kind, "status": "False" if is_job and kind != "PodScheduled" else "True", "lastTransitionTime": now()}
            for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ]
        sidecar = lambda container: container.get("restartPolicy") == "Always"
        return {"status": {
            "phase": "Succeeded" if is_job else "Running",
            "podIP": "10.1.0.9", "podIPs": [{"ip": "10.1.0.9"}],
            "conditions": conditions,
            "containerStatuses": [container_status(container, not is_job) for container in spec["containers"]],
            "initContainerStatuses": [
                container_status(container, not is_job and sidecar(container))
                for container in spec.get("initContainers", [])
            ],
        }}


def container_status(container: dict, runs: bool) -> dict:
    ended = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": now()}}
    return {
        "name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0,
        "ready": runs, "started": runs, "state": {"running": {"startedAt": now()}} if runs else ended,
    }


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def peer(name: str) -> list[str]:
    """The programs of `scripts/peers/NAME`. Ends the test with a message where they cannot be had."""
    root = pathlib.Path(__file__).resolve().parents[2]
    done = subprocess.run([root / "scripts/peers" / name], stdout=subprocess.PIPE, text=True, env=os.environ)
    if done.returncode == 77:
        print(f"skipped: {name} cannot be had here")
        raise SystemExit(0)
    if done.returncode != 0:
        raise SystemExit(f"scripts/peers/{name} failed with {done.returncode}")
    return done.stdout.split("\n")[:-1]
