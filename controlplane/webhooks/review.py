"""AdmissionReviews as values. Reference: Kubernetes, ``admission.k8s.io/v1``."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

_GROUP = "admission.k8s.io/"
_VERSIONS = ("v1", "v1beta1")


class NotAReviewError(ValueError):
    """The peer sent something else than an AdmissionReview with a request; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Request:
    """The part of a request that is looked at; ``object`` is ``None`` where there is none (DELETE).

    ``resource`` is group, version and plural name of what it was made for, empty where it does not say. ``dry_run``:
    nothing will be stored. ``path`` is what the URL has behind the webhook's name, ``uid`` may be empty.
    """

    uid: str
    operation: str
    group: str
    kind: str
    namespace: str
    object: Mapping[str, Any] | None
    resource: tuple[str, str, str] = ("", "", "")
    dry_run: bool = False
    path: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """The answer: refused exactly where there is a ``refusal``; warnings are shown to the user in both cases.

    ``patch`` is what the object is changed by (RFC 6902), nothing where it stays as it is.

    ``failure`` is one word for counting what was not found good, by istiod's names; an object that is none of our
    business is not found good either, but allowed.
    """

    refusal: str = ""
    warnings: tuple[str, ...] = ()
    failure: str = ""
    patch: tuple[dict[str, Any], ...] = ()


Reviewer = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class Webhook:
    """A reviewer, and how it is asked.

    ``is_slow``: always beside the loop that serves proxies. ``answers_nonsense``: what is no review is refused in one,
    as istiod's injector does, and not with an HTTP status. ``told_apart``: the reviewer is ``validate``, which checks
    large objects in a process of its own (``apart``); this is told what was asked, in short, and the answer.
    ``advise`` is asked for more warnings of an object that is only tried.
    """

    reviewer: Reviewer
    told_apart: Callable[[Request, Response], None] | None = None
    is_slow: bool = False
    answers_nonsense: bool = False
    advise: Callable[[Request], Awaitable[tuple[str, ...]]] | None = None


def refused(reason: str) -> dict[str, Any]:
    """Return the review that refuses what was no review."""
    response = _response("", Response(refusal=reason))
    return {"apiVersion": f"{_GROUP}{_VERSIONS[0]}", "kind": "AdmissionReview", "response": response}


def answer(review: object, reviewer: Reviewer, path: str = "") -> dict[str, Any]:
    """Return the review with the reviewer's response, in the API version that was asked in.

    Raises:
        NotAReviewError: nothing to answer.
    """
    version, request = _read(review, path)
    return {
        "apiVersion": version,
        "kind": "AdmissionReview",
        "response": _response(request.uid, reviewer(request)),
    }


def request_of(review: object, path: str = "") -> Request:
    """Return the request of a review.

    Raises:
        NotAReviewError: there is none.
    """
    return _read(review, path)[1]


def _read(review: object, path: str) -> tuple[str, Request]:
    """Return the API version of a review and its request; raises as ``request_of`` does."""
    if not isinstance(review, Mapping) or review.get("kind") != "AdmissionReview":
        raise NotAReviewError("the body is not an AdmissionReview")
    version = str(review.get("apiVersion", ""))
    if version.removeprefix(_GROUP) not in _VERSIONS:
        raise NotAReviewError(f"apiVersion: {version!r} is none of {', '.join(_GROUP + each for each in _VERSIONS)}")
    return version, _request(review.get("request"), path)


def _response(uid: str, given: Response) -> dict[str, Any]:
    response: dict[str, Any] = {"uid": uid, "allowed": not given.refusal}
    if given.refusal:
        response["status"] = {"status": "Failure", "message": given.refusal, "reason": "BadRequest", "code": 400}
    if given.warnings:
        response["warnings"] = list(given.warnings)
    if given.patch:
        text = json.dumps(given.patch, separators=(",", ":"))
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(text.encode()).decode()}
    return response


def _request(raw: object, path: str) -> Request:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("uid", ""), str):
        raise NotAReviewError("request: is required, and its uid must be text")
    kind, obj, resource = raw.get("kind"), raw.get("object"), raw.get("resource")
    named: Mapping[str, Any] = kind if isinstance(kind, Mapping) else {}
    made_for: Mapping[str, Any] = resource if isinstance(resource, Mapping) else {}
    return Request(
        uid=_text(raw, "uid"),
        operation=_text(raw, "operation"),
        group=_text(named, "group"),
        kind=_text(named, "kind"),
        namespace=_text(raw, "namespace"),
        object=obj if isinstance(obj, Mapping) else None,
        resource=(_text(made_for, "group"), _text(made_for, "version"), _text(made_for, "resource")),
        dry_run=raw.get("dryRun") is True,
        path=path,
    )


def _text(raw: Mapping[str, Any], field: str) -> str:
    return str(raw.get(field, ""))
