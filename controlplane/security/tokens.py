"""Whose ServiceAccount token is this? The API server is asked; where it is away, what is known already must do."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NoReturn

import structlog
from aiohttp import ClientError
from kubernetes.aio.client import (
    ApiClient,
    ApiException,
    AuthenticationV1Api,
    OpenidApi,
    V1TokenReview,
    V1TokenReviewSpec,
    WellKnownApi,
)

from controlplane.security.ca import utc_now
from controlplane.security.jwt import InvalidTokenError, IssuerKeys, expiry
from controlplane.security.refusal import CallRefused, Refusal

log = structlog.get_logger(__name__)

_TIMEOUT = 5  # seconds
_MOST_REMEMBERED = 20_000
_GROUP = "system:serviceaccounts"
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_KEYS_EVERY = timedelta(minutes=10)
_KEYS_RETRY = timedelta(seconds=15)


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


class TokenReviews:
    """Checks tokens of one cluster.

    A review is good for ``remember`` and never longer than its token lives. While the API server does not answer,
    a token is accepted if it was reviewed before, or if one of the cluster's keys (fetched by ``run``) has signed it.
    Times in tokens are compared with the API server's clock, as its answers show it.
    """

    def __init__(
        self,
        client: ApiClient,
        audiences: Collection[str],
        remember: timedelta = timedelta(minutes=5),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._client = client
        self._api = AuthenticationV1Api(client)
        self._audiences = tuple(sorted(audiences))
        self._remember = remember
        self._clock = clock
        self._reviews: OrderedDict[bytes, _Review] = OrderedDict()
        self._keys: IssuerKeys | None = None
        self._skew = timedelta()  # what the API server's clock is ahead of ours
        self._forbidden = False  # and logged
        self.away_since: datetime | None = None
        """Since when the API server has not answered; ``None`` while it does."""

    async def run(self) -> None:
        """Keep the cluster's keys at hand until cancelled."""
        while True:
            known = await self.fetch_keys()
            await asyncio.sleep((_KEYS_EVERY if known else _KEYS_RETRY).total_seconds())

    async def fetch_keys(self) -> bool:
        """Fetch the keys that sign tokens; return whether they were had. Those of before stay if not."""
        try:
            configuration = await _body(
                WellKnownApi(self._client).get_service_account_issuer_open_id_configuration_without_preload_content(
                    _request_timeout=_TIMEOUT
                )
            )
            key_set = await _body(
                OpenidApi(self._client).get_service_account_issuer_open_id_keyset_without_preload_content(
                    _request_timeout=_TIMEOUT
                )
            )
            keys = IssuerKeys.parse(configuration, key_set)
        except ApiException as error:
            log.warning("security.keys_unavailable", reason=f"{error.status} {error.reason}")
            return False
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            log.warning("security.keys_unavailable", reason=str(error) or type(error).__name__)
            return False
        self._keys = keys
        return True

    async def check(self, token: str) -> TokenUser:
        """Return whom a token stands for.

        Raises:
            CallRefused: it is not accepted, or nobody can say.
        """
        key = hashlib.sha256(token.encode()).digest()
        review = self._reviews.get(key)
        if review is not None and self._now() < min(review.fresh_until, review.ends):
            self._reviews.move_to_end(key)
            return review.user
        try:
            user = await self._ask(token)
        except _AwayError as error:
            return self._without_asking(token, review, str(error))
        now = self._now()
        end = expiry(token) or now + self._remember
        if end > now:
            self._reviews[key] = _Review(user, now + self._remember, end)
            self._reviews.move_to_end(key)
        while len(self._reviews) > _MOST_REMEMBERED:
            self._reviews.popitem(last=False)
        return user

    def _now(self) -> datetime:
        return self._clock() + self._skew

    async def _ask(self, token: str) -> TokenUser:
        body = V1TokenReview(spec=V1TokenReviewSpec(token=token, audiences=list(self._audiences)))
        try:
            review = await self._api.create_token_review_with_http_info(body, _request_timeout=_TIMEOUT)
        except ApiException as error:
            self._failed(error)
        except (ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
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


async def _body(request: Awaitable[Any]) -> bytes:
    """Return what an unread answer holds.

    Raises:
        ApiException: it is a refusal.
    """
    response = await request
    body = bytes(await response.read())
    if response.status != HTTPStatus.OK:
        raise ApiException(status=response.status, reason=response.reason)
    return body


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
