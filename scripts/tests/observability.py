"""Real Prometheus, Alertmanager and collector processes on free ports, for tests that watch alerts fire."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PACKAGES = {"prometheus": "prometheus", "prometheus-alertmanager": "prometheus-alertmanager"}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def skip(reason: str) -> None:
    print(f"skipped: {reason}")
    sys.exit(0)


def install(*programs: str) -> None:
    """Installs Debian's packages where they are not there; without the means for it the test is skipped."""
    missing = [PACKAGES[program] for program in programs if not shutil.which(program)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        skip(f"only root can install what is not here: {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
        if subprocess.run(["apt-get", *command], env=environment, stdout=subprocess.DEVNULL).returncode != 0:
            skip(f"apt-get cannot install {', '.join(missing)}")


def program() -> str:
    """The collector, as `cargo test` has built it."""
    subprocess.run(["cargo", "build", "--locked", "--quiet"], cwd=ROOT, check=True)
    return str(TARGET / "debug/refusal-collector")


def peer(name: str) -> list[str]:
    """The programs of a peer that is got by a script of its own; where it cannot be had the test is skipped."""
    return peer_if_any(name) or sys.exit(0)


def peer_if_any(name: str) -> list[str] | None:
    """The programs of a peer; None, with a message, where it cannot be had."""
    found = subprocess.run([ROOT / "scripts/peers" / name], text=True, stdout=subprocess.PIPE)
    if found.returncode == 77:
        print(f"skipped: {name} cannot be had here")
        return None
    if found.returncode != 0:
        sys.exit(f"scripts/peers/{name} ended with {found.returncode}")
    return found.stdout.split()


def shipped_rules() -> str:
    return subprocess.run([program(), "rules"], check=True, text=True, stdout=subprocess.PIPE).stdout


def quickened(rules: str, evaluation: str, factor: int = 1) -> str:
    """Rules that are evaluated every `evaluation`, in a world whose time runs `factor` times as fast: what was a window
    of fifteen minutes is one of fifteen minutes / `factor`."""
    if factor > 1:
        seconds = lambda match: f"{int(match[1]) * UNITS[match[2]] * 1000 // factor}ms"
        rules = re.sub(r"(?<![\w.])(\d+)([smhd])(?!\w)", seconds, rules)
        rules = re.sub(r"< bool (\d+)", lambda match: f"< bool {int(match[1]) / factor}", rules)
    return re.sub(r"(?m)^( +interval:) \S+$", rf"\1 {evaluation}", rules)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(what: str, is_so, patience: float = 20):
    """The first result of `is_so` that is true. Ends the test after `patience` seconds without one."""
    deadline = time.monotonic() + patience
    while True:
        result = is_so()
        if result:
            return result
        if time.monotonic() > deadline:
            sys.exit(f"waited in vain for {patience}s until {what}")
        time.sleep(0.05)


def stays_so(what: str, is_so, seconds: float) -> None:
    """Ends the test if `is_so` is not true all the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_so():
            sys.exit(f"it did not stay so for {seconds}s that {what}")
        time.sleep(0.2)


def get(url: str, timeout: float = 5) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.read().decode()
    except (OSError, urllib.error.HTTPError):
        return None


class Process:
    """A program with a log file and a folder of its own. Closed, it is killed."""

    patience = 20

    def __init__(self, name: str, arguments: list[str], ready: str, folder: pathlib.Path, environment=None):
        self.name, self.arguments, self.ready, self.folder = name, arguments, ready, folder
        self.environment = {**os.environ, **(environment or {})}
        self.start()

    def start(self) -> None:
        log = open(self.folder / f"{self.name}.log", "ab")
        self.child = subprocess.Popen(self.arguments, stdout=log, stderr=log, cwd=self.folder, env=self.environment)
        log.close()
        wait_for(f"{self.name} is ready", lambda: self.is_running() and self.is_ready(), self.patience)

    def is_ready(self) -> bool:
        return get(self.ready) is not None

    def is_running(self) -> bool:
        if self.child.poll() is None:
            return True
        sys.exit(f"{self.name} has ended with {self.child.returncode}:\n{self.log()}")

    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text(errors="replace")[-4000:]

    def signal(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
        self.child.wait()

    def restart(self) -> None:
        self.close()
        self.start()

    def rss(self) -> int:
        """Bytes in RAM."""
        status = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


class Collector(Process):
    """The collector with the `refusal` processor; by default whatever comes is thrown away. It serves its metrics, and sends
    them as well where `push` says, the configuration of a periodic reader."""

    NOWHERE = "debug: {sampling_initial: 0, sampling_thereafter: 0}"

    def __init__(self, name: str, folder: pathlib.Path, push: str = "", refusal: str = "", exporter: str = NOWHERE):
        self.http, self.port, health = free_ports(3)
        self.endpoint = f"http://127.0.0.1:{self.http}"
        readers = f"{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {self.port}}}}}}}}}"
        if push:
            readers += f", {{periodic: {push}}}"
        config = f"""
receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{self.http}'}}}}}}}}
processors: {{refusal: {refusal}}}
exporters: {{{exporter}}}
extensions: {{health_check: {{endpoint: '127.0.0.1:{health}'}}}}
service:
  extensions: [health_check]
  pipelines: {{traces: {{receivers: [otlp], processors: [refusal], exporters: [{exporter.split(':')[0]}]}}}}
  telemetry:
    metrics: {{readers: [{readers}]}}
"""
        arguments = [program(), "--config", f"yaml:{config}"]
        super().__init__(name, arguments, f"http://127.0.0.1:{health}/ready", folder)

    def metrics(self) -> str:
        return get(f"http://127.0.0.1:{self.port}/metrics", timeout=30) or ""

    def send(self, spans: list[dict]) -> None:
        """Sends spans, each with its own resource and scope, in one request."""
        body = json.dumps({"resourceSpans": spans}).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.endpoint}/v1/traces", data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200, answer.status


def response(stop_reason: str, workload="checkout", provider="anthropic", model="claude-sonnet-4-5", scope="my.client"):
    """A span that tells of one LLM response."""
    call = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": provider, "gen_ai.request.model": model}
    return told(call | {"gen_ai.response.finish_reasons": [stop_reason]}, workload, scope)


def told(attributes: dict, workload="checkout", scope="my.client", **resource):
    """A span with these attributes, in a resource and a scope of its own."""
    now = time.time_ns()
    span = {
        "traceId": os.urandom(16).hex(),
        "spanId": os.urandom(8).hex(),
        "name": f"chat {attributes.get('gen_ai.request.model', '')}",
        "kind": 3,
        "startTimeUnixNano": str(now - 1_000_000_000),
        "endTimeUnixNano": str(now),
        "attributes": pairs(attributes),
    }
    resource = {"attributes": pairs({"service.name": workload, **resource})}
    return {"resource": resource, "scopeSpans": [{"scope": {"name": scope}, "spans": [span]}]}


def pairs(attributes: dict) -> list[dict]:
    return [{"key": key, "value": any_value(value)} for key, value in attributes.items()]


def any_value(value) -> dict:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case list():
            return {"arrayValue": {"values": [any_value(each) for each in value]}}
        case _:
            return {"stringValue": value}


class Alertmanager(Process):
    def __init__(self, folder: pathlib.Path):
        [self.port] = free_ports(1)
        config = folder / "alertmanager.yml"
        config.write_text("route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n")
        arguments = [
            "prometheus-alertmanager",
            f"--config.file={config}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]
        super().__init__("alertmanager", arguments, f"http://127.0.0.1:{self.port}/-/ready", folder)

    def firing(self, **labels: str) -> list[dict]:
        """The labels of the alerts that fire now and have these labels."""
        filters = [("filter", f'{name}="{value}"') for name, value in labels.items()]
        url = f"http://127.0.0.1:{self.port}/api/v2/alerts?{urllib.parse.urlencode(filters)}"
        return [alert["labels"] for alert in json.loads(get(url) or "[]")]


class Prometheus(Process):
    """Scrapes `targets`, which are (collector, interval), and evaluates `rules`."""

    def __init__(self, name, folder, rules, targets, evaluation, alertmanager=None, program="prometheus", more="", flags=()):
        [self.port] = free_ports(1)
        (folder / f"{name}-rules.yaml").write_text(rules)
        config = folder / f"{name}.yml"
        jobs = "".join(
            f"""
- job_name: refusal-collector-{collector.name}
  scrape_interval: {interval}
  scrape_timeout: {interval}
  static_configs: [{{targets: ['127.0.0.1:{collector.port}'], labels: {{namespace: shop}}}}]
  relabel_configs: [{{target_label: job, replacement: refusal-collector}}]"""
            for collector, interval in targets
        )
        alertmanagers = f"{{static_configs: [{{targets: ['127.0.0.1:{alertmanager.port}']}}]}}" if alertmanager else ""
        config.write_text(f"""
global: {{evaluation_interval: {evaluation}, external_labels: {{prometheus: {name}}}}}
rule_files: ['{folder}/{name}-rules.yaml']
alerting: {{alertmanagers: [{alertmanagers}]}}
scrape_configs: {jobs or "[]"}
{more}
""")
        arguments = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / name}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            *flags,
        ]
        super().__init__(name, arguments, f"http://127.0.0.1:{self.port}/-/ready", folder)
        self.up = len(targets)

    def query(self, expression: str) -> list[dict]:
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        answer = json.loads(get(url) or '{"data": {"result": []}}')
        return answer["data"]["result"]

    def ask(self, path: str, **parameters):
        """The data that the API answers. Raises what it says where it does not."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", error.reason)) from None

    def value(self, expression: str) -> float | None:
        """The value of an expression that is one series, if it has one now."""
        result = self.query(expression)
        return float(result[0]["value"][1]) if result else None

    def series(self, match: str) -> list[dict]:
        """The labels of all series that match."""
        url = f"http://127.0.0.1:{self.port}/api/v1/series?{urllib.parse.urlencode({'match[]': match})}"
        return json.loads(get(url) or '{"data": []}')["data"]

    def exemplars(self, expression: str) -> list[dict]:
        """The exemplars of the series of an expression, of the last minute."""
        now = time.time()
        parameters = urllib.parse.urlencode({"query": expression, "start": now - 60, "end": now + 1})
        answer = json.loads(get(f"http://127.0.0.1:{self.port}/api/v1/query_exemplars?{parameters}") or '{"data": []}')
        return [exemplar for series in answer["data"] for exemplar in series["exemplars"]]

    def wait_for_targets(self) -> None:
        wait_for(f"{self.name} scrapes {self.up} targets", lambda: len(self.query("up == 1")) == self.up)


@contextlib.contextmanager
def workshop():
    """A folder for the test's files, and a stack of processes that are killed in the end."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        def keep(process):
            stack.callback(process.close)
            return process

        yield pathlib.Path(folder), keep
