"""Secrets are judged on their way into the registry, and what is no good is counted."""

from __future__ import annotations

from controlplane import metrics
from controlplane.model.objects import ChangeSet
from controlplane.registry.store import Registry
from controlplane.wiring.secrets import Secrets
from tests.compiler.histories import parsed
from tests.feature.key_pairs import DAY, Issuer, tls_secret

ISSUER = Issuer()


def unusable() -> float:
    return sum(
        sample.value
        for family in metrics.UNUSABLE_SECRETS.collect()
        for sample in family.samples
        if sample.name == "pilot_sds_certificate_errors_total"
    )


def test_a_certificate_that_has_ended_counts_once() -> None:
    registry, before = Registry(), unusable()
    added: list[ChangeSet] = []
    secrets = Secrets(registry, added.append, None)
    ended = parsed(tls_secret("web", ISSUER.pair("web.test", ago=2 * DAY, lasts=DAY)))
    for _ in range(2):
        registry.apply(secrets.checked(ChangeSet(upserts=(ended,))))
    assert unusable() == before + 1
    good = parsed(tls_secret("web", ISSUER.pair("web.test")))
    registry.apply(secrets.checked(ChangeSet(upserts=(good,))))
    assert unusable() == before + 1
