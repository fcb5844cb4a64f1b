"""Names of the images that are injected."""

from __future__ import annotations

from controlplane.injector.template_data import TemplateData

_TYPES = ("-distroless", "-debug")
_IMAGE = "sidecar.istio.io/proxyImage"
_TYPE = "sidecar.istio.io/proxyImageType"


def image(data: TemplateData, path: str) -> str:
    """Return the image for the value at a path: whole where the pod or the value names a repository, else composed.

    Source: the value, the hub and tag of the values; the type of the pod's annotation, else of its ProxyConfig.
    """
    chosen = data.annotated(_IMAGE, data.values.get(path))
    if "/" in chosen:
        return chosen
    return composed(data, path)


def composed(data: TemplateData, path: str) -> str:
    """Return ``hub/image:tag-type`` for the value at a path."""
    stated = data.proxy_config.image.image_type if data.proxy_config.image is not None else ""
    kind = data.annotated(_TYPE, stated or data.values.get("global.variant"))
    tag = data.values.text("global.tag")
    if kind:
        tag = next((tag.removesuffix(each) for each in _TYPES if tag.endswith(each)), tag)
        tag = tag if kind == "default" else f"{tag}-{kind}"
    name = data.values.text(path) or "proxyv2"
    return f"{data.values.text('global.hub')}/{name}:{tag}"
