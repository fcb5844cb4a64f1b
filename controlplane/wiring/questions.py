"""Questions that users ask a control plane while it runs, answered from what its proxies are served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from controlplane.ads.sync_status import ProxyStatus
from controlplane.compiler.compiler import Compiler
from controlplane.model.objects import ChangeSet, Rejected
from controlplane.model.proxy import Proxy
from controlplane.snapshots import ResourceType
from controlplane.wiring.forking import CopyFailedError, Limits, Take, answer, fork

if TYPE_CHECKING:
    from controlplane.plan.of_object import Delivered

_MOST_WAITING = 4
_GOOD, _WRONG = b"+", b"-"


@dataclass(frozen=True, slots=True)
class Around:
    """What is known beside the compiler.

    ``connected`` gives proxies by connection, ``status`` how one stands, ``rejected`` what is refused, and ``checked``
    is what a change goes through before it is applied.
    """

    connected: Callable[[], Mapping[str, Proxy]]
    status: Callable[[str], ProxyStatus | None]
    rejected: Callable[[], Iterable[Rejected]]
    checked: Callable[[ChangeSet], ChangeSet]


class Questions:
    """Answers from one compiler. What answers is loaded with the first question."""

    def __init__(self, compiler: Compiler, around: Around, limits: Limits | None = None) -> None:
        self._compiler = compiler
        self._around = around
        self._limits = limits or Limits()
        self._one = asyncio.Lock()
        self._waiting = 0

    async def explain(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return what becomes of a request: see ``simulate.questions``, and what that raises."""
        from controlplane.simulate.mesh import Mesh  # noqa: PLC0415 - many of Envoy's messages, for few
        from controlplane.simulate.questions import explained_request  # noqa: PLC0415 - the same

        return await explained_request(Mesh(self._compiler, self._around.connected()), pairs)

    async def plan(self, read: Callable[[], Awaitable[bytes]], take: Take) -> None:
        """Tell what a change would do, or what an object makes: see ``plan.question`` and ``plan.of_object``. JSON.

        A question ``{"short": question}`` is answered with the lines of ``plan.short`` alone.
        The question is read once there is a place for it. A copy of this process answers, one at a time; ``take`` is
        given the answer in pieces.

        Raises:
            WrongQuestionError: the question has no answer; nothing was given.
            UnansweredError: too many are asking, or the answer takes too much time or memory; some of it may be given.
        """
        from controlplane.simulate.questions import UnansweredError, WrongQuestionError  # noqa: PLC0415 - see above

        if self._waiting >= _MOST_WAITING:
            raise UnansweredError("would be the fifth that is asked for at once: ask again later")
        self._waiting += 1
        told = _Told(take)
        try:
            question = await read()
            async with self._one:
                await asyncio.to_thread(_load)
                copy = await self._compiler.between_changes(
                    lambda: fork(lambda: self._answered(question), self._limits)
                )
                await answer(copy, self._limits, told)
        except CopyFailedError as error:
            raise UnansweredError(str(error)) from error
        finally:
            self._waiting -= 1
        if told.wrong:
            raise WrongQuestionError(told.wrong.decode())

    def _answered(self, question: bytes) -> bytes:
        """Answer in the copy, so that an answer is told from the reason why there is none."""
        from controlplane.documents.json_reader import json_value  # noqa: PLC0415 - see above
        from controlplane.documents.limits import UnreadableError  # noqa: PLC0415 - see above
        from controlplane.simulate.questions import WrongQuestionError  # noqa: PLC0415 - see above

        self._compiler.copied()
        try:
            asked = json_value(question)
            return _GOOD + self._found(asked)
        except (WrongQuestionError, UnreadableError) as error:
            return _WRONG + str(error).encode()

    def _found(self, asked: object) -> bytes:
        if isinstance(asked, dict) and "explain" in asked:
            return self._object(asked)
        if isinstance(asked, dict) and "held" in asked:
            return self._live(asked)
        if isinstance(asked, dict) and "short" in asked:
            return _json(_shortened(self._planned(asked["short"])))
        return _json(self._planned(asked))

    def _live(self, question: Mapping[str, Any]) -> bytes:
        from controlplane.simulate.mesh import Mesh  # noqa: PLC0415 - see above
        from controlplane.simulate.questions import live_request  # noqa: PLC0415 - see above

        return _json(live_request(Mesh(self._compiler, self._around.connected()), question))

    def _planned(self, question: object) -> Awaitable[dict[str, Any]]:
        from controlplane.plan.answering import plan_answer  # noqa: PLC0415 - see above
        from controlplane.plan.question import Question, meant  # noqa: PLC0415 - see above

        asked = Question.of(question)
        change = meant(asked, self._compiler.registry, self._around.rejected())
        change = replace(change, changes=self._around.checked(change.changes))
        return plan_answer(self._compiler, _proxies(self._by_id()), asked, change, connected=True)

    def _object(self, question: Mapping[str, Any]) -> bytes:
        from controlplane.plan.of_object import object_answer  # noqa: PLC0415 - see above

        by_id = self._by_id()

        def delivery(id_: str) -> dict[ResourceType, Delivered]:
            return _delivered(self._around.status(by_id[id_][0]))

        proxies = _proxies(by_id)
        return _json(object_answer(self._compiler, proxies, question, self._around.rejected(), delivery))

    def _by_id(self) -> dict[str, tuple[str, Proxy]]:
        """Return connections and proxies by the ids that people know them by; one that is connected twice, once."""
        found: dict[str, tuple[str, Proxy]] = {}
        for connection, proxy in self._around.connected().items():
            other = found.get(proxy.id)
            found[proxy.id if other is None or other[1] == proxy else connection] = connection, proxy
        return found


class _Told:
    """Hands an answer on; the reason why there is none is ``wrong``."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._kind = b""
        self.wrong = b""

    async def __call__(self, piece: bytes) -> None:
        if not self._kind:
            self._kind, piece = piece[:1], piece[1:]
        if self._kind == _WRONG:
            self.wrong += piece
        elif piece:
            await self._take(piece)


def _proxies(by_id: Mapping[str, tuple[str, Proxy]]) -> dict[str, Proxy]:
    return {id_: proxy for id_, (_, proxy) in by_id.items()}


def _delivered(status: ProxyStatus | None) -> dict[ResourceType, Delivered]:
    from controlplane.plan.of_object import Delivered  # noqa: PLC0415 - see above

    if status is None:
        return {}
    return {
        type_: Delivered(each.sync.value, each.rejection.message if each.rejection is not None else "")
        for type_, each in status.types.items()
    }


async def _shortened(answering: Awaitable[dict[str, Any]]) -> tuple[str, ...]:
    from controlplane.plan.short import short_lines  # noqa: PLC0415 - see above

    return short_lines(await answering)


def _json(answering: Any) -> bytes:  # noqa: ANN401 - a coroutine
    return json.dumps(asyncio.run(answering)).encode()


def _load() -> None:
    """Load what answers, before the copy is made: else each copy would."""
    import controlplane.plan.answering  # noqa: PLC0415 - many of Envoy's messages, for few
    import controlplane.plan.of_object  # noqa: PLC0415 - the same
    import controlplane.plan.short  # noqa: F401, PLC0415 - the same
