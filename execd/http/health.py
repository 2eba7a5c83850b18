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
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for key, value in sorted(values.items()):
            name, labels = _parse_key(key)
            family = families.get(name) or families.setdefault(name, _make_family(name, tuple(labels)))
            family.add_metric(list(labels.values()), value)
        yield from families.values()


def _make_family(name: str, labels: tuple[str, ...]) -> CounterMetricFamily | GaugeMetricFamily:
    words = HELP.get(name, name.removeprefix("execd_").replace("_", " "))
    if name.endswith("_total"):
        return CounterMetricFamily(name.removesuffix("_total"), words, labels=labels)
    return GaugeMetricFamily(name, words, labels=labels)


def _parse_key(key: str) -> tuple[str, dict[str, str]]:
    """Split `name{label=value}`."""
    name, _, rest = key.removesuffix("}").partition("{")
    pairs = (pair.partition("=") for pair in rest.split(",") if pair)
    return name, {label: value for label, _, value in pairs}


HELP = {
    "execd_actor_crashes_total": "Actors that crashed and were started again.",
    "execd_coordinator_mailbox": "Messages waiting for the coordinator.",
    "execd_events_published_total": "Events handed to the stream router, all of them stored before.",
    "execd_events_stored_total": "Events the store has accepted.",
    "execd_executions_ended_total": "Executions that ended here, by how.",
    "execd_executions_queued": "Executions waiting for a slot.",
    "execd_executions_running": "Executions that have a slot.",
    "execd_executions_submitted_total": "Executions taken into the line.",
    "execd_executions_swept_total": "Ended executions deleted because their retention was over.",
    "execd_hot_bytes": "Bytes of events kept in memory for viewers.",
    "execd_hot_executions": "Executions whose newest events are in memory.",
    "execd_http_accept_failures_total": "Times a client could not be accepted because descriptors had run out.",
    "execd_http_connections_crashed_total": "Connections dropped because something went wrong on them.",
    "execd_http_connections_total": "Connections accepted.",
    "execd_http_full_total": "Times a client had to wait because all places for connections were taken.",
    "execd_http_open_streams": "SSE and WebSocket streams open now.",
    "execd_http_stalled_total": "Connections dropped because the client did not read.",
    "execd_pod_observations_total": "What the pod watcher was told.",
    "execd_router_mailbox": "Messages waiting for the stream router.",
    "execd_saga_crashes_total": "Sagas that crashed; each failed one execution.",
    "execd_store_commits_total": "Batches committed.",
    "execd_store_retries_total": "Times the store was away and asked again.",
    "execd_viewers": "Viewers subscribed to journals.",
    "execd_viewers_evicted_total": "Viewers that lagged too far and were told to resume.",
}
"""What each name means; one that is not here is described by its own words."""
