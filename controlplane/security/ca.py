"""The certificate authority: signs for identities that somebody else has checked, and knows whom everybody trusts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from cryptography import x509
from cryptography.x509.oid import NameOID

from controlplane.security.certificates import CLOCK_SKEW, PublicKey, encode, leaf
from controlplane.security.issuer import Issuer
from controlplane.security.refusal import Refusal
from controlplane.security.signing import Wanted, checked_lifetime, read_request, refused

log = structlog.get_logger(__name__)

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long certificates live.

    ``default`` is for a caller that asks for none; one that asks for more than ``longest`` is refused. ``root_overlap``
    is how long a new root is in the bundle before anything is signed under it: workloads take a new bundle with their
    next certificate, at half the life of the last.
    """

    default: timedelta = timedelta(hours=24)
    longest: timedelta = timedelta(days=90)
    root_overlap: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Past:
    """What an authority must know of the time before it: who signs, and which roots are trusted since and until when.

    ``since`` has all of them, ``until`` those that go. ``signed_until`` is when the last certificate ends of those that
    live longer than usual, in whole days; ``None`` if there are none.
    """

    issuer: Issuer
    since: Mapping[x509.Certificate, datetime]
    until: Mapping[x509.Certificate, datetime]
    signed_until: datetime | None = None


