"""What an engine elsewhere shows to be believed: the job's id and token, and the signature of each message. Pure.

Nothing of it is stored. A job id is the execution's id in the shape of a UUID, and is read back from it; a token and a
signature are made again from the secret and compared.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from uuid import UUID

from execd.core.events import ExecutionId
from execd.core.ids import EXECUTION_ID, TAILS, spell_tail

WINDOW_S = 300.0
"""How far a message's time may be from ours; exactly so far passes."""
TOKEN_CHARS = 64
_TOKEN_PURPOSE = b"execd/callback-token/"
"""Before the id in what a token is made of; no message that is signed begins so, because it begins with a time."""
_TAIL_BITS = 47
"""Of a tail."""


def job_id_of(execution_id: ExecutionId) -> str:
    """Give the execution's id as a UUID of version 8 (RFC 9562, section 5.8): 48 bits of its time, 47 of the rest.

    Raises:
        ValueError: it is no id that this execd made.
    """
    found = EXECUTION_ID.fullmatch(execution_id)
    if found is None or int(found[1]) >= 1 << 48:
        raise ValueError(f"{execution_id} is no id of an execution")
    return str(UUID(int=(int(found[1]) << 80) | (0x8 << 76) | (0b10 << 62) | int(found[2], 36)))


def execution_of(job_id: str) -> ExecutionId | None:
    """Read the execution's id back; None when the UUID is none of ours."""
    number = UUID(job_id).int
    unix_ms, tail = number >> 80, number & ((1 << _TAIL_BITS) - 1)
    if tail >= TAILS:
        return None
    execution_id = ExecutionId(f"exec-{unix_ms}-{spell_tail(tail)}")
    return execution_id if UUID(job_id_of(execution_id)).int == number else None


def make_callback_token(secret: str, execution_id: ExecutionId) -> str:
    """Give what the engine of this one execution proves itself with."""
    return hmac.new(secret.encode(), _TOKEN_PURPOSE + execution_id.encode(), hashlib.sha256).hexdigest()


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Give the signature of a message, over its bytes as they came.

    Args:
        timestamp: as it stands in the header.
    """
    signed = timestamp.encode() + b"." + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def is_same(given: str, expected: str) -> bool:
    """Compare in a time that does not tell how much of it was right."""
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def is_timely(at: datetime, now: datetime) -> bool:
    """Whether a message's time is within the window, past or future."""
    return abs((now - at).total_seconds()) <= WINDOW_S
