"""The application: every route, and what holds around all of them."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from execd.core.errors import ExecdError
from execd.core.runtimes import Runtimes
from execd.http.access import Access
from execd.http.answers import empty_response
from execd.http.boundary import Boundary
from execd.http.config import HttpConfig
from execd.http.credentials import authority_of, check_request_host
from execd.http.definitions import DefinitionRoutes
from execd.http.dialects.flowsphere_calls import FlowsphereCalls
from execd.http.dialects.flowsphere_door import request_class
from execd.http.dialects.flowsphere_pages import FlowspherePages
from execd.http.dialects.flowsphere_runs import FlowsphereRuns
from execd.http.dialects.n8n_catalogue import CatalogueRoutes
from execd.http.dialects.n8n_flows import FlowRoutes
from execd.http.dialects.n8n_history import HistoryRoutes
from execd.http.dialects.n8n_runs import RunRoutes
from execd.http.executions import ExecutionRoutes
from execd.http.flow_files import FlowFileRoutes
from execd.http.front import Front, OpenStreams
from execd.http.health import HealthRoutes
from execd.http.jobs import JobRoutes
from execd.http.linkflow import LinkflowRoutes
from execd.http.node_views import NodeRoutes
from execd.http.origins import is_trusted_origin
from execd.http.output import OutputRoutes
from execd.http.pages import PageRoutes
from execd.http.problems import answer_defect, answer_execd_error, answer_framework_error
from execd.http.secrets import SecretRoutes
from execd.http.streams import StreamRoutes
from execd.http.tokens import TokenRoutes
from execd.http.websocket import SocketRoutes
from execd.ports import Engine
from execd.telemetry import Counters

log = structlog.get_logger()


ROUTES = (
    ExecutionRoutes,
    DefinitionRoutes,
    OutputRoutes,
    NodeRoutes,
    FlowFileRoutes,
    StreamRoutes,
    SocketRoutes,
    LinkflowRoutes,
    JobRoutes,
    FlowRoutes,
    CatalogueRoutes,
    RunRoutes,
    HistoryRoutes,
    FlowsphereRuns,
    FlowsphereCalls,
    FlowspherePages,
    TokenRoutes,
    SecretRoutes,
    HealthRoutes,
    PageRoutes,
)


class ExecdApp(QuartTrio):
    """The ASGI application; `front` is what its server needs to drain it."""

    front: Front


def make_app(
    engine: Engine,
    runtimes: Runtimes,
    config: HttpConfig,
    *,
    counters: Counters | None = None,
    now: Callable[[], datetime] | None = None,
    uniform: Callable[[float, float], float] = random.uniform,
) -> ExecdApp:
    """Make the doors of an engine.

    Args:
        counters: where responses and dropped connections are counted; None for its own.
        now: the wall clock, aware, UTC; None for the real one.
        uniform: where jitter comes from.
    """
    clock = now or _now_utc
    front = Front(
        engine=engine,
        runtimes=runtimes,
        config=config,
        access=Access(engine.tokens, now=clock),
        streams=OpenStreams(),
        counters=counters or Counters(),
        now=clock,
        uniform=uniform,
    )
    app = ExecdApp("execd.http", static_folder=None)
    app.front = front
    _configure(app, config)
    for routes in ROUTES:
        routes(front).register(app)
    app.asgi_app = Boundary(app.asgi_app, front)  # type: ignore[method-assign] # quart's documented way to wrap an app
    return app


def _now_utc() -> datetime:
    return datetime.now(UTC)


def _configure(app: ExecdApp, config: HttpConfig) -> None:
    app.request_class = request_class(config)
    app.config["MAX_CONTENT_LENGTH"] = config.body_limit_bytes
    app.config["BODY_TIMEOUT"] = config.body_deadline_s
    # The server bounds each send, so a response as a whole needs no deadline: a large output may take its time.
    app.config["RESPONSE_TIMEOUT"] = None
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.before_request(_checker(app.front))
    app.after_request(_finisher(app.front))
    app.register_error_handler(ExecdError, answer_execd_error)
    app.register_error_handler(HTTPException, answer_framework_error)
    app.register_error_handler(Exception, answer_defect)


def _checker(front: Front) -> Callable[[], Awaitable[Response | None]]:
    """Make the check before each request. Async, because quart runs what is not in a thread."""

    async def check() -> Response | None:
        check_request_host(front, request)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return empty_response(204, headers=PREFLIGHT_HEADERS)
        return None

    return check


EXPOSED_HEADERS = "ETag, Location, Retry-After, Idempotent-Replayed, X-Execution-Id"
PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-Match, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}


def _finisher(front: Front) -> Callable[[Response], Awaitable[Response]]:
    """Make what is added to each response. Async for the same reason."""

    async def finish(response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        origin = request.headers.get("Origin")
        if origin is not None and is_trusted_origin(origin, authority_of(request), front.config):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
            response.headers.add("Vary", "Origin")
        return response

    return finish
