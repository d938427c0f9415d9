"""A trainer's traces go on in the server: a span of each reset and step on both sides, in one trace."""

from __future__ import annotations

import gzip
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from openenv_server import create_app
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from openenv_gym import GenericEnvClient, RemoteVectorEnv
from openenv_gym.errors import RemoteError
from openenv_gym.wire import v2
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.processes import serving_sleeper
from tests.support.servers import running, without_v2
from tests.support.waiting import wait_for


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What this process traces, in which both the client and the server run."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # A process can set its provider only once.
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def spans(exporter: InMemorySpanExporter, kind: trace.SpanKind) -> list[ReadableSpan]:
    found = [span for span in exporter.get_finished_spans() if span.name.startswith("openenv.")]
    return sorted((span for span in found if span.kind is kind), key=lambda span: span.start_time or 0)


def context(span: ReadableSpan) -> trace.SpanContext:
    assert span.context is not None
    return span.context


def test_spans_of_client_and_server_are_in_the_trainers_trace(exporter: InMemorySpanExporter) -> None:
    tracer = trace.get_tracer_provider().get_tracer("trainer")
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        envs = RemoteVectorEnv(base_url, 3)
        with tracer.start_as_current_span("episode") as episode:
            envs.reset()
            for _ in range(2):
                envs.step(np.ones(3, int))
        envs.close()
        wait_for(lambda: len(spans(exporter, trace.SpanKind.SERVER)) == 3, 5)
    asked, served = spans(exporter, trace.SpanKind.CLIENT), spans(exporter, trace.SpanKind.SERVER)
    assert [span.name for span in asked] == ["openenv.reset", "openenv.step", "openenv.step"]
    assert [span.name for span in served] == ["openenv.reset", "openenv.step", "openenv.step"]
    for client, server in zip(asked, served, strict=True):
        assert client.parent is not None
        assert server.parent is not None
        assert client.parent.span_id == episode.get_span_context().span_id
        assert server.parent.span_id == context(client).span_id
        assert context(server).trace_id == context(client).trace_id == episode.get_span_context().trace_id
        assert dict(client.attributes or {}) == {"openenv.slots": 3, "server.address": base_url}
        assert dict(server.attributes or {}) == {"openenv.slots": 3}


def test_a_span_says_that_a_slot_failed(exporter: InMemorySpanExporter) -> None:
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        with GenericEnvClient(base_url) as client:
            client.reset()
            with pytest.raises(RemoteError):
                client.step({"amount": 10})
        wait_for(lambda: len(spans(exporter, trace.SpanKind.SERVER)) == 2, 5)
    for kind in (trace.SpanKind.CLIENT, trace.SpanKind.SERVER):
        reset, step = spans(exporter, kind)
        assert reset.status.is_ok
        assert not step.status.is_ok
        assert step.status.description == "RuntimeError: too much"


def test_over_version_1_the_servers_spans_are_in_the_trace_of_the_handshake(
    exporter: InMemorySpanExporter,
) -> None:
    tracer = trace.get_tracer_provider().get_tracer("trainer")
    app = without_v2(create_app(Counter, CountAction, CountObservation))
    with (
        running(app) as base_url,
        tracer.start_as_current_span("episode") as episode,
        GenericEnvClient(base_url) as client,
    ):
        client.reset()
        with pytest.raises(RemoteError):
            client.step({"amount": 10})
    for kind in (trace.SpanKind.CLIENT, trace.SpanKind.SERVER):
        reset, step = spans(exporter, kind)
        assert (reset.name, step.name) == ("openenv.reset", "openenv.step")
        assert reset.status.is_ok
        assert not step.status.is_ok
        for span in (reset, step):
            assert span.parent is not None
            assert span.parent.span_id == episode.get_span_context().span_id


class Collector(BaseHTTPRequestHandler):
    """Keeps what is sent to it."""

    bodies: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append(gzip.decompress(body) if "gzip" in self.headers.values() else body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_server_sends_its_spans_to_the_collector_that_a_variable_names(tmp_path: Path) -> None:
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    try:
        with serving_sleeper(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as server:
            with GenericEnvClient(server.base_url) as client:
                client.reset()
                client.step({})
            server.signal(signal.SIGTERM)
            assert server.ends()[0] == 0
    finally:
        collector.shutdown()
        collector.server_close()
    sent = b"".join(Collector.bodies)
    for text in (b"openenv-server", b"openenv.reset", b"openenv.step"):
        assert text in sent


def test_nothing_is_sent_without_tracing() -> None:
    request = v2.Step(id=1, slots=[0], actions=[])
    assert b"traceparent" not in b"".join(v2.encode(request))
