"""What is not served because Envoy would refuse it, with all that stands beside it."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.model.objects import ObjectKey


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One part of Envoy's configuration that is not sent.

    ``element`` says which, as people call it (``cluster outbound|80||web.shop``), ``reason`` why Envoy would not take
    it, with the path in Envoy's message. ``objects`` are those it was made from, as far as the translator knows;
    where it is empty, what it read tells. ``verdict`` says what the reason is one for.
    """

    element: str
    reason: str
    objects: tuple[ObjectKey, ...] = ()
    verdict: str = "Envoy would refuse it"
