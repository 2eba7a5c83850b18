"""What a model's answer means for the node that asked: its output, or its failure and whether asking again may help. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from execd.core.calls import MAX_OUTPUT_BYTES, CallEnd, CallFailure, LlmCall, LlmResult, bare_url, failed, succeeded
from execd.core.http_answers import MAX_JSON_DEPTH, cut_text, depth_fits
from execd.core.masking import Mask

SHOWN_TEXT_CHARS = 2000
"""Of an answer that is not the JSON that was asked for, in the failure's details."""
SHOWN_REFUSAL_CHARS = 10_000
"""A refusal is a sentence or two."""
MAX_NAME_CHARS = 1000
_FENCE = "```"


def conclude_llm(call: LlmCall, result: LlmResult | CallFailure) -> CallEnd:
    """Say how a question to a model ended; what it quoted of the key is blotted out.

    A question does nothing but cost, so one that broke off may be asked again.
    """
    mask = Mask(call.secrets)
    if isinstance(result, CallFailure):
        message = mask.message(f"{bare_url(mask.text(call.base_url))}: {result.message}")
        return failed(
            "llm",
            result.code,
            message,
            is_final=not result.retryable,
            retry_after_s=result.retry_after_s,
            details=mask.value(result.details),
        )
    output: dict[str, Any] = {
        "text": mask.text(result.text),
        "finish_reason": result.finish_reason,
        "model": mask.text(result.model or call.model)[:MAX_NAME_CHARS],
        "usage": result.usage,
    }
    if result.refusal is not None:
        output["refusal"] = mask.text(result.refusal)[:SHOWN_REFUSAL_CHARS]
    return _with_json(output) if call.wants_json else succeeded(_cut(output))


def _cut(output: dict[str, Any]) -> dict[str, Any]:
    """Keep as much of the text as a journal takes."""
    room = MAX_OUTPUT_BYTES - len(msgspec.json.encode(output | {"text": "", "truncated": True}))
    text, is_cut = cut_text(output["text"], room)
    return output | {"text": text, "truncated": True} if is_cut else output


def _with_json(output: dict[str, Any]) -> CallEnd:
    text: str = output["text"]
    try:
        parsed = msgspec.json.decode(_without_fence(text))
    except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
        return _not_json(output, "is not JSON")
    if not depth_fits(parsed, MAX_JSON_DEPTH):
        return _not_json(output, f"is nested more than {MAX_JSON_DEPTH} deep")
    whole = output | {"json": parsed}
    size = len(msgspec.json.encode(whole))
    if size > MAX_OUTPUT_BYTES:
        return _not_json(output, f"is {size} bytes, as text and as JSON, of which {MAX_OUTPUT_BYTES} can be kept")
    return succeeded(whole)


def _not_json(output: dict[str, Any], why: str) -> CallEnd:
    """Models vary, so the next attempt may do better."""
    shown = output["text"][:SHOWN_TEXT_CHARS]
    stopped = f" It stopped for {output['finish_reason']!r}." if output["finish_reason"] not in {None, "stop"} else ""
    message = f"The model's answer {why}.{stopped} It begins: {shown[:200]}"
    details = {"text": shown, "finish_reason": output["finish_reason"]}
    return failed("llm", "not_json", message, is_final=False, details=details)


def _without_fence(text: str) -> str:
    """Take JSON out of the Markdown that models like to wrap it in."""
    bare = text.strip()
    if bare.startswith(_FENCE) and bare.endswith(_FENCE) and "\n" in bare:
        return bare.partition("\n")[2].removesuffix(_FENCE)
    return bare
