"""Rules of AuthorizationPolicy, as YAML and as what Envoy matches by."""

from __future__ import annotations

import pytest

from controlplane.apis.authorization_policy import Action, Rule
from controlplane.documents.yaml_reader import yaml_documents
from controlplane.translate.policies.rules import RuleTranslation
from tests.translate.policies import shorthand

DOMAINS = ("cluster.local",)
TWO = ("td1", "a-x", "td2")


def translated(
    text: str,
    action: Action = Action.ALLOW,
    *,
    http: bool = True,
    namespace: str = "foo",
    domains: tuple[str, ...] = DOMAINS,
) -> str | None:
    (document,) = yaml_documents(text)
    policy = RuleTranslation(http, action, namespace, domains).policy(Rule.model_validate(document.value))  # type: ignore[union-attr]
    return shorthand.rule(policy) if policy is not None else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{}", "and[any] / and[any]", id="anything"),
        pytest.param(
            '{to: [{operation: {methods: [GET, "P*"], paths: ["/admin*", "*/x", "*"], notPaths: ["/ok"]}}]}',
            "and[or[hdr(:method exact GET), hdr(:method prefix P)], "
            "or[path(prefix /admin), path(suffix /x), path(regex .+)], not(or[path(exact /ok)])] / and[any]",
            id="methods-and-paths",
        ),
        pytest.param(
            '{from: [{source: {principals: [cluster.local/ns/a/sa/b, "*", "*/sa/b.c+d", "cluster.local/ns/a/*"], '
            'notNamespaces: ["x-*-y.z"]}}]}',
            "and[any] / and[or[auth(exact spiffe://cluster.local/ns/a/sa/b), auth(regex .+), "
            r"auth(regex spiffe://.*/sa/b\.c\+d), auth(prefix spiffe://cluster.local/ns/a/)], "
            r"not(or[auth(regex .*/ns/x-.*-y\.z/.*)])]",
            id="principals",
        ),
        pytest.param(
            "{from: [{source: {serviceAccounts: [ns-1/sa.1, sa2]}}]}",
            r"and[any] / and[or[auth(regex spiffe://.+/ns/ns-1/(.+/|)sa/sa\.1(/.+)?), "
            "auth(regex spiffe://.+/ns/foo/(.+/|)sa/sa2(/.+)?)]]",
            id="service-accounts",
        ),
        pytest.param(
            '{from: [{source: {ipBlocks: [10.1.2.3/8, "2001:db8::1"], remoteIpBlocks: [1.2.3.4]}}], when: ['
            '{key: destination.ip, values: [10.0.0.1]}, {key: destination.port, values: ["80"], notValues: ["81"]}]}',
            "and[or[to(10.0.0.1/32)], or[port(80)], not(or[port(81)])] / "
            "and[or[client(1.2.3.4/32)], or[peer(10.1.2.3/8), peer(2001:db8::1/128)]]",
            id="addresses",
        ),
        pytest.param(
            '{to: [{operation: {hosts: [Example.com, "*.example.com", "ex.*", "*"], '
            'paths: ["/a/{*}/b", "/c/{**}", "/d"], ports: ["443"]}}]}',
            "and[or[hdr(:authority exact Example.com ignore_case), hdr(:authority suffix .example.com ignore_case), "
            "hdr(:authority prefix ex. ignore_case), hdr(:authority present)], "
            "or[template(/a/*/b), template(/c/**), path(exact /d)], or[port(443)]] / and[any]",
            id="hosts-and-templates",
        ),
        pytest.param(
            "{from: [{source: {requestPrincipals: [https://iss.com/sub]}}]}",
            "and[any] / and[and[md(payload.iss exact https://iss.com), md(payload.sub exact sub)]]",
            id="one-token",
        ),
        pytest.param(
            '{from: [{source: {requestPrincipals: ["*", iss, "*y", "i/s*", "*x/b", "a*"], '
            'notRequestPrincipals: ["bad/*"]}}]}',
            "and[any] / and[or[and[md(payload.iss regex .+), md(payload.sub regex .+)], "
            "and[md(payload.iss exact iss), md(payload.sub exact )], "
            "and[md(payload.iss regex .+), md(payload.sub suffix y)], "
            "and[md(payload.iss exact i), md(payload.sub prefix s)], "
            "and[md(payload.iss suffix x), md(payload.sub exact b)], "
            "and[md(payload.iss prefix a), md(payload.sub regex .+)]], "
            "not(and[md(payload.iss exact bad), md(payload.sub regex .+)])]",
            id="tokens",
        ),
        pytest.param(
            '{when: [{key: "request.auth.claims[a][b.c]", values: ["x*", w], notValues: [z]}]}',
            "and[any] / and[md(payload.a.b.c or(list(or(prefix x, exact w)), or(prefix x, exact w))), "
            "not(md(payload.a.b.c or(list(exact z), exact z)))]",
            id="claims",
        ),
        pytest.param(
            '{when: [{key: "request.headers[X-Foo]", values: ["*", "a*"], notValues: [b]}, '
            '{key: connection.sni, values: ["*.com", A.com]}, '
            '{key: "experimental.envoy.filters.a.b[c]", values: [u, "[v*]"]}]}',
            "and[or[sni(suffix .com), sni(exact A.com)], md(envoy.filters.a.b c or(exact u, list(prefix v)))] / "
            "and[or[hdr(X-Foo present), hdr(X-Foo prefix a)], not(or[hdr(X-Foo exact b)])]",
            id="headers-and-experimental",
        ),
        pytest.param(
            "{from: [{source: {namespaces: [a]}}, {source: {}}], to: [{operation: {methods: [GET]}}, {operation: {}}], "
            'when: [{key: request.auth.audiences, values: [x]}, {key: destination.port, values: ["1"]}]}',
            "and[or[hdr(:method exact GET)], or[port(1)]] | and[or[port(1)]] / "
            "and[or[auth(regex .*/ns/a/.*)], md(payload.aud or(list(exact x), exact x))] | "
            "and[md(payload.aud or(list(exact x), exact x))]",
            id="each-with-every-condition",
        ),
    ],
)
def test_what_a_rule_matches(text: str, expected: str) -> None:
    assert translated(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "{from: [{source: {principals: [cluster.local/ns/a/sa/b, other/ns/a/sa/d, "
            '"*-x/ns/a/sa/e", "*/ns/a/sa/f"]}}]}',
            "and[any] / and[or[auth(exact spiffe://td1/ns/a/sa/b), auth(exact spiffe://a-x/ns/a/sa/b), "
            "auth(exact spiffe://td2/ns/a/sa/b), auth(exact spiffe://other/ns/a/sa/d), "
            "auth(exact spiffe://td1/ns/a/sa/e), auth(regex spiffe://.*-x/ns/a/sa/e), "
            "auth(exact spiffe://td2/ns/a/sa/e), auth(regex spiffe://.*/ns/a/sa/f)]]",
            id="principals",
        ),
        pytest.param(
            '{from: [{source: {trustDomains: [td1, cluster.local, "x*", "*"], notTrustDomains: ["*.y"]}}]}',
            "and[any] / and[or[auth(prefix spiffe://td1/), auth(prefix spiffe://a-x/), auth(prefix spiffe://td2/), "
            "auth(prefix spiffe://cluster.local/), auth(regex spiffe://x[^/]*/.*), auth(prefix spiffe://)], "
            r"not(or[auth(regex spiffe://[^/]*\.y/.*)])]",
            id="trust-domains",
        ),
    ],
)
def test_the_trust_domains_of_the_mesh_stand_for_each_other(text: str, expected: str) -> None:
    assert translated(text, domains=TWO) == expected


