"""The catalogue of node types, from which an editor of the n8n-pattern dialect makes its palette and its forms."""

from __future__ import annotations

from typing import Any

from quart import Quart, Response, request

from execd.core.errors import NotFoundError
from execd.core.nodes.n8n.logic import CONDITIONS
from execd.http.access import Role
from execd.http.answers import json_response
from execd.http.credentials import require
from execd.http.dialects.fastapi_shape import in_fastapi_shape
from execd.http.front import Front
from execd.http.queries import QueryReader
from execd.http.schemas import API

CATEGORIES: tuple[dict[str, str], ...] = (
    {"id": "trigger", "label": "Triggers", "color": "#10b981"},
    {"id": "ai", "label": "AI", "color": "#a855f7"},
    {"id": "action", "label": "Actions", "color": "#6366f1"},
    {"id": "logic", "label": "Logic", "color": "#f59e0b"},
    {"id": "response", "label": "Response", "color": "#10b981"},
)


def _field(name: str, label: str, kind: str = "text", *, required: bool = False, **more: Any) -> dict[str, Any]:
    return {"name": name, "label": label, "type": kind, "required": required, **more}


def _choices(*values: Any) -> list[dict[str, Any]]:
    return [{"value": value, "label": str(value).replace("_", " ").capitalize()} for value in values]


_MODEL = (
    _field("model", "Model", description="Empty: the one that the server is configured with"),
    _field("temperature", "Temperature", "number", default=0.7, description="0 is focused, 2 is creative"),
)
_WEBHOOK = _field("webhook_url", "Webhook URL", required=True, description="Where it is sent, as JSON")
_NO_FILES = "Not available: this server has no store for files"

