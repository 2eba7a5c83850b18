"""A flow as a file of another tool. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from execd.core.formats.curl_export import export_curl
from execd.core.formats.drafting import Exported, refuse
from execd.core.formats.postman_export import export_collection, export_environment

TARGETS = ("postman", "postman-environment", "curl")


def export_flow(config: Mapping[str, Any], target: str, *, name: str) -> Exported:
    """Write a flow as one of `TARGETS`.

    Args:
        name: what a collection is called; an environment is called by the flow's `environment`.

    Raises:
        InvalidRequestError: it is no flow, or names no environment where one is written.
    """
    flow = dict(config)
    if target == "curl":
        return export_curl(flow)
    if target == "postman":
        return export_collection(flow, name=name)
    environment = flow.get("environment")
    if not isinstance(environment, str):
        raise refuse("environment", "is not chosen", "one of the flow's environments")
    return export_environment(flow, name=environment)
