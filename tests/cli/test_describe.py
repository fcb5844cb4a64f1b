"""``controlplane describe`` on files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import ROOT, run

EXAMPLE = ROOT / "docs" / "examples" / "reviews.yaml"
POD = """\
Pod: reviews-v1-a
   Pod Revision: default
   Pod Ports: 9080 (app), 15090 (istio-proxy)
--------------------
Service: reviews
   Port: http 80/HTTP targets pod port 9080
DestinationRule: reviews for "reviews"
   Matching subsets: v1
      (Non-matching subsets v2)
   Traffic Policy TLS Mode: ISTIO_MUTUAL
   Policies: load balancer
VirtualService: reviews
   http[0] jason: header end-user = jason -> reviews subset v3
   http[1]: everything -> 90% reviews subset v1, 10% reviews subset v2, timeout 3s
   WARNING: no DestinationRule has the subset v3
   Exposed on Gateway public, port 443: shop.example.com
--------------------
RBAC policies: viewer (ALLOW)
Effective PeerAuthentication:
   Workload mTLS mode: STRICT
   Port 9080 mTLS mode: DISABLE
Applied PeerAuthentication:
   default.shop, reviews.shop
"""


async def test_a_pod() -> None:
    result = await run("describe", "pod", "reviews-v1-a", "-n", "shop", "-f", str(EXAMPLE))
    assert (result.code, result.err, result.out) == (0, "", POD)


@pytest.mark.parametrize("name", ["reviews-v1-a.shop", "shop/reviews-v1-a"])
async def test_a_name_with_its_namespace(name: str) -> None:
    result = await run("x", "describe", "po", name, "-f", str(EXAMPLE))
    assert result.out == (
        POD.replace("Pod: reviews-v1-a\n", "Pod: reviews-v1-a.shop\n")
        .replace("Service: reviews", "Service: reviews.shop")
        .replace("DestinationRule: reviews", "DestinationRule: reviews.shop")
        .replace("Gateway public", "Gateway public.shop")
        .replace("viewer", "viewer.shop")
    )


async def test_a_service_and_its_pods(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    other = text.partition("---\n")[0].replace("reviews-v1-a", "reviews-v2-b").replace("istio-proxy", "other")
    both = tmp_path / "both.yaml"
    other = other.replace('status: "True"', 'status: "False", message: slow')
    both.write_text(f"{text}---\n{other}", encoding="utf-8")
    result = await run("describe", "service", "reviews", "-n", "shop", "-f", str(both))
    assert [line for line in result.out.splitlines() if line.startswith(("Service", "Pod", "WARNING"))] == [
        "Service: reviews",
        "Pod: reviews-v1-a",
        "Pod: reviews-v2-b",
        "WARNING: the pod has no proxy and is not in the mesh",
        "WARNING: the pod is not ready: slow",
    ]
    assert "   Matching subsets: v1\n      (Non-matching subsets v2)\n" in result.out
    labelled = both.read_text(encoding="utf-8").rpartition("---\n")
    both.write_text(f"{labelled[0]}---\n{labelled[2].replace('version: v1', 'version: v2')}", encoding="utf-8")
    of_both = await run("describe", "service", "reviews", "-n", "shop", "-f", str(both))
    assert "   Matching subsets: v1,v2\n" in of_both.out
    assert "Non-matching" not in of_both.out
    result = await run("describe", "svc", "reviews", "-n", "shop", "-f", str(both), "--ignoreUnmeshed")
    assert "reviews-v2-b" not in result.out


async def test_of_several_policies_the_oldest_of_the_narrowest_counts(tmp_path: Path) -> None:
    def policy(namespace: str, name: str, mode: str, created: str = "2026-01-02T00:00:00Z") -> str:
        metadata = f"{{name: {name}, namespace: {namespace}, creationTimestamp: '{created}'}}"
        kind = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication"
        return f"---\n{kind}\nmetadata: {metadata}\nspec: {{mtls: {{mode: {mode}}}}}\n"

    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop, labels: {app: a, version: b}}\n"
    mesh = policy("istio-system", "default", "STRICT")
    young = policy("shop", "young", "DISABLE")
    old = policy("shop", "zold", "PERMISSIVE", "2026-01-01T00:00:00Z")
    for text, mode in (
        ("", "PERMISSIVE"),
        (mesh, "STRICT"),
        (mesh + young, "DISABLE"),
        (mesh + young + old, "PERMISSIVE"),
        (mesh + policy("shop", "none", "UNSET"), "STRICT"),
        (policy("other", "default", "STRICT"), "PERMISSIVE"),
    ):
        file = tmp_path / "mesh.yaml"
        file.write_text(pod + text, encoding="utf-8")
        result = await run("describe", "pod", "web.shop", "-f", str(file))
        assert f"   Workload mTLS mode: {mode}\n" in result.out, text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("pod", "none", "-n", "shop"), "there is no Pod none in namespace shop"),
        (("service", "shop/revews"), "there is no Service revews in namespace shop; nearest: reviews"),
        (
            ("service", "revews.shop"),
            "there is no Service revews in namespace shop, nor revews.shop in namespace default; nearest: reviews",
        ),
        (("service", "other/reviews"), "there is no Service reviews in namespace other"),
        (
            ("service", "web.nowhere"),
            "there is no Service web in namespace nowhere, nor web.nowhere in namespace default",
        ),
    ],
)
async def test_what_is_not_there(arguments: tuple[str, ...], reason: str) -> None:
    result = await run("describe", *arguments, "-f", str(EXAMPLE))
    assert (result.code, result.out, result.err) == (1, "", f"Error: {reason}\n")
