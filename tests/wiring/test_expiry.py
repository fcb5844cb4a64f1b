"""Ends of certificates are told before they come."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from controlplane import metrics
from controlplane.model.certificates import Certificate
from controlplane.model.objects import ChangeSet
from controlplane.registry.store import Registry
from controlplane.wiring.expiry import ExpiryRadar
from tests.compiler.histories import parsed
from tests.feature.key_pairs import DAY, Issuer, tls_secret

ISSUER = Issuer()
NOW = datetime.now(UTC)


def certificate(kind: str, *, left: timedelta, life: timedelta = 100 * DAY) -> Certificate:
    return Certificate(kind, f"of {kind}", NOW + left - life, NOW + left)


def radar(*certificates: Certificate, left: timedelta = 5 * DAY) -> ExpiryRadar:
    """Return one that has a Secret of ten days, so many of which are left, beside these certificates."""
    return ExpiryRadar(with_secret(left), lambda: certificates, lambda: NOW)


def with_secret(left: timedelta) -> Registry:
    registry = Registry()
    pair = ISSUER.pair("web.test", ago=10 * DAY - left, lasts=10 * DAY)
    registry.apply(ChangeSet(upserts=(parsed(tls_secret("web", pair)),)))
    return registry


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (11 * DAY, ""),
        (9 * DAY, "the root certificate of root ends at"),
        (-DAY, "the root certificate of root ended at"),
    ],
)
def test_a_tenth_of_a_life_is_early_enough(left: timedelta, said: str) -> None:
    problem = certificate("root", left=left).problem(NOW)
    assert problem.startswith(said)
    assert bool(problem) is bool(said)


def test_the_first_to_end_is_told_first() -> None:
    problems = radar(certificate("root", left=5 * DAY), certificate("serving", left=DAY), left=DAY / 2).problems
    assert [text.split(" ends at ")[0] for text in problems] == [
        "the secret certificate of Secret istio-system/web",
        "the serving certificate of serving",
        "the root certificate of root",
    ]


async def test_metrics_and_log() -> None:
    soon = certificate("root", left=DAY)
    registry = with_secret(5 * DAY)
    (held,) = registry.objects.values()
    watching = ExpiryRadar(registry, lambda: (certificate("root", left=50 * DAY), soon), lambda: NOW)
    with capture_logs() as logs:
        task = asyncio.create_task(watching.run())
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert [(each["event"], each["reason"]) for each in logs] == [("certificates.ending", soon.problem(NOW))]
    ends = {sample.labels["kind"]: sample.value for sample in next(iter(metrics.CERTIFICATE_END.collect())).samples}
    assert ends["root"] == soon.ends.timestamp()
    assert ends["intermediate"] == 0
    assert ends["secret"] == held.spec.pair.ends.timestamp()
    said = {each.name: each.value for family in metrics.SIGNING_ENDS.collect() for each in family.samples}
    assert said["citadel_server_root_cert_expiry_timestamp"] == soon.ends.timestamp()
    assert said["citadel_server_root_cert_expiry_seconds"] <= DAY.total_seconds()
    assert not [name for name in said if "cert_chain" in name], "nothing signs below the root: no moment, not 1970"
