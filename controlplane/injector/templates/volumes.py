"""Volumes of the proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.injector.template_data import TemplateData

Json = dict[str, Any]

_BOOTSTRAP = "sidecar.istio.io/bootstrapOverride"


def volume(name: str, source: Mapping[str, Any] | None = None) -> Json:
    """Return a volume; without a source the API server makes an empty directory."""
    return {"name": name, **(source or {})}


def mount(name: str, path: str, *, read_only: bool = False) -> Json:
    """Return where a volume is mounted."""
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}


EMPTY: Json = {"emptyDir": {}}
MEMORY: Json = {"emptyDir": {"medium": "Memory"}}


def pod_info() -> Json:
    """Return the volume with the pod's own labels and annotations."""
    items = [{"path": each, "fieldRef": {"fieldPath": f"metadata.{each}"}} for each in ("labels", "annotations")]
    return volume("istio-podinfo", {"downwardAPI": {"items": items}})


def token(data: TemplateData) -> Json:
    """Return the volume with the token that the certificate authority takes."""
    source = {
        "path": "istio-token",
        "expirationSeconds": 43200,
        "audience": data.values.text("global.sds.token.aud"),
    }
    return volume("istio-token", {"projected": {"sources": [{"serviceAccountToken": source}]}})


def is_from_control_plane(data: TemplateData) -> bool:
    """Whether the control plane's own certificate authority is asked."""
    return data.values.text("global.pilotCertProvider") == "istiod"


def roots(data: TemplateData) -> Json:
    """Return the volume with the root certificates of the control plane."""
    if data.values.get("pilot.env.ENABLE_CLUSTER_TRUST_BUNDLE_API") is True:
        bundle = {"name": "istio.io:istiod-ca:root-cert", "path": "root-cert.pem"}
        return volume("istiod-ca-cert", {"projected": {"sources": [{"clusterTrustBundle": bundle}]}})
    stated = data.values.text("pilot.env.PILOT_CA_CERT_CONFIGMAP") or data.values.text("global.trustBundleName")
    return volume("istiod-ca-cert", {"configMap": {"name": stated or "istio-ca-root-cert"}})


def revoked(data: TemplateData) -> Json:
    """Return the volume with the lists of revoked certificates, which need not be there."""
    name = data.values.text("pilot.env.PILOT_CRL_CONFIGMAP") or "istio-ca-crl"
    return volume("istio-ca-crl", {"configMap": {"name": name, "optional": True}})


def is_mounting_certificates(data: TemplateData) -> bool:
    """Whether certificates come from a Secret too."""
    return data.values.flag("global.mountMtlsCerts")


def certificates(data: TemplateData) -> Json:
    """Return the volume with certificates of a Secret."""
    account = (data.pod.get("spec") or {}).get("serviceAccountName") or "default"
    return volume("istio-certs", {"secret": {"optional": True, "secretName": f"istio.{account}"}})


def bootstrap_volume(data: TemplateData) -> Json:
    """Return the volume with the user's bootstrap."""
    return volume("custom-bootstrap-volume", {"configMap": {"name": data.annotations.get(_BOOTSTRAP, "")}})


def is_overriding_bootstrap(data: TemplateData) -> bool:
    """Whether the pod names a bootstrap of its own."""
    return _BOOTSTRAP in data.annotations
