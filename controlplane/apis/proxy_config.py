"""ProxyConfig, the custom resource: environment, image and threads of some proxies, read at injection."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from controlplane.apis.common import ApiModel, NonNegativeInt32, WorkloadSelector


class ProxyImage(ApiModel):
    """Which image the proxy runs; the type is a suffix such as ``distroless``."""

    image_type: str = ""


class ProxyConfigResource(ApiModel):
    """``spec`` of a ProxyConfig; ``concurrency`` ``None`` leaves it to the mesh, 0 means one thread a CPU."""

    selector: WorkloadSelector | None = None
    concurrency: NonNegativeInt32 | None = None
    environment_variables: dict[str, Annotated[str, Field(max_length=2048)]] = Field(default_factory=dict)
    image: ProxyImage | None = None
