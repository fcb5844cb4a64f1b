"""Questions as pairs of names and values, as a URL's query has them, and their answers as JSON values.

| name | value |
|---|---|
| ``from`` | whose request it is: see ``Mesh.proxy`` |
| ``method``, ``url`` | the request; without a method ``GET`` |
| ``header`` | ``name: value``; may come several times |
| ``as``, ``source`` | whose certificate the caller shows, and the address it comes from |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controlplane.model.proxy import Proxy
from controlplane.simulate.asked import Asked, BadRequestError
from controlplane.simulate.call import UnsupportedError
from controlplane.simulate.explanation import Explanation, explained
from controlplane.simulate.live import UnreadableResourceError, held_by_envoy
from controlplane.simulate.mesh import Mesh, UnknownProxyError

Pairs = Iterable[tuple[str, str]]


class WrongQuestionError(Exception):
    """A question that has no answer; ``str()`` is a sentence for who asked."""


class UnansweredError(Exception):
    """A question that a control plane could answer and does not now; ``str()`` goes on from its subject."""


def request_of(pairs: Pairs) -> Asked:
    """Return the request that a question is about.

    Raises:
        WrongQuestionError: it is about none.
    """
    held: dict[str, str] = {}
    headers: dict[str, str] = {}
    for name, value in pairs:
        if name == "header":
            header, colon, text = value.partition(":")
            if not colon or not header.strip():
                raise WrongQuestionError(f"the header {value!r} is not NAME: VALUE")
            headers[header.strip()] = text.strip()
        else:
            held[name] = value
    for needed in ("from", "url"):
        if not held.get(needed):
            raise WrongQuestionError(f"{needed} is needed")
    method, identity, source = held.get("method", "GET"), held.get("as", ""), held.get("source", "")
    try:
        return Asked.of(held["from"], method, held["url"], headers, identity=identity, source=source)
    except BadRequestError as error:
        raise WrongQuestionError(str(error)) from error


async def explained_request(mesh: Mesh, pairs: Pairs, proxy: Proxy | None = None) -> dict[str, Any]:
    """Explain what becomes of a request; ``proxy`` is whose it is, where ``from`` is no name that the mesh knows.

    Raises:
        WrongQuestionError: there is no such proxy, or the question is wrong.
    """
    return (await _explained(mesh, pairs, proxy)).words()


async def live_request(mesh: Mesh, question: Mapping[str, Any]) -> dict[str, Any]:
    """Explain a request by what the caller's Envoy holds, beside what becomes of it with what that is served.

    ``question`` has the pairs as ``request``, and as ``held`` what ``live.held_by_envoy`` reads. Of the other proxies
    it is known what they are served. The answer is that of ``explained_request``, with ``served``, the other one, and
    ``differs``.

    Raises:
        WrongQuestionError: there is no such proxy, or the question is wrong.
    """
    try:
        pairs = [(str(name), str(value)) for name, value in question.get("request", ())]
    except (TypeError, ValueError) as error:
        raise WrongQuestionError("request: must be a list of pairs") from error
    served = await _explained(mesh, pairs, None)
    try:
        mesh.live[served.proxy.id] = held_by_envoy(question.get("held"))
    except UnreadableResourceError as error:
        raise WrongQuestionError(str(error)) from error
    words, other = (await _explained(mesh, pairs, served.proxy)).words(), served.words()
    differs = any(words[part] != other[part] for part in ("steps", "outcome", "servers"))
    return {**words, "served": other, "differs": differs}


async def _explained(mesh: Mesh, pairs: Pairs, proxy: Proxy | None) -> Explanation:
    try:
        return await explained(mesh, request_of(pairs), proxy)
    except (UnknownProxyError, BadRequestError) as error:
        raise WrongQuestionError(str(error)) from error
    except UnsupportedError as error:
        raise WrongQuestionError(f"what becomes of it cannot be told: it depends on {error}") from error
