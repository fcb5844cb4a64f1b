"""The command operators and expressions that objects may have are exactly those that a real Envoy takes."""

from __future__ import annotations

from itertools import product
from typing import Any

from controlplane.apis.validation.cel import envoy_problem
from controlplane.apis.validation.formats import IN_HEADERS, format_problem, header_format_problem, log_format_problem
from controlplane.apis.validation.regex import envoy_regex_problem
from tests.envoy.judge import http_listener, refused_listeners, routed

FORMS = ("%{}%", "%{}(x)%", "%{}()%", "%{}:5%", "%{}(x):5%", "%{}():5%", "%{}(x)y%", "%{}:%", "%{}:x%", "%{}(x")
NAMES = (*IN_HEADERS, "REQ_WITHOUT_QUERY", "NO_SUCH_OPERATOR", "KUBERNETES_POD", "SECRET", "req")
FURTHER = (
    *("", "%", "%%", "a%", "%a", "100%", "100%%", "% REQ(a)%", "%REQ(a)%%", "%%REQ(a)%%", "%PROTOCOL%%HOSTNAME%"),
    *(
        "%REQ(a?b)%",
        "%REQ(a?b?c)%",
        "%REQ(:path)%",
        "%REQ(a b)%",
        "%REQ(a):-1%",
        "%REQ(a%b)%",
        "%REQ(a))%",
        "%REQ(?a)%",
    ),
    *("%START_TIME(%Y-%m-%dT%H:%M:%S.%3f%z)%", "%START_TIME(%s)%", "%START_TIME(%1)%"),
    *("%FILTER_STATE(k:PLAIN)%", "%FILTER_STATE(k:FIELD:x)%", "%FILTER_STATE(k:FIELD)%", "%FILTER_STATE(k:X)%"),
    *("%METADATA(ROUTE:a:b)%", "%METADATA(DYNAMIC:a)%", "%METADATA(X:a)%", "%METADATA(LISTENER_FILTER_CHAIN:a)%"),
    *("%CEL(request.path)%", "%CEL(1+)%", "%CEL(nosuch)%", "%QUERY_PARAMS(ORIG)%", "%QUERY_PARAMS(x)%"),
    *("%PATH(WQ)%", "%PATH(NQ:ORIG)%", "%PATH(WQ:PATH)%", "%PATH(NQ:ORIG_OR_PATH)%", "%PATH(NQ:x)%", "%PATH(ORIG)%"),
    *("%GRPC_STATUS(CAMEL_STRING)%", "%GRPC_STATUS(SNAKE_STRING)%", "%GRPC_STATUS(NUMBER)%"),
    *("%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:ms)%", "%COMMON_DURATION(a:b)%", "%COMMON_DURATION(a:b:xx)%"),
    *("%COALESCE(a)%", '%COALESCE({"operators":["HOSTNAME"]})%', '%COALESCE({"operators":[]})%', "é", "a\x7f"),
    *('%COALESCE({"operators":["FOO"]})%', '%COALESCE({"operators":[{"command":"REQ","param":"a"}]})%'),
    *("%REQUESTED_SERVER_NAME(SNI_FIRST)%", "%DYNAMIC_METADATA(a:b:c):9%", '%UPSTREAM_METADATA(["a", "b"])%'),
)
TEXTS = tuple(dict.fromkeys((*(form.format(name) for form, name in product(FORMS, NAMES)), *FURTHER)))

EXPRESSIONS = (
    *(
        "a",
        "a.*b",
        "(",
        "[a",
        "a{1001}",
        "a{1000}",
        r"\x{ff}",
        r"\x{100}",
        r"[\x{4e00}-\x{9fa5}]+",
        "é+",
        r"\pL",
        "(?u)a",
    ),
    *("(?P<n>a)", "(?<n>a)", "(?=a)", r"(a)\1", ".{1000}" * 16, ".{1000}" * 17, "", "(?i)A", "[[:word:]]", "*", "a**"),
)


def header(name: str, value: str) -> dict[str, Any]:
    return routed(name, response_headers_to_add=[{"header": {"key": "x", "value": value}}])


def log(name: str, text: str) -> dict[str, Any]:
    package = "type.googleapis.com/envoy.extensions"
    formatter = {"@type": f"{package}.formatter.req_without_query.v3.ReqWithoutQuery"}
    config = {
        "@type": f"{package}.access_loggers.file.v3.FileAccessLog",
        "path": "/dev/null",
        "log_format": {
            "text_format_source": {"inline_string": text},
            "formatters": [{"name": "envoy.formatter.req_without_query", "typed_config": formatter}],
        },
    }
    access_log = [{"name": "envoy.access_loggers.file", "typed_config": config}]
    return http_listener(name, route_config={"name": "r"}, access_log=access_log)


