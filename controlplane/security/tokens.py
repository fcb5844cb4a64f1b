"""Whose ServiceAccount token is this? The API server is asked; where it is away, what is known already must do.

Anybody may show anything as a token, so what costs nothing is looked at first: a wrong signature ends it, and who was
refused a moment ago is refused again. Tokens that a key of the cluster has signed are asked about beside all others, of
which only a few are asked about at once: nonsense delays nobody who shows a true one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar

import structlog
from aiohttp import ClientError
from kubernetes.aio.client import (
    ApiClient,
    ApiException,
    AuthenticationV1Api,
    V1TokenReview,
    V1TokenReviewSpec,
)

from controlplane.security.ca import utc_now
from controlplane.security.cluster_jwks import ClusterJwks
from controlplane.security.jwt import InvalidTokenError, IssuerJwks, expiry
from controlplane.security.lanes import Lane
from controlplane.security.refusal import CallRefused, Refusal

log = structlog.get_logger(__name__)

Value = TypeVar("Value")

_TIMEOUT = 5  # seconds
_MOST_REMEMBERED = 20_000
_GROUP = "system:serviceaccounts"
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
LONGEST_TOKEN = 16 * 1024
"""Characters; tokens of service accounts have about a thousand."""
_REFUSED_FOR = timedelta(seconds=30)
"""How long a refusal is repeated without asking."""
_SIGNED_LANE, _OTHER_LANE = (32, 10_000), (8, 64)
"""How many tokens are asked about at once, and how many may wait for that: signed by the cluster, and others."""


@dataclass(frozen=True, slots=True)
class TokenUser:
    """Whom a token stands for: ``system:serviceaccount:<namespace>:<name>``, and the pod it was made for if any."""

    username: str
    pod_name: str = ""
    pod_uid: str = ""


@dataclass(frozen=True, slots=True)
class _Review:
    user: TokenUser
    fresh_until: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The API server's no; ``repeated_until`` it is not asked again, and ``ends`` is when the token does."""

    reason: str
    repeated_until: datetime
    ends: datetime


