"""Every finding that has a code: how serious it is, what it is called, and the sentence that says it.

``IST`` codes mean what Istio means by them. Codes that begin with ``C`` are of this control plane alone: what another
object takes (2xx), and what is read and has no effect (3xx). A code is never given another meaning.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How serious a finding is, the most serious first."""

    ERROR = "Error"
    WARNING = "Warning"
    INFO = "Info"

    @property
    def rank(self) -> int:
        """The place in the order, from 0 for the most serious."""
        return list(Level).index(self)


class Code(NamedTuple):
    """One kind of finding. ``sentence`` is filled in by ``str.format`` with the values of a finding."""

    id: str
    level: Level
    name: str
    sentence: str

    @property
    def documentation(self) -> str:
        """The address of its explanation, from the top of the documentation."""
        return f"reference/codes.md#{self.id.lower()}"


_E, _W, _I = Level.ERROR, Level.WARNING, Level.INFO

INTERNAL_ERROR = Code("IST0001", _E, "InternalError", "the analyzer {analyzer} failed, which is a bug: {reason}")
DEPRECATED = Code("IST0002", _W, "Deprecated", "{detail}")
NOT_FOUND = Code("IST0101", _E, "ReferencedResourceNotFound", 'the {kind} "{value}" is referred to and not there')
NAMESPACE_NOT_INJECTED = Code(
    "IST0102",
    _I,
    "NamespaceNotInjected",
    "pods of this namespace get no proxy: 'kubectl label namespace {namespace} istio-injection=enabled' turns it on,"
    " the value 'disabled' says that this is meant",
)
POD_MISSING_PROXY = Code(
    "IST0103", _W, "PodMissingProxy", "the pod {pod} has no proxy, though its namespace asks for one; start it anew"
)
SCHEMA_ERROR = Code("IST0106", _E, "SchemaValidationError", "{problem}")
MISPLACED_ANNOTATION = Code(
    "IST0107", _W, "MisplacedAnnotation", "the annotation {annotation} means something on {kinds} only"
)
UNKNOWN_ANNOTATION = Code("IST0108", _W, "UnknownAnnotation", "there is no annotation {annotation}")
CONFLICTING_MESH_HOSTS = Code(
    "IST0109",
    _E,
    "ConflictingMeshGatewayVirtualServiceHosts",
    "the VirtualServices {services} have the host {host} for the same clients in the mesh, of which one is used:"
    " join them into one",
)
CONFLICTING_SIDECARS = Code(
    "IST0110",
    _E,
    "ConflictingSidecarWorkloadSelectors",
    "the Sidecars {names} in namespace {namespace} select the same pod {pod}; the oldest alone is used",
)
MULTIPLE_SIDECARS = Code(
    "IST0111",
    _E,
    "MultipleSidecarsWithoutWorkloadSelectors",
    "the Sidecars {names} in namespace {namespace} select no workload, all of them; the oldest alone is used",
)
PORT_REQUIRED = Code(
    "IST0112",
    _E,
    "VirtualServiceDestinationPortSelectorRequired",
    "the destination {host} has the ports {ports}, and none is chosen here",
)
SEVERAL_SERVICES = Code(
    "IST0116",
    _W,
    "DeploymentAssociatedToMultipleServices",
    "several Services select the deployment {deployment} with port {port} for different protocols: {services}",
)
PORT_NAME = Code(
    "IST0118",
    _I,
    "PortNameIsNotUnderNamingConvention",
    "the name '{name}' of port {port} (targetPort {target}) does not begin with a protocol, which is detected then",
)
SEVERAL_INJECTION_LABELS = Code(
    "IST0123", _W, "NamespaceMultipleInjectionLabels", "the namespace has several labels for injection: {labels}"
)
INVALID_ANNOTATION = Code("IST0125", _W, "InvalidAnnotation", "the annotation {annotation} cannot be used: {problem}")
UNKNOWN_REGISTRY = Code(
    "IST0126",
    _E,
    "UnknownMeshNetworksServiceRegistry",
    "the network {network} takes its endpoints from {registry}, which is no known cluster",
)
NO_WORKLOADS = Code(
    "IST0127", _W, "NoMatchingWorkloadsFound", "no workload in the mesh is selected by these labels: {labels}"
)
NOT_VERIFIED = Code(
    "IST0128",
    _W,
    "NoServerCertificateVerificationDestinationLevel",
    "the DestinationRule {rule} in namespace {namespace} has TLS mode {mode} and no caCertificates, so certificates of"
    " {host} are not verified",
)
NOT_VERIFIED_AT_PORT = Code(
    "IST0129",
    _W,
    "NoServerCertificateVerificationPortLevel",
    "the DestinationRule {rule} in namespace {namespace} has TLS mode {mode} and no caCertificates, so certificates of"
    " {host} at port {port} are not verified",
)
UNREACHABLE_RULE = Code("IST0130", _W, "VirtualServiceUnreachableRule", "{problem}")
INEFFECTIVE_MATCH = Code("IST0131", _I, "VirtualServiceIneffectiveMatch", "{problem}")
HOST_NOT_IN_GATEWAY = Code(
    "IST0132",
    _W,
    "VirtualServiceHostNotFoundInGateway",
    "the hosts {hosts} of VirtualService {service} are not served by Gateway {gateway}",
)
SCHEMA_WARNING = Code("IST0133", _W, "SchemaWarning", "{problem}")
ADDRESSES_REQUIRED = Code(
    "IST0134",
    _W,
    "ServiceEntryAddressesRequired",
    "a port for TCP, or without a protocol, needs addresses to be told from other hosts",
)
DEPRECATED_ANNOTATION = Code(
    "IST0135", _I, "DeprecatedAnnotation", "the annotation {annotation} is deprecated{extra} and may go away"
)
ALPHA_ANNOTATION = Code(
    "IST0136", _I, "AlphaAnnotation", "the annotation {annotation} is of a feature in its alpha phase, which may change"
)
CONFLICTING_PORTS = Code(
    "IST0137",
    _W,
    "DeploymentConflictingPorts",
    "the Services {services} select the deployment {deployment} with targetPort {target}, but different ports: {ports}",
)
DUPLICATE_CERTIFICATE = Code(
    "IST0138",
    _W,
    "GatewayDuplicateCertificate",
    "the Gateways {gateways} share a certificate; clients that use one connection for both hosts get 404",
)
INVALID_WEBHOOK = Code("IST0139", _E, "InvalidWebhook", "{problem}")
INGRESS_RULES_UNAFFECTED = Code(
    "IST0140",
    _W,
    "IngressRouteRulesNotAffected",
    "the subset in VirtualService {with_subset} has no effect on requests through the gateways of {service}",
)
INSUFFICIENT_PERMISSIONS = Code(
    "IST0141", _E, "InsufficientPermissions", "an installation creates {kind}, and you may not: {reason}"
)
UNSUPPORTED_VERSION = Code(
    "IST0142", _E, "UnsupportedKubernetesVersion", "Kubernetes {version} is older than {least}, which is needed"
)
APPLICATION_UID = Code(
    "IST0144", _W, "InvalidApplicationUID", "the application runs as user 1337, which is that of the proxy"
)
CONFLICTING_GATEWAYS = Code(
    "IST0145",
    _E,
    "ConflictingGateways",
    "the Gateways {gateways} are for the same proxies (selector {selector}) and have port {port} with one of these"
    " hosts too: {hosts}",
)
AUTO_IMAGE_WARNING = Code(
    "IST0146",
    _W,
    "ImageAutoWithoutInjectionWarning",
    "{kind} {name} has the image 'auto', and no webhook for injection selects it",
)
AUTO_IMAGE_ERROR = Code(
    "IST0147",
    _E,
    "ImageAutoWithoutInjectionError",
    "{kind} {name} has the image 'auto': it was not injected",
)
INJECTED_BY_DEFAULT = Code(
    "IST0148",
    _I,
    "NamespaceInjectionEnabledByDefault",
    "pods of this namespace get a proxy, since enableNamespacesByDefault is true",
)
NO_REQUEST_AUTHENTICATION = Code(
    "IST0149",
    _E,
    "JwtClaimBasedRoutingWithoutRequestAuthN",
    "routing by the claim {key} needs a RequestAuthentication, and none selects the pod {pod} of gateway {gateway}",
)
EXTERNAL_NAME_PORT = Code(
    "IST0150",
    _W,
    "ExternalNameServiceTypeInvalidPortName",
    "a port of an ExternalName service needs a name that begins with a protocol other than tcp: it takes all"
    " connections to this port otherwise",
)
RELATIVE_OPERATION = Code(
    "IST0151",
    _W,
    "EnvoyFilterUsesRelativeOperation",
    "this patch depends on what others did before, and there is no priority that says when it is applied",
)
WRONG_REPLACE = Code(
    "IST0152",
    _E,
    "EnvoyFilterUsesReplaceOperationIncorrectly",
    "REPLACE does something for HTTP_FILTER, NETWORK_FILTER and VIRTUAL_HOST alone",
)
WRONG_ADD = Code(
    "IST0153",
    _E,
    "EnvoyFilterUsesAddOperationIncorrectly",
    "ADD does nothing for ROUTE_CONFIGURATION and HTTP_ROUTE",
)
WRONG_REMOVE = Code(
    "IST0154",
    _E,
    "EnvoyFilterUsesRemoveOperationIncorrectly",
    "REMOVE does nothing for ROUTE_CONFIGURATION and HTTP_ROUTE",
)
RELATIVE_WITH_VERSION = Code(
    "IST0155",
    _W,
    "EnvoyFilterUsesRelativeOperationWithProxyVersion",
    "this patch depends on one that some versions of the proxy get only, and there is no priority that says when it is"
    " applied",
)
NO_TELEMETRY_PROVIDER = Code(
    "IST0157",
    _W,
    "InvalidTelemetryProvider",
    "the Telemetry {name} in namespace {namespace} names no provider of access logs, and the mesh has no default one",
)
PROXY_IMAGE_MISMATCH = Code(
    "IST0158",
    _W,
    "PodsIstioProxyImageMismatchInNamespace",
    "these pods run another proxy image than new ones would: {pods}; start them anew",
)
CONFLICTING_TELEMETRIES = Code(
    "IST0159",
    _E,
    "ConflictingTelemetryWorkloadSelectors",
    "the Telemetries {names} in namespace {namespace} select the same pod {pod}; the oldest alone is used",
)
MULTIPLE_TELEMETRIES = Code(
    "IST0160",
    _E,
    "MultipleTelemetriesWithoutWorkloadSelectors",
    "the Telemetries {names} in namespace {namespace} select no workload, all of them; the oldest alone is used",
)
INVALID_CREDENTIAL = Code(
    "IST0161",
    _E,
    "InvalidGatewayCredential",
    "the secret {secret} of Gateway {gateway}, in namespace {namespace}, is of no use: {reason}",
)
PORT_NOT_ON_SERVICE = Code(
    "IST0162",
    _W,
    "GatewayPortNotDefinedOnService",
    "no Service leads to port {port} of the pods that {selector} selects",
)
INVALID_EXTERNAL_CONTROL_PLANE = Code(
    "IST0163",
    _W,
    "InvalidExternalControlPlaneConfig",
    "the address '{url}' of the webhook {webhook} {reason}",
)
ADDRESS_NOT_HOSTNAME = Code(
    "IST0164",
    _I,
    "ExternalControlPlaneAddressIsNotAHostname",
    "the address {url} of the webhook {webhook} has an IP address where a host name is better",
)
INTERNAL_GATEWAY = Code(
    "IST0165",
    _W,
    "ReferencedInternalGateway",
    "the VirtualService {service} names the gateway {gateway}, which is made for a Gateway of the Gateway API:"
    " use an HTTPRoute",
)
INEFFECTIVE_SELECTOR = Code(
    "IST0166",
    _W,
    "IneffectiveSelector",
    "selectors have no effect on the pods of the Kubernetes Gateway {gateway}: use targetRefs",
)
INEFFECTIVE_POLICY = Code("IST0167", _W, "IneffectivePolicy", "the policy has no effect: {reason}")
INCONSISTENT_SERVICE = Code(
    "IST0170",
    _W,
    "MultiClusterInconsistentService",
    "the service {name} in namespace {namespace} is not the same in the clusters {clusters}: {reasons}",
)
NEGATIVE_CONDITION = Code("IST0171", _W, "NegativeConditionStatus", "the condition {type} says {reason}: {message}")
SUBSET_WITHOUT_PODS = Code(
    "IST0173", _E, "DestinationRuleSubsetNotSelectPods", 'no pod has the labels of the subset "{subset}"'
)
UNKNOWN_RULE_HOST = Code("IST0174", _W, "UnknownDestinationRuleHost", 'no service has the host "{host}"')
FETCH_UNRESTRICTED = Code(
    "IST0175",
    _W,
    "JwksUriFetchUnrestricted",
    "keys are fetched for {count} RequestAuthentications ({names}), and BLOCKED_CIDRS_IN_JWKS_URIS keeps no address"
    " from being asked",
)
OLD_GATEWAY_API = Code(
    "IST0176",
    _W,
    "GatewayAPICRDVersionBelowMinimum",
    "{crd} is of version {installed}; at least {minimum} is needed, and its objects are not read",
)
CONFLICTING_PROTOCOLS = Code(
    "IST0177",
    _W,
    "ConflictingServiceEntryProtocol",
    "the ServiceEntries {names} have {host} at port {port} with different protocols: {protocols}",
)
OVERRULED = Code(
    "C201",
    _W,
    "FieldOfAnotherRuleIsUsed",
    "{winner} is for the same host and comes before this one; its is used",
)
SUPERSEDED = Code(
    "C202",
    _W,
    "OlderPolicyIsUsed",
    "{winner} is older and selects the same workloads; it alone is used",
)
SELECTS_NOBODY = Code(
    "C203",
    _W,
    "SelectorOfNobody",
    "no workload {where} has the labels {labels}, so there is nobody that it is for",
)
DELEGATE_NOT_FOUND = Code(
    "C204",
    _E,
    "DelegateNotFound",
    "there is no VirtualService {delegate}, to which this rule delegates; it has no route",
)
DELEGATE_TOO_LARGE = Code(
    "C205",
    _E,
    "DelegateTooLarge",
    "the routes of {delegate} are left out: with the delegates before it they make more than 16,384 matches",
)
AUTHORISER_NOT_ASKED = Code("C206", _E, "AuthoriserNotAsked", "{reason}; what the policy matches is denied")
UNTRANSLATED = Code("C301", _W, "FieldWithoutEffect", "{field} is read and has no effect yet")
IDLE_PATCH = Code(
    "C302",
    _W,
    "PatchWithoutEffect",
    "the patch {patch} changes nothing at any proxy that it is for: nothing there matches it, or it is so already",
)

ALL_CODES: tuple[Code, ...] = tuple(
    sorted((each for each in globals().values() if isinstance(each, Code)), key=lambda each: each.id)
)
"""Every code, sorted."""
