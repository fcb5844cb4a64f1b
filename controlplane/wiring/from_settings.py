"""What the settings ask for, made: a source of objects, who may connect, and how connections are treated."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING

from controlplane.ads.server import ServerOptions
from controlplane.apis.mesh import MeshConfig
from controlplane.limits import Limits
from controlplane.registry.mesh import SYSTEM_NAMESPACE
from controlplane.settings import Settings
from controlplane.watchers.files.source import FileSource
from controlplane.webhooks.review import Reviewer
from controlplane.wiring.process import Process
from controlplane.wiring.tasks import StartError

if TYPE_CHECKING:
    from controlplane.watchers.kubernetes.source import KubernetesSource
    from controlplane.wiring.identity import Trust


def source(settings: Settings) -> FileSource | KubernetesSource:
    """Return where objects come from: files if a directory is given, else a cluster."""
    if settings.config_dir is not None:
        return FileSource(settings.config_dir)
    from controlplane.watchers.kubernetes.source import ClusterOptions, KubernetesSource  # noqa: PLC0415 - 1 s, 27 MB

    return KubernetesSource(
        ClusterOptions(
            kubeconfig=settings.kubeconfig,
            context=settings.context,
            revision=settings.revision,
            namespaces=settings.namespaces,
            system_namespace=SYSTEM_NAMESPACE,
            name=settings.cluster_id,
        )
    )


def identity() -> str:
    """Return the name of this replica, which no other one has that runs now."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"


def trust(
    settings: Settings, current_mesh: Callable[[], MeshConfig], inject: Reviewer, process: Process
) -> Trust | None:
    """Return what ports with TLS need; nothing where there are none."""
    if not settings.secures:
        return None
    if settings.ca_dir is not None and settings.ca_dir.exists() and not settings.ca_dir.is_dir():
        raise StartError(f"--ca-dir: {settings.ca_dir} is no directory")
    from controlplane.wiring.identity import Trust  # noqa: PLC0415 - X.509 is loaded where it is used

    return Trust(settings, current_mesh, inject, process)


def server_options(settings: Settings) -> ServerOptions:
    """Return what the settings say of streams and connections."""
    return ServerOptions(
        max_streams=settings.max_concurrent_streams,
        max_receive_size_bytes=settings.max_receive_message_size,
        keepalive_interval=settings.keepalive_interval,
        keepalive_timeout=settings.keepalive_timeout,
        max_connection_age=settings.max_connection_age or None,
        max_connection_age_grace=settings.max_connection_age_grace,
        new_streams_per_second=settings.new_streams_per_second,
        virtual_hosts=settings.virtual_host_discovery,
        limits=limits(settings),
    )


def limits(settings: Settings) -> Limits:
    """Return the part of the settings that says what peers may take."""
    return Limits(**{limit.name: getattr(settings, limit.name) for limit in fields(Limits)})
