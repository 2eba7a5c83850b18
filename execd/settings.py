"""Every setting there is, with its unit, default and reason; the only reader of environment variables and `execd.toml`.

Precedence: command line > environment (`EXECD_STREAM__HEARTBEAT_S=10`) > `execd.toml` > defaults.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from execd.core.errors import ConfigurationError
from execd.core.runtimes import Runtimes, parse_runtimes
from execd.core.secret_names import NAME, NAME_WORDS, VALUE_WORDS, value_fault
from execd.core.specs import Limits
from execd.packaged import packaged_file
from execd.ports import DefinitionLimits
from execd.settings_dialects import FlowsphereSettings, ProvidersSettings

KIB = 1024
MIB = 1024 * KIB
ENV_PREFIX = "EXECD_"
MIN_SECRET_CHARS = 16


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The root of every section: unknown names are faults, not ignored."""


class HttpSettings(_Section, frozen=True):
    host: str = "127.0.0.1"
    port: int = 7070
    """0 takes a free one."""
    public_url: str | None = None
    """What people type to reach it through a proxy; its host is then allowed too."""
    allowed_hosts: tuple[str, ...] = ()
    """Further `Host` names answered (DNS rebinding: anything else is refused); loopback names always are, on loopback."""
    allowed_origins: tuple[str, ...] = ()
    """Further origins whose pages may use cookies and WebSockets; the own origin always may."""
    body_limit_bytes: int = 2 * MIB
    """A script and its files fit; more is 413."""
    max_connections: int = 0
    """Open at one time; more wait. 0 takes three quarters of the process's limit of open files."""
    send_deadline_s: float = 5.0
    """How long one send to a client may take before the client counts as stalled and is dropped (Mercure: 5 s); at random up to
    twice as long, so that many that stall together do not all go at once."""
    keep_alive_s: float = 30.0
    """How long a connection may idle between requests."""


class StreamSettings(_Section, frozen=True):
    heartbeat_s: float = 15.0
    """Silence after which `:` is sent; proxies cut at 30-60 s."""
    lifetime_s: float = 30 * 60.0
    """How long one connection is served before it is asked to reconnect, less up to a fifth at random."""
    per_workspace: int = 5
    """Concurrent streams of one workspace; more is 429."""
    hot_history_s: float = 5 * 60.0
    """How long the events of an ended execution stay in memory."""
    hot_bytes_per_execution: int = 4 * MIB
    """Events kept in memory for viewers that are nearly level; older ones are read from the store."""
    hot_bytes_total: int = 64 * MIB
    """All of them together; those that ended first go first; what still runs is kept."""
    max_lag_bytes: int = 64 * MIB
    """A viewer further behind the live end than this is evicted with its last seq, and may resume at once."""


class QueueSettings(_Section, frozen=True):
    slots: int = 0
    """Executions that run at one time; 0 means two per processor."""
    max_queued: int = 1000
    """Waiting executions; more is 503 with Retry-After."""
    max_queued_per_workspace: int = 500
    max_parked: int = 10_000
    """Executions under way that only wait, for a moment or a person, and take no slot; with more, submissions are 503. Each
    takes some 28 KiB (2,000 parked approvals) and the values of its nodes."""


class StoreSettings(_Section, frozen=True):
    durability: Literal["process", "power"] = "process"
    """What a stored event survives: `kill -9` of execd, or loss of power. Terminal records always survive both."""
    retention_s: float = 30 * 24 * 3600.0
    """How long ended executions are kept; 0 means for ever."""
    sweep_every_s: float = 3600.0
    lease_s: Annotated[float, msgspec.Meta(gt=0)] = 15.0
    """How long an instance from which nothing is heard still counts as alive; it is renewed every third of that. When it is
    over, other instances on the same store take over what it had. Much shorter, and a slow store looks like a death; longer,
    and what a dead instance ran waits longer. With SQLite, one process per file, nobody waits for it."""


class DefinitionSettings(_Section, frozen=True):
    """How many saved scripts and workflows are kept; 0 means no limit."""

    per_workspace: Annotated[int, msgspec.Meta(ge=0)] = 1000
    """Definitions of one workspace; one more is refused, because nobody can tell which one is not wanted. People have dozens:
    with a thousand, a program saves where it should run."""
    versions: Annotated[int, msgspec.Meta(ge=0)] = 1000
    """Versions kept of each definition. With the next one the oldest is dropped, and the answer says so: a refusal would stop
    whoever deploys. A thousand are a hundred days of ten changes each. What ran keeps a copy of its own."""

    @property
    def limits(self) -> DefinitionLimits:
        return DefinitionLimits(per_workspace=self.per_workspace, versions=self.versions)


