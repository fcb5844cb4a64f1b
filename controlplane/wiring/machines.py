"""Joins the streams of machines with what registers them in Kubernetes."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from controlplane.ads.credential import Credential
from controlplane.ads.fair import Gate
from controlplane.ads.machines import Machines
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.agent.environment import Environment
from controlplane.agent.environment import StartError as WrongVariableError
from controlplane.model import kinds
from controlplane.model.objects import Object
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.settings import Settings
from controlplane.wiring.counting import count_limit
from controlplane.wiring.from_settings import identity
from controlplane.wiring.tasks import StartError, Work

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient

    from controlplane.controllers.auto_registration import AutoRegistration, RegistrationOptions

_FOR_EVER = timedelta(days=36_500)
_REGISTERED_AT_ONCE = 4
"""Each is some questions to the API server, with some seconds to answer."""


class RegisteredMachines(Machines):
    """Hands on what is heard, once there is something that registers; without a cluster nothing is registered."""

    def __init__(self) -> None:
        self.registration: AutoRegistration | None = None

    def start(
        self, registry: Registry, supervise: Callable[[str, Work], object], lead: Callable[[str, str, Work], None]
    ) -> None:
        """Begin what goes on beside the streams, where machines are registered; one replica removes entries."""
        if (registering := self.registration) is None:
            return
        from controlplane.controllers.leader import MACHINES  # noqa: PLC0415 - loaded by now

        supervise("registration of machines", registering.run)
        lead("removal of machines", MACHINES, partial(registering.sweep, partial(_entries, registry)))

    async def joined(self, proxy: Proxy, credential: Credential) -> None:
        """Register a machine."""
        if self.registration is None:
            return
        from controlplane.controllers.auto_registration import RegistrationError  # noqa: PLC0415 - loaded by now

        try:
            await self.registration.joined(proxy, credential.namespace, credential.service_account)
        except RegistrationError as error:
            kind = Refusal.UNAVAILABLE if error.temporary else Refusal.PRECONDITION
            if error.limit:
                count_limit(error.limit)
                kind = Refusal.TOO_MANY
            raise StreamRefused(kind, str(error)) from error

    def left(self, proxy: Proxy) -> None:
        """Note an end."""
        if self.registration is not None:
            self.registration.left(proxy)

    def told_health(self, proxy: Proxy, problem: str) -> None:
        """Note what is said."""
        if self.registration is not None:
            self.registration.told_health(proxy, problem)


def registration(client: ApiClient, registry: Registry, settings: Settings) -> AutoRegistration:
    """Return what registers machines in a cluster.

    Raises:
        StartError: a variable is neither what it should be nor absent.
    """
    from controlplane.controllers.auto_registration import AutoRegistration  # noqa: PLC0415 - the Kubernetes client loads slowly

    return AutoRegistration(client, registry.objects.get, identity(), _options(settings))


def _entries(registry: Registry) -> list[Object]:
    """Return the WorkloadEntries of this cluster that are in force."""
    found = (registry.objects.get(key) for key in registry.keys(kinds.WORKLOAD_ENTRY))
    return [obj for obj in found if obj is not None and not obj.meta.cluster]


def _options(settings: Settings) -> RegistrationOptions:
    """Read istiod's variables."""
    from controlplane.controllers.auto_registration import RegistrationOptions  # noqa: PLC0415 - as above

    environment = Environment(os.environ)
    try:
        return RegistrationOptions(
            registers=environment.flag("PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION", default=True),
            tells_health=environment.flag("PILOT_ENABLE_WORKLOAD_ENTRY_HEALTHCHECKS", default=True),
            proves_identity=environment.flag("ISTIO_WORKLOAD_ENTRY_VALIDATE_IDENTITY", default=True),
            grace=environment.duration("PILOT_WORKLOAD_ENTRY_GRACE_PERIOD", timedelta(seconds=10)),
            max_age=settings.max_connection_age or _FOR_EVER,
            most=settings.max_machines_per_identity,
            place=Gate(_REGISTERED_AT_ONCE, ("max_waiting_calls", settings.max_waiting_calls), count_limit).entered,
        )
    except WrongVariableError as error:
        raise StartError(str(error)) from error
