"""Whose traffic the CNI plugin leads, and with which options."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.cni.decision import Led, PassedOver, UnusablePodError, decision


def pod(*, native: bool = True, proxy: dict[str, Any] | None = None, **metadata: dict[str, str]) -> dict[str, Any]:
    sidecar = {"name": "istio-proxy", "args": ["proxy", "sidecar", "--domain", "x"], **(proxy or {})}
    first = [{"name": "istio-validation"}, *([sidecar] if native else [])]
    containers = [{"name": "app"}, *([] if native else [sidecar])]
    stated = {"annotations": {"sidecar.istio.io/status": "{}", **metadata.get("annotations", {})}}
    return {"metadata": {**metadata, **stated}, "spec": {"initContainers": first, "containers": containers}}


def options(found: object) -> dict[str, str]:
    assert isinstance(found, Led)
    return dict(zip(found.arguments[0:22:2], found.arguments[1:22:2], strict=True))


@pytest.mark.parametrize("native", [False, True])
def test_a_pod_that_states_nothing(*, native: bool) -> None:
    found = decision(pod(native=native))
    assert options(found) == {
        "-p": "15001", "-z": "15006", "-u": "1337", "-g": "1337", "-m": "REDIRECT", "-i": "*", "-x": "", "-b": "*",
        "-d": "15020,15021,15090", "-q": "", "-o": "15020",
    }  # fmt: skip
    assert isinstance(found, Led)
    assert found.arguments[22:] == ("-k", "", "-c", "", "--cni-mode")


@pytest.mark.parametrize(
    "name", ["excludeInboundPorts", "includeInboundPorts", "excludeOutboundPorts", "includeOutboundPorts",
             "includeOutboundIPRanges", "excludeOutboundIPRanges", "excludeInterfaces", "kubevirtInterfaces"]
)  # fmt: skip
def test_an_annotation_has_no_more_entries_than_a_thousand(name: str) -> None:
    annotation = f"traffic.sidecar.istio.io/{name}"
    assert isinstance(decision(pod(annotations={annotation: ",".join(["80"] * 1000)})), Led)
    with pytest.raises(UnusablePodError, match=rf"^annotation {annotation}: has 100,000 entries; there may be 1,000$"):
        decision(pod(annotations={annotation: ",".join(["80"] * 100_000)}))


def test_what_it_states_counts() -> None:
    traffic = "traffic.sidecar.istio.io/"
    annotations = {
        f"{traffic}includeOutboundIPRanges": "10.0.0.0/8",
        f"{traffic}excludeOutboundIPRanges": "10.1.0.0/16",
        f"{traffic}includeInboundPorts": "80,81",
        f"{traffic}excludeInboundPorts": "82, 15090",
        f"{traffic}includeOutboundPorts": "90",
        f"{traffic}excludeOutboundPorts": "91",
        f"{traffic}excludeInterfaces": "eth1",
        f"{traffic}kubevirtInterfaces": "net1",
        "sidecar.istio.io/interceptionMode": "TPROXY",
    }
    env = [{"name": "ISTIO_META_DNS_CAPTURE", "value": "true"}, {"name": "INVALID_DROP", "value": "1"},
           {"name": "ISTIO_DUAL_STACK", "value": "false"}]  # fmt: skip
    security = {"runAsUser": 5000, "runAsGroup": 0}
    found = decision(
        pod(proxy={"env": env, "securityContext": security}, annotations=annotations), native_nftables=True
    )
    assert options(found) == {
        "-p": "15001", "-z": "15006", "-u": "5000", "-g": "1337", "-m": "TPROXY", "-i": "10.0.0.0/8",
        "-x": "10.1.0.0/16", "-b": "80,81", "-d": "82,15090,15020,15021", "-q": "90", "-o": "91,15020",
    }  # fmt: skip
    assert isinstance(found, Led)
    assert found.arguments[22:] == ("-k", "net1", "-c", "eth1", "--cni-mode", "--redirect-dns", "--capture-all-dns",
                                    "--drop-invalid", "--native-nftables")  # fmt: skip


def without_proxy() -> dict[str, Any]:
    found = pod()
    found["spec"]["initContainers"] = []
    return found


def with_rules() -> dict[str, Any]:
    found = pod()
    found["spec"]["initContainers"].append({"name": "istio-init"})
    return found


def in_the_node_s_network() -> dict[str, Any]:
    found = pod()
    found["spec"]["hostNetwork"] = True
    return found


def not_injected() -> dict[str, Any]:
    found = pod()
    found["metadata"]["annotations"] = {}
    return found


@pytest.mark.parametrize(
    ("passed", "reason"),
    [
        (in_the_node_s_network(), "it is in the node's own network"),
        (with_rules(), "its container istio-init makes the rules"),
        (without_proxy(), "it has no container istio-proxy"),
        (pod(proxy={"env": [{"name": "DISABLE_ENVOY", "value": "true"}]}), "it runs no Envoy"),
        (pod(proxy={"args": ["proxy", "router"]}), "its proxy is no sidecar"),
        (pod(labels={"sidecar.istio.io/inject": "false"}), "sidecar.istio.io/inject is false"),
        (pod(annotations={"sidecar.istio.io/inject": "false"}), "sidecar.istio.io/inject is false"),
        (not_injected(), "nothing was injected into it"),
    ],
)
def test_who_is_passed_over(passed: dict[str, Any], reason: str) -> None:
    assert decision(passed) == PassedOver(reason)


def test_a_mode_that_cannot_be_is_refused_with_its_annotation() -> None:
    with pytest.raises(UnusablePodError, match=r"annotation sidecar.istio.io/interceptionMode: 'NONE' is not one of"):
        decision(pod(annotations={"sidecar.istio.io/interceptionMode": "NONE"}))
