"""Which filters policies put onto the chains of a workload, in which order, and what a change makes again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac
from google.protobuf.json_format import MessageToDict

from controlplane.documents.key_sets import key_set_problem
from controlplane.model.objects import ChangeSet
from controlplane.model.proxy import Proxy
from controlplane.registry.jwks import JwksSource
from tests.translate.listeners.world import World, chains, connection_manager, gateway, mesh_yaml, sidecar
from tests.translate.policies import shorthand

WORKLOAD = sidecar("foo", labels={"app": "httpbin", "version": "v1"})
MESH = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - {name: http, envoyExtAuthzHttp: {service: authz.foo.svc.cluster.local, port: 8000, timeout: 2s,
        pathPrefix: /check, includeRequestHeadersInCheck: [x-a, "x-b*"], headersToUpstreamOnAllow: ["*-c"],
        statusOnError: "503"}}
    - {name: grpc, envoyExtAuthzGrpc: {service: authz.foo.svc.cluster.local, port: 9000, failOpen: true}}
    - {name: lost, envoyExtAuthzGrpc: {service: nowhere.example, port: 9000}}
---
apiVersion: v1
kind: Service
metadata: {name: authz, namespace: foo}
spec: {clusterIP: 10.0.0.9, ports: [{name: http, port: 8000}, {name: grpc, port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: httpbin, namespace: foo}
spec: {clusterIP: 10.0.0.5, selector: {app: httpbin}, ports: [{name: http, port: 80}, {name: tcp, port: 90}]}
---
"""


KEYS = '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'


def policy(name: str, spec: str, namespace: str = "foo", dry_run: str = "", created: int = 1) -> str:
    annotations = f"annotations: {{istio.io/dry-run: '{dry_run}'}}, " if dry_run else ""
    meta = f'name: {name}, namespace: {namespace}, {annotations}creationTimestamp: "2026-01-0{created}T00:00:00Z"'
    return f"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{{meta}}}\nspec: {spec}\n---\n"


def request_authentication(name: str, spec: str, namespace: str = "foo") -> str:
    meta = f"name: {name}, namespace: {namespace}"
    return f"apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{{meta}}}\nspec: {spec}\n---\n"


def token_rules(*issuers: str, others: str = "") -> str:
    rules = ", ".join(f"{{issuer: {issuer}, jwks: '{{\"keys\": []}}'}}" for issuer in issuers)
    return f"{{{others + ', ' if others else ''}jwtRules: [{rules}]}}"


class Chains:
    """The filters of a proxy's chains: those of the first that speaks HTTP, and of the first that carries bytes."""

    def __init__(self, yaml: str, proxy: Proxy = WORKLOAD, world: World | None = None) -> None:
        self.world = world or World(MESH + yaml)
        name = "virtualInbound" if proxy.type == "sidecar" else "0.0.0.0_80"
        listener = self.world.listeners(proxy)[name]
        ends = [(chain.filters[-1].name.rpartition(".")[2], chain) for chain in chains(listener)]
        self.http = list(next(connection_manager(chain) for end, chain in ends if end.endswith("manager")).http_filters)
        bytes_ = [chain for end, chain in ends if end == "tcp_proxy" and "blackhole" not in chain.name]
        self.tcp = list(bytes_[0].filters) if bytes_ else []

    def named(self, name: str, *, http: bool = True) -> list[Any]:
        return [each for each in (self.http if http else self.tcp) if each.name == name]

    def rbac(self, *, http: bool = True) -> list[str]:
        """Each RBAC filter as text: what it enforces, what it only tries, and the prefix of the latter."""
        found = []
        for each in self.named("envoy.filters.http.rbac" if http else "envoy.filters.network.rbac", http=http):
            kind: Any = http_rbac.RBAC if http else network_rbac.RBAC
            config = kind.FromString(each.typed_config.value)
            assert http or config.stat_prefix == "tcp."
            parts = [_rules("rules", config), _rules("shadow_rules", config), config.shadow_rules_stat_prefix]
            found.append(" ".join(part for part in parts if part))
        return found

    @property
    def order(self) -> list[str]:
        """The last words of the names of HTTP filters, of those that policies make."""
        names = [each.name.rpartition(".")[2] for each in self.http]
        return [name for name in names if name in {"rbac", "ext_authz", "jwt_authn"}]


