"""Names of clusters in statistics, by the patterns ``outboundClusterStatName`` and ``inboundClusterStatName``."""

from __future__ import annotations

from controlplane.model.service import Service, ServicePort


def stat_name(pattern: str, service: Service, port: ServicePort, subset: str = "", target: int | str = "") -> str:
    """Return the pattern with its tokens replaced; without a ``target``, ``%TARGET_PORT%`` stays as it is."""
    values = {
        "%SERVICE%": f"{service.name}.{service.namespace}" if service.kubernetes else service.hostname,
        "%SERVICE_NAME%": service.name,
        "%SERVICE_FQDN%": service.hostname,
        "%SUBSET_NAME%": subset,
        "%SERVICE_PORT%": str(port.number),
        "%SERVICE_PORT_NAME%": port.name,
        "%TARGET_PORT%": str(target),
    }
    for name, value in values.items():
        if value or name != "%TARGET_PORT%":
            pattern = pattern.replace(name, value)
    return pattern
