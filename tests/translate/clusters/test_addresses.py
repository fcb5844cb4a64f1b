"""Endpoints whose address Envoy would refuse: each is left out by itself."""

from __future__ import annotations

import pytest

from tests.translate.clusters.world import addresses

_YAML = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: default}
spec:
  hosts: [web.example.com]
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{name: http, number: 80, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: web}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: web-1, namespace: default}
spec: {address: 10.1.0.1, labels: {app: web}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: web-2, namespace: default}
spec: {address: "ODD", labels: {app: web}}
"""


@pytest.mark.parametrize("odd", ["fd00::2%eth0", "fe80::2%1", "web-2.example.com"])
def test_an_address_that_is_none_on_every_machine_is_left_out_alone(odd: str) -> None:
    held = addresses(_YAML.replace("ODD", odd))
    assert held["outbound|80||web.example.com"] == {"10.1.0.1:8080": 0}
