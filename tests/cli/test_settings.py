"""Settings, their durations, and the options that are made of them."""

from __future__ import annotations

import inspect
from dataclasses import Field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from controlplane.ads.server import ServerOptions
from controlplane.cli import serve
from controlplane.http2.options import ConnectionOptions
from controlplane.limits import Limits
from controlplane.settings import KUBERNETES_API, Settings
from controlplane.settings.durations import format_duration, parse_duration
from controlplane.settings.options import environment_variable, flag
from controlplane.wiring.from_settings import limits, server_options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", timedelta()),
        ("100ms", timedelta(milliseconds=100)),
        ("1s", timedelta(seconds=1)),
        ("2m30s", timedelta(minutes=2, seconds=30)),
        ("1.5h", timedelta(minutes=90)),
        ("250us", timedelta(microseconds=250)),
    ],
)
def test_parse_duration(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "1", "s", "-1s", "1 s", "1d", "1s2", "one second", "9" * 40 + "h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=400)))
def test_a_written_duration_reads_as_the_same(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"xds_port": -1}, "--xds-port must be a port number"),
        ({"monitoring_port": 65536}, "--monitoring-port must be a port number"),
        ({"new_streams_per_second": -1.0}, "--new-streams-per-second must not be negative"),
        ({"max_receive_message_size": 0}, "--max-receive-message-size must be at least 1"),
        ({"keepalive_interval": timedelta()}, "--keepalive-interval must be at least 1ms"),
        ({"holdoff": timedelta(seconds=2)}, "--holdoff .2s. must not be longer than --max-holdoff .1s."),
        ({"config_dir": Path("/nowhere")}, "/nowhere is not a directory"),
        ({"config_dir": Path("/"), "kubeconfig": "k"}, "--kubeconfig is about a cluster"),
        ({"config_dir": Path("/"), "context": "c"}, "--context is about a cluster"),
        ({"config_dir": Path("/"), "watch_namespaces": "a"}, "--watch-namespaces is about a cluster"),
        ({"revision": ""}, "--revision: '' cannot be the value of a label"),
        ({"revision": "a b"}, "--revision: 'a b' cannot be"),
        ({"certificate_lifetime": timedelta(days=91)}, "--certificate-lifetime must not be longer"),
        ({"config_dir": Path("/"), "secure_port": 0}, "need --ca-dir where there is no cluster"),
        ({"config_dir": Path("/"), "plaintext": False}, "--no-plaintext leaves no port for proxies"),
        ({"webhook_port": 70_000}, "--webhook-port must be a port number"),
        ({"peers": "a:1,b"}, "--peers: 'b' is no HOST:PORT"),
        ({"peers": "a:0"}, "--peers: 'a:0' is no HOST:PORT"),
        ({"peers": ":1"}, "--peers: ':1' is no HOST:PORT"),
        ({"peers": "a:999999999"}, "is no HOST:PORT"),
        ({"replica_weight": 0.0}, "--replica-weight must be from 0.000001 to 1000000"),
        ({"replica_weight": 1e308}, "--replica-weight must be from 0.000001 to 1000000"),
        ({"replica_weight": float("nan")}, "--replica-weight must be from 0.000001 to 1000000"),
        ({"sent_away_per_second": float("inf")}, "--sent-away-per-second must be a number"),
        ({"peer_interval": timedelta()}, "--peer-interval must be at least 1ms"),
        ({"watch_namespaces": "shop,Shop"}, "--watch-namespaces: 'Shop' cannot be the name of a namespace"),
    ],
)
def test_values_that_make_no_sense(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Settings(**values)


def test_xds_is_on_loopback_only_with_files(tmp_path: Path) -> None:
    assert Settings().xds_host == "0.0.0.0"
    assert Settings(config_dir=tmp_path).xds_host == "127.0.0.1"
    assert Settings(config_dir=tmp_path, xds_bind="10.0.0.1").xds_host == "10.0.0.1"


def test_watched_namespaces() -> None:
    assert Settings().namespaces == ()
    assert Settings(watch_namespaces="shop, bank,,shop").namespaces == ("bank", "shop")


def test_ports_with_tls_open_by_themselves_only_in_a_cluster(tmp_path: Path) -> None:
    assert (Settings().tls_port, Settings().https_port) == (15012, 15017)
    files = Settings(config_dir=tmp_path)
    assert (files.tls_port, files.https_port, files.secures) == (None, None, False)
    asked = Settings(config_dir=tmp_path, secure_port=0, ca_dir=tmp_path)
    assert (asked.tls_port, asked.https_port, asked.secures) == (0, None, True)


def test_settings_of_streams_and_connections_reach_the_server() -> None:
    """Each a value of its own, so that none can stand in for another."""
    settings = Settings(
        max_concurrent_streams=11,
        max_receive_message_size=12,
        keepalive_interval=timedelta(seconds=13),
        keepalive_timeout=timedelta(seconds=14),
        max_connection_age=timedelta(seconds=15),
        max_connection_age_grace=timedelta(seconds=16),
        new_streams_per_second=17,
        max_connections=18,
    )
    assert server_options(settings) == ServerOptions(
        max_streams=11,
        max_receive_size_bytes=12,
        keepalive_interval=timedelta(seconds=13),
        keepalive_timeout=timedelta(seconds=14),
        max_connection_age=timedelta(seconds=15),
        max_connection_age_grace=timedelta(seconds=16),
        new_streams_per_second=17,
        limits=Limits(max_connections=18),
    )
    assert server_options(Settings(max_connection_age=timedelta())).max_connection_age is None
    assert server_options(Settings()) == ServerOptions(), "the defaults are stated in two places, and agree"
    assert ServerOptions(keepalive_interval=timedelta(seconds=13)).connection() == ConnectionOptions(
        keepalive_interval=timedelta(seconds=13), max_age=timedelta(minutes=30)
    )


@pytest.mark.parametrize("limit", fields(Limits), ids=lambda limit: str(limit.name))
def test_each_limit_is_a_setting_that_reaches_its_place(limit: Field[Any]) -> None:
    default: Any = limit.default
    changed: dict[str, Any] = {limit.name: default * 2}
    assert limits(Settings(**changed)) == Limits(**changed)
    changed = {limit.name: default * 0}
    with pytest.raises(ValueError, match=f"{flag(limit.name)} must be at least 1"):
        Settings(**changed)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What ``run`` was called with; it does not run."""
    import controlplane.wiring.app  # noqa: PLC0415 - the whole program: only where it is needed

    calls: list[Settings] = []
    monkeypatch.setattr(controlplane.wiring.app, "run", calls.append)
    return calls


def test_without_options_the_defaults_hold(started: list[Settings]) -> None:
    result = CliRunner().invoke(serve.app, [])
    assert (result.exit_code, result.output) == (0, "")
    assert started == [Settings()]


def test_options_reach_the_settings(started: list[Settings], tmp_path: Path) -> None:
    arguments = ["--config-dir", str(tmp_path), "--holdoff", "250ms", "--log-level", "DEBUG", "--xds-port", "0"]
    CliRunner().invoke(serve.app, arguments)
    (settings,) = started
    assert settings.config_dir == tmp_path
    assert (settings.holdoff, settings.log_level, settings.xds_port) == (timedelta(milliseconds=250), "debug", 0)


ONLY: dict[str, Any] = {
    "peers": "a:1",
    "secure_port": 4242,
    "webhook_port": 4242,
    "ready_port": 4242,
    "external_ca": KUBERNETES_API,
    "cert_provider": "k8s.io/example.com/signer",
}
"""Where not any other value makes sense."""
NEEDED: dict[str, dict[str, Any]] = {
    "serving_dir": {"ca_server": False},
    "external_ca": {"csr_signer": "example.com/signer"},
    "cert_provider": {"external_ca": KUBERNETES_API, "csr_signer": "example.com/signer"},
}
"""What else must be set with a setting."""


@pytest.mark.parametrize("setting", fields(Settings), ids=lambda setting: str(setting.name))
def test_every_setting_has_a_flag_and_a_variable(setting: Any, started: list[Settings], tmp_path: Path) -> None:
    name, needed = setting.name, NEEDED.get(setting.name, {})
    other: Any = ONLY.get(name, _another(setting.default, tmp_path))
    text = format_duration(other) if isinstance(other, timedelta) else str(other)
    environment = {environment_variable(each): str(value) for each, value in needed.items()}
    arguments = [flag(name), text]
    if isinstance(setting.default, bool):
        arguments = [f"--no-{flag(name).removeprefix('--')}" if setting.default else flag(name)]
    CliRunner().invoke(serve.app, arguments, env=environment)
    CliRunner().invoke(serve.app, [], env=environment | {environment_variable(name): text})
    assert started == [Settings(**{name: other}, **needed)] * 2
    assert started[0] != Settings()


ISTIODS: dict[str, tuple[str, str, Any]] = {
    "CLUSTER_ID": ("c1", "cluster_id", "c1"),
    "REVISION": ("canary", "revision", "canary"),
    "PILOT_DEBOUNCE_AFTER": ("200ms", "holdoff", timedelta(milliseconds=200)),
    "PILOT_DEBOUNCE_MAX": ("5s", "max_holdoff", timedelta(seconds=5)),
    "TOKEN_AUDIENCES": ("a,b", "token_audiences", "a,b"),
    "ISTIOD_CUSTOM_HOST": ("istiod.example", "serving_names", "istiod.example"),
    "DEFAULT_WORKLOAD_CERT_TTL": ("12h0m0s", "certificate_lifetime", timedelta(hours=12)),
    "MAX_WORKLOAD_CERT_TTL": ("48h", "max_certificate_lifetime", timedelta(hours=48)),
    "GRPC_KEEPALIVE_INTERVAL": ("45s", "keepalive_interval", timedelta(seconds=45)),
    "GRPC_KEEPALIVE_TIMEOUT": ("5s", "keepalive_timeout", timedelta(seconds=5)),
    "ISTIO_GPRC_MAXRECVMSGSIZE": ("1000", "max_receive_message_size", 1000),
    "ISTIO_GPRC_MAXSTREAMS": ("10", "max_concurrent_streams", 10),
    "PILOT_MAX_REQUESTS_PER_SECOND": ("2.5", "new_streams_per_second", 2.5),
    "ENABLE_CA_SERVER": ("false", "ca_server", False),
    "EXTERNAL_CA": (KUBERNETES_API, "external_ca", KUBERNETES_API),
    "K8S_SIGNER": ("example.com/signer", "csr_signer", "example.com/signer"),
    "CERT_SIGNER_DOMAIN": ("example.com", "csr_signer_domain", "example.com"),
    "PILOT_CERT_PROVIDER": ("k8s.io/example.com/signer", "cert_provider", "k8s.io/example.com/signer"),
    "PILOT_ENABLE_NODE_UNTAINT_CONTROLLERS": ("true", "untaint_nodes", True),
    "ROOT_CA_DIR": ("/ca", "ca_dir", Path("/ca")),
}
DEPLOY = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()


@pytest.mark.parametrize("name", ISTIODS)
def test_istiods_variables(name: str, started: list[Settings]) -> None:
    """Each counts where our own is not set, and is in the table of deploy/README.md beside the option."""
    text, setting, value = ISTIODS[name]
    needed = NEEDED.get(setting, {})
    environment = {environment_variable(each): str(value) for each, value in needed.items()}
    CliRunner().invoke(serve.app, [], env=environment | {name: text})
    assert started == [Settings(**{setting: value}, **needed)]
    ours: Any = ONLY.get(setting, _another(getattr(Settings(), setting), Path("/ours")))
    variable = format_duration(ours) if isinstance(ours, timedelta) else str(ours)
    CliRunner().invoke(serve.app, [], env=environment | {name: text, environment_variable(setting): variable})
    assert getattr(started[-1], setting) == ours
    (row,) = [line for line in DEPLOY.splitlines() if f"`{name}`" in line]
    assert f"`{flag(setting)}`" in row


def test_every_variable_of_istiod_is_tested() -> None:
    hints = get_type_hints(Settings, include_extras=True)
    stated = {getattr(get_args(hints[setting.name])[1], "istiod", "") for setting in fields(Settings)}
    assert stated - {""} == set(ISTIODS)


def _another(default: Any, folder: Path) -> Any:
    if default is None:
        return folder
    if isinstance(default, bool):
        return not default
    if isinstance(default, timedelta):
        return default - timedelta(milliseconds=1)
    if isinstance(default, (int, float)):
        return default + 1
    if kinds := [each for each in getattr(type(default), "__members__", {}).values() if each is not default]:
        return kinds[0]
    return f"{default}x"


def test_the_options_are_the_settings_and_nothing_else() -> None:
    assert set(inspect.signature(serve.serve).parameters) == {setting.name for setting in fields(Settings)}
