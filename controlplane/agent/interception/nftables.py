"""The same rules for nftables: tables of our own in the family ``inet``, made in one transaction.

Reference: the tables of Istio's ``istio-nftables``. A rule that names no address is there once for both IP families.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

import re2

from controlplane.agent.interception.options import IPV4
from controlplane.agent.interception.restore import PREFIX, chains
from controlplane.agent.interception.rules import Family, Rule

_HOOKS = {
    ("nat", "PREROUTING"): "type nat hook prerouting priority -100",
    ("nat", "OUTPUT"): "type nat hook output priority -100",
    ("mangle", "PREROUTING"): "type filter hook prerouting priority -150",
    ("mangle", "OUTPUT"): "type route hook output priority -150",
    ("raw", "PREROUTING"): "type filter hook prerouting priority -300",
    ("raw", "OUTPUT"): "type filter hook output priority -300",
}
_TABLES = ("nat", "mangle", "raw")
_PLAIN = re2.compile(r"lo|[a-zA-Z_]*[0-9._/-][a-zA-Z0-9._/-]*")
_FIRST_OF_NUMBERS = frozenset("0123456789-")


class _Line(NamedTuple):
    """A rule of a chain, and its place in it as ``Rule.position`` tells it."""

    chain: str
    position: int
    words: str


def transaction(made: Mapping[Family, Sequence[Rule]]) -> str:
    """Return what makes the tables anew with these rules, as one input of ``nft -f``; empty without rules."""
    every = [rule for rules in made.values() for rule in rules]
    lines: list[str] = []
    for table in _used(every):
        name = _table(table)
        lines += [f"add table inet {name}", f"flush table inet {name}"]
        lines += [f"add chain inet {name} {chain}" for chain in _chains(every, table)]
        lines += _placed(_merged(table, made))
    return "".join(f"{line}\n" for line in lines)


def removal(made: Mapping[Family, Sequence[Rule]]) -> str:
    """Return what removes the tables, whichever of them are there, as one input of ``nft -f``."""
    every = [rule for rules in made.values() for rule in rules]
    names = [_table(table) for table in _used(every)]
    return "".join(f"add table inet {name}\ndelete table inet {name}\n" for name in names)


def _used(rules: Iterable[Rule]) -> list[str]:
    used = {rule.table for rule in rules}
    return [table for table in _TABLES if table in used]


def _table(table: str) -> str:
    return f"istio-proxy-{table}"


def _name(chain: str) -> str:
    return chain.lower().replace("_", "-")


def _chains(rules: Sequence[Rule], table: str) -> Iterator[str]:
    """Yield the chains that are used; those that the kernel calls have their hook."""
    used = {rule.chain for rule in rules if rule.table == table}
    for (of, chain), hook in _HOOKS.items():
        if of == table and chain in used:
            yield f"{_name(chain)} {{ {hook} ; }}"
    yield from (_name(chain) for chain in chains(rules, table))


def _placed(lines: Iterable[_Line]) -> Iterator[str]:
    """Yield what makes the rules; behind the last rule of a chain there is no index to insert one at, but an end."""
    lengths: Counter[str] = Counter()
    for chain, position, words in lines:
        inserted = 0 < position <= lengths[chain]
        yield f"insert rule {chain} index {position - 1} {words}" if inserted else f"add rule {chain} {words}"
        lengths[chain] += 1


def _merged(table: str, made: Mapping[Family, Sequence[Rule]]) -> Iterator[_Line]:
    """Yield the rules of a table for all families: what differs only in an address stands side by side.

    Where a family has ranges or name servers that the other has not, those of IPv4 come first: of what is not
    captured, then of what is; over TCP, then over UDP.
    """
    held = [[(rule, family) for rule in rules if rule.table == table] for family, rules in made.items()]
    if len(held) == 1:
        yield from (_line(*each) for each in held[0])
        return
    shapes = [[_shape(*each) for each in rules] for rules in held]
    for tag, start, end, other_start, other_end in SequenceMatcher(
        None, shapes[0], shapes[1], autojunk=False
    ).get_opcodes():
        ours, others = held[0][start:end], held[1][other_start:other_end]
        if tag == "equal":
            for pair in zip(ours, others, strict=True):
                yield from dict.fromkeys(_line(*each) for each in pair)
        else:
            yield from (_line(*each) for each in sorted([*ours, *others], key=lambda each: _phase(each[0])))


def _phase(rule: Rule) -> tuple[bool, bool]:
    return rule.target != "RETURN", "-p udp" in rule.body


def _shape(rule: Rule, family: Family) -> str:
    """Return a rule with names in the place of the addresses that each family has one of."""
    body = f" {rule.body} ".replace(f" {family.loopback} ", " LOOPBACK ").replace(
        f" {family.proxy_source} ", " SOURCE "
    )
    return f"{rule.chain} {rule.position} {body}"


def _line(rule: Rule, family: Family) -> _Line:
    words = " ".join(word for word in (*_matches(rule, family), _verdict(rule, family)) if word)
    return _Line(f"inet {_table(rule.table)} {_name(rule.chain)}", rule.position, words)


def _interface(name: str) -> str:
    """Return the name of an interface as nft reads it: quoted where it may be a word of nft's, or is a pattern."""
    if name[0] not in _FIRST_OF_NUMBERS and _PLAIN.fullmatch(name):
        return name
    return f'"{name[:-1]}*"' if name.endswith("+") else f'"{name}"'


