"""Questions that users ask a control plane while it runs, answered from what its proxies are served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from controlplane.compiler.compiler import Compiler
from controlplane.model.objects import ChangeSet
from controlplane.model.proxy import Proxy
from controlplane.wiring.forking import CopyFailedError, Limits, answer, fork

_MOST_WAITING = 4
_GOOD, _WRONG = b"+", b"-"


class Questions:
    """Answers from one compiler; ``connected`` gives its proxies. What answers is loaded with the first question.

    ``checked`` is what a change goes through before it is applied.
    """

    def __init__(
        self,
        compiler: Compiler,
        connected: Callable[[], Mapping[str, Proxy]],
        checked: Callable[[ChangeSet], ChangeSet],
        limits: Limits | None = None,
    ) -> None:
        self._compiler = compiler
        self._connected = connected
        self._checked = checked
        self._limits = limits or Limits()
        self._one = asyncio.Lock()
        self._waiting = 0

    async def explain(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return what becomes of a request: see ``simulate.questions``, and what that raises."""
        from controlplane.simulate.mesh import Mesh  # noqa: PLC0415 - many of Envoy's messages, for few
        from controlplane.simulate.questions import explained_request  # noqa: PLC0415 - the same

        return await explained_request(Mesh(self._compiler, self._connected()), pairs)

    async def plan(self, question: bytes) -> bytes:
        """Return what a change would do, JSON to JSON: see ``plan.question`` and ``plan.words``.

        A copy of this process answers, one at a time.

        Raises:
            WrongQuestionError: the question has no answer.
            UnansweredError: too many are asking, or the answer takes too much time or memory.
        """
        from controlplane.simulate.questions import UnansweredError, WrongQuestionError  # noqa: PLC0415 - see above

        if self._waiting >= _MOST_WAITING:
            raise UnansweredError("would be the fifth that is asked for at once: ask again later")
        self._waiting += 1
        try:
            async with self._one:
                await asyncio.to_thread(_load)
                work = lambda: self._planned(question)  # noqa: E731 - of the copy
                copy = await self._compiler.between_changes(lambda: fork(work, self._limits))
                told = await answer(copy, self._limits)
        except CopyFailedError as error:
            raise UnansweredError(str(error)) from error
        finally:
            self._waiting -= 1
        if told.startswith(_WRONG):
            raise WrongQuestionError(told[len(_WRONG) :].decode())
        return told[len(_GOOD) :]

    def _planned(self, question: bytes) -> bytes:
        """Answer in the copy."""
        import json  # noqa: PLC0415 - see above

        from controlplane.documents.json_reader import json_value  # noqa: PLC0415 - see above
        from controlplane.plan.answering import plan_answer  # noqa: PLC0415 - see above
        from controlplane.plan.question import Question, meant  # noqa: PLC0415 - see above
        from controlplane.simulate.questions import WrongQuestionError  # noqa: PLC0415 - see above

        self._compiler.copied()
        try:
            asked = Question.of(json_value(question))
            change = meant(asked, self._compiler.registry)
        except (WrongQuestionError, ValueError) as error:
            return _WRONG + str(error).encode()
        change = replace(change, changes=self._checked(change.changes))
        proxies = _by_id(self._connected())
        return _GOOD + json.dumps(asyncio.run(plan_answer(self._compiler, proxies, asked, change))).encode()


def _load() -> None:
    """Load what answers, before the copy is made: else each copy would."""
    import controlplane.plan.answering  # noqa: F401, PLC0415 - many of Envoy's messages, for few


def _by_id(connected: Mapping[str, Proxy]) -> dict[str, Proxy]:
    """Return proxies by the ids that people know them by; one that is connected twice, once."""
    found: dict[str, Proxy] = {}
    for connection, proxy in connected.items():
        other = found.get(proxy.id)
        found[proxy.id if other is None or other == proxy else connection] = proxy
    return found
