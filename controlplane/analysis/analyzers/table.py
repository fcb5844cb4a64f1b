"""All analyzers in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from controlplane.analysis import codes
from controlplane.analysis.analyzers import (
    authorization,
    conditions,
    deployments,
    deprecation,
    destination_rules,
    envoy_filters,
    gateway_api,
    gateways,
    injection,
    kube_annotations,
    mesh_networks,
    own,
    schema,
    service_entries,
    services,
    sidecars,
    telemetries,
    virtual_services,
    webhooks,
)
from controlplane.analysis.resources import Message, Resource, Resources, UnreadableKindError, message
from controlplane.apis.kinds import KINDS
from controlplane.model.kinds import CONFIG_MAP, NO_KIND, GroupKind, istio_kind


class Analyzer(NamedTuple):
    """One analyzer: the name by which people choose it, and what it does in a few words."""

    name: str
    about: str
    run: Callable[[Resources], Iterator[Message]]


ANALYZERS: tuple[Analyzer, ...] = (
    Analyzer("annotations.K8sAnalyzer", "annotations of Kubernetes' objects", kube_annotations.doubtful),
    Analyzer("authn.BlockedCIDRsAnalyzer", "addresses that keys are fetched from", authorization.fetched_keys),
    Analyzer("auth.AuthorizationPoliciesAnalyzer", "workloads and sources of policies", authorization.policies),
    Analyzer("conditions.ConditionAnalyzer", "conditions in the status of objects", conditions.negative),
    Analyzer("deployment.MultiServiceAnalyzer", "Services that share a deployment", deployments.services),
    Analyzer("applicationUID.Analyzer", "the user that applications run as", deployments.application_uid),
    Analyzer("destinationrule.CaCertificateAnalyzer", "verification of servers", destination_rules.ca_certificates),
    Analyzer("destinationrule.SubsetSelectPodAnalyzer", "hosts and subsets of rules", destination_rules.subsets),
    Analyzer("deprecation.DeprecationAnalyzer", "deprecated fields and kinds", deprecation.fields),
    Analyzer("envoyfilter.EnvoyPatchAnalyzer", "operations of EnvoyFilters", envoy_filters.patches),
    Analyzer("externalcontrolplane.ExternalControlPlaneAnalyzer", "addresses of webhooks", webhooks.addresses),
    Analyzer("gateway.IngressGatewayPortAnalyzer", "pods and ports of Gateways", gateways.ports),
    Analyzer("gateway.CertificateAnalyzer", "certificates that Gateways share", gateways.duplicate_certificates),
    Analyzer("gateway.SecretAnalyzer", "secrets of Gateways", gateways.secrets),
    Analyzer("gateway.ConflictingGatewayAnalyzer", "hosts that Gateways share", gateways.conflicts),
    Analyzer("injection.Analyzer", "namespaces and pods without a proxy", injection.namespaces_and_pods),
    Analyzer("injection.ImageAnalyzer", "pods with an old proxy", injection.images),
    Analyzer("injection.ImageAutoAnalyzer", "proxies that are not injected", injection.auto_images),
    Analyzer("k8sgateway.SelectorAnalyzer", "selectors of pods of Kubernetes Gateways", gateway_api.selectors),
    Analyzer("k8sgateway.CRDVersionAnalyzer", "versions of the Gateway API", gateway_api.definitions),
    Analyzer("meshnetworks.MeshNetworksAnalyzer", "clusters of networks", mesh_networks.registries),
    Analyzer("services.MultiClusterServiceAnalyzer", "services of several clusters", services.clusters),
    Analyzer("service.PortNameAnalyzer", "names of ports of Services", services.port_names),
    Analyzer("sidecar.SelectorAnalyzer", "workloads of Sidecars", sidecars.sidecar_selectors),
    Analyzer(
        "virtualservice.ConflictingMeshGatewayHostsAnalyzer",
        "hosts that VirtualServices share",
        virtual_services.conflicting_mesh_hosts,
    ),
    Analyzer("virtualservice.DestinationHostAnalyzer", "destinations of routes", virtual_services.destination_hosts),
    Analyzer("virtualservice.DestinationRuleAnalyzer", "subsets of destinations", virtual_services.missing_subsets),
    Analyzer("virtualservice.GatewayAnalyzer", "gateways of VirtualServices", virtual_services.gateways),
    Analyzer("virtualservice.JWTClaimRouteAnalyzer", "routing by claims", virtual_services.claim_routes),
    Analyzer("serviceentry.Analyzer", "addresses of ServiceEntries", service_entries.addresses),
    Analyzer(
        "serviceentry.ConflictingServiceEntryProtocolAnalyzer",
        "protocols of ServiceEntries",
        service_entries.conflicting_protocols,
    ),
    Analyzer("webhook.Analyzer", "webhooks for injection", webhooks.injectors),
    Analyzer("telemetry.ProviderAnalyzer", "providers of access logs", telemetries.providers),
    Analyzer("telemetry.SelectorAnalyzer", "workloads of Telemetries", sidecars.telemetry_selectors),
    Analyzer("telemetry.LightstepAnalyzer", "providers that are gone", telemetries.lightstep),
    Analyzer("controlplane.MeshConfiguration", "the mesh configuration by itself", schema.validation(CONFIG_MAP)),
    Analyzer("controlplane.IngressSecrets", "secrets of Ingresses", gateways.ingress_secrets),
    Analyzer("controlplane.Conflicts", "what older objects take", own.conflicts),
    Analyzer("controlplane.Authorisers", "providers that policies ask", own.authorisers),
    Analyzer("controlplane.Fields", "fields without effect", own.fields),
    Analyzer("controlplane.Selectors", "objects for workloads that are not there", own.selectors),
    Analyzer("controlplane.Delegates", "VirtualServices that rules delegate to", own.delegates),
    *(
        Analyzer(f"schema.ValidationAnalyzer.{name}", f"each {name} by itself", schema.validation(istio_kind(name)))
        for name in KINDS
    ),
)


BEFORE_UPGRADE: tuple[Analyzer, ...] = (
    Analyzer("annotations.AlphaAnalyzer", "annotations of features in their alpha phase", kube_annotations.alpha),
    *(each for each in ANALYZERS if each.name == "k8sgateway.CRDVersionAnalyzer"),
)
"""What is asked before an installation or an upgrade; the first is of no interest at any other time."""


NOTHING = Resource(NO_KIND, "", "", {}, {}, {})
"""What a finding is about that is about no object."""


class Analysis(NamedTuple):
    """The findings, and the analyzers that could not run, each with the kind that may not be read."""

    messages: list[Message]
    skipped: dict[str, GroupKind]


def analyze(resources: Resources, analyzers: Iterable[Analyzer] = ANALYZERS) -> Analysis:
    """Return all findings: by cluster, the most serious first, then by code and object.

    Of several that say the same of an object only the first is told, with its place. An analyzer that fails (our bug)
    becomes a finding, and the others run.
    """
    found: dict[tuple[str, int, str, str, str], Message] = {}
    skipped: dict[str, GroupKind] = {}
    for analyzer in analyzers:
        try:
            outcome = _outcome(analyzer, resources)
        except UnreadableKindError as error:
            skipped[analyzer.name] = error.kind
            continue
        for each in outcome:
            key = (each.resource.cluster, each.code.level.rank, each.code.id, each.resource.origin, each.text)
            found.setdefault(key, each)
    return Analysis([found[key] for key in sorted(found)], skipped)


def _outcome(analyzer: Analyzer, resources: Resources) -> list[Message]:
    try:
        return list(analyzer.run(resources))
    except UnreadableKindError:
        raise
    except Exception as error:  # noqa: BLE001 - a mistake of ours in one analyzer must not hide what others find
        reason = f"{type(error).__name__}: {error}"
        return [message(codes.INTERNAL_ERROR, NOTHING, analyzer=analyzer.name, reason=reason)]
