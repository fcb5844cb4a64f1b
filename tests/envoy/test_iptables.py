"""Rules given to a real kernel, in a network namespace: at once, once only, and taken away again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.envoy.pods import EXCLUDED, REDIRECTION, as_proxy, command, inside
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.usefixtures("pods")


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"cpi{os.getpid():x}"
    command("ip", "netns", "add", name)
    try:
        yield name
    finally:
        command("ip", "netns", "delete", name)


def run(namespace: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    asked = [*inside(namespace), sys.executable, "-m", "controlplane", "iptables", *arguments]
    return subprocess.run(asked, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)


def saved(namespace: str) -> list[str]:
    lines = command(*inside(namespace), "iptables-save").splitlines()
    return [line for line in lines if line.startswith(("-A", ":ISTIO"))]


@pytest.mark.parametrize("mode", ["REDIRECT", "TPROXY"])
def test_rules_are_made_once_and_go_without_a_trace(namespace: str, mode: str) -> None:
    options = [*REDIRECTION, *EXCLUDED, "-m", mode, "--redirect-dns", "--capture-all-dns", "--drop-invalid"]
    made = run(namespace, *options)
    assert made.returncode == 0, made.stderr
    once = saved(namespace)
    assert "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001" in once
    assert run(namespace, *options).returncode == 0
    assert saved(namespace) == once, "rules that stand are left as they are"
    cleaned = run(namespace, *options, "--cleanup-only")
    assert cleaned.returncode == 0, cleaned.stderr
    assert saved(namespace) == []


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-k", "net1,net2"), id="virtual-machines"),
        pytest.param(("-k", "net+,tproxy,8e1", "-c", "eth+,vlan"), id="interfaces"),
        pytest.param(("-m", "TPROXY", "-b", ""), id="nothing-captured-of-what-comes-in"),
        pytest.param(("-m", "TPROXY", "-k", "net1", "--redirect-dns", "--drop-invalid"), id="all"),
    ],
)
def test_nft_takes_the_rules_again_and_again(namespace: str, options: tuple[str, ...]) -> None:
    """Chains may be empty where a rule is to come first, and interfaces may have names of words of nft's."""
    rules = []
    for _ in range(2):
        made = run(namespace, *REDIRECTION, *options, "--native-nftables")
        assert made.returncode == 0, made.stderr
        rules.append(command(*inside(namespace), "nft", "list", "ruleset"))
    assert "redirect to :15001" in rules[0]
    assert rules[1] == rules[0]


def test_a_dry_run_changes_nothing(namespace: str) -> None:
    made = run(namespace, *REDIRECTION, "--dry-run")
    assert (made.returncode, saved(namespace)) == (0, [])
    assert "-A OUTPUT -j ISTIO_OUTPUT" in made.stdout


def test_what_the_kernel_refuses_is_said_and_nothing_of_it_stays(namespace: str) -> None:
    refused = run(namespace, *REDIRECTION, "-b", "8080,no-port")
    assert refused.returncode == 1
    assert "no-port" in refused.stderr
    assert saved(namespace) == []


def validated(namespace: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Check, as the proxy's user does in a pod, that traffic is led to it; no rule is made."""
    checking = ("--run-validation", "--skip-rule-apply", "--probe-timeout", "300ms")
    asked = [*as_proxy(namespace), sys.executable, "-m", "controlplane", "iptables", *options, *checking]
    return subprocess.run(asked, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize("mode", ["REDIRECT", "TPROXY"])
def test_a_pod_finds_out_whether_its_traffic_is_led_to_the_proxy(namespace: str, mode: str) -> None:
    """126 is what the repair of the CNI plugin looks for."""
    options = [*REDIRECTION, *EXCLUDED, "-m", mode]
    command("ip", "-n", namespace, "link", "set", "lo", "up")
    without = validated(namespace, *options)
    assert without.returncode == 126
    assert "a connection to 127.0.0.6:15002 does not reach the proxy: [Errno 111] Connection refused" in without.stderr
    assert run(namespace, *options).returncode == 0
    made = validated(namespace, *options)
    assert (made.returncode, made.stderr) == (0, "")


def test_a_port_of_the_proxy_that_is_taken_is_told(namespace: str) -> None:
    command("ip", "-n", namespace, "link", "set", "lo", "up")
    both = validated(namespace, *REDIRECTION, "-z", "15001")
    assert both.returncode == 1
    assert "error: traffic cannot be checked: [Errno 98] Address already in use" in both.stderr


def test_rules_are_made_in_the_network_namespace_that_is_named(namespace: str) -> None:
    asked = [sys.executable, "-m", "controlplane", "iptables", *REDIRECTION, "--network-namespace"]
    named = subprocess.run([*asked, f"/run/netns/{namespace}"], capture_output=True, text=True, check=False)
    assert named.returncode == 0, named.stderr
    assert "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001" in saved(namespace)
    missing = subprocess.run([*asked, "/run/netns/nobody"], capture_output=True, text=True, check=False)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "error: network namespace /run/netns/nobody: No such file or directory" in missing.stderr
