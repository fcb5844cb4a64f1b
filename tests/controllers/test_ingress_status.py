"""In which order the status of an Ingress says where it is reached; ``tests/kubernetes`` has the rest."""

from __future__ import annotations

from controlplane.controllers.ingress_status import balancer


def test_addresses_come_before_names_each_once() -> None:
    assert balancer(["b.test", "192.0.2.9", "2001:db8::1", "a.test", "192.0.2.10", "192.0.2.9"]) == (
        ("", "192.0.2.10"),
        ("", "192.0.2.9"),
        ("", "2001:db8::1"),
        ("a.test", ""),
        ("b.test", ""),
    )


def test_nothing_is_nowhere() -> None:
    assert balancer([]) == ()
