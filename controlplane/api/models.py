"""What answers of the API look like: the OpenAPI description is made from these models."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from controlplane.model.events import Happened
from controlplane.model.feeds import Standing
from controlplane.model.objects import ObjectKey
from controlplane.model.problems import Sort


class Shown(BaseModel):
    """A JSON object of the API; its names are written in camel case."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True)

    def words(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return self.model_dump(mode="json", by_alias=True)


class ObjectName(Shown):
    """The name of an object; parts are empty where they could not be read, `cluster` is that of another one's."""

    kind: str
    group: str
    namespace: str
    name: str
    cluster: str = ""

    @classmethod
    def of(cls, key: ObjectKey) -> ObjectName:
        """Return that of a key."""
        return cls(
            kind=key.kind.name, group=key.kind.group, namespace=key.namespace, name=key.name, cluster=key.cluster
        )


class State(StrEnum):
    """How a proxy stands to what it should have, the worst first: refused, not yet acknowledged, not asked or sent."""

    ERROR = "ERROR"
    STALE = "STALE"
    NOT_SENT = "NOT SENT"
    SYNCED = "SYNCED"


class TypeState(Shown):
    """How one type of configuration stands at a proxy. `rejection` is Envoy's own text, cut, empty without one."""

    type: str = Field(description="`CDS`, `EDS`, `LDS`, `RDS`, `VHDS`, `SDS`, `ECDS`, `NDS` or `PCDS`")
    state: State
    sent_at: datetime | None
    sent_revision: int
    acked_revision: int
    sent_version: str
    acked_version: str
    rejection: str
    rejected_at: datetime | None
    unbuilt: int = Field(description="How many names could not be built, by an error of the control plane")


class Proxy(Shown):
    """One connected proxy. `state` is the worst of its types; `since` is when the oldest of those in it was sent."""

    connection_id: str
    id: str
    namespace: str
    type: str = Field(description="`sidecar` or `router`")
    cluster_id: str
    version: str = Field(description="Of Istio's proxy, empty for a stock Envoy")
    peer: str
    connected_at: datetime
    state: State
    since: datetime | None
    types: list[TypeState]


class RefusedResource(Shown):
    """A resource that a proxy refused, and the objects that it was made from: the first of them."""

    name: str
    objects: list[ObjectName]
    object_count: int


class Refusal(Shown):
    """What a proxy said when it refused a type."""

    type: str
    message: str
    at: datetime
    version: str
    resources: list[RefusedResource]


class Unbuilt(Shown):
    """A name that could not be built, and why."""

    type: str
    name: str
    reason: str


class ProxyDetail(Shown):
    """One proxy: how it stands, what it says of itself, what it refuses and why, and how much it should hold."""

    proxy: Proxy
    addresses: list[str]
    labels: dict[str, str]
    locality: str
    domain: str
    service_cluster: str
    refusals: list[Refusal]
    unbuilt: list[Unbuilt]
    resources: dict[str, int] = Field(description="How many resources there are for it, by type")
    revision: int | None = Field(description="Of its configuration; null before anything is compiled")


class ResourceName(Shown):
    """One resource of a proxy's configuration."""

    type: str
    name: str
    version: str
    size_bytes: int


class ComparedResource(Shown):
    """One resource that two proxies should not hold alike; a version is empty where the proxy has none of that name."""

    type: str
    name: str
    one: str = Field(description="Its version at the one proxy")
    other: str = Field(description="Its version at the other")


class ResourceDetail(Shown):
    """One resource as Envoy would show it, keys redacted, and the objects that it was made from."""

    type: str
    name: str
    version: str
    size_bytes: int
    objects: list[ObjectName]
    object_count: int
    resource: dict[str, Any]


class Problem(Shown):
    """One problem of an object: it is refused, a part of it is left out, it is without effect, or it is odd."""

    object: ObjectName
    sort: Sort
    level: str = Field(description="`Error`, `Warning` or `Info`")
    code: str
    path: str
    reason: str
    winner: ObjectName | None = Field(description="The object that is used in this one's place")
    source: str = Field(description="Where the object was read, `path:line`")


class ObjectRow(Shown):
    """One object of Istio's API: in force or, where its every version was refused, not."""

    object: ObjectName
    in_force: bool
    source: str
    created: str
    generation: int
    problems: int
    level: str = Field(description="Of its worst problem, empty where there is none")


class ObjectDetail(Shown):
    """One object as it is in force, its problems, and what it is used in place of."""

    object: ObjectName
    in_force: bool
    source: str
    author: str = Field(description="The program that wrote it last (`managedFields`), empty where it is not known")
    manifest: dict[str, Any] | None
    problems: list[Problem]
    overrides: list[Problem] = Field(description="Problems of other objects, in whose place this one is used")


class Port(Shown):
    """One port of a service."""

    number: int
    name: str
    protocol: str


class Service(Shown):
    """One service by host name, and the object that states it."""

    hostname: str
    namespace: str
    object: ObjectName
    ports: list[Port]
    resolution: str
    mesh_external: bool
    addresses: list[str]
    endpoints: int
    healthy: int


class Endpoint(Shown):
    """One address of a service."""

    address: str
    port: int
    port_name: str
    health: str
    weight: int
    locality: str
    workload: str
    namespace: str
    account: str
    tls_mode: str
    network: str


class ServiceDetail(Shown):
    """One service with the first of its endpoints."""

    service: Service
    labels: dict[str, str]
    selector: dict[str, str] | None
    export_to: list[str]
    endpoints: list[Endpoint]


class ChangeDelivery(Shown):
    """How a change went out to proxies, so far. A response that brings several changes counts for each of them.

    Times are from the change to the acknowledgement of a response, null while there is none.
    """

    responses: int
    size_bytes: int = Field(description="Of these responses together")
    acknowledged: int = Field(description="How many of them proxies have accepted")
    refused: int
    last_milliseconds: float | None = Field(description="To the last acknowledgement")
    p50_milliseconds: float | None = Field(description="In which half of them came, to two digits")
    p99_milliseconds: float | None = Field(description="In which 99 of 100 of them came, to two digits")


class Event(Shown):
    """Something that happened to the configuration: see `happened`; `objects` counts what it is about."""

    number: int
    at: datetime
    happened: Happened
    objects: int
    changed: list[str]
    authors: list[str] = Field(
        description="Of `changed`, in its order: the program that wrote it (`managedFields`), empty where not known"
    )
    removed: list[str]
    refused: list[str]
    revision: int
    targets: int
    classes: int
    proxies: int
    milliseconds: float
    delivery: ChangeDelivery | None = Field(description="Of what was pushed since the start; null of other events")


class Certificate(Shown):
    """A certificate that is watched over: of the mesh, of the ports, or of a Secret. `problem` if it ends soon."""

    kind: str
    name: str
    begins: datetime
    ends: datetime
    problem: str


class Task(Shown):
    """Work that is begun again when it fails."""

    name: str
    running: bool
    failures: int
    failed_at: str | None
    problem: str


class Lead(Shown):
    """Some work that one replica does for all of them; `holder` is the one that does, empty while it is not known."""

    work: str
    here: bool
    holder: str


class Watch(Shown):
    """One resource of the cluster that is read, of one namespace or of all (empty)."""

    resource: str
    namespace: str
    standing: Standing
    objects: int
    events: int
    last_event: datetime | None = Field(description="When the API server last said something about it")
    lag_seconds: float = Field(description="For how long it has not been known to be current, 0 while its watch stands")
    problem: str


class Health(Shown):
    """How the control plane itself is doing: what does not work, who leads, and how what it reads of a cluster stands.

    Where files are read there are no leads and no watches.
    """

    ready: bool
    reason: str
    problems: list[str]
    tasks: list[Task]
    leads: list[Lead]
    watches: list[Watch]
    away_since: datetime | None = Field(description="Since when the API server does not answer; null while it does")


class Overview(Shown):
    """The whole in short."""

    identity: str
    version: str
    istio_version: str
    cluster_id: str
    revision: int
    settled_revision: int = Field(description="Up to which it is known for every proxy what it should have")
    ready: bool
    reason: str
    proxies: dict[str, int] = Field(description="How many there are, by state")
    services: int
    objects: int
    problems: dict[str, int] = Field(description="How many there are, by level")
    next_expiry: Certificate | None
    last_event: int


class Node(Shown):
    """A part of the picture: a gateway, a caller that a policy names, or a service. `id` is used by edges."""

    id: str
    sort: str = Field(description="`gateway`, `caller` or `service`")
    name: str
    namespace: str


class Edge(Shown):
    """A line of the picture, and the object that states it.

    `routes`: what is sent to the one is led to the other, `percent` of it, to `subset`. `allows`, `denies`: a policy
    lets the caller in, or does not.
    """

    sort: str = Field(description="`routes`, `allows` or `denies`")
    source: str
    target: str
    percent: float
    subset: str
    object: ObjectName
    rule: str = Field("", description="The name of the rule that leads there, empty where it has none")


class Topology(Shown):
    """Services and gateways, who may call whom by policy, and where traffic is led; of a large mesh a part."""

    nodes: list[Node]
    edges: list[Edge]
    left_out: int = Field(description="How many services there are beside those that are shown")


class Explanation(BaseModel):
    """What becomes of a request, in both proxies: as `controlplane explain -o json` has it."""

    model_config = ConfigDict(extra="allow")

    proxy: dict[str, Any]
    revision: int
    request: dict[str, Any]
    steps: list[dict[str, Any]]
    outcome: dict[str, Any]
    servers: list[dict[str, Any]]
    fails: bool
    result: str


class Effect(BaseModel):
    """What an object makes, for whom, and what of it is without effect: as `controlplane explain OBJECT -o json`."""

    model_config = ConfigDict(extra="allow")

    object: dict[str, Any]
    source: str
    revision: int
    effect: dict[str, Any]
    classes: list[dict[str, Any]]
    rules: list[dict[str, Any]]
    refused: list[str]


class PlanAnswer(BaseModel):
    """What a change would do: as `controlplane plan -o json` has it."""

    model_config = ConfigDict(extra="allow")

    revision: int
    objects: list[dict[str, Any]]
    classes: list[dict[str, Any]]
    totals: dict[str, Any]
    problems: list[dict[str, Any]]
    errors: int
    warnings: int


class Wrong(BaseModel):
    """Every error has this shape. Reference: RFC 9457, `application/problem+json`."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="Always `about:blank`: the status says what kind of problem it is")
    title: str
    status: int
    detail: str
