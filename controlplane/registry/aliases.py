"""ExternalName services: other names for what they lead to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.engine.recording import query
from controlplane.model.service import Resolution, Service, ServicePort
from controlplane.registry.services import best_namespace, foremost, service_table, visible_by_host, visible_services
from controlplane.registry.store import View


@query
def external_names(view: View, namespace: str) -> tuple[Service, ...]:
    """Return the ExternalName services visible in a namespace; a change of others stops here."""
    return tuple([service for service in visible_services(view, namespace) if service.resolution is Resolution.ALIAS])


@query
def aliases(view: View, namespace: str) -> Mapping[str, tuple[Service, ...]]:
    """Return, by the host name they end at, the ExternalName services visible in a namespace, chains flattened."""
    if namespace and not service_table(view, ()).private.get(namespace):
        return aliases(view, "")
    named = external_names(view, namespace)
    index = visible_by_host(view, namespace).by_host if named else {}
    found: defaultdict[str, list[Service]] = defaultdict(list)
    for service in named:
        target = alias_target(index, service)
        if target is not None:
            found[target].append(service)
    return {
        host: tuple(sorted(held, key=lambda service: (service.namespace, service.hostname)))
        for host, held in found.items()
    }


@dataclass(frozen=True, slots=True)
class AliasEnd:
    """Where an ExternalName service leads: ``host`` and its ``ports``, none where it is not known.

    ``stated`` is the one port that the ExternalName service states itself, 0 for none or several.
    """

    host: str
    ports: tuple[ServicePort, ...]
    stated: int

    def port(self, wanted: int) -> int:
        """Return the port that is meant where no destination states one: the wanted one, else what there is.

        What the ExternalName service states has no effect but to choose among several.
        """
        numbers = [port.number for port in self.ports]
        if not numbers:
            return self.stated or wanted
        if wanted in numbers:
            return wanted
        return self.stated if self.stated in numbers else (numbers[0] if len(numbers) == 1 else wanted)


@query
def alias_ends(view: View, namespace: str) -> Mapping[str, AliasEnd]:
    """Return where the ExternalName services that a namespace sees lead, by host name; most meshes have none."""
    if namespace and not service_table(view, ()).private.get(namespace):
        return alias_ends(view, "")
    named = external_names(view, namespace)
    index = visible_by_host(view, namespace).by_host if named else {}
    found: dict[str, AliasEnd] = {}
    for service in named:
        if service.hostname in found:
            continue
        host = alias_target(index, service)
        end = foremost(best_namespace(index[host], namespace)) if host is not None else None
        found[service.hostname] = AliasEnd(
            host or service.external_name.lower(),
            end.ports if end is not None else (),
            service.ports[0].number if len(service.ports) == 1 else 0,
        )
    return found


def alias_target(index: Mapping[str, tuple[Service, ...]], service: Service) -> str | None:
    """Follow ExternalName links to a concrete service's host name; ``None`` for a loop or an unknown end."""
    seen = {service.hostname}
    host = service.external_name.lower()
    while host not in seen:
        target = index.get(host)
        if target is None:
            return None
        if target[0].resolution is not Resolution.ALIAS:
            return host
        seen.add(host)
        host = target[0].external_name.lower()
    return None
