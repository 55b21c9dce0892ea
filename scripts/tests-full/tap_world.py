"""What a tap stands between: a vendor that replays its answers, Envoy as docs/envoy-egress.yaml has it, a collector with an
ext_proc receiver, and a backend that keeps what it gets."""

import gzip
import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/tests"))
from observability import Process, free_ports, get, program, wait_for  # noqa: E402

BODIES = ROOT / "tests/bodies"
# Which of the folders are no names that the vocabulary knows.
PROVIDERS = {
    "azure": "azure.ai.openai", "bedrock": "aws.bedrock", "google": "gcp.gemini", "hf_tgi": "huggingface",
    "mistral": "mistral_ai", "moonshot": "moonshot_ai", "openai_chat": "openai", "openai_responses": "openai", "xai": "x_ai",
}
IDS = ["resp_sample01", "msg_s1", "chatcmpl-foundry01", "chatcmpl-sample01", "msg_01RefusalSample0001"]


def peer(name: str) -> str:
    """The program of a peer; without it the test is skipped."""
    got = subprocess.run([ROOT / "scripts/peers" / name], stdout=subprocess.PIPE, text=True)
    if got.returncode == 77:
        print(f"skipped: {name} cannot be had here")
        sys.exit(0)
    got.check_returncode()
    return got.stdout.split("\n")[0]


def manifest() -> list[dict]:
    import yaml

    return yaml.safe_load((BODIES / "manifest.yaml").read_text())["bodies"]


def body_of(file: str, number: int) -> bytes:
    """The answer in a file, with an id of its own, as every answer of a vendor has."""
    text = (BODIES / file).read_text()
    for known in IDS:
        text = text.replace(known, f"{known}_of_answer_{number:04}")
    if file.endswith(".events.jsonl"):
        return b"".join(aws_message(line) for line in text.splitlines())
    return text.encode()


def aws_message(line: str) -> bytes:
    """One event in the framing of AWS event streams."""
    import binascii

    (name, payload), = json.loads(line).items()
    payload = json.dumps(payload).encode()
    headers = b""
    for key, value in {":message-type": "event", ":event-type": name}.items():
        headers += bytes([len(key)]) + key.encode() + b"\x07" + len(value).to_bytes(2, "big") + value.encode()
    prelude = (len(headers) + len(payload) + 16).to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    message = prelude + binascii.crc32(prelude).to_bytes(4, "big") + headers + payload
    return message + binascii.crc32(message).to_bytes(4, "big")


def coded(body: bytes, encoding: str) -> bytes:
    match encoding:
        case "gzip":
            return gzip.compress(body)
        case "br":
            import brotli

            return brotli.compress(body)
        case "zstd":
            import zstandard

            return zstandard.compress(body)
    return body


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers with the body that the request asks for by `x-body`, else with the one that its model is called by."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = self.rfile.read(int(self.headers.get("content-length", 0)))
        if size := self.headers.get("x-flood"):
            return self.flood(int(size))
        if chunks := self.headers.get("x-chunks"):
            return self.stream(int(chunks))
        form, number = self.headers.get("x-form", "whole"), int(self.headers.get("x-number", 0))
        case = self.server.cases.get(self.headers.get("x-body")) or self.server.case_of(self.path, request)
        body = body_of(case["file"], number or self.server.next_number())
        self.send_response(case["status"])
        self.send_header("content-type", case["content_type"])
        if request_id := self.headers.get("x-give-request-id"):
            self.send_header("request-id", request_id)
        if form in ("gzip", "br", "zstd"):
            body = coded(body, form)
            self.send_header("content-encoding", form)
        self.server.sent[number] = body
        streams = case["content_type"] != "application/json" or form == "bytes"
        if not streams:
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            return self.wfile.write(body)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        pieces = body.splitlines(keepends=True) if form == "slow" else [body]
        if form == "bytes":
            pieces = [body[n : n + 1] for n in range(len(body))]
        for piece in pieces:
            self.chunk(piece)
            if form == "slow":
                time.sleep(float(self.headers.get("x-pause", "0.002")))
        self.wfile.write(b"0\r\n\r\n")

    def stream(self, chunks: int):
        """A stream of so many events, each by itself."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        event = b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
        for _ in range(chunks - 1):
            self.chunk(event)
            time.sleep(0.0005)
        self.chunk(b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
        self.wfile.write(b"0\r\n\r\n")

    def flood(self, size: int):
        """A stream of text of this many bytes, and a refusal at its end."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        delta = json.dumps({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x" * 65_000}})
        event = f"event: content_block_delta\ndata: {delta}\n\n".encode()
        for _ in range(size // len(event)):
            self.chunk(event)
        self.chunk(b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"refusal"}}\n\n')
        self.chunk(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, piece: bytes):
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def log_message(self, *_):
        pass


