"""A mesh that calls are made in: its proxies by the names that users have for them, its DNS, what each proxy holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from types import MappingProxyType

from controlplane.compiler.compiler import Compiler
from controlplane.documents.nearest import nearest_text
from controlplane.model import kinds
from controlplane.model.objects import Object
from controlplane.model.proxy import Locality, Proxy
from controlplane.model.service import Service
from controlplane.registry.endpoints import known_endpoints
from controlplane.registry.labels import TLS_MODE, selects
from controlplane.registry.mesh import mesh_config
from controlplane.registry.services import services_of
from controlplane.registry.store import View
from controlplane.simulate.mesh_sources import MeshSources
from controlplane.simulate.proxy import HeldProxy
from controlplane.snapshots import Snapshot

OUTSIDE = "203.0.113.10"
"""What DNS says of a name that no object of the mesh knows."""
MADE_UP = "198.51.100.1"
"""The address of a proxy that no object has one for."""
_NO_PROXIES: Mapping[str, Proxy] = MappingProxyType({})


class UnknownProxyError(Exception):
    """Whom a call comes from is not known; ``str()`` is a sentence for the user."""


class Mesh:
    """One registry with its compiler, and the proxies that are ``connected`` to it, by any key."""

    def __init__(self, compiler: Compiler, connected: Mapping[str, Proxy] = _NO_PROXIES) -> None:
        self.compiler = compiler
        self.registry = compiler.registry
        self._connected = connected
        self._view = View(self.registry)
        self.live: dict[str, Snapshot] = {}
        """What proxies hold, by their ids, where that is known of themselves and not only what they are served."""

    def proxy(self, name: str) -> Proxy:
        """Return the proxy that a name means: ``pod/NAMESPACE/NAME``, ``gateway/NAMESPACE/NAME``, ``namespace/NAME``.

        Of a pod the beginning of its name is enough (``productpage`` for ``productpage-7c9f``). A namespace stands for
        any sidecar of it that nothing selects.

        Raises:
            UnknownProxyError: there is none.
        """
        kind, _, rest = name.partition("/")
        namespace, slash, own = rest.partition("/")
        if kind in {"namespace", "ns"} and namespace and not slash:
            return self._made_up(f"any.{namespace}", namespace, {})
        if kind in {"pod", "po", "gateway", "gw"} and namespace and own:
            return self._pod(namespace, own) if kind.startswith("po") else self._gateway(namespace, own)
        known = next((each for each in self._connected.values() if each.id == name), None)
        raise UnknownProxyError(
            f"{name!r} is none of pod/NAMESPACE/NAME, gateway/NAMESPACE/NAME and namespace/NAMESPACE"
            + (f"; write pod/{known.namespace}/{known.name}" if known is not None else "")
        )

    def is_connected(self, proxy: Proxy) -> bool:
        """Whether a proxy is one of those that are really there."""
        return any(each is proxy for each in self._connected.values())

    def _pod(self, namespace: str, name: str) -> Proxy:
        for proxy in reversed(list(self._connected.values())):
            if proxy.namespace == namespace and _means(name, proxy.name):
                return proxy
        keys = [key for key in self._view.index("pods_in", namespace) if _means(name, key.name)]
        found = next((obj for key in sorted(keys) if (obj := self._view.get(key)) is not None), None)
        if found is None:
            every = [key.name for key in self._view.index("pods_in", namespace)]
            every += [proxy.name for proxy in self._connected.values() if proxy.namespace == namespace]
            near = nearest_text(name, every) or self._namespaces(namespace)
            raise UnknownProxyError(f"there is no pod {name} in namespace {namespace}{near}")
        return self.of_pod(found)

    def _namespaces(self, name: str) -> str:
        """Return the namespaces that are close to one in which nothing is."""
        known = {key.namespace for key in self.registry.keys(kinds.POD)}
        known |= {proxy.namespace for proxy in self._connected.values()}
        return "" if name in known else f", nor such a namespace with pods{nearest_text(name, sorted(known))}"

    def of_pod(self, pod: Object) -> Proxy:
        """Return the proxy beside a pod: the connected one, else as it would say it of itself."""
        meta = pod.meta
        for proxy in reversed(list(self._connected.values())):
            if proxy.namespace == meta.namespace and proxy.name == meta.name:
                return proxy
        return self._made_up(f"{meta.name}.{meta.namespace}", meta.namespace, meta.labels, pod.spec.ips)

    def _gateway(self, namespace: str, name: str) -> Proxy:
        obj = self._view.object(kinds.GATEWAY, namespace, name)
        if obj is None:
            every = [key.name for key in self.registry.keys(kinds.GATEWAY) if key.namespace == namespace]
            raise UnknownProxyError(f"there is no Gateway {name} in namespace {namespace}{nearest_text(name, every)}")
        selector = obj.spec.selector or {}
        for proxy in reversed(list(self._connected.values())):
            if proxy.type == "router" and selects(selector, proxy.labels):
                return proxy
        for key in self.registry.keys(kinds.POD):
            pod = self._view.get(key)
            if pod is not None and selector and selects(selector, pod.meta.labels):
                return self._made_up(
                    f"{key.name}.{key.namespace}", key.namespace, pod.meta.labels, pod.spec.ips, "router"
                )
        return self._made_up(f"{name}.{namespace}", namespace, selector, kind="router")

    def every(self) -> dict[str, Proxy]:
        """Return all proxies that the objects stand for, by id: gateways, and the sidecars of pods.

        Pods that are not known to have a proxy are left out, unless that is known of none. A namespace with Services
        and without such a pod has a sidecar that nothing selects.
        """
        pods = [pod for key in self.registry.keys(kinds.POD) if (pod := self._view.get(key)) is not None]
        gateways = {proxy.id: proxy for proxy in self._gateways(pods)}
        injected = [pod for pod in pods if pod.meta.labels.get(TLS_MODE) == "istio"]
        beside = (self.of_pod(pod) for pod in injected or pods)
        sidecars = {proxy.id: proxy for proxy in beside if proxy.id not in gateways}
        namespaces = {key.namespace for key in self.registry.keys(kinds.SERVICE)}
        for namespace in sorted(namespaces - {proxy.namespace for proxy in sidecars.values()}):
            sidecars[f"any.{namespace}"] = self._made_up(f"any.{namespace}", namespace, {})
        return gateways | sidecars

    def _gateways(self, pods: list[Object]) -> Iterator[Proxy]:
        for key in self.registry.keys(kinds.GATEWAY):
            obj = self._view.get(key)
            selector = (obj.spec.selector if obj is not None else None) or {}
            chosen = [pod for pod in pods if selector and selects(selector, pod.meta.labels)]
            for pod in chosen:
                yield self._made_up(
                    f"{pod.meta.name}.{pod.meta.namespace}",
                    pod.meta.namespace,
                    pod.meta.labels,
                    pod.spec.ips,
                    "router",
                )
            if not chosen:
                yield self._gateway(key.namespace, key.name)

    def _made_up(  # noqa: PLR0913, PLR0917 - what a proxy says of itself
        self,
        id_: str,
        namespace: str,
        labels: Mapping[str, str],
        ips: tuple[str, ...] = (),
        kind: str = "sidecar",
        locality: str = "",
    ) -> Proxy:
        domain = f"{namespace}.svc.{self.registry.domain}"
        place = Locality.parse(locality)
        return Proxy(kind, id_, ips or (MADE_UP,), namespace, domain, labels, locality=place)

    def stated(self, name: str, fields: Mapping[str, str | Mapping[str, str]]) -> Proxy:
        """Return a proxy that is described: ``namespace``, perhaps ``type``, ``ip``, ``labels``, ``locality``."""
        labels = fields.get("labels", {})
        namespace, ip = str(fields["namespace"]), str(fields.get("ip", MADE_UP))
        return self._made_up(
            f"{name}.{namespace}",
            namespace,
            labels if isinstance(labels, Mapping) else {},
            (ip,),
            str(fields.get("type", "sidecar")),
            str(fields.get("locality", "")),
        )

    async def held(self, proxy: Proxy) -> HeldProxy:
        """Return what a proxy holds: as it says itself, else what it is or would be served.

        Raises:
            ClassificationError: what the proxy is cannot be found out (our bug).
        """
        if (live := self.live.get(proxy.id)) is not None:
            return HeldProxy(live, MeshSources(self.registry, proxy))
        session = await self.compiler.open(proxy, _nobody)
        try:
            return HeldProxy(session.snapshot, MeshSources(self.registry, proxy))
        finally:
            session.close()

    def address(self, name: str, namespace: str) -> str:
        """Return the address that a name has for an application of a namespace, ``OUTSIDE`` where no object has it."""
        try:
            return str(ip_address(name.strip("[]")))
        except ValueError:
            pass
        for service in self.named(name, namespace):
            if found := self._address_of(service, namespace):
                return found
        return OUTSIDE

    def named(self, name: str, namespace: str) -> Iterator[Service]:
        """Yield the services that a name means to an application of a namespace, as its search domains go."""
        domain = self.registry.domain
        for full in (f"{name}.{namespace}.svc.{domain}", f"{name}.svc.{domain}", f"{name}.{domain}", name):
            own, found, _ = full.partition(f".svc.{domain}")
            service, _, of = own.partition(".")
            if found and (obj := self._view.object(kinds.SERVICE, of, service)) is not None:
                yield from services_of(self._view, obj.key)
        keys = self._view.keys(kinds.SERVICE_ENTRY)
        for key in keys:
            yield from (each for each in services_of(self._view, key) if each.hostname == name.lower())

    def nearest_hosts(self, name: str, namespace: str) -> str:
        """Return the names of services that are close to one that no object has, for the end of a sentence."""
        own, _, of = name.partition(".")
        keys = self.registry.keys(kinds.SERVICE)
        short = (key.name if key.namespace == namespace else f"{key.name}.{key.namespace}" for key in keys)
        entries = (self._view.get(key) for key in self.registry.keys(kinds.SERVICE_ENTRY))
        hosts = (host for entry in entries if entry is not None for host in entry.spec.hosts)
        cut = f"{own}.{of.partition('.')[0]}" if of.partition(".")[2].startswith("svc") else name
        return nearest_text(cut, [*short, *hosts])

    def _address_of(self, service: Service, namespace: str) -> str:
        for each in service.addresses:
            if "/" not in each:
                return each
        if service.external_name:
            return self.address(service.external_name, namespace)
        held = known_endpoints(self._view, service.hostname, service.namespace) if service.headless else ()
        return held[0].address if held else ""

    def server(self, address: str) -> Proxy | None:
        """Return the sidecar of the pod with an address; ``None`` where there is none."""
        for key in self._view.index("pods_with", address):
            pod = self._view.get(key)
            if pod is not None and pod.meta.labels.get(TLS_MODE) == "istio":
                return self.of_pod(pod)
        return None

    def identity(self, proxy: Proxy) -> str:
        """Return the SPIFFE id of a proxy's certificate."""
        pod = self._view.object(kinds.POD, proxy.namespace, proxy.name)
        stated = str(proxy.metadata.get("SERVICE_ACCOUNT") or "default")
        return self.account(proxy.namespace, pod.spec.service_account if pod is not None else stated)

    def account(self, namespace: str, name: str) -> str:
        """Return the SPIFFE id of a service account."""
        return f"spiffe://{mesh_config(self._view).trust_domain}/ns/{namespace}/sa/{name}"

    def is_pod(self, address: str) -> bool:
        """Whether a pod of the mesh has an address."""
        return bool(self._view.index("pods_with", address))


def _means(stated: str, name: str) -> bool:
    return name == stated or name.startswith(f"{stated}-")


def _nobody() -> None:
    """Hear of a change, and do nothing: one look is all that is wanted."""