def _rules(field: str, config: Any) -> str:
    if not config.HasField(field):
        return ""
    held = getattr(config, field)
    action = {0: "ALLOW", 1: "DENY", 2: "LOG"}[held.action]
    rules = ", ".join(f"{name}: {shorthand.rule(each)}" for name, each in sorted(held.policies.items()))
    return f"{field.partition('_')[0]} {action} {{{rules}}}"


ANY = "and[any] / and[any]"


def test_without_policies_there_is_no_filter() -> None:
    held = Chains("")
    assert (held.order, held.rbac(http=False)) == ([], [])


def test_a_policy_without_rules_allows_nothing() -> None:
    held = Chains(policy("none", "{}"))
    nothing = "rules ALLOW {ns[foo]-policy[none]-rule[0]: not(any) / not(any)} istio_dry_run_allow_"
    assert held.rbac() == held.rbac(http=False) == [nothing]


def test_one_filter_an_action_audited_before_denied_before_allowed() -> None:
    held = Chains(
        policy("a", "{action: AUDIT, rules: [{to: [{operation: {ports: ['80', '90']}}]}]}")
        + policy("b", "{rules: [{to: [{operation: {ports: ['80'], methods: [GET]}}]}, "
                 "{from: [{source: {namespaces: [x]}}], to: [{operation: {ports: ['81']}}]}]}")
        + policy("c", "{action: DENY, rules: [{to: [{operation: {ports: ['80'], methods: [GET]}}]}]}")
    )  # fmt: skip
    assert [text.split()[1] for text in held.rbac()] == ["LOG", "DENY", "ALLOW"]
    allowed = "and[or[port(81)]] / and[or[auth(regex .*/ns/x/.*)]]"
    assert held.rbac(http=False) == [
        "rules LOG {ns[foo]-policy[a]-rule[0]: and[or[port(80), port(90)]] / and[any]} istio_dry_run_allow_",
        "rules DENY {ns[foo]-policy[c]-rule[0]: and[or[port(80)]] / and[any]} istio_dry_run_allow_",
        f"rules ALLOW {{ns[foo]-policy[b]-rule[1]: {allowed}}} istio_dry_run_allow_",
    ]


def test_a_policy_that_allows_by_requests_alone_lets_no_bytes_through() -> None:
    held = Chains(policy("a", "{rules: [{to: [{operation: {methods: [GET]}}]}]}"))
    assert held.rbac(http=False) == ["rules ALLOW {} istio_dry_run_allow_"]


def test_dry_runs_are_counted_and_decide_nothing() -> None:
    held = Chains(
        policy("a", "{rules: [{}]}", dry_run="true")
        + policy("b", "{action: DENY, rules: [{}]}", dry_run="1")
        + policy("c", "{action: DENY, rules: [{}]}")
    )
    enforced, tried = (f"{{ns[foo]-policy[{name}]-rule[0]: {ANY}}}" for name in ("c", "b"))
    assert held.rbac() == [
        f"rules DENY {enforced} shadow DENY {tried} istio_dry_run_deny_",
        f"shadow ALLOW {{ns[foo]-policy[a]-rule[0]: {ANY}}} istio_dry_run_allow_",
    ]


@pytest.mark.parametrize(
    ("namespace", "spec", "applies"),
    [
        pytest.param("foo", "{rules: [{}]}", True, id="namespace"),
        pytest.param("bar", "{rules: [{}]}", False, id="other-namespace"),
        pytest.param("istio-system", "{rules: [{}]}", True, id="root"),
        pytest.param("istio-system", "{selector: {matchLabels: {app: httpbin}}, rules: [{}]}", True, id="root-selects"),
        pytest.param(
            "istio-system", "{selector: {matchLabels: {app: other}}, rules: [{}]}", False, id="root-selects-other"
        ),
        pytest.param("foo", "{selector: {matchLabels: {app: httpbin, version: v2}}, rules: [{}]}", False, id="half"),
        pytest.param(
            "foo",
            "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}], rules: [{}]}",
            False,
            id="a-gateway-of-the-gateway-api",
        ),
    ],
)
def test_to_whom_a_policy_applies(namespace: str, spec: str, *, applies: bool) -> None:
    assert bool(Chains(policy("p", spec, namespace)).rbac()) is applies


EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: foo}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
"""


def test_target_refs_attach_to_pods_of_that_gateway_alone() -> None:
    ref = "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}], action: DENY, rules: [{}]}"
    world = World(MESH + EDGE + policy("p", ref))
    labels = {"istio": "ingressgateway"}
    own = gateway("foo", labels={**labels, "gateway.networking.k8s.io/gateway-name": "edge"})
    other = gateway("foo", ip="10.9.0.8", labels={**labels, "gateway.networking.k8s.io/gateway-name": "else"})
    assert len(Chains("", own, world).rbac()) == 1
    assert Chains("", other, world).rbac() == []
    assert Chains("", gateway("foo", ip="10.9.0.7"), world).rbac() == []


def test_a_request_is_asked_about_then_its_token_then_the_policies() -> None:
    held = Chains(
        request_authentication("r", token_rules("i"))
        + policy("a", "{action: CUSTOM, provider: {name: http}, rules: [{to: [{operation: {paths: [/a]}}]}]}")
        + policy("b", "{action: DENY, rules: [{}]}")
    )
    assert held.order == ["rbac", "ext_authz", "jwt_authn", "rbac"]
    asked = "istio-ext-authz-http-ns[foo]-policy[a]-rule[0]: and[or[path(exact /a)]] / and[any]"
    assert held.rbac()[0] == f"shadow DENY {{{asked}}} istio_ext_authz_"
    (filter_,) = held.named("envoy.filters.http.ext_authz")
    assert MessageToDict(ExtAuthz.FromString(filter_.typed_config.value), preserving_proto_field_name=True) == {
        "http_service": {
            "server_uri": {
                "uri": "http://authz.foo.svc.cluster.local",
                "cluster": "outbound|8000||authz.foo.svc.cluster.local",
                "timeout": "2s",
            },
            "path_prefix": "/check",
            "authorization_response": {
                "allowed_upstream_headers": {"patterns": [{"suffix": "-c", "ignore_case": True}]}
            },
        },
        "allowed_headers": {
            "patterns": [{"exact": "x-a", "ignore_case": True}, {"prefix": "x-b", "ignore_case": True}]
        },
        "status_on_error": {"code": "ServiceUnavailable"},
        "transport_api_version": "V3",
        "filter_enabled_metadata": {
            "filter": "envoy.filters.http.rbac",
            "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
            "value": {"string_match": {"prefix": "istio-ext-authz-http"}},
        },
    }
    assert held.named("envoy.filters.network.ext_authz", http=False) == [], "a provider of HTTP is not asked of bytes"


def test_a_grpc_provider_is_asked_of_bytes_too() -> None:
    held = Chains(
        policy("a", "{action: CUSTOM, provider: {name: grpc}, rules: [{to: [{operation: {ports: ['90']}}]}]}")
    )
    assert len(held.named("envoy.filters.network.ext_authz", http=False)) == len(
        held.named("envoy.filters.http.ext_authz")
    )


@pytest.mark.parametrize("name", ["lost", "unknown"])
def test_where_nobody_can_be_asked_what_the_policy_matches_is_denied(name: str) -> None:
    held = Chains(policy("a", f"{{action: CUSTOM, provider: {{name: {name}}}, rules: [{{}}]}}"))
    key = f"istio-ext-authz-{name}-ns[foo]-policy[a]-rule[0]-deny-due-to-bad-CUSTOM-action"
    assert held.rbac() == held.rbac(http=False) == [f"rules DENY {{{key}: {ANY}}}"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Up_per", ""),
        ("a-", ""),
        ("a" * 64, ""),
        ("a", "statusOnError: '999'"),
        ("a", "statusOnError: busy"),
        ("a", "port: 0"),
        ("a", "pathPrefix: check"),
        ("a", "headersToUpstreamOnAllow: ['*']"),
        ("a", "includeAdditionalHeadersInCheck: {Host: a}"),
        ("a", "includeRequestHeadersInCheck: [x, '*']"),
        ("a", "timeout: 9223372035s"),  # Envoy would refuse the filter
    ],
)
def test_an_authoriser_with_settings_that_make_no_sense_is_not_asked(name: str, settings: str) -> None:
    fields = "service: authz.foo.svc.cluster.local, " + ("" if "port" in settings else "port: 8000, ") + settings
    mesh = mesh_yaml(f"extensionProviders: [{{name: {name}, envoyExtAuthzHttp: {{{fields}}}}}]")
    asking = policy("p", f"{{action: CUSTOM, provider: {{name: {name}}}, rules: [{{}}]}}")
    held = Chains("", world=World(f"{mesh}---\n{MESH.partition('---')[2]}{asking}"))
    (denial,) = held.rbac()
    assert denial.startswith("rules DENY")
    assert "-deny-due-to-bad-CUSTOM-action" in denial
    assert held.order == ["rbac"]


TWO_ASKED = "".join(
    policy(name, f"{{action: CUSTOM, provider: {{name: {provider}}}, rules: [{{}}]}}")
    for name, provider in (("a", "http"), ("b", "grpc"))
)


def test_several_providers_of_one_workload_have_to_be_allowed() -> None:
    assert Chains(TWO_ASKED).order == ["rbac", "rbac"]
    allowed = World(MESH + TWO_ASKED, {"PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS": "true"})
    assert Chains("", world=allowed).order == ["rbac", "ext_authz", "rbac", "ext_authz"]


def jwt(held: Chains) -> dict[str, Any]:
    (filter_,) = held.named("envoy.filters.http.jwt_authn")
    config = JwtAuthentication.FromString(filter_.typed_config.value)
    return MessageToDict(config, preserving_proto_field_name=True)


def test_every_setting_of_a_token_rule() -> None:
    config = jwt(
        Chains(
            request_authentication(
                "r",
                "{jwtRules: [{issuer: iss, audiences: [a, b], jwks: '" + KEYS + "', forwardOriginalToken: true, "
                "outputPayloadToHeader: x-p, outputClaimToHeaders: [{header: x-g, claim: a.b}], "
                "fromHeaders: [{name: X, prefix: 'Bearer '}], fromParams: [q], fromCookies: [c], "
                "spaceDelimitedClaims: [zz, roles, scope]}]}",
            )
        )
    )
    assert config["providers"]["origins-0"] == {
        "issuer": "iss",
        "audiences": ["a", "b"],
        "local_jwks": {"inline_string": KEYS},
        "forward": True,
        "from_headers": [{"name": "X", "value_prefix": "Bearer "}],
        "from_params": ["q"],
        "from_cookies": ["c"],
        "forward_payload_header": "x-p",
        "claim_to_headers": [{"header_name": "x-g", "claim_name": "a.b"}],
        "payload_in_metadata": "payload",
        "normalize_payload_in_metadata": {"space_delimited_claims": ["permission", "roles", "scope", "zz"]},
    }
    missing = {"requires_any": {"requirements": [{"provider_name": "origins-0"}, {"allow_missing": {}}]}}
    assert config["rules"] == [{"match": {"prefix": "/"}, "requires": missing}]
    assert config["bypass_cors_preflight"] is True


def test_token_rules_of_several_policies_are_one_list_by_issuer() -> None:
    config = jwt(
        Chains(
            request_authentication("r", token_rules("z", "m"))
            + request_authentication("s", token_rules("a"), "istio-system")
            + request_authentication("t", token_rules("b", others="selector: {matchLabels: {app: other}}"))
        )
    )
    assert [config["providers"][f"origins-{index}"]["issuer"] for index in range(3)] == ["a", "m", "z"]
    every = config["rules"][0]["requires"]["requires_any"]["requirements"]
    assert [each.get("provider_name") for each in every] == ["origins-0", "origins-1", "origins-2", None]
    assert len(every[3]["requires_all"]["requirements"]) == 3


def test_of_one_issuer_the_rules_of_the_own_namespace_come_first() -> None:
    def rule(namespace: str) -> str:
        spec = f"""{{jwtRules: [{{issuer: a, audiences: [{namespace}], jwks: '{{"keys": []}}'}}]}}"""
        return request_authentication("r", spec, namespace)

    providers = jwt(Chains(rule("istio-system") + rule("foo")))["providers"]
    assert [providers[f"origins-{index}"]["audiences"] for index in range(2)] == [["foo"], ["istio-system"]]


def test_a_gateway_chooses_the_route_again_by_the_token() -> None:
    world = World(MESH + EDGE + request_authentication("r", token_rules("i")))
    assert jwt(Chains("", gateway("foo"), world))["providers"]["origins-0"]["clear_route_cache"] is True


def test_keys_are_those_that_were_fetched_and_until_then_nobodys() -> None:
    uri = "https://issuer.example/keys"
    world = World(MESH + request_authentication("r", f"{{jwtRules: [{{issuer: i, jwksUri: '{uri}'}}]}}"))
    before = jwt(Chains("", world=world))["providers"]["origins-0"]["local_jwks"]["inline_string"]
    (key,) = json.loads(before)["keys"]
    assert set(key) == {"e", "kty", "n"}, "no private part is handed out"
    fetched = ChangeSet(upserts=(JwksSource(uri).fetched(KEYS),))
    world.registry.memo.invalidate(world.registry.apply(fetched))
    after = jwt(Chains("", world=world))["providers"]["origins-0"]["local_jwks"]["inline_string"]
    assert after == KEYS


@pytest.mark.parametrize("keys", ['{"keys": []}', '{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}'])
def test_keys_that_no_token_can_be_checked_with_are_nobodys(keys: str) -> None:
    """Envoy refuses a whole listener for them; and no authentication at all would let everybody in."""
    held = Chains(request_authentication("r", f"{{jwtRules: [{{issuer: i, jwks: '{keys}'}}]}}"))
    stated = jwt(held)["providers"]["origins-0"]["local_jwks"]["inline_string"]
    assert key_set_problem(stated) == ""
    assert stated != keys


@pytest.mark.parametrize(
    ("mode", "uri", "cluster"),
    [
        ("hybrid", "http://authz.foo.svc.cluster.local:9000/keys", "outbound|9000||authz.foo.svc.cluster.local"),
        ("hybrid", "https://elsewhere.example/keys", None),
        ("envoy", "https://elsewhere.example/keys", "outbound|443||elsewhere.example"),
        ("false", "http://authz.foo.svc.cluster.local:9000/keys", None),
    ],
)
def test_envoy_fetches_keys_itself_where_it_is_told_to(mode: str, uri: str, cluster: str | None) -> None:
    yaml = MESH + request_authentication("r", f"{{jwtRules: [{{issuer: i, jwksUri: '{uri}', timeout: 2s}}]}}")
    held = Chains("", world=World(yaml, {"PILOT_JWT_ENABLE_REMOTE_JWKS": mode}))
    remote = jwt(held)["providers"]["origins-0"].get("remote_jwks")
    wanted = {"http_uri": {"uri": uri, "cluster": cluster, "timeout": "2s"}, "cache_duration": "300s"}
    assert remote == (wanted if cluster else None)


def test_a_change_of_a_policy_makes_again_what_it_selects() -> None:
    """Of five workloads only the selected one gets other filters, and only its listeners are made again."""
    names = [f"w{number}" for number in range(5)]
    selecting = "{selector: {matchLabels: {app: %s}}, action: DENY, rules: [{to: [{operation: {methods: [%s]}}]}]}"
    every = "".join(policy(name, selecting % (name, "GET")) for name in names)
    world = World(MESH + every)
    proxies = [sidecar("foo", f"10.9.1.{number}", labels={"app": name}) for number, name in enumerate(names)]
    before = [world.resources(proxy)["virtualInbound"] for proxy in proxies]
    made = world.registry.memo.runs["inbound_listeners"]
    world.apply(policy("w3", selecting % ("w3", "PUT")))
    after = [world.resources(proxy)["virtualInbound"] for proxy in proxies]
    assert [old != new for old, new in zip(before, after, strict=True)] == [name == "w3" for name in names]
    assert world.registry.memo.runs["inbound_listeners"] == made + 1
