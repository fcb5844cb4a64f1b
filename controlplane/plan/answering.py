"""The answer to a question about a change, from a compiler that is used up by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.compiler.compiler import Compiler
from controlplane.model.proxy import Proxy
from controlplane.plan.answers import answered
from controlplane.plan.patches import Patches
from controlplane.plan.planning import Planning
from controlplane.plan.question import Meant, Question
from controlplane.plan.words import plan_words, request_words
from controlplane.simulate.mesh import Mesh


async def plan_answer(
    compiler: Compiler, proxies: Mapping[str, Proxy], question: Question, change: Meant, *, connected: bool = False
) -> dict[str, Any]:
    """Return the plan of a change as JSON: see ``words``. ``proxies`` are those that are compared, by their ids.

    ``connected`` says that they are really there.
    """
    mesh = Mesh(compiler, proxies)
    before = await answered(mesh, question.requests)
    plan = await Planning(compiler, proxies, connected=connected).planned(change.changes)
    after = await answered(mesh, question.requests)
    words = plan_words(plan, Patches() if question.patches else None, change.doubts)
    repeated = [each.words() for each in change.repeated]
    words["warnings"] += len(repeated)
    if not question.classes:
        words["classes"] = []
    return words | {
        "requests": request_words(before, after),
        "unused": list(change.unused),
        "repeated": repeated,
    }
