"""The rules of a VirtualService in a few words each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.analysis import raw
from controlplane.analysis.resources import Resource


def rule_words(virtual: Resource) -> Iterator[str]:
    """Yield a line for each rule, in their order: what it matches, and what becomes of that."""
    for part in ("http", "tls", "tcp"):
        for at, rule in raw.mappings(virtual.spec, part):
            name = raw.text(rule, "name")
            head = f"{part}[{at}]{f' {name}' if name else ''}"
            matches = [_match(match) for _, match in raw.mappings(rule, "match")]
            yield f"{head}: {' or '.join(matches) if matches else 'everything'} -> {_outcome(rule)}"


def _match(match: Mapping[str, Any]) -> str:
    plain = ("uri", "method", "authority", "scheme")
    words = [f"{field} {_string(match[field])}" for field in plain if match.get(field) is not None]
    for field, noun in (("headers", "header"), ("queryParams", "query"), ("withoutHeaders", "not header")):
        words += [f"{noun} {name} {_string(each)}" for name, each in raw.mapping(match, field).items()]
    words += [f"{field} {','.join(raw.texts(match, field))}" for field in ("sniHosts", "gateways") if match.get(field)]
    if number := raw.number(match, "port"):
        words.append(f"port {number}")
    if labels := raw.string_map(match, "sourceLabels"):
        words.append(f"from {','.join(f'{key}={value}' for key, value in sorted(labels.items()))}")
    return " ".join(words) or "everything"


def _string(stated: object) -> str:
    for how, sign in (("exact", "="), ("prefix", "begins with"), ("regex", "matches")):
        if isinstance(stated, Mapping) and isinstance(stated.get(how), str):
            return f"{sign} {stated[how]}"
    return "is there"


def _outcome(rule: Mapping[str, Any]) -> str:
    if "redirect" in rule:
        return f"redirect to {raw.text(rule, 'redirect', 'authority')}{raw.text(rule, 'redirect', 'uri')}".strip()
    if "directResponse" in rule:
        return f"answer {raw.number(rule, 'directResponse', 'status')}"
    if "delegate" in rule:
        return f"VirtualService {raw.text(rule, 'delegate', 'name')}"
    parts = [
        _destination(each, many=len(list(raw.mappings(rule, "route"))) > 1) for _, each in raw.mappings(rule, "route")
    ]
    words = [", ".join(parts) or "nothing"]
    if timeout := raw.text(rule, "timeout"):
        words.append(f"timeout {timeout}")
    if attempts := raw.number(rule, "retries", "attempts"):
        words.append(f"{attempts} retries")
    if rule.get("fault") is not None:
        words.append("with faults")
    if rule.get("mirror") is not None or rule.get("mirrors"):
        words.append("mirrored")
    return ", ".join(words)


def _destination(each: Mapping[str, Any], *, many: bool) -> str:
    destination = raw.mapping(each, "destination")
    subset, number = raw.text(destination, "subset"), raw.number(destination, "port", "number")
    named = raw.text(destination, "host") + (f":{number}" if number else "") + (f" subset {subset}" if subset else "")
    return f"{raw.number(each, 'weight')}% {named}" if many else named
