"""Send the server's spans to a collector, if OpenTelemetry's environment variables name one."""

from __future__ import annotations

import logging
import os

_COLLECTOR = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NAME = "OTEL_SERVICE_NAME"

log = logging.getLogger("openenv_server")


def begin_tracing() -> None:
    """Set up tracing for this process. Call it before the first connection.

    What has set it up already, such as ``opentelemetry-instrument``, is left as it is.
    """
    named = [name for name in _COLLECTOR if os.environ.get(name)]
    if not named:
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        log.warning(
            "%s is set, but nothing is traced without the package %s: pip install 'openenv-gym[otel]'",
            named[0],
            error.name,
        )
        return
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    name = {} if _NAME in os.environ else {"service.name": "openenv-server"}
    provider = TracerProvider(resource=Resource.create(name))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