HTTP_AND_MORE = '{to: [{operation: {methods: [GET], ports: ["80"]}}]}'
HTTP_ALONE = '{to: [{operation: {paths: ["/x"]}}], when: [{key: request.auth.principal, values: [a]}]}'


@pytest.mark.parametrize(
    ("text", "action", "expected"),
    [
        pytest.param(HTTP_AND_MORE, Action.ALLOW, None, id="allow"),
        pytest.param(HTTP_AND_MORE, Action.DENY, "and[or[port(80)]] / and[any]", id="deny"),
        pytest.param(HTTP_AND_MORE, Action.AUDIT, "and[or[port(80)]] / and[any]", id="audit"),
        pytest.param(HTTP_ALONE, Action.CUSTOM, "and[any] / and[any]", id="custom-of-http-alone"),
        pytest.param(
            "{when: [{key: connection.sni, values: [a]}]}", Action.ALLOW, "and[or[sni(exact a)]] / and[any]", id="both"
        ),
    ],
)
def test_what_bytes_do_not_have_narrows_what_is_allowed_and_widens_the_rest(
    text: str, action: Action, expected: str | None
) -> None:
    assert translated(text, action, http=False) == expected


@pytest.mark.parametrize(
    "text", ["{when: [{key: tea.pot, values: [a]}]}", "{from: [{source: {ipBlocks: [nowhere, 1.2.3.4]}}]}"]
)
def test_what_cannot_be_read_closes(text: str) -> None:
    """Validation refuses these; were one to come past it, nothing is allowed by it and everything denied."""
    assert translated(text, Action.ALLOW) is None
    assert translated(text, Action.DENY) == "and[any] / and[any]"
