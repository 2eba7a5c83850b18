"""What the doors need to know, as one frozen record that the wiring fills from the settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from execd.core.specs import Limits
from execd.ports import DefinitionLimits

MIB = 1024 * 1024
DEFAULT_LIMITS = Limits()
NO_DEFINITION_LIMITS = DefinitionLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowsphereConfig:
    """See the settings of the same names for the reasons."""

    is_open: bool = False
    workspace: str = "default"
    page_dir: Path | None = None
    body_limit_bytes: int = 10 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """See the settings of the same names for the reasons."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = 0
    """0 takes a free one."""
    public_url: str | None = None
    """What people type to reach it; its host is answered and its origin trusted."""
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_connections: int = 0
    """Open at one time; 0 takes three quarters of the process's limit of open files."""
    body_limit_bytes: int = 2 * MIB
    send_deadline_s: float = 5.0
    keep_alive_s: float = 30.0
    """Between requests, and for a request's head to arrive."""
    body_deadline_s: float = 30.0
    """For a request's body to arrive: 2 MiB over a link of 70 KiB/s."""
    drain_s: float = 5.0
    """From the trigger: how long streams may take to say goodbye before the listeners close."""
    heartbeat_s: float = 15.0
    lifetime_s: float = 30 * 60.0
    defaults: Limits = DEFAULT_LIMITS
    """Limits of a run that asks for none."""
    caps: Limits = DEFAULT_LIMITS
    """The most a run may ask for."""
    definition_limits: DefinitionLimits = NO_DEFINITION_LIMITS
    """How many saved scripts and workflows are kept."""
    jobs_secret: str = field(default="", repr=False)
    """What engines elsewhere sign their reports with; without one they cannot report, and kind `external` is refused."""
    env_names: frozenset[str] = frozenset()
    """Variables of the server that workflows may read."""
    flowsphere: FlowsphereConfig = FlowsphereConfig()
    page_dir: Path | None = None
    """The directory of `index.html` and what it loads; None serves a placeholder."""
    version: str = "0"