class Vendor(http.server.ThreadingHTTPServer):
    """All vendors, behind TLS."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, folder: pathlib.Path):
        names = ["api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com"]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=vendors", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names),
             "-keyout", "key.pem", "-out", "ca.pem"],
            cwd=folder, check=True, stderr=subprocess.DEVNULL,
        )
        super().__init__(("127.0.0.1", 0), Answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
        self.context = context
        self.cases, self.sent, self.numbers = {}, {}, iter(range(5000, 10_000))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, client_address):
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().finish_request(self.context.wrap_socket(request, server_side=True), client_address)

    def handle_error(self, *_):
        """Clients leave when they like."""

    def next_number(self) -> int:
        return next(self.numbers)

    def case_of(self, path: str, request: bytes) -> dict:
        model = json.loads(request or b"{}").get("model") or re.search(r"models/([^:/]+)", path)[1]
        return next(case for file, case in self.cases.items() if pathlib.Path(file).name == model)


class Backend(http.server.ThreadingHTTPServer):
    """Keeps the spans and log records that it gets; hangs while it is told to."""

    daemon_threads = True

    def __init__(self):
        self.spans, self.logs, self.open = [], [], threading.Event()
        self.open.set()

        class Take(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                request = self.rfile.read(int(self.headers["content-length"]))
                self.server.open.wait()
                self.server.take(self.path, request)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Take)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, path: str, request: bytes):
        from google.protobuf.json_format import MessageToDict
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        def told(item, *ids):
            return MessageToDict(item) | {id: getattr(item, name).hex() for id, name in ids}

        if path.endswith("/traces"):
            for group in ExportTraceServiceRequest.FromString(request).resource_spans:
                for scope in group.scope_spans:
                    ids = [("traceId", "trace_id"), ("spanId", "span_id"), ("parentSpanId", "parent_span_id")]
                    self.spans += [told(span, *ids) | {"scope": scope.scope.name} for span in scope.spans]
        if path.endswith("/logs"):
            for group in ExportLogsServiceRequest.FromString(request).resource_logs:
                for scope in group.scope_logs:
                    self.logs += [told(log, ("traceId", "trace_id")) for log in scope.log_records]


def attributes(item: dict) -> dict:
    return {each["key"]: next(iter(each["value"].values()), None) for each in item.get("attributes", [])}


class Collector(Process):
    def __init__(self, name: str, folder: pathlib.Path, backend: Backend, tap: str, exporter: str = "", socket: str = ""):
        self.tap, self.http, self.port, health = free_ports(4)
        providers = json.dumps(PROVIDERS)
        endpoint = f"'{socket}', transport: unix" if socket else f"'127.0.0.1:{self.tap}'"
        config = f"""
receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{self.http}'}}}}}}
  ext_proc: {{endpoint: {endpoint}, providers: {providers}, {tap}}}
processors: {{refusal: }}
exporters: {{otlp_http: {{endpoint: 'http://127.0.0.1:{backend.server_port}', compression: none, {exporter}}}}}
extensions: {{health_check: {{endpoint: '127.0.0.1:{health}'}}}}
service:
  extensions: [health_check]
  pipelines:
    traces: {{receivers: [otlp, ext_proc], processors: [refusal], exporters: [otlp_http]}}
    logs: {{receivers: [otlp, ext_proc], processors: [refusal], exporters: [otlp_http]}}
  telemetry:
    logs: {{level: debug}}
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {self.port}}}}}}}}}]}}
"""
        super().__init__(name, [program(), "--config", f"yaml:{config}"], f"http://127.0.0.1:{health}/ready", folder)

    def metrics(self) -> str:
        return get(f"http://127.0.0.1:{self.port}/metrics", timeout=30) or ""

    def sum(self, name: str, *labels: str) -> int:
        lines = (line for line in self.metrics().splitlines() if re.match(re.escape(name) + r"[{ ]", line))
        return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(label in line for label in labels)))


class Envoy(Process):
    """docs/envoy-egress.yaml with the vendors, the tap and the routes of the test in it."""

    def __init__(self, binary: str, folder: pathlib.Path, vendor: Vendor, tap: int, changed: dict | None = None):
        self.port, admin = free_ports(2)
        text = (ROOT / "docs/envoy-egress.yaml").read_text()
        self.routes = [path.name for path in BODIES.iterdir() if path.is_dir()]
        more = "".join(
            f"              - name: {name}\n                match: {{ prefix: /{name}/ }}\n                route: {{ cluster: "
            f"anthropic, prefix_rewrite: /, host_rewrite_literal: api.anthropic.com, timeout: 0s }}\n"
            for name in self.routes if name != "anthropic"
        )
        for old, new, times in [
            ("port_value: 15000", f"port_value: {admin}", 1),
            ("port_value: 15001", f"port_value: {self.port}", 1),
            ("port_value: 4319", f"port_value: {tap}", 1),
            ("/etc/ssl/certs/ca-certificates.crt", str(folder / "ca.pem"), 1),
            ("              routes:\n", f"              routes:\n{more}", 1),
            *((old, new, 1) for old, new in (changed or {}).items()),
        ]:
            assert text.count(old) == times, f"{old} is in the file {text.count(old)} times"
            text = text.replace(old, new)
        text, found = re.subn(r"address: (?:api\.\w+|generativelanguage\.googleapis)\.com, port_value: 443",
                              f"address: 127.0.0.1, port_value: {vendor.server_port}", text)
        assert found == 3, found
        file = folder / f"envoy-{self.port}.yaml"
        file.write_text(text)
        arguments = [binary, "-c", str(file), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
        super().__init__(f"envoy-{self.port}", arguments, f"http://127.0.0.1:{admin}/ready", folder)

    def call(self, path: str, headers: dict, body: bytes = b"{}", timeout: float = 60):
        """Status, body and seconds of a call through it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        start = time.monotonic()
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        received = answer.read()
        connection.close()
        return answer.status, received, time.monotonic() - start
