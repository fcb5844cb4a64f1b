"""The templates that are built in: what each of them adds to a pod, as an overlay for ``merge``.

A template is a pure function of ``TemplateData``. ``parts`` has what several share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from controlplane.injector.template_data import TemplateData
from controlplane.injector.templates.gateway import gateway
from controlplane.injector.templates.grpc import grpc_agent, grpc_simple
from controlplane.injector.templates.sidecar import sidecar

Overlay = dict[str, Any]

BUILT_IN: Mapping[str, Callable[[TemplateData], Overlay]] = {
    "sidecar": sidecar,
    "gateway": gateway,
    "grpc-agent": grpc_agent,
    "grpc-simple": grpc_simple,
}
"""Name -> the template."""
