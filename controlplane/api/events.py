"""What happened lately, as the API has it."""

from __future__ import annotations

from controlplane.api import models
from controlplane.model.delivery import Delivery
from controlplane.model.events import Event


def event_row(event: Event) -> models.Event:
    """Return one event, with what has become of it until now."""
    return models.Event(
        number=event.number,
        at=event.at,
        happened=event.happened,
        objects=event.objects,
        changed=list(event.changed),
        authors=list(event.authors),
        removed=list(event.removed),
        refused=list(event.refused),
        revision=event.revision,
        targets=event.targets,
        classes=event.classes,
        proxies=event.proxies,
        milliseconds=event.milliseconds,
        delivery=_delivery(event.delivery) if event.delivery is not None else None,
    )


def _delivery(held: Delivery) -> models.ChangeDelivery:
    return models.ChangeDelivery(
        responses=held.responses,
        size_bytes=held.size_bytes,
        acknowledged=held.acknowledged,
        refused=held.refused,
        last_milliseconds=_milliseconds(held.last_seconds if held.acknowledged else None),
        p50_milliseconds=_milliseconds(held.within(0.5)),
        p99_milliseconds=_milliseconds(held.within(0.99)),
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)