class Caps(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`Limits` with defaults of its own, so that whoever sets one cap leaves the others as they are."""

    wall_s: float = 3600.0
    cpu_s: float = 3600.0
    memory_bytes: int = 4096 * MIB
    processes: int = 512
    open_files: int = 4096
    output_bytes: int = 256 * MIB
    file_bytes: int = 1024 * MIB
    network: bool = False


class SandboxSettings(_Section, frozen=True):
    sandbox: Literal["bubblewrap", "none"] = "bubblewrap"
    """`none` runs code with the rights of execd itself: only for code you wrote."""
    warm_slots: int = 2
    """Interpreters kept waiting; each costs about 15 MiB."""
    warm_age_s: float = 600.0
    """A warm interpreter older than this is replaced, so that system updates reach it."""
    uid: int = 65534
    """The user sandboxes run as when execd is started by root."""
    gid: int = 65534
    stop_grace_s: float = 0.8
    """Time between SIGTERM and SIGKILL on cancel, so that whatever runs is gone in about a second. Raise it for programs that
    have much to put away."""
    runtimes_file: Path | None = None
    """None: the one that comes with execd."""
    defaults: Limits = Limits()
    """Limits of a run that asks for none."""
    caps: Caps = Caps()
    """The most a run may ask for; asking for more is a 400 that names both. `network = true` allows asking for it."""


class OutboundSettings(_Section, frozen=True):
    """Where `http` and `llm` nodes may go, and over how many connections."""

    allow_private: bool | None = None
    """Whether loopback and private addresses may be called; None: if the server itself can be reached from this machine only,
    because then whoever asks could call them anyway. Link-local ones, such as a cloud's metadata, never are by this."""
    only_hosts: tuple[str, ...] = ()
    """When not empty, no other host is called. `example.com` is itself, `*.example.com` every name below it."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that may have any address but one of `denied_networks`."""
    allowed_networks: tuple[str, ...] = ()
    denied_networks: tuple[str, ...] = ()
    """Refused whatever else is allowed."""
    per_host: Annotated[int, msgspec.Meta(ge=1)] = 32
    """Connections in use at one time to one scheme, host and port; more calls wait."""
    in_use: Annotated[int, msgspec.Meta(ge=1)] = 256
    """Connections in use at one time in all."""
    idle: Annotated[int, msgspec.Meta(ge=0)] = 64
    """Connections kept for the next call, in all."""
    idle_s: float = 30.0

    def __post_init__(self) -> None:
        for text in self.allowed_networks + self.denied_networks:
            ipaddress.ip_network(text)  # raises ValueError, which msgspec reports with the field


class JobsSettings(_Section, frozen=True):
    """Engines elsewhere that report here (kind `external`)."""

    secret: str = ""
    """What they sign their reports with, and what the tokens of their jobs are made from: at least 16 characters, shared with
    them only. Without one they cannot report, and kind `external` is refused. With another one, engines at work cannot report
    any more, because their tokens are others then."""

    def __post_init__(self) -> None:
        if self.secret and len(self.secret) < MIN_SECRET_CHARS:
            raise ValueError(f"secret has {len(self.secret)} characters; accepted: at least {MIN_SECRET_CHARS}")

    def __repr__(self) -> str:
        return f"JobsSettings(secret={'***' if self.secret else ''!r})"


class ExpressionSettings(_Section, frozen=True):
    env: tuple[str, ...] = ()
    """Variables of the server's environment that every workflow may read as `env.NAME`; no other is ever given to one."""

    def __post_init__(self) -> None:
        for name in self.env:
            if name.upper().startswith(ENV_PREFIX):
                raise ValueError(f"{name} is execd's own and is not given to workflows")


class SecretSettings(_Section, frozen=True):
    """The key of secrets, and secrets of the workspace `default`. In `execd.toml` and in the environment these stand beside the
    other fields: `[secrets] API_TOKEN = "…"`, or `EXECD_SECRETS__API_TOKEN`."""

    key: str | None = None
    """32 bytes in base64; None: the first line of `key_file`."""
    old_keys: tuple[str, ...] = ()
    """Former keys, for what they encrypted."""
    key_file: Path | None = None
    """None: `secrets.key` in the data directory, made at the first start. Lose it, and every secret has to be set again."""
    values: dict[str, str] = {}

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if not NAME.fullmatch(name):
                raise ValueError(f"{name[:64]!r} is no name of a secret; accepted: {NAME_WORDS}")
            if (fault := value_fault(value)) is not None:
                raise ValueError(f"the secret {name} {fault}; accepted: {VALUE_WORDS}")

    def __repr__(self) -> str:
        return f"SecretSettings({len(self.values)} values)"


class ShutdownSettings(_Section, frozen=True):
    grace_s: float = 10.0
    """From SIGTERM: how long what runs may go on. Then its sandbox is removed, and the next start ends it `worker_lost` or runs it
    again, as its spec says."""
    watchdog_s: float = 20.0
    """After the grace: when everything else hung, a thread ends the process."""


class Settings(_Section, frozen=True):
    """All of it. Made by `load_settings`, or directly by an embedding program."""

    data_dir: Path = msgspec.field(default_factory=lambda: default_data_dir())
    """Where the database, the runtime file and the sandboxes' directories live."""
    log_level: Literal["auto", "debug", "info", "warning", "error"] = "auto"
    """`auto`: info, but warning on the console."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto`: console on a terminal, JSON elsewhere."""
    http: HttpSettings = HttpSettings()
    stream: StreamSettings = StreamSettings()
    queue: QueueSettings = QueueSettings()
    store: StoreSettings = StoreSettings()
    definitions: DefinitionSettings = DefinitionSettings()
    sandbox: SandboxSettings = SandboxSettings()
    outbound: OutboundSettings = OutboundSettings()
    jobs: JobsSettings = JobsSettings()
    providers: ProvidersSettings = ProvidersSettings()
    flowsphere: FlowsphereSettings = FlowsphereSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    expressions: ExpressionSettings = ExpressionSettings()
    secrets: SecretSettings = SecretSettings()

    def __post_init__(self) -> None:
        if self.flowsphere.open and (not self.is_loopback or self.http.public_url is not None):
            raise ValueError(
                "flowsphere.open needs an http.host on loopback and no http.public_url: anybody could come in"
            )

    @property
    def slots(self) -> int:
        return self.queue.slots or 2 * (os.cpu_count() or 1)

    @property
    def is_loopback(self) -> bool:
        """Whether the server can be reached from this machine only."""
        if self.http.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.http.host).is_loopback
        except ValueError:
            return False


