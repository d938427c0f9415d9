"""OpenTelemetry spans of resets and steps, in processes that have set up tracing (the extra ``otel``).

A request carries its span's ``traceparent`` (https://www.w3.org/TR/trace-context/), so that the server's span
becomes a child of the client's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan

_SDK = "opentelemetry.sdk.trace"


class Span:
    """The span of one request.

    Args:
        span: OpenTelemetry's.

    Attributes:
        traceparent: What names it to a server.
    """

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent: str = (
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
        )

    def fail(self, errors: Iterable[str]) -> None:
        """Mark it as failed."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_status(Status(StatusCode.ERROR, "; ".join(errors)))

    def end(self) -> None:
        """End it. Safe to call again."""
        if self._span.is_recording():
            self._span.end()


class Tracer:
    """Makes the spans of this process."""

    def __init__(self) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = trace.get_tracer("openenv-gym")
        self._kinds = trace.SpanKind
        self._extract = TraceContextTextMapPropagator().extract

    def ask(self, operation: str, slots: int, server: str) -> Span:
        """Begin a client's span, as a child of the current one."""
        attributes: dict[str, Any] = {"openenv.slots": slots, "server.address": server}
        return Span(
            self._tracer.start_span(f"openenv.{operation}", kind=self._kinds.CLIENT, attributes=attributes)
        )

    def current(self) -> str | None:
        """What names the current span, if there is one."""
        from opentelemetry.trace import get_current_span

        span = get_current_span()
        return Span(span).traceparent if span.get_span_context().is_valid else None

    def serve(self, operation: str, slots: int, traceparent: str | None, **attributes: Any) -> Span:
        """Begin a server's span, as a child of the one that the request names, if it names one."""
        parent = self._extract({} if traceparent is None else {"traceparent": traceparent})
        attributes = {"openenv.slots": slots, **attributes}
        return Span(
            self._tracer.start_span(
                f"openenv.{operation}", context=parent, kind=self._kinds.SERVER, attributes=attributes
            )
        )


def find_tracer() -> Tracer | None:
    """A tracer, if this process has set up tracing; None costs a lookup in a dict."""
    if _SDK not in sys.modules:
        return None
    from opentelemetry import trace

    return None if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider) else Tracer()
