"""Settings: precedence, units, and errors that name the field."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from execd.core.errors import ConfigurationError
from execd.settings import Settings, load_runtimes, load_settings, read_allowed_env


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    """Whoever is nearer to the person decides."""
    file = tmp_path / "execd.toml"
    file.write_text('[http]\nport = 1\nhost = "::1"\n[stream]\nheartbeat_s = 1\n')

    settings = load_settings(
        config_file=file,
        environ={"EXECD_HTTP__PORT": "2", "EXECD_STREAM__HEARTBEAT_S": "2.5", "UNRELATED": "x"},
        overrides={"http": {"port": 3}},
    )

    assert (settings.http.port, settings.http.host, settings.stream.heartbeat_s) == (3, "::1", 2.5)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"EXECD_HTTP__PORT": "many"}, "EXECD_HTTP__PORT: .*http.port"),
        ({"EXECD_HTTP__PROT": "1"}, "EXECD_HTTP__PROT: .*prot"),
        ({"EXECD_PORT": "1"}, "EXECD_PORT: .*port"),
        ({"EXECD_STORE__DURABILITY": "maybe"}, "store.durability"),
        ({"EXECD_SANDBOX__DEFAULTS__WALL_S": "long"}, "wall_s"),
        ({"EXECD_OUTBOUND__DENIED_NETWORKS": "10.0.0.0/8,10.0.0.300"}, "outbound"),
        ({"EXECD_OUTBOUND__PER_HOST": "0"}, "outbound.per_host"),
        ({"EXECD_JOBS__SECRET": "short"}, "jobs"),
        ({"EXECD_DEFINITIONS__VERSIONS": "-1"}, "definitions.versions"),
    ],
)
def test_a_wrong_setting_is_named(environ: dict[str, str], named: str) -> None:
    """A typo must not be ignored: the server would run with a default nobody chose."""
    with pytest.raises(ConfigurationError, match=named):
        load_settings(environ=environ)


def test_the_command_lines_own_variables_are_no_settings() -> None:
    """`EXECD_URL` tells the client where to go; a server must not trip over it."""
    environ = {"EXECD_URL": "http://x", "EXECD_TOKEN": "t", "EXECD_CONFIG": "c", "EXECD_TEST_REDIS_URL": "r"}

    assert load_settings(environ=environ) == load_settings(environ={})


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    """The message names the file, not a parser."""
    file = tmp_path / "execd.toml"
    file.write_text("not toml")

    with pytest.raises(ConfigurationError, match=r"execd\.toml"):
        load_settings(config_file=file, environ={})


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("example.org", False)],
)
def test_loopback_is_known(host: str, is_loopback: bool) -> None:
    """Only on loopback is a token printed and a proxy not needed."""
    assert load_settings(environ={"EXECD_HTTP__HOST": host}).is_loopback is is_loopback


def test_lists_may_come_from_the_environment() -> None:
    """Where containers are configured there are no files."""
    environ = {"EXECD_OUTBOUND__ONLY_HOSTS": "a.example,*.b.example", "EXECD_OUTBOUND__ALLOW_PRIVATE": "false"}

    outbound = load_settings(environ=environ).outbound

    assert outbound.only_hosts == ("a.example", "*.b.example")
    assert outbound.allow_private is False


def test_the_languages_that_come_with_execd_are_whole() -> None:
    """Python, Node and Bash, by name and alias; adding a language is adding a table."""
    runtimes = load_runtimes(Settings(data_dir=Path("/nonexistent")))

    assert {"python", "node", "bash"} <= set(runtimes.by_name)
    assert (runtimes.resolve("py"), runtimes.resolve("js"), runtimes.resolve("cobol")) == ("python", "node", None)
    assert all("{file}" in runtime.argv for runtime in runtimes.by_name.values())


def test_setting_one_cap_leaves_the_others_as_they_were() -> None:
    """Allowing the network once cut every other cap down to the defaults of a run that asks for nothing."""
    caps = load_settings(environ={"EXECD_SANDBOX__CAPS__NETWORK": "true"}).sandbox.caps

    assert caps.network
    assert msgspec.structs.replace(caps, network=False) == Settings().sandbox.caps


def test_a_secret_is_read_and_never_shown() -> None:
    """Settings are printed in traces; a wrong one is named by its length."""
    secret = "0123456789abcdef"

    settings = load_settings(environ={"EXECD_JOBS__SECRET": secret})

    assert settings.jobs.secret == secret
    assert secret not in repr(settings)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ={"EXECD_JOBS__SECRET": secret[:15]})
    assert secret[:15] not in str(caught.value)


@pytest.mark.behaviour(14, 19, 55)
def test_streams_are_served_by_the_numbers_that_were_promised() -> None:
    """A heartbeat every 15 s, half an hour for a connection, five of them for a workspace: clients and proxies rely on these."""
    stream = Settings().stream

    assert (stream.heartbeat_s, stream.lifetime_s, stream.per_workspace) == (15.0, 1800.0, 5)


def test_secrets_may_come_from_the_file_and_the_environment(tmp_path: Path) -> None:
    """Under the name as it is written there, beside the section's own fields; nothing shows a value."""
    path = tmp_path / "execd.toml"
    path.write_text('[secrets]\nkey_file = "/k"\nApi_Token = "from-file"\nOTHER = "other"\n')

    loaded = load_settings(
        config_file=path, environ={"EXECD_SECRETS__OTHER": "from-env", "EXECD_SECRETS__OLD_KEYS": "a,b"}
    )

    assert loaded.secrets.values == {"Api_Token": "from-file", "OTHER": "from-env"}
    assert (loaded.secrets.key_file, loaded.secrets.old_keys) == (Path("/k"), ("a", "b"))
    assert "from-" not in repr(loaded)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"EXECD_SECRETS__BAD-NAME": "long enough"}, "BAD-NAME"),
        ({"EXECD_SECRETS__SHORT": "abc"}, "SHORT"),
        ({"EXECD_SECRETS__MASK": "it is ***"}, "MASK"),
        ({"EXECD_EXPRESSIONS__ENV": "REGION,EXECD_TOKEN"}, "EXECD_TOKEN"),
    ],
)
def test_a_wrong_secret_is_named_and_not_shown(environ: dict[str, str], named: str) -> None:
    """The message goes to a log."""
    with pytest.raises(ConfigurationError, match=named) as caught:
        load_settings(environ=environ)

    assert "long enough" not in str(caught.value)


def test_only_allowed_variables_are_given_to_expressions() -> None:
    """And of these only what is set."""
    chosen = load_settings(environ={"EXECD_EXPRESSIONS__ENV": "PATH,EXPRESSION_TEST_UNSET"})

    assert list(read_allowed_env(chosen)) == ["PATH"]