def test_values_of_headers() -> None:
    """Every command with and without parameter and length, and the forms of parameters that some have."""
    refused = refused_listeners(header(str(number), text) for number, text in enumerate(TEXTS))
    expected = {str(number) for number, text in enumerate(TEXTS) if header_format_problem(text)}
    assert {TEXTS[int(number)] for number in refused.keys() ^ expected} == set()
    assert len(TEXTS) > len(refused) > 100


def test_access_logs() -> None:
    refused = refused_listeners(log(str(number), text) for number, text in enumerate(TEXTS))
    expected = {str(number) for number, text in enumerate(TEXTS) if log_format_problem(text)}
    assert {TEXTS[int(number)] for number in refused.keys() ^ expected} == set()


def tagged(name: str, text: str) -> dict[str, Any]:
    return http_listener(name, route_config={"name": "r"}, tracing={"custom_tags": [{"tag": "t", "value": text}]})


def test_tags_of_spans() -> None:
    texts = [text for text in TEXTS if text]
    refused = refused_listeners(tagged(str(number), text) for number, text in enumerate(texts))
    expected = {str(number) for number, text in enumerate(texts) if format_problem(text)}
    assert {texts[int(number)] for number in refused.keys() ^ expected} == set()


def filtered(name: str, text: str) -> dict[str, Any]:
    package = "type.googleapis.com/envoy.extensions.access_loggers"
    expression = {"@type": f"{package}.filters.cel.v3.ExpressionFilter", "expression": text}
    access_log = {
        "name": "envoy.access_loggers.file",
        "typed_config": {"@type": f"{package}.file.v3.FileAccessLog", "path": "/dev/null"},
        "filter": {
            "extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": expression}
        },
    }
    return http_listener(name, route_config={"name": "r"}, access_log=[access_log])


CALLS = [
    form.format(name, ",".join(["request.path"] * count))
    for name in (
        *("all", "bool", "bytes", "capture", "captureN", "contains", "double", "duration", "dyn", "endsWith"),
        *("exists", "exists_one", "extract", "filter", "getDate", "getHours", "has", "int", "join", "lowerAscii"),
        *("map", "matches", "size", "startsWith", "string", "timestamp", "type", "uint"),
    )
    for form in ("{}({})", "request.path.{}({})", "re.{}({})")
    for count in range(4)
]
LITERALS = (
    *(r"'\q'", r"'\x4'", r"'\8'", r"'\400'", r"'\377'", r"b'\u0041'", r"'\U00110000'", r"'\ud800'", r"r'\q'", r"'\12'"),
    *(
        "-9223372036854775808",
        "9223372036854775808",
        "!-9223372036854775808",
        "--9223372036854775808",
        "0x8000000000000000",
    ),
    *(
        "18446744073709551615u",
        "18446744073709551616u",
        "1.0u",
        "0X1F",
        "1e400",
        "-!true",
        "!-1",
        "!!true",
        "[1,]",
        "size(a,)",
    ),
)
WORDS = (
    *("if", "a.if", "if.a", "null", "a.null", "true(1)", "a{}", "1{}", "(a){}", "has(a)", "has(a.b)", "has(a.b())"),
    *("has((a.b))", "has(!a.b)", "has(a[0].b)", "'a'.matches('(')", "'a'.matches(b)", "matches('a', r'.{100}.{100}')"),
    *("'a'.matches('\\x28')", "'a'.matches(('a'))", "response.code >= 400", "request.headers['a'] in ['b']", "", "a b"),
)


def test_filters_of_access_logs() -> None:
    """Every function with and without what it is called on, literals at their bounds, words of the language."""
    texts = tuple(dict.fromkeys((*CALLS, *LITERALS, *WORDS)))
    refused = refused_listeners(filtered(str(number), text) for number, text in enumerate(texts))
    expected = {str(number) for number, text in enumerate(texts) if envoy_problem(text)}
    assert {texts[int(number)] for number in refused.keys() ^ expected} == set()
    assert len(texts) > len(refused) > 100


def test_regular_expressions() -> None:
    """Latin-1, and programs of the size that the bootstrap allows."""
    listeners = [
        routed(str(number), match={"safe_regex": {"regex": f"x|{text}"}}) for number, text in enumerate(EXPRESSIONS)
    ]
    refused = refused_listeners(listeners)
    expected = {str(number) for number, text in enumerate(EXPRESSIONS) if envoy_regex_problem(f"x|{text}")}
    assert {EXPRESSIONS[int(number)] for number in refused.keys() ^ expected} == set()
    assert len(expected) > 5