def default_data_dir() -> Path:
    """Give `$XDG_STATE_HOME/execd`, as the XDG base directory specification has it."""
    state_home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state_home) / "execd"


def load_settings(
    *,
    config_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Merge all sources of settings.

    Args:
        config_file: an `execd.toml`; None means defaults.
        environ: where `EXECD_*` are looked up; None means the process's own.
        overrides: nested, as in the file; they win.

    Raises:
        ConfigurationError: a value is wrong or a name unknown; the message names the field and its source.
    """
    merged: dict[str, Any] = {}
    variables = os.environ if environ is None else environ
    if config_file is not None:
        merged = _read_toml(config_file)
    _merge(merged, _from_environment(variables))
    _merge(merged, dict(overrides or {}))
    if isinstance(merged.get("secrets"), dict):
        merged["secrets"] = _gather_secrets(merged["secrets"])
    try:
        return msgspec.convert(merged, Settings, strict=False, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings: {_with_variable(str(error), variables)}") from error


def _with_variable(message: str, environ: Mapping[str, str]) -> str:
    """Name the variable a wrong value or unknown name comes from: that is what somebody typed."""
    place = re.search(r"at `\$\.([\w.]+)`", message)
    unknown = re.search(r"unknown field `(\w+)`", message)
    names = [*(place[1].split(".") if place else ()), *(unknown.groups() if unknown else ())]
    variable = ENV_PREFIX + "__".join(names).upper()
    return f"{variable}: {message}" if variable in environ else message


def load_runtimes(settings: Settings) -> Runtimes:
    """Read the languages.

    Raises:
        ConfigurationError: the file is missing or a table is not a runtime.
    """
    return parse_runtimes(_read_toml(settings.sandbox.runtimes_file or packaged_file("runtimes.toml")))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Turn `EXECD_HTTP__PORT=1` into `{"http": {"port": "1"}}`; values are converted with the rest."""
    found: dict[str, Any] = {}
    for name, value in environ.items():
        if not name.startswith(ENV_PREFIX) or name in RESERVED_VARIABLES or name.startswith("EXECD_TEST_"):
            continue
        if name.startswith(SECRET_PREFIX):
            field = name.removeprefix(SECRET_PREFIX)
            is_setting = field.lower() in SecretSettings.__struct_fields__
            secrets = found.setdefault("secrets", {})
            secrets[field.lower() if is_setting else field] = value.split(",") if field.lower() == "old_keys" else value
            continue
        *sections, field = name.removeprefix(ENV_PREFIX).lower().split("__")
        table = found
        for section in sections:
            table = table.setdefault(section, {})
        table[field] = value.split(",") if field.startswith(LIST_PREFIXES) else value
    return found


def _gather_secrets(table: Mapping[str, Any]) -> dict[str, Any]:
    """Tell the section's own fields from the secrets beside them."""
    own = {name: value for name, value in table.items() if name in SecretSettings.__struct_fields__}
    beside = {name: value for name, value in table.items() if name not in own}
    return {**own, "values": {**own.get("values", {}), **beside}}


def read_allowed_env(settings: Settings) -> dict[str, str]:
    """Give the variables that expressions may read, as far as they are set."""
    return {name: os.environ[name] for name in settings.expressions.env if name in os.environ}


SECRET_PREFIX = f"{ENV_PREFIX}SECRETS__"
LIST_PREFIXES = ("allowed_", "denied_", "only_", "env")
"""Settings that are lists; in the environment they are joined by commas."""
RESERVED_VARIABLES = frozenset({"EXECD_URL", "EXECD_TOKEN", "EXECD_CONFIG"})
"""Read by the command line, not settings."""


def _decode_path(wanted: type, value: Any) -> Any:
    if wanted is Path and isinstance(value, str):
        return Path(value).expanduser()
    return value


def _merge(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    for name, value in source.items():
        if isinstance(value, Mapping) and isinstance(target.get(name), dict):
            _merge(target[name], value)
        else:
            target[name] = dict(value) if isinstance(value, Mapping) else value
