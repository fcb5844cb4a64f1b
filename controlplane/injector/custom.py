"""Templates of users: Go templates that make YAML, which is laid on the pod like those that are built in."""

from __future__ import annotations

from copy import deepcopy
from functools import cached_property
from typing import Any

from controlplane.documents.limits import UnreadableError
from controlplane.documents.yaml_reader import yaml_value
from controlplane.gotemplate.errors import TemplateError
from controlplane.gotemplate.evaluate import Template
from controlplane.injector.errors import InjectionError
from controlplane.injector.go_functions import FUNCTIONS
from controlplane.injector.go_views import Fields, MessagePart, PodPart
from controlplane.injector.images import composed
from controlplane.injector.template_data import TemplateData


class CustomTemplate:
    """One template of a user, read when it is first used: one that cannot be read harms only who asks for it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    @cached_property
    def _template(self) -> Template:
        return Template(self.name, self.text, FUNCTIONS)

    def overlay(self, data: TemplateData) -> dict[str, Any]:
        """Return what the template adds to a pod.

        Raises:
            InjectionError: it cannot be read, fails, or makes no YAML of an object; says where.
        """
        try:
            text = self._template.render(_go_data(data))
        except TemplateError as error:
            raise InjectionError(str(error)) from error
        try:
            value = yaml_value(text)
        except UnreadableError as error:
            raise InjectionError(f"template {self.name} makes no YAML: {error}") from error
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise InjectionError(f"template {self.name} makes no object, but {type(value).__name__}")
        return value


def _go_data(data: TemplateData) -> Fields:
    """Return what a template may look at, by Istio's names."""
    owner = data.owner
    policy = data.mesh.inbound_traffic_policy.mode.value
    return Fields(
        {
            "TypeMeta": Fields({"Kind": owner.kind, "APIVersion": owner.api_version}),
            "DeploymentMeta": Fields({"Name": owner.name, "Namespace": owner.namespace}),
            "ObjectMeta": PodPart(data.pod.get("metadata") or {}, "metadata"),
            "Spec": PodPart(data.pod.get("spec") or {}, "spec"),
            "ProxyConfig": MessagePart(data.proxy_config),
            "MeshConfig": MessagePart(data.mesh),
            "Values": deepcopy(data.values.raw),  # a template may change maps
            "Revision": data.revision,
            "NativeSidecars": data.native,
            "ProxyImage": composed(data, "global.proxy.image"),
            "ProxyInitImage": composed(data, "global.proxy_init.image"),
            "ProxyUID": data.identifiers.user,
            "ProxyGID": data.identifiers.group,
            "InboundTrafficPolicyMode": policy.lower(),
            "CompliancePolicy": data.compliance_policy,
        }
    )