def _matches(rule: Rule, family: Family) -> list[str]:
    """Return the conditions of a rule, in the order in which the reference has them."""
    ip = "ip" if family.version == IPV4 else "ip6"
    owner = "meta " if rule.table == "raw" else ""
    found: dict[str, list[str]] = {}
    module = protocol = ""
    for negated, option, value in _options(rule.body):
        match option:
            case "-m":
                module = value
            case "-p":
                protocol = value
            case "-i" | "-o":
                found.setdefault("interface", []).append(f"{option[1]}ifname {negated}{_interface(value)}")
            case "-s" | "-d":
                found["address"] = [f"{ip} {option[1]}addr {negated}{value}"]
            case "--dport" | "--sport":
                found["port"] = [f"{protocol} {option[2:]} {negated}{value.replace(':', '-')}"]
            case "--dports":
                found["port"] = [f"{protocol} dport {negated}{{ {value.replace(',', ', ')} }}"]
            case "--uid-owner" | "--gid-owner":
                found.setdefault("owner", []).append(f"{owner}sk{option[2:5]} {negated}{value}")
            case "--ctstate":
                found["state"] = [f"ct state {negated}{value.lower()}"]
            case "--mark":
                found["mark"] = [f"{'ct ' if module == 'connmark' else ''}mark {negated}{value}"]
            case _:
                raise AssertionError(f"{rule}: no such option")
    return _ordered(rule, protocol, found)


def _options(body: str) -> Iterator[tuple[str, str, str]]:
    """Yield the options before the target: ``!= `` where it is negated, name, value."""
    words = iter(body.partition("-j ")[0].split())
    for word in words:
        negated = word == "!"
        yield "!= " if negated else "", next(words) if negated else word, next(words)


def _ordered(rule: Rule, protocol: str, found: Mapping[str, list[str]]) -> list[str]:
    named = protocol == "tcp" or "state" in found  # what belongs to no connection is dropped of TCP alone
    tcp = ["meta l4proto tcp"] if named and not ("port" in found and _port_alone(rule, found)) else []
    order = ("port", "address") if rule.table == "raw" else ("address", "port")
    names = ("state", *order, "mark", "owner")
    return [*found.get("interface", ()), *tcp, *(text for name in names for text in found.get(name, ()))]


def _port_alone(rule: Rule, found: Mapping[str, list[str]]) -> bool:
    """Whether a port tells the protocol too: of what goes out, where nothing else is asked, or only an address."""
    if rule.chain == "ISTIO_OUTPUT":
        return set(found) == {"port"}
    return rule.chain == "ISTIO_OUTPUT_DNS" and "address" in found


def _verdict(rule: Rule, family: Family) -> str:
    target, _, rest = rule.body.partition("-j ")[2].partition(" ")
    value = rest.rpartition(" ")[2]
    match target:
        case "RETURN" | "ACCEPT" | "DROP":
            return f"counter {target.lower()}"
        case "REDIRECT":
            return f"counter redirect to :{value}"
        case "MARK":
            return f"counter meta mark set {value}"
        case "CT":
            return f"counter ct zone set {value}"
        case "CONNMARK":
            return "counter ct mark set mark" if rest == "--save-mark" else "counter meta mark set ct mark"
        case "TPROXY":
            mark = rest.split()[1].partition("/")[0]
            ip = "ip" if family.version == IPV4 else "ip6"
            return f"tproxy {ip} to :{value} meta mark set {mark} counter accept"
    if not target.startswith(PREFIX):
        raise AssertionError(f"{rule}: no such target")
    return f"counter jump {_name(target)}"
