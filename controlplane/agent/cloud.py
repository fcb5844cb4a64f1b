"""What the metadata server of a cloud says of the machine: where it is, and what it is called there.

It is asked once, when the agent starts, and only where ``CLOUD_PLATFORM`` names the cloud: elsewhere nobody answers,
and each start would wait for that. What may go wrong is said in the log; the agent then starts without. What
``GCP_METADATA`` says of a machine of Google's counts before its server, and without one.

References: EC2 "Instance identity documents" (IMDSv2), Google Cloud "VM metadata", Azure "Instance Metadata Service".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.environment import Environment, StartError
from controlplane.agent.http.client import NoAnswerError, Request, ask
from controlplane.agent.options import Machine
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.model.proxy import Locality

CLOUD = "CLOUD_PLATFORM"
ADDRESS = "CLOUD_METADATA_ADDRESS"
_STATED = "GCP_METADATA"
_USUAL_ADDRESS = "169.254.169.254:80"
_TIMEOUT = timedelta(seconds=5)
_LARGEST = 1 << 20
_OK, _NOT_FOUND = 200, 404
_ZONE_PARTS = 3  # of us-central1-a; a region has two
_OF_GOOGLE: Mapping[str, str] = {
    "gcp_project": "project/project-id",
    "gcp_project_number": "project/numeric-project-id",
    "gcp_gke_cluster_name": "instance/attributes/cluster-name",
    "gcp_gce_instance": "instance/name",
    "gcp_gce_instance_id": "instance/id",
    "gcp_gce_instance_template": "instance/attributes/instance-template",
    "gcp_gce_instance_created_by": "instance/attributes/created-by",
}
_STATED_NAMES = ("gcp_project", "gcp_project_number", "gcp_gke_cluster_name", "gcp_location")
_LOCATION, _OF_CLUSTER, _OF_INSTANCE = "gcp_location", "instance/attributes/cluster-location", "instance/zone"

log = structlog.get_logger(__name__)


async def machine(environment: Environment) -> Machine:
    """Ask the cloud that was named, if one was. Raises ``StartError`` for one that is not known."""
    cloud, stated = environment.text(CLOUD, "none").lower(), _stated(environment)
    if cloud == "none":
        return _google(stated) if stated else Machine()
    if cloud not in _CLOUDS:
        raise StartError(f"{CLOUD}: {cloud!r} is not known; there are {', '.join(_CLOUDS)} and none")
    try:
        where = TcpAddress.parse(environment.text(ADDRESS, _USUAL_ADDRESS))
    except ValueError as error:
        raise StartError(f"{ADDRESS}: {error}") from None
    try:
        async with asyncio.timeout(_TIMEOUT.total_seconds()):
            found = await _CLOUDS[cloud](where)
    except (NoAnswerError, UnreadableError, TimeoutError) as error:
        reason = str(error) or f"{where} did not answer in time"
        log.warning("agent.cloud_unknown", cloud=cloud, address=str(where), reason=reason)
        return _google(stated) if cloud == "gcp" else Machine()
    if cloud == "gcp" and stated:
        return _google({**found.metadata, **stated})
    return Machine({name: text for name, text in found.metadata.items() if text}, found.locality)


def _stated(environment: Environment) -> dict[str, str]:
    """Return what ``GCP_METADATA`` says; what is not of its form says nothing, and that is logged."""
    text = environment.text(_STATED)
    parts = text.split("|")
    if text and len(parts) != len(_STATED_NAMES):
        reason = f"{_STATED} must be PROJECT|NUMBER|CLUSTER|LOCATION, not {text!r}"
        log.warning("agent.cloud_unknown", cloud="gcp", address="", reason=reason)
        return {}
    return {name: part for name, part in zip(_STATED_NAMES, parts, strict=False) if part}


def _google(said: Mapping[str, str]) -> Machine:
    """Return a machine of Google's of which this is known; the location may be a zone, or a region alone."""
    metadata = {name: text for name, text in said.items() if text}
    location = metadata.get(_LOCATION, "")
    parts = location.split("-")
    zone = location if len(parts) == _ZONE_PARTS else ""
    names = ("gcp_project", _LOCATION, "gcp_gke_cluster_name")
    project, location, cluster = (metadata.get(name, "") for name in names)
    if project and location and cluster:
        path = f"projects/{project}/locations/{location}/clusters/{cluster}"
        metadata["gcp_gke_cluster_url"] = f"https://container.googleapis.com/v1/{path}"
    return Machine(metadata, Locality("-".join(parts[:2]), zone))


async def _of_amazon(where: TcpAddress) -> Machine:
    ttl = ("X-aws-ec2-metadata-token-ttl-seconds", "60")
    token = await _text(where, "/latest/api/token", ttl, method="PUT")
    if not (token.isascii() and token.isprintable()):
        raise NoAnswerError(f"{where} gave a token that no header can have")
    said = _fields(
        await _text(where, "/latest/dynamic/instance-identity/document", ("X-aws-ec2-metadata-token", token)),
        "region",
        "availabilityZone",
        "instanceId",
    )
    names = ("aws_region", "aws_availability_zone", "aws_instance_id")
    return Machine(dict(zip(names, said, strict=True)), Locality(said[0], said[1]))


async def _of_google(where: TcpAddress) -> Machine:
    async def read(path: str) -> str:
        return await _text(where, f"/computeMetadata/v1/{path}", ("Metadata-Flavor", "Google"))

    of_cluster, of_instance, *texts = await asyncio.gather(
        *map(read, (_OF_CLUSTER, _OF_INSTANCE, *_OF_GOOGLE.values()))
    )
    location = of_cluster or of_instance.rpartition("/")[2]  # projects/NUMBER/zones/ZONE
    return _google(dict(zip(_OF_GOOGLE, texts, strict=True)) | {_LOCATION: location})


async def _of_azure(where: TcpAddress) -> Machine:
    answer = await _text(where, "/metadata/instance/compute?api-version=2021-02-01", ("Metadata", "true"))
    name, location, zone, number = _fields(answer, "name", "location", "zone", "vmId")
    metadata = {"azure_name": name, "azure_location": location, "azure_vmId": number}
    return Machine(metadata | _tags(answer), Locality(location, zone))


_CLOUDS = {"aws": _of_amazon, "azure": _of_azure, "gcp": _of_google}


async def _text(where: TcpAddress, target: str, header: tuple[str, str], *, method: str = "GET") -> str:
    """Return a page, empty where there is none. Raises ``NoAnswerError``."""
    reply = await ask(Request(where, target, method, (header,), _TIMEOUT, _LARGEST))
    if reply.status == _NOT_FOUND:
        return ""
    if reply.status != _OK or reply.cut:
        raise NoAnswerError(f"{where}{target} answered with status {reply.status}")
    return reply.body.decode(errors="replace").strip()


def _tags(answer: str) -> dict[str, str]:
    """Return the tags of a machine of Azure by Istio's names of them. Raises ``UnreadableError``."""
    listed = _object(answer).get("tagsList")
    listed = listed if isinstance(listed, list) else []
    pairs = ((each.get("name"), each.get("value")) for each in listed if isinstance(each, dict))
    return {f"azure_{name}": value for name, value in pairs if isinstance(name, str) and isinstance(value, str)}


def _fields(text: str, *names: str) -> list[str]:
    """Return fields of a JSON object, empty where they are none or no texts. Raises ``UnreadableError``."""
    said = _object(text)
    return [said[name] if isinstance(said.get(name), str) else "" for name in names]


def _object(text: str) -> dict[str, Any]:
    value: Any = json_value(text)
    return value if isinstance(value, dict) else {}
