"""Differences of resources as they may be shown."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext

from controlplane.plan.patches import Patches
from controlplane.snapshots import Resource, ResourceType


def cluster(key: str, sni: str) -> Resource:
    """Return one whose key an EnvoyFilter put there."""
    tls = UpstreamTlsContext(sni=sni)
    tls.common_tls_context.tls_certificates.add().private_key.inline_string = key
    made = Cluster(name="a")
    made.transport_socket.typed_config.Pack(tls)
    return Resource.of(ResourceType.CLUSTER, "a", made.SerializeToString())


def test_keys_are_not_shown() -> None:
    patches = Patches()
    (edit,) = patches.of(cluster("canary", "before.test"), cluster("canary", "after.test"))["patch"]
    assert (edit["path"].rpartition("/")[2], edit["value"]) == ("sni", "after.test")
    found = patches.of(cluster("canary", "same.test"), cluster("another canary", "other.test"))
    assert "canary" not in str(found)
    assert "other.test" in str(found)
    only = patches.of(cluster("canary", "same.test"), cluster("another canary", "same.test"))
    assert only == {"unshown": "only what nobody may see is another: a key, a password"}
