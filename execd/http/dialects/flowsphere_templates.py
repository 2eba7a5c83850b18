"""Node templates of the FlowSphere dialect, by category and id; FlowSphere's page offers them to be put into a flow.

The ids are FlowSphere's, the content is our own: each is complete, so that a flow made of it is valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OK = [{"httpStatusCode": 200}]
Template = Mapping[str, Any]


def _template(name: str, category: str, description: str, nodes: list[dict[str, Any]], *variables: str) -> Template:
    return {
        "templateName": name,
        "description": description,
        "category": category,
        "requiredVariables": list(variables),
        "nodes": nodes,
    }


def _node(name: str, method: str, url: str, **fields: Any) -> dict[str, Any]:
    return {"id": name.lower().replace(" ", "-"), "name": name, "method": method, "url": url, **fields}


_BEARER = {"Authorization": "Bearer {{ .vars.accessToken }}"}

TEMPLATES: Mapping[str, Mapping[str, Template]] = {
    "auth": {
        "api-key": _template(
            "API key", "auth", "A request with a key in a header.",
            [_node("List items", "GET", "/items", headers={"X-API-Key": "{{ .vars.apiKey }}"}, validations=OK)],
            "apiKey",
        ),
        "bearer-token": _template(
            "Bearer token", "auth", "A request with a token you have.",
            [_node("Who am I", "GET", "/me", headers=_BEARER, validations=[*OK, {"jsonpath": ".id"}])],
            "accessToken",
        ),
        "oauth-flow": _template(
            "OAuth client credentials", "auth", "Get a token, then use it.",
            [
                _node(
                    "Get token", "POST", "/oauth/token",
                    headers={"Content-Type": "application/x-www-form-urlencoded"},
                    body={
                        "grant_type": "client_credentials",
                        "client_id": "{{ .vars.clientId }}",
                        "client_secret": "{{ .vars.clientSecret }}",
                    },
                    validations=[*OK, {"jsonpath": ".access_token"}],
                ),
                _node(
                    "Use token", "GET", "/me",
                    headers={"Authorization": "Bearer {{ .responses.get-token.access_token }}"}, validations=OK,
                ),
            ],
            "clientId", "clientSecret",
        ),
    },
    "conditional": {
        "premium-user": _template(
            "Only for some", "conditional", "A step that runs only where an answer says so.",
            [
                _node("Get account", "GET", "/account", validations=OK),
                _node(
                    "Get report", "GET", "/reports/latest", validations=OK,
                    conditions=[{"node": "get-account", "field": ".plan", "equals": "premium"}],
                ),
            ],
        ),
        "skip-on-error": _template(
            "Only after success", "conditional", "Clean up only what was made; its own answer is taken as it is.",
            [
                _node(
                    "Make draft", "POST", "/drafts", body={"title": "Draft {{ $guid }}"},
                    validations=[{"jsonpath": "."}],
                ),
                _node(
                    "Remove draft", "DELETE", "/drafts/{{ .responses.make-draft.id }}", validations=[{"httpStatusCode": 204}],
                    conditions=[{"node": "make-draft", "httpStatusCode": 201}],
                ),
            ],
        ),
    },
    "user-input": {
        "custom-input": _template(
            "Ask for a value", "user-input", "Asks before it runs, and sends what was answered.",
            [
                _node(
                    "Send answer", "POST", "/answers", userPrompts={"answer": "Your answer:"},
                    body={"answer": "{{ .input.answer }}"}, validations=OK,
                )
            ],
        ),
        "username-password": _template(
            "Log in", "user-input", "Asks for a name and a password.",
            [
                _node(
                    "Log in", "POST", "/login", userPrompts={"username": "User name:", "password": "Password:"},
                    body={"username": "{{ .input.username }}", "password": "{{ .input.password }}"},
                    validations=[*OK, {"jsonpath": ".token"}], secretPrompts=["password"],
                )
            ],
        ),
        "verification-code": _template(
            "Confirm with a code", "user-input", "Has a code sent, then asks for it.",
            [
                _node("Send code", "POST", "/codes", body={"channel": "email"}, validations=OK),
                _node(
                    "Check code", "POST", "/codes/check", userPrompts={"code": "The code you were sent:"},
                    body={"code": "{{ .input.code }}"}, validations=[*OK, {"jsonpath": ".verified", "equals": True}],
                ),
            ],
        ),
    },
    "validation": {
        "multi-field": _template(
            "Several checks", "validation", "Looks at the status and at more than one field.",
            [
                _node(
                    "Get order", "GET", "/orders/1",
                    validations=[
                        *OK,
                        {"jsonpath": ".id", "exists": True},
                        {"jsonpath": ".state", "notEquals": "cancelled"},
                        {"jsonpath": ".total", "greaterThan": 0},
                    ],
                )
            ],
        ),
        "paginated-response": _template(
            "A page of a list", "validation", "Checks that a page has items, and reads the next one.",
            [
                _node(
                    "First page", "GET", "/items?page=1",
                    validations=[*OK, {"jsonpath": ".items | length", "greaterThan": 0}, {"jsonpath": ".next"}],
                ),
                _node("Next page", "GET", "/items?page={{ .responses.first-page.next }}", validations=OK),
            ],
        ),
        "status-token-extract": _template(
            "Made, and used", "validation", "Wants 201, and goes on with what came back.",
            [
                _node(
                    "Make session", "POST", "/sessions", skipDefaultValidations=True,
                    validations=[{"httpStatusCode": 201}, {"jsonpath": ".token", "exists": True}],
                ),
                _node(
                    "Use session", "GET", "/me", headers={"X-Session": "{{ .responses.make-session.token }}"},
                    validations=OK,
                ),
            ],
        ),
    },
}  # fmt: skip


def list_templates() -> dict[str, list[dict[str, Any]]]:
    """Give all of them by category, each with its id."""
    return {
        category: [{"id": name, **template} for name, template in found.items()]
        for category, found in TEMPLATES.items()
    }


def find_template(category: str, name: str) -> Template | None:
    """Look one up in the table; nothing of a request ever becomes a path."""
    return TEMPLATES.get(category, {}).get(name)
