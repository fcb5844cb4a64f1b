"""May a service account list the Secrets of its namespace? The API server is asked, and its answers count for a while.

Who may list them can read every private key in them, so a proxy of that account is given what it asks for; one of
another account is not. While the API server does not answer, what it said last stays; an account of which it said
nothing may read nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import NamedTuple

import structlog
from aiohttp import ClientError
from kubernetes.aio.client import (
    ApiClient,
    ApiException,
    AuthorizationV1Api,
    V1ResourceAttributes,
    V1SubjectAccessReview,
    V1SubjectAccessReviewSpec,
)

from controlplane.backoff import Backoff

log = structlog.get_logger(__name__)

_ALLOWED_SECONDS = 300.0
_DENIED_SECONDS = 60.0
_TIMEOUT = 5  # seconds
_MOST_REMEMBERED = 10_000
_PAUSES = (0.5, 30.0)
"""Seconds between questions that get no answer: the first pause and the longest."""


Account = tuple[str, str]
"""Namespace and name of a service account."""


class _Answer(NamedTuple):
    """What the API server said, and until when (the event loop's clock) it is not asked again."""

    allowed: bool
    until: float


class SecretReviews:
    """The answers of one cluster. What they cost does not depend on how many proxies an account has."""

    def __init__(
        self, client: ApiClient, *, allowed_seconds: float = _ALLOWED_SECONDS, denied_seconds: float = _DENIED_SECONDS
    ) -> None:
        self._api = AuthorizationV1Api(client)
        self._seconds = {True: allowed_seconds, False: denied_seconds}
        self._known: OrderedDict[Account, _Answer] = OrderedDict()
        self._asking: dict[Account, asyncio.Task[_Answer]] = {}

    async def answers(self, account: Account) -> AsyncIterator[bool]:
        """Yield whether the account may list the Secrets of its namespace, now and whenever it was asked anew."""
        backoff, unheard = Backoff(*_PAUSES), ""
        while True:
            try:
                answer = await self._current(account)
            except (ApiException, ClientError, OSError, TimeoutError) as error:
                reason = _reason(error)
                if reason != unheard:
                    log.warning("security.secret_review_failed", account="/".join(account), reason=reason)
                unheard = reason
                await asyncio.sleep(backoff.pause())
                continue
            backoff.reset()
            unheard = ""
            yield answer.allowed
            await asyncio.sleep(max(answer.until - asyncio.get_running_loop().time(), 0.0))

    async def _current(self, account: Account) -> _Answer:
        """Return an answer that still counts; those who want the same one wait for the same question."""
        known = self._known.get(account)
        if known is not None and known.until > asyncio.get_running_loop().time():
            return known
        asking = self._asking.get(account)
        if asking is None:
            asking = self._asking[account] = asyncio.create_task(self._ask(account))
            asking.add_done_callback(lambda done: self._answered(account, done))
        return await asyncio.shield(asking)  # who leaves takes the answer from nobody else

    def _answered(self, account: Account, asking: asyncio.Task[_Answer]) -> None:
        self._asking.pop(account, None)
        if not asking.cancelled():
            asking.exception()  # it is told by whoever still waits

    async def _ask(self, account: Account) -> _Answer:
        namespace, name = account
        wanted = V1ResourceAttributes(namespace=namespace, verb="list", group="", resource="secrets")
        user = f"system:serviceaccount:{namespace}:{name}"
        review = V1SubjectAccessReview(spec=V1SubjectAccessReviewSpec(user=user, resource_attributes=wanted))
        answered = await self._api.create_subject_access_review(review, _request_timeout=_TIMEOUT)
        allowed = bool(answered.status is not None and answered.status.allowed)
        answer = _Answer(allowed, asyncio.get_running_loop().time() + self._seconds[allowed])
        self._known[account] = answer
        self._known.move_to_end(account)
        while len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
        return answer


def _reason(error: Exception) -> str:
    if isinstance(error, ApiException):
        return f"{error.status} {error.reason}"
    return str(error) or type(error).__name__