class TokenReviews:
    """Checks tokens of one cluster.

    A review is good for ``remember`` and never longer than its token lives. While the API server is ``away``, which
    others can tell who talk to it, a token is accepted if it was reviewed before, or if one of the cluster's keys
    (fetched by ``run``) has signed it; never one that was refused before. An API server that only does not answer about
    tokens is not away: then nobody is accepted who must be asked about.
    Times in tokens are compared with the API server's clock, as its answers show it.
    """

    def __init__(
        self,
        client: ApiClient,
        audiences: Collection[str],
        away: Callable[[], bool],
        *,
        remember: timedelta = timedelta(minutes=5),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._api = AuthenticationV1Api(client)
        self._audiences = tuple(sorted(audiences))
        self._away_now = away
        self._remember = remember
        self._clock = clock
        self._reviews: OrderedDict[bytes, _Review] = OrderedDict()
        self._refusals: OrderedDict[bytes, _Refusal] = OrderedDict()  # of what the cluster has signed
        self._nonsense: OrderedDict[bytes, _Refusal] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[TokenUser]] = {}
        self._signed_lane, self._other_lane = Lane(*_SIGNED_LANE), Lane(*_OTHER_LANE)
        self._cluster_jwks = ClusterJwks(client)
        self._skew = timedelta()  # what the API server's clock is ahead of ours
        self._forbidden = False  # and logged
        self.away_since: datetime | None = None
        """Since when the API server has not answered about tokens; ``None`` while it does."""

    async def run(self) -> None:
        """Keep the cluster's keys at hand until cancelled."""
        await self._cluster_jwks.run()

    async def fetch_keys(self) -> bool:
        """Fetch the keys that sign tokens; return whether they were had. Those of before stay if not."""
        return await self._cluster_jwks.fetch()

    @property
    def _keys(self) -> IssuerJwks | None:
        return self._cluster_jwks.keys

    async def check(self, token: str) -> TokenUser:
        """Return whom a token stands for.

        Raises:
            CallRefused: it is not accepted, or nobody can say.
        """
        if len(token) > LONGEST_TOKEN:
            raise CallRefused(Refusal.UNAUTHENTICATED, f"token: it is longer than {LONGEST_TOKEN} characters")
        if not token.isascii():
            raise CallRefused(Refusal.UNAUTHENTICATED, "token: it is not a JSON web token")
        key, now = hashlib.sha256(token.encode()).digest(), self._now()
        review = self._reviews.get(key)
        if review is not None and now < min(review.fresh_until, review.ends):
            self._reviews.move_to_end(key)
            return review.user
        refusal = self._refusals.get(key) or self._nonsense.get(key)
        if refusal is not None and now < refusal.repeated_until:
            raise CallRefused(Refusal.UNAUTHENTICATED, refusal.reason)
        signed = self._keys.signed(token) if self._keys is not None else None
        if signed is False:
            raise CallRefused(Refusal.UNAUTHENTICATED, "token: the cluster has not signed it")
        if signed is None:
            self._cluster_jwks.look_soon()
        try:
            return await self._shared(key, token, signed=bool(signed))
        except _AwayError as error:
            if not self._away_now():
                raise CallRefused(Refusal.UNAVAILABLE, f"token: it cannot be checked now: {error}") from error
            if key in self._refusals:
                raise CallRefused(Refusal.UNAUTHENTICATED, self._refusals[key].reason) from error
            return self._without_asking(token, review, str(error))

    async def _shared(self, key: bytes, token: str, *, signed: bool) -> TokenUser:
        """Ask about a token, once for all who show it now."""
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._reviewed_now(key, token, signed=signed))
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)

    def _asked(self, key: bytes, done: asyncio.Task[TokenUser]) -> None:
        self._asking.pop(key, None)
        if not done.cancelled():
            done.exception()  # who asked has it, unless it has gone away meanwhile

    async def _reviewed_now(self, key: bytes, token: str, *, signed: bool) -> TokenUser:
        """Ask about a token, and remember the answer."""
        lane = self._signed_lane if signed or key in self._reviews else self._other_lane
        try:
            async with lane.place():
                user = await self._ask(token)
        except CallRefused as refused:
            if refused.kind is Refusal.UNAUTHENTICATED:
                self._refuse(key, token, str(refused), signed=signed)
            raise
        now = self._now()
        end = _end(token) or now + self._remember
        self._refusals.pop(key, None)
        self._nonsense.pop(key, None)
        if end > now:
            _remember(self._reviews, key, _Review(user, now + self._remember, end))
        return user

    def _refuse(self, key: bytes, token: str, reason: str, *, signed: bool) -> None:
        """Remember a no. What anybody can make does not drive out what only the cluster can."""
        now = self._now()
        self._reviews.pop(key, None)
        held = self._refusals if signed or self._keys is None else self._nonsense
        ends = _end(token) or now + _REFUSED_FOR
        _remember(held, key, _Refusal(reason, now + _REFUSED_FOR, ends))

    def _now(self) -> datetime:
        return self._clock() + self._skew

    async def _ask(self, token: str) -> TokenUser:
        body = V1TokenReview(spec=V1TokenReviewSpec(token=token, audiences=list(self._audiences)))
        try:
            review = await self._api.create_token_review_with_http_info(body, _request_timeout=_TIMEOUT)
        except ApiException as error:
            self._failed(error)
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, ValueError):  # its text may quote the token
                reason = "what answers is not an API server"
            self._away()
            raise _AwayError(f"the API server does not answer: {reason}") from error
        if self.away_since is not None:
            log.info("security.api_server_back", since=self.away_since.isoformat(timespec="seconds"))
            self.away_since = None
        self._forbidden = False
        self._learn_time(review.headers or {})
        return self._reviewed(review.data.status)

    def _failed(self, error: ApiException) -> NoReturn:
        status = error.status or 0
        if status in {HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED}:
            if not self._forbidden:
                log.error(
                    "security.token_review_forbidden",
                    reason="the control plane may not create tokenreviews in the group authentication.k8s.io",
                    status=status,
                )
            self._forbidden = True
            raise CallRefused(
                Refusal.UNAVAILABLE, "token: the control plane may not create tokenreviews.authentication.k8s.io"
            ) from error
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR or not status:
            self._away()
            raise _AwayError(f"the API server does not answer: {status} {error.reason}") from error
        raise CallRefused(
            Refusal.UNAUTHENTICATED, f"token: the API server does not take it: {status} {error.reason}"
        ) from error

    def _away(self) -> None:
        if self.away_since is None:
            self.away_since = self._clock()
            log.warning("security.api_server_away", keys_known=self._keys is not None)

    def _reviewed(self, status: Any) -> TokenUser:  # noqa: ANN401 - the client's model
        if status is None or not status.authenticated:
            reason = (status.error if status is not None else "") or "not authenticated"
            raise CallRefused(Refusal.UNAUTHENTICATED, f"token: {reason}")
        if not set(status.audiences or ()) & set(self._audiences):
            raise CallRefused(Refusal.UNAUTHENTICATED, f"token: it is not for {' or '.join(self._audiences)}")
        user = status.user
        if _GROUP not in (user.groups or ()):
            raise CallRefused(Refusal.UNAUTHENTICATED, f"token: {user.username} is not in the group {_GROUP}")
        extra: Mapping[str, list[str]] = user.extra or {}
        return TokenUser(user.username, *("".join(extra.get(name, [])[:1]) for name in (_POD_NAME, _POD_UID)))

    def _without_asking(self, token: str, review: _Review | None, away: str) -> TokenUser:
        if review is not None and self._now() < review.ends:
            return review.user
        if self._keys is None:
            raise CallRefused(Refusal.UNAVAILABLE, f"token: it cannot be checked now: {away}")
        try:
            claims = self._keys.verify(token, self._audiences, self._now())
        except InvalidTokenError as error:
            raise CallRefused(Refusal.UNAUTHENTICATED, f"token: {error} ({away})") from error
        return _user(claims)

    def _learn_time(self, headers: Mapping[str, str]) -> None:
        """Take the API server's word for what time it is; it says so to the second."""
        text = headers.get("Date")
        if not text:
            return
        try:
            skew = parsedate_to_datetime(text).astimezone(UTC) - self._clock()
        except ValueError:
            return  # not a date: nothing learnt
        self._skew = skew if abs(skew) > timedelta(seconds=2) else timedelta()


def _remember(held: OrderedDict[bytes, Value], key: bytes, value: Value) -> None:
    """Hold a value as the newest; the oldest go where there are too many."""
    held[key] = value
    held.move_to_end(key)
    while len(held) > _MOST_REMEMBERED:
        held.popitem(last=False)


def _end(token: str) -> datetime | None:
    try:
        return expiry(token)
    except InvalidTokenError:
        return None


class _AwayError(Exception):
    """The API server cannot be asked; the message says how that shows."""


def _user(claims: Mapping[str, Any]) -> TokenUser:
    """Return whom a token's claims stand for.

    Raises:
        CallRefused: they do not name a service account.
    """
    subject, bound = claims.get("sub"), claims.get("kubernetes.io")
    if not isinstance(subject, str) or not isinstance(bound, dict):
        raise CallRefused(Refusal.UNAUTHENTICATED, "token: it is not that of a service account")
    pod = bound.get("pod")
    if not isinstance(pod, dict):
        return TokenUser(subject)
    return TokenUser(subject, str(pod.get("name", "")), str(pod.get("uid", "")))
