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
    """The part of a request that is looked at; ``object`` is ``None`` where there is none (DELETE).

    ``resource`` is group, version and plural name of what it was made for, empty where it does not say. ``dry_run``:
    nothing will be stored.
    """

    uid: str
    operation: str
    group: str
    kind: str
    namespace: str
    object: Mapping[str, Any] | None
    resource: tuple[str, str, str] = ("", "", "")
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """The answer: refused exactly where there is a ``refusal``; warnings are shown to the user in both cases.

    ``failure`` is one word for counting what was not found good, by istiod's names; an object that is none of our
    business is not found good either, but allowed.
    """

    refusal: str = ""
    warnings: tuple[str, ...] = ()
    failure: str = ""


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
    kind, obj, resource = raw.get("kind"), raw.get("object"), raw.get("resource")
    named: Mapping[str, Any] = kind if isinstance(kind, Mapping) else {}
    made_for: Mapping[str, Any] = resource if isinstance(resource, Mapping) else {}
    return Request(
        uid=raw["uid"],
        operation=_text(raw, "operation"),
        group=_text(named, "group"),
        kind=_text(named, "kind"),
        namespace=_text(raw, "namespace"),
        object=obj if isinstance(obj, Mapping) else None,
        resource=(_text(made_for, "group"), _text(made_for, "version"), _text(made_for, "resource")),
        dry_run=raw.get("dryRun") is True,
    )


def _text(raw: Mapping[str, Any], field: str) -> str:
    return str(raw.get(field, ""))
