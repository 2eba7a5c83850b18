"""What every test has: quiet logs."""

from __future__ import annotations

import pytest
import structlog


@pytest.fixture(autouse=True)
def captured_logs() -> object:
    """Keep logs as data instead of printing them."""
    with structlog.testing.capture_logs() as logs:
        yield logs
