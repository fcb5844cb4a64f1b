"""Cluster metadata under ``istio``: which services it stands for and which object shaped it."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.cluster.v3.cluster_pb2 import Cluster

from controlplane.model.cluster_names import config_path
from controlplane.model.objects import ObjectKey
from controlplane.model.service import Service


def put_services(cluster: Cluster, services: Iterable[Service]) -> None:
    """Name the services behind a cluster, each host once."""
    values = cluster.metadata.filter_metadata["istio"].fields["services"].list_value.values
    for service in {service.hostname: service for service in services}.values():
        fields = values.add().struct_value.fields
        fields["host"].string_value = service.hostname
        fields["name"].string_value = service.name
        fields["namespace"].string_value = service.namespace


def config_metadata(cluster: Cluster, kind: str, key: ObjectKey) -> None:
    """Name the object that shaped a cluster."""
    fields = cluster.metadata.filter_metadata["istio"].fields
    fields["config"].string_value = config_path(kind, key.namespace, key.name)
