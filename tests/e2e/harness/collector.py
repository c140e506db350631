"""An OpenTelemetry collector that keeps what it is sent: OTLP over HTTP, as protobuf."""

from collections import defaultdict
from dataclasses import dataclass

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass
class Span:
    """One span, with its attributes as plain values."""

    service: str
    trace: str
    id: str
    parent: str
    name: str
    attributes: dict[str, object]
    failed: bool
    start: int
    end: int


class Collector:
    """A collector on a loopback port, to be entered as a context."""

    def __init__(self, port: int = 0) -> None:
        self.spans: list[Span] = []
        self.address = ""
        self._port = port
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "Collector":
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def traces(self) -> dict[str, list[Span]]:
        """All spans by the number of their trace."""
        found = defaultdict(list)
        for span in self.spans:
            found[span.trace].append(span)
        return dict(found)

    async def _take(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest()
        message.ParseFromString(await request.read())
        for resource in message.resource_spans:
            service = str(_values(resource.resource.attributes)["service.name"])
            for scope in resource.scope_spans:
                self.spans += [_span(service, span) for span in scope.spans]
        body = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=body, content_type="application/x-protobuf")


def _span(service: str, span: object) -> Span:
    return Span(
        service=service,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name,
        attributes=_values(span.attributes),
        failed=span.status.code == 2,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
    )


def _values(attributes: object) -> dict[str, object]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
        for pair in attributes
    }
