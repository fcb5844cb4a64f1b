"""After any history of edits, every proxy's listeners are those that a fresh registry would give."""

from __future__ import annotations

import random

import pytest

from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.watchers.reading import read
from tests.translate.listeners.test_gateway import HTTP80, HTTPS_A, HTTPS_B, TCP80, gateway_resource, routed
from tests.translate.listeners.test_inbound import INGRESS, POLICY, WEB, WORKLOAD_POLICY
from tests.translate.listeners.test_outbound import (
    CIDR_ENTRY,
    RULE,
    SNI_ENTRY,
    entry,
    service,
    sidecar_resource,
    slice_of,
    virtual_service,
)
from tests.translate.listeners.world import World, gateway, sidecar

ALIAS = """
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: ns1}
spec: {type: ExternalName, externalName: api.ext.com, ports: [{name: tls, port: 443}]}
"""
TEXTS = [
    WEB % "http",
    WEB % "foo",
    POLICY % "STRICT",
    POLICY % "DISABLE",
    WORKLOAD_POLICY,
    INGRESS,
    ALIAS,
    RULE,
    RULE.replace("namespace: ns1", "namespace: ns2"),
    service("db", "{name: tcp, port: 5432}"),
    service("db", "{name: tcp, port: 5432}", ip="None"),
    slice_of("db", "tcp", 5432, "10.2.0.1", "10.9.0.1"),
    slice_of("db", "tcp", 5432, "10.2.0.2"),
    entry("ext", SNI_ENTRY),
    entry("ext", SNI_ENTRY + ", exportTo: ['.']"),
    entry("range", CIDR_ENTRY % "10.1.0.0/16"),
    sidecar_resource("egress: [{hosts: ['./*']}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}"),
    virtual_service("hosts: [db], tcp: [{route: [{destination: {host: web, port: {number: 80}}}]}]"),
    virtual_service("hosts: [db], tcp: [{match: [{sourceNamespace: ns2}], route: [{destination: {host: web}}]}]"),
    gateway_resource(HTTP80, HTTPS_A),
    gateway_resource(HTTPS_B, name="gx"),
    gateway_resource(TCP80, name="aa"),
    routed("hosts: ['*'], tcp: [{route: [{destination: {host: db.ns1.svc.cluster.local}}]}]", gateways="aa"),
]
OBJECTS = [obj for text in TEXTS for obj in read(text.encode(), "pool.yaml").objects.values()]
PROXIES = [
    sidecar("ns1", labels={"app": "web"}),
    sidecar("ns2", "10.9.0.2"),
    sidecar("ns3", "10.9.0.3", istio=False),
    gateway(),
]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_incremental_equals_from_scratch(seed: int) -> None:
    rng = random.Random(seed)
    world, held = World(), dict[ObjectKey, Object]()
    history = []
    for _ in range(25):
        if held and rng.random() < 0.4:
            key = rng.choice(sorted(held))
            del held[key]
            change = ChangeSet(deletes=(key,))
            history.append(f"delete {key}")
        else:
            obj = rng.choice(OBJECTS)
            held[obj.key] = obj
            change = ChangeSet(upserts=(obj,))
            history.append(f"put {obj.key}")
        world.registry.memo.invalidate(world.registry.apply(change))
        fresh = World()
        fresh.registry.apply(ChangeSet(upserts=tuple(held.values())))
        for proxy in PROXIES:
            assert world.resources(proxy) == fresh.resources(proxy), (proxy.id, history)
