"""What every command has in common: a fast start, exit codes, no colours without a terminal."""

from __future__ import annotations

import pytest

from controlplane.cli.main import COMMANDS
from tests.admin import world
from tests.cli.command import modules_imported, run

HEAVY = {
    "google.protobuf",
    "grpc",
    "pydantic",
    "kubernetes",
    "aiohttp",
    "structlog",
    "prometheus_client",
    "rich",
    "yaml",
}
CONFIG_DUMP = "tests/cli/config_dump.json"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--help"], id="help"),
        pytest.param(["status", "--help"], id="status-help"),
        pytest.param(["serve", "--help"], id="serve-help"),
        pytest.param(["crds", "--help"], id="crds-help"),
        pytest.param(["validate", "--help"], id="validate-help"),
        pytest.param(["status"], id="status"),
        pytest.param(["version"], id="version"),
        pytest.param(["proxy-config", "all", "--file", CONFIG_DUMP], id="proxy-config"),
    ],
)
async def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    async with world.serving(world.sources()) as address:
        given = [*arguments, "--address", address] if arguments in (["status"], ["version"]) else arguments
        imported = await modules_imported(*given)
    assert "controlplane.cli" in imported
    assert not HEAVY & imported
    assert not {name for name in imported if name.partition(".")[0] == "envoy"}


async def test_help_does_not_wait_for_typer() -> None:
    assert "typer" not in await modules_imported("--help")


async def test_help_names_every_command() -> None:
    result = await run("--help")
    assert result.code == 0
    assert all(f"  {name} " in result.out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_has_help(command: str) -> None:
    result = await run(command, "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: controlplane {command} ")
    assert "\x1b" not in result.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["stats"], "No such command 'stats'. Did you mean 'status'?", id="command"),
        pytest.param(["serve", "--bogus"], "No such option: --bogus", id="option"),
        pytest.param(["serve", "--holdoff", "2x"], "'2x' is not a duration", id="duration"),
        pytest.param(["install", "--readiness-timeout", "5d"], "'5d' is not a duration", id="time-to-be-ready"),
        pytest.param(["install", "--readiness-timeout", "9999999999999h"], "longer than any duration", id="ages"),
        pytest.param(
            ["serve", "--holdoff", "2s"], "--holdoff (2s) must not be longer than --max-holdoff (1s)", id="pair"
        ),
        pytest.param(["serve", "--xds-port", "70000"], "--xds-port must be a port number", id="port"),
        pytest.param(["serve", "--config-dir", "/nowhere"], "/nowhere is not a directory", id="directory"),
        pytest.param(["serve", "--log-format", "xml"], "'xml' is none of auto, console, json", id="choice"),
        pytest.param(["status", "--address", "somewhere"], "'somewhere' is not host:port", id="address"),
        pytest.param(["status", "--address", "http://h:15014"], "'http://h:15014' is not host:port", id="address-url"),
        pytest.param(["serve", "--config-dir", ""], "a path must not be empty", id="no-directory"),
        pytest.param(["serve", "--xds-port", "x"], "'--xds-port' (env var: 'CONTROLPLANE_XDS_PORT')", id="variable"),
        pytest.param(["status", "--watch", "-o", "json"], "--watch shows a table", id="watch"),
        pytest.param(["proxy-config", "cluster", "--port", "x"], "'x' is not a whole number", id="number"),
        pytest.param(["status", "-n", "Shop_1"], "'Shop_1' is no name that a namespace can have", id="namespace"),
        pytest.param(["pc", "c", "--direction", "up"], "'up' is none of inbound, outbound", id="direction"),
        pytest.param(["pc", "c", "--fqdn", "a b"], "'a b' has blanks", id="fqdn"),
        pytest.param(["pc", "c", "--subset", "v1|"], "more than one part of a cluster's name", id="subset"),
        pytest.param(["pc", "r", "--name", "80 "], "'80 ' has blanks", id="route-name"),
        pytest.param(["pc", "l", "--type", "UDP"], "'UDP' is none of HTTP, TCP", id="listener-type"),
        pytest.param(["pc", "l", "--address", "10.0.0.300"], "is no IP address", id="listener-address"),
        pytest.param(["pc", "l", "--address", "h:15014"], "is named with --control-plane", id="filter-not-address"),
        pytest.param(["pc", "ep", "--address", "10.0.0.300"], "is no IP address", id="endpoint-address"),
        pytest.param(["pc", "ep", "--status", "ill"], "'ill' is none of HEALTHY", id="endpoint-status"),
        pytest.param(["pc", "ep", "--cluster", "a b"], "'a b' has blanks", id="endpoint-cluster"),
        pytest.param(["pc", "l", "--diff", "--type", "tcp"], "leave the filters away", id="diff-of-listeners"),
        pytest.param(["pc", "r", "--diff", "--name", "80"], "leave the filters away", id="diff-of-routes"),
        pytest.param(["pc", "c", "--diff", "--subset", "v1"], "leave the filters away", id="diff-of-clusters"),
        pytest.param(["pc", "ep", "--diff", "--port", "80"], "leave the filters away", id="diff-of-endpoints"),
        pytest.param(["version", "--remote=maybe"], "'maybe' is neither true nor false", id="flag"),
        pytest.param(["proxy-config", "cluster", "--source", "control-plane"], "name the PROXY", id="no-proxy"),
    ],
)
async def test_wrong_usage_exits_with_2_and_a_sentence(arguments: list[str], sentence: str) -> None:
    result = await run(*arguments)
    assert result.code == 2
    assert sentence in result.err
    assert result.out == ""


async def test_a_setting_of_the_environment_is_used() -> None:
    result = await run("serve", environment={"CONTROLPLANE_MAX_HOLDOFF": "soon"})
    assert result.code == 2
    assert "'soon' is not a duration" in result.err
