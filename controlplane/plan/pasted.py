"""Objects that somebody wrote as one text of YAML or JSON, as ``kubectl apply -f -`` takes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controlplane.documents.limits import Unreadable
from controlplane.documents.pieces import Place, objects, pieces
from controlplane.simulate.questions import WrongQuestionError

NAME = "manifests"


def pasted(text: str) -> Iterator[tuple[Any, str]]:
    """Yield each object of the text, and ``manifests:LINE``, where it begins.

    Raises:
        WrongQuestionError: a part of it is neither YAML nor JSON.
    """
    content = text.replace("\r\n", "\n")  # forms of browsers send it so
    for document, piece in pieces(content.encode("utf-8", "replace"), NAME, is_json=content.lstrip()[:1] == "{"):
        if isinstance(document, Unreadable):
            line = piece.first + document.line - 1
            raise WrongQuestionError(f"{NAME}, line {line}: not readable: {document.reason}")
        if document.value is not None:
            for within, obj in objects(document.value):
                yield obj, f"{NAME}:{Place(piece, document.line, within, obj).line('')}"