_TYPES: tuple[tuple[str, str, str, str, str, tuple[dict[str, Any], ...]], ...] = (
    ("trigger-manual", "Manual Trigger", "FiPlay", "#10b981", "Start the flow by hand", ()),
    (
        "trigger-schedule", "Schedule", "FiClock", "#3b82f6", "Kept for other servers: nothing starts the flow by it here",
        (
            _field("schedule", "Schedule (cron expression)", required=True, default="0 9 * * *"),
            _field("timezone", "Timezone", default="UTC"),
        ),
    ),
    (
        "ai-gemini", "Gemini", "SiGoogle", "#4285f4", "Ask a Gemini model",
        (_field("prompt", "Prompt", "textarea", required=True, placeholder="{{trigger.message}}"), *_MODEL),
    ),
    (
        "ai-openai", "OpenAI", "SiOpenai", "#10a37f", "Ask a model of OpenAI",
        (
            _field("prompt", "Prompt", "textarea", required=True, placeholder="{{trigger.message}}"), *_MODEL,
            _field("max_tokens", "Max tokens", "number", default=150),
        ),
    ),
    (
        "ai-classify", "Classify Text", "MdSmartToy", "#ec4899", "Find the category of a text",
        (
            _field("text", "Text to classify", "textarea", required=True, placeholder="{{trigger.message}}"),
            _field("categories", "Categories (comma-separated)", required=True, placeholder="support, sales"),
        ),
    ),
    (
        "ai-content-writer", "Content Writer", "MdArticle", "#f59e0b", "Write a text about a topic",
        (
            _field("content_type", "Content type", "select", required=True,
                   options=_choices("caption", "ad_copy", "blog_post", "seo_content")),
            _field("topic", "Topic", required=True),
            _field("tone", "Tone", "select", default="professional",
                   options=_choices("professional", "casual", "friendly", "formal", "humorous")),
            _field("length", "Length", "select", default="medium", options=_choices("short", "medium", "long")),
        ),
    ),
    (
        "action-http", "HTTP Request", "FiSend", "#6366f1", "Send an HTTP request",
        (
            _field("url", "URL", required=True, placeholder="https://api.example.com/endpoint"),
            _field("method", "Method", "select", required=True, default="POST",
                   options=[{"value": name, "label": name} for name in ("GET", "POST", "PUT", "DELETE", "PATCH")]),
            _field("headers", "Headers", "key-value"),
            _field("body", "Body (JSON)", "json"),
            _field("fail_on_error_status", "Fail on a status of 400 or more", "boolean", default=False),
        ),
    ),
    (
        "action-code", "Run Code", "FiCode", "#64748b", "Run a few lines in a sandbox",
        (
            _field("language", "Language", "select", default="python", options=_choices("python", "javascript")),
            _field("code", "Code", "textarea", required=True, placeholder="result = input['trigger_1']",
                   description="`input` has what the nodes before gave, by id. Python sets `result`, JavaScript returns it"),
        ),
    ),
    (
        "action-send-message", "Send Message", "FiMessageCircle", "#0084FF", "Send a message to a webhook",
        (_WEBHOOK, _field("recipient", "Recipient"), _field("message", "Message", "textarea", required=True)),
    ),
    (
        "action-post-social", "Post to Social Media", "FiShare2", "#1877F2", "Send a post to a webhook",
        (_WEBHOOK, _field("content", "Content", "textarea", required=True), _field("media_url", "Media URL")),
    ),
    (
        "action-upload-image", "Upload Image", "FiImage", "#10b981", _NO_FILES,
        (_field("images", "Images", "file", required=True, accept="image/*", multiple=True), _field("folder", "Folder")),
    ),
    (
        "action-upload-video", "Upload Video", "FiVideo", "#8b5cf6", _NO_FILES,
        (_field("videos", "Videos", "file", required=True, accept="video/*", multiple=True), _field("folder", "Folder")),
    ),
    (
        "logic-condition", "Condition", "FiGitBranch", "#f59e0b", "Go on by one of two ways: the handles true and false",
        (
            _field("condition_type", "Condition", "select", required=True, default="equals", options=_choices(*CONDITIONS)),
            _field("value1", "Value 1", required=True, placeholder="{{trigger.status}}"),
            _field("value2", "Value 2"),
        ),
    ),
    (
        "logic-transform", "Transform Data", "MdTransform", "#14b8a6", "Put values together",
        (_field("mappings", "Field mappings", "key-value", required=True),),
    ),
    (
        "response-data", "Return Data", "FiCornerUpLeft", "#10b981", "Give the result of the flow",
        (
            _field("status", "Status code", "select", required=True, default=200,
                   options=[{"value": code, "label": str(code)} for code in (200, 201, 400, 404, 500)]),
            _field("body", "Body (JSON)", "json"),
        ),
    ),
)  # fmt: skip

NODE_TYPES: dict[str, dict[str, Any]] = {
    name: {
        "id": name,
        "label": label,
        "category": name.partition("-")[0],
        "icon": icon,
        "color": color,
        "description": about,
        "properties": list(properties),
    }
    for name, label, icon, color, about, properties in _TYPES
}
"""By id, as an editor lists them."""


class CatalogueRoutes:
    """Routes under `/api/v1/node-types`; a slash at the end changes nothing."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        base = f"{API}/node-types"
        app.add_url_rule(base, "list_node_types", in_fastapi_shape(self.list_all), methods=["GET"])
        app.add_url_rule(
            f"{base}/categories", "list_node_categories", in_fastapi_shape(self.categories), methods=["GET"]
        )
        app.add_url_rule(f"{base}/<node_type>", "show_node_type", in_fastapi_shape(self.show), methods=["GET"])

    async def list_all(self) -> Response:
        await require(self._front, request, Role.VIEWER)
        query = QueryReader(request, known=("category",))
        category = query.text("category")
        query.finish()
        return json_response([one for one in NODE_TYPES.values() if category in {None, one["category"]}])

    async def categories(self) -> Response:
        await require(self._front, request, Role.VIEWER)
        return json_response(CATEGORIES)

    async def show(self, node_type: str) -> Response:
        await require(self._front, request, Role.VIEWER)
        if node_type not in NODE_TYPES:
            raise NotFoundError("Node type not found")
        return json_response(NODE_TYPES[node_type])
