"""Differences of resources as they may be shown."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext

from controlplane.apis.envoy_filter import EnvoyFilter
from controlplane.model import kinds
from controlplane.model.objects import Meta, Object
from controlplane.plan.patches import Patches
from controlplane.plan.written import ObjectChange
from controlplane.snapshots import Resource, ResourceType


def filter_with(key: str, name: str = "tls") -> Object:
    """Return an EnvoyFilter that has a key."""
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"tls_certificates": [{"private_key": {"inline_string": key}}]},
    }
    patch = {"operation": "MERGE", "value": {"transport_socket": {"name": name, "typed_config": tls}}}
    spec = EnvoyFilter.model_validate({"configPatches": [{"applyTo": "CLUSTER", "patch": patch}]})
    return Object(kinds.ENVOY_FILTER, Meta("shop", "keys"), spec)


def test_keys_in_objects_are_not_shown() -> None:
    """Neither what they were nor what they become, as nowhere else; that something of them changes is."""
    before = filter_with("canary")
    for after, told in ((filter_with("other canary", "new"), "new"), (filter_with("other canary"), "...")):
        (edit,) = ObjectChange(before.key, before, after).edits()
        assert edit.after == told
        assert "canary" not in str(edit.words())


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
