"""AdmissionReviews as values. Reference: Kubernetes, ``admission.k8s.io/v1``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_GROUP = "admission.k8s.io/"
_VERSIONS = ("v1", "v1beta1")


class NotAReviewError(ValueError):
    """The peer sent something else than an AdmissionReview with a request; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Request:
    """The part of a request that is looked at; ``object`` is ``None`` where there is none (DELETE)."""

    uid: str
    operation: str
    group: str
    kind: str
    namespace: str
    object: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Response:
    """The answer: refused exactly where there is a ``refusal``; warnings are shown to the user in both cases."""

    refusal: str = ""
    warnings: tuple[str, ...] = ()


Reviewer = Callable[[Request], Response]


def answer(review: object, reviewer: Reviewer) -> dict[str, Any]:
    """Return the review with the reviewer's response, in the API version that was asked in.

    Raises:
        NotAReviewError: nothing to answer.
    """
    if not isinstance(review, Mapping) or review.get("kind") != "AdmissionReview":
        raise NotAReviewError("the body is not an AdmissionReview")
    version = str(review.get("apiVersion", ""))
    if version.removeprefix(_GROUP) not in _VERSIONS:
        raise NotAReviewError(f"apiVersion: {version!r} is none of {', '.join(_GROUP + each for each in _VERSIONS)}")
    request = _request(review.get("request"))
    given = reviewer(request)
    response: dict[str, Any] = {"uid": request.uid, "allowed": not given.refusal}
    if given.refusal:
        response["status"] = {"status": "Failure", "message": given.refusal, "reason": "BadRequest", "code": 400}
    if given.warnings:
        response["warnings"] = list(given.warnings)
    return {"apiVersion": version, "kind": "AdmissionReview", "response": response}


def _request(raw: object) -> Request:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("uid"), str):
        raise NotAReviewError("request: is required, with a uid")
    kind, obj = raw.get("kind"), raw.get("object")
    named: Mapping[str, Any] = kind if isinstance(kind, Mapping) else {}
    return Request(
        uid=raw["uid"],
        operation=str(raw.get("operation", "")),
        group=str(named.get("group", "")),
        kind=str(named.get("kind", "")),
        namespace=str(raw.get("namespace", "")),
        object=obj if isinstance(obj, Mapping) else None,
    )
