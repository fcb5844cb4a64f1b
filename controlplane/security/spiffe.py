"""Identities of workloads, as SPIFFE ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import re2

_PATTERN = re2.compile(r"spiffe://([^/?#]+)/ns/([^/?#]+)/sa/([^/?#]+)")


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """The identity of a service account; ``str()`` is ``spiffe://<trust domain>/ns/<namespace>/sa/<service account>``.

    Reference: SPIFFE-ID, section 2; the shape of the path is Istio's.
    """

    trust_domain: str
    namespace: str
    service_account: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an id.

        Raises:
            ValueError: the text is no id of this shape.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f'"{text}" is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>')
        return cls(*match.groups())

    @classmethod
    def of_service_account(cls, trust_domain: str, username: str) -> Self:
        """Return the id of a Kubernetes user, ``system:serviceaccount:<namespace>:<service account>``.

        Raises:
            ValueError: the user is no service account.
        """
        parts = username.split(":")
        match parts:
            case ["system", "serviceaccount", namespace, service_account] if namespace and service_account:
                return cls(trust_domain.replace("@", "."), namespace, service_account)
        raise ValueError(f'"{username}" is not a service account')

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"
