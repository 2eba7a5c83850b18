"""Live, ready, and the numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from quart import Quart, Response, request

from execd.http.access import Role
from execd.http.answers import json_response
from execd.http.credentials import authority_of, require
from execd.http.front import Front
from execd.http.origins import host_name, is_loopback


class HealthRoutes:
    """`/healthz`, `/readyz` and `/metrics`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(EngineCollector(front))

    def register(self, app: Quart) -> None:
        app.add_url_rule("/healthz", "healthz", self.healthz, methods=["GET"])
        app.add_url_rule("/readyz", "readyz", self.readyz, methods=["GET"])
        app.add_url_rule("/metrics", "metrics", self.metrics, methods=["GET"])

    async def healthz(self) -> Response:
        """The process answers; nothing else is asked, so that a restart is not the answer to a store that is away."""
        return json_response({"status": "ok", "version": self._front.config.version})

    async def readyz(self) -> Response:
        parts = dict(await self._front.engine.readiness())
        if self._front.streams.is_draining:
            parts["http"] = "draining"
        is_ready = all(word == "ok" for word in parts.values())
        body = {"status": "ready" if is_ready else "not_ready", "parts": parts}
        return json_response(body, status=200 if is_ready else 503)

    async def metrics(self) -> Response:
        if not _is_local(request.remote_addr, authority_of(request), is_forwarded=_is_forwarded()):
            await require(self._front, request, Role.VIEWER)
        return Response(generate_latest(self._registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _is_forwarded() -> bool:
    return any(name in request.headers for name in ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"))


def _is_local(peer: str | None, authority: str, *, is_forwarded: bool) -> bool:
    """Whether somebody on this machine asks, and not somebody else through a proxy on it."""
    name = host_name(authority)
    return not is_forwarded and name is not None and is_loopback(name) and peer is not None and is_loopback(peer)


class EngineCollector(Collector):
    """The engine's own statistics and the doors' counters, read when they are asked for."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def collect(self) -> Iterator[Metric]:
        values = {
            "execd_http_open_streams": float(self._front.streams.open_count),
            **self._front.counters.read(),
            **self._front.engine.statistics(),
        }
        for name, value in sorted(values.items()):
            words = name.replace("_", " ")
            if name.endswith("_total"):
                yield CounterMetricFamily(name.removesuffix("_total"), words, value=value)
            else:
                yield GaugeMetricFamily(name, words, value=value)