class Authority:
    """Signs with one issuer at a time, and changes to another without a moment at which anybody trusts too little.

    An issuer that is offered is used at once if its root is in the bundle since ``root_overlap``. Otherwise its roots
    join the bundle, and it is used when that time has passed, or half of what the present issuer has left. The root of
    the issuer that was replaced stays in the bundle until what was signed under it has ended. With the ``past`` of
    another authority all this holds across a restart and between replicas; without one, the first issuer is used at
    once.
    """

    def __init__(
        self,
        issuer: Issuer,
        lifetimes: Lifetimes,
        clock: Callable[[], datetime] = utc_now,
        past: Past | None = None,
    ) -> None:
        self._lifetimes = lifetimes
        self._clock = clock
        self._current = self._offered = past.issuer if past is not None else issuer
        self._trusted_since: dict[x509.Certificate, datetime] = {}
        if past is None:
            self._trusted_since = dict.fromkeys(issuer.roots, _LONG_AGO)
        self._retired: dict[x509.Certificate, datetime] = {}
        self._last_expiry = _LONG_AGO
        self._bundle = encode(issuer.roots)
        self._callbacks: list[Callable[[], None]] = []
        if past is not None:
            self.offer(issuer, past)

    @property
    def issuer(self) -> Issuer:
        """What signs now."""
        return self._current

    @property
    def bundle(self) -> str:
        """All roots to trust, PEM: those of what signs first, then what comes and what goes."""
        return self._bundle

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """The certificates of ``bundle``."""
        return tuple(self._trusted_since)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have a function called after each change of ``issuer``, ``bundle`` or ``revoked``; it must not raise."""
        self._callbacks.append(callback)

    @property
    def past(self) -> Past:
        """What the next authority must know to go on where this one is."""
        usual, last = self._clock() + self._lifetimes.default, self._last_expiry
        signed_until = None if last <= usual else _whole_days(last)
        return Past(self._current, dict(self._trusted_since), dict(self._retired), signed_until)

    def offer(self, issuer: Issuer, past: Past | None = None) -> None:
        """Take what the source holds now, and what another replica did; the same as last time changes nothing."""
        before = self._state
        if past is not None:
            self._recall(past)
        if issuer != self._offered or past is not None:
            self._offered = issuer
            for root in issuer.roots:
                self._trusted_since.setdefault(root, self._clock())
        self._update(before)

    @property
    def revoked(self) -> str:
        """The lists of revoked certificates (PEM) that the source holds now, empty without any."""
        return self._offered.revoked

    def update(self) -> None:
        """Do what is due by now: call this now and then."""
        self._update(self._state)

    @property
    def _state(self) -> tuple[Issuer, str, str]:
        return self._current, self._bundle, self.revoked

    def _recall(self, past: Past) -> None:
        """Go on where another authority is: who signs is agreed, a root is trusted since the earliest time known."""
        if past.signed_until is not None:
            self._last_expiry = max(self._last_expiry, past.signed_until)
        for root, at in past.since.items():
            self._trusted_since[root] = min(at, self._trusted_since.get(root, at))
        for root, at in past.until.items():
            self._retired[root] = max(at, self._retired.get(root, at))
        if past.issuer.certificate != self._current.certificate:
            if self._last_expiry > self._clock():
                self._retire()
            self._current = past.issuer

    def _retire(self) -> None:
        """Go on trusting the root of what signs until nobody shows a certificate of it."""
        anchor, end = self._current.anchor, max(self._last_expiry, self._clock() + self._lifetimes.default)
        self._retired[anchor] = max(end, self._retired.get(anchor, end))

    def _update(self, before: tuple[Issuer, str, str]) -> None:
        now = self._clock()
        offered, current = self._offered, self._current
        if offered.certificate == current.certificate:
            self._current = offered
        elif now >= self._due():
            self._retire()
            self._current = offered
            log.info("security.issuer_changed", subject=offered.certificate.subject.rfc4514_string())
        trusted = dict.fromkeys((*self._current.roots, *offered.roots))
        self._retired = {root: end for root, end in self._retired.items() if root not in trusted and end > now}
        trusted |= dict.fromkeys(self._retired)
        self._trusted_since = {root: self._trusted_since.get(root, now) for root in trusted}
        self._bundle = encode(trusted)
        if before != self._state:
            for callback in self._callbacks:
                callback()

    def _due(self) -> datetime:
        """Return when the offered issuer may sign."""
        since = self._trusted_since[self._offered.anchor]
        left = (self._current.expires - since) / 2  # by then each certificate of the present issuer was renewed once
        return since + min(self._lifetimes.root_overlap, max(left, timedelta()))

    async def chain(self, wanted: Wanted) -> tuple[str, ...]:
        """Answer a request at once; see ``Signer``. There is only one who signs, whoever is asked for."""
        return self.sign_csr(wanted.csr, wanted.names, wanted.lifetime)

    def sign_csr(self, csr_pem: str, names: Sequence[str], lifetime: timedelta | None) -> tuple[str, ...]:
        """Return the certificate chain for a caller: the certificate, each intermediate, and last the whole bundle.

        The request gives its public key and nothing else; ``names`` are what the caller has proved to be. ``None``
        asks for the default lifetime, which like any other ends with the issuer at the latest.

        Raises:
            CallRefused: the request or its lifetime cannot be accepted, or nothing can be signed at present.
        """
        lives = checked_lifetime(lifetime, self._lifetimes.default, self._lifetimes.longest)
        csr, key = read_request(csr_pem)
        common_name = bool(csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
        chain = self.sign(key, names, lives, common_name=common_name)
        return (*(encode([each]) for each in chain), self._bundle)

    def sign(
        self, key: PublicKey, names: Sequence[str], lifetime: timedelta, *, common_name: bool = False
    ) -> tuple[x509.Certificate, ...]:
        """Return a new certificate for a key, and the chain that leads to a root.

        Raises:
            CallRefused: what signs has ended.
        """
        if self._clock() >= self._current.expires:
            self.update()  # at once: one that may take its place need not wait for somebody to look
        now, issuer = self._clock(), self._current
        end = min(now + lifetime, issuer.expires)
        if end <= now:
            ended = issuer.expires.isoformat(timespec="seconds")
            raise refused("CERT_GEN_ERROR", f"the signing certificate ended at {ended}", Refusal.INTERNAL)
        begin = max(now - CLOCK_SKEW, issuer.certificate.not_valid_before_utc)
        certificate = leaf((issuer.certificate, issuer.key), key, names, (begin, end), common_name=common_name)
        self._last_expiry = max(self._last_expiry, end)
        return (certificate, *issuer.chain)


def _whole_days(time: datetime) -> datetime:
    """Return the first midnight that is not before a time: of what changes with every call, one value a day is kept."""
    midnight = time.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if midnight == time else midnight + timedelta(days=1)
