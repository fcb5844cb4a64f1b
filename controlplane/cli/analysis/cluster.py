"""The objects of a cluster that analyzers look at, found as users of kubectl expect."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import structlog

from controlplane.cli.fetch import fail
from controlplane.cli.kubeconfig import usual_kubeconfig
from controlplane.model.kinds import GATEWAY_API, GroupKind
from controlplane.watchers.kubernetes.errors import (
    ConfigurationError,
    NoClusterError,
    RefusedError,
    UnreachableError,
)
from controlplane.watchers.kubernetes.listing import Wanted, listed
from controlplane.watchers.kubernetes.resources import CONFIG_MAPS, CORE, ISTIO, Resource

_ADMISSION = "admissionregistration.k8s.io"
_LARGE_SECRETS = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"
_OTHERS = (
    Wanted(Resource("Secret", "", ("v1",), "secrets"), _LARGE_SECRETS),
    Wanted(Resource("Deployment", "apps", ("v1",), "deployments")),
    Wanted(Resource("MutatingWebhookConfiguration", _ADMISSION, ("v1",), "mutatingwebhookconfigurations")),
    Wanted(Resource("ValidatingWebhookConfiguration", _ADMISSION, ("v1",), "validatingwebhookconfigurations")),
    Wanted(
        Resource(
            "CustomResourceDefinition",
            "apiextensions.k8s.io",
            ("v1",),
            "customresourcedefinitions",
            namespaced=False,
            metadata_only=True,  # their schemas are large
        )
    ),
    Wanted(Resource("Gateway", GATEWAY_API, ("v1", "v1beta1"), "gateways")),
    Wanted(Resource("HTTPRoute", GATEWAY_API, ("v1", "v1beta1"), "httproutes")),
    Wanted(Resource("GRPCRoute", GATEWAY_API, ("v1",), "grpcroutes")),
)
_NOT_READ = frozenset({"EndpointSlice", "IngressClass"})


def cluster_objects(
    kubeconfig: str, context: str, istio_namespace: str
) -> tuple[list[dict[str, Any]], dict[GroupKind, str]]:
    """Return all objects, and the kinds that may not be read with the reason; ends with 1 where the cluster is away."""
    wanted = [Wanted(each) for each in (*CORE, *ISTIO) if each.kind not in _NOT_READ]
    wanted += [Wanted(CONFIG_MAPS, f"metadata.namespace={istio_namespace}"), *_OTHERS]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # it is told once, below
    try:
        found = asyncio.run(listed(kubeconfig or usual_kubeconfig(context), context, wanted))
    except NoClusterError:
        fail("no cluster is named: --kubeconfig and $KUBECONFIG do that; -f FILE looks at files without a cluster")
    except (ConfigurationError, UnreachableError, RefusedError) as error:
        fail(f"{error}; -f FILE looks at files without a cluster")
    return found.objects, {each.group_kind: reason for each, reason in found.refused.items()}


def current_namespace(kubeconfig: str, context: str) -> str:
    """Return the namespace that a context of the kubeconfig names, ``default`` where it names none."""
    import yaml
    from kubernetes.aio import config

    file = kubeconfig or os.environ.get("KUBECONFIG") or usual_kubeconfig(context)
    if not file or (kubeconfig and not Path(kubeconfig).is_file()):
        return "default"
    unusable = (config.ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError)
    try:
        contexts, active = config.list_kube_config_contexts(file)
    except unusable:  # told where the cluster is asked
        return "default"
    chosen = next((each for each in contexts if each["name"] == context), None) if context else active
    return str((chosen or {}).get("context", {}).get("namespace") or "default")
