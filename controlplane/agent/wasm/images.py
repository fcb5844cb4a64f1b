"""Modules in images: asks a registry for a manifest and for the layer with the module.

Reference: OCI distribution specification 1.1, "Pulling manifests" and "Pulling blobs"; Docker's token authentication;
Istio's ``pkg/wasm/imagefetcher.go`` for where the module is in an image.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import re2

from controlplane.agent.http.client import Reply
from controlplane.agent.wasm.fetching import Fetcher, FetchError, split
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError

WASM_LAYER = "application/vnd.module.wasm.content.layer.v1+wasm"
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_UNAUTHORIZED, _OK = 401, 200
_PARAMETER = re2.compile(r'(\w+)="([^"]*)"')
_DOCKER_HUB = frozenset({"docker.io", "index.docker.io"})


@dataclass(frozen=True, slots=True)
class ImageName:
    """``registry`` is ``host`` or ``host:port``; ``reference`` a tag, or a digest (``sha256:...``)."""

    registry: str
    repository: str
    reference: str

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """Read a name such as ``ghcr.io/istio/filter:v1``, as Docker does. Raises ``FetchError``."""
        name, at, digest = text.partition("@")
        first, slash, rest = name.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            registry, repository = first, rest
        else:
            registry, repository = "docker.io", name
        repository, _, tag = repository.partition(":")
        if registry in _DOCKER_HUB:
            registry = "registry-1.docker.io"
            repository = repository if "/" in repository else f"library/{repository}"
        if not repository or repository.endswith("/") or (at and not digest.startswith("sha256:")):
            raise FetchError(f"{text!r} is no name of an image")
        return cls(registry, repository, digest or tag or "latest")


@dataclass(frozen=True, slots=True)
class Login:
    """What a registry is shown, empty for nothing. Source: a Secret of type ``kubernetes.io/dockerconfigjson``."""

    basic: str = ""

    @classmethod
    def of(cls, docker_config: str, registry: str) -> Login:
        """Find what is meant for a registry. Raises ``FetchError`` where the text cannot be read."""
        wrong = FetchError("the pull secret is no .dockerconfigjson with auths")
        try:
            auths = json_value(docker_config)["auths"] if docker_config else {}
            found = next((held for name, held in auths.items() if _host(name) == _host(registry)), None)
            if found is None:
                return cls()
            if found.get("auth"):
                base64.b64decode(found["auth"], validate=True)
                return cls(found["auth"])
            pair = f"{found['username']}:{found['password']}"
        except (UnreadableError, ValueError, KeyError, TypeError, AttributeError, binascii.Error):
            raise wrong from None
        return cls(base64.b64encode(pair.encode()).decode())


def _host(name: str) -> str:
    host = name.partition("://")[2] or name
    host = host.partition("/")[0]
    return "docker.io" if host in {*_DOCKER_HUB, "registry-1.docker.io"} else host


class Image:
    """One image at its registry."""

    def __init__(self, fetcher: Fetcher, name: ImageName, login: Login) -> None:
        self._fetcher = fetcher
        self._name = name
        self._login = login
        self._scheme = ""
        self._authorization = ""

    async def manifest(self) -> tuple[str, Mapping[str, Any]]:
        """Return the manifest and the hexadecimal digest of what the name stands for. Raises ``FetchError``."""
        body = await self._get(f"manifests/{self._name.reference}", ", ".join((*_MANIFESTS, *_INDEXES)))
        manifest = _mapping(body, "manifest")
        if manifest.get("mediaType") in _INDEXES or "manifests" in manifest:
            digest = _for_linux(manifest)
            body = await self._get(f"manifests/{digest}", ", ".join(_MANIFESTS))
            verify(body, digest)
            manifest = _mapping(body, "manifest")
        elif self._name.reference.startswith("sha256:"):
            verify(body, self._name.reference)
        return hashlib.sha256(body).hexdigest(), manifest

    async def layer(self, manifest: Mapping[str, Any]) -> tuple[str, bytes]:
        """Return digest and body of the layer with the module: that of its own type, else the last one.

        The body is as it was sent: ``verify`` and unpacking are left to who calls, for they take long.

        Raises:
            FetchError: there is none.
        """
        layers = [each for each in manifest.get("layers") or () if isinstance(each, dict)]
        if not layers:
            raise FetchError(f"the image {self._name.repository} has no layers")
        own = next((each for each in layers if each.get("mediaType") == WASM_LAYER), None)
        digest = str((own or layers[-1]).get("digest", ""))
        return digest, await self._get(f"blobs/{digest}", "*/*")

    async def _get(self, path: str, accept: str) -> bytes:
        reply = await self._reply(path, accept)
        if reply.status == _UNAUTHORIZED and not self._authorization:
            self._authorization = await self._authorized(reply)
            reply = await self._reply(path, accept)
        if reply.status != _OK:
            where = f"{self._name.registry}/{self._name.repository}"
            raise FetchError(f"the registry answered with {reply.status} to the question for {path} of {where}")
        return reply.body

    async def _reply(self, path: str, accept: str) -> Reply:
        headers = {"Accept": accept}
        if self._authorization:
            headers["Authorization"] = self._authorization
        url = f"//{self._name.registry}/v2/{self._name.repository}/{path}"
        if self._scheme:
            return await self._fetcher.reply(self._scheme + url, headers)
        try:
            reply = await self._fetcher.reply(f"https:{url}", headers)
        except FetchError:
            if not self._fetcher.rules.is_insecure(self._name.registry):
                raise
            reply = await self._fetcher.reply(f"http:{url}", headers)
            self._scheme = "http:"
            return reply
        self._scheme = "https:"
        return reply

    async def _authorized(self, reply: Reply) -> str:
        """Return what is asked for in ``WWW-Authenticate``. Raises ``FetchError``.

        A registry may name any server that gives its tokens, as Docker Hub does, but none without TLS if it has TLS
        itself: somebody on the way would read the password. Whom it has redirected to is not shown the password.
        """
        kind, _, rest = reply.headers.get("www-authenticate", "").partition(" ")
        basic = self._login.basic if split(reply.url)[:2] == (self._scheme[:-1], self._name.registry) else ""
        if kind.lower() == "basic":
            return f"Basic {basic}" if basic else ""
        said = dict(_PARAMETER.findall(rest))
        if kind.lower() != "bearer" or "realm" not in said:
            raise FetchError(
                f"the registry {self._name.registry} asks for {kind or 'nothing'}, which is not known here"
            )
        if split(said["realm"]).scheme != "https" and self._scheme == "https:":
            place = f"{said['realm']}: it is not asked"
            raise FetchError(f"the registry {self._name.registry} has its tokens given without TLS, by {place}")
        scope = said.get("scope", f"repository:{self._name.repository}:pull")
        query = urlencode({"service": said.get("service", ""), "scope": scope})
        headers = {"Authorization": f"Basic {basic}"} if basic else {}
        answer = _mapping(await self._fetcher.get(f"{said['realm']}?{query}", headers, reply.url), "token")
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str):
            raise FetchError(f"{said['realm']} gives no token")
        return f"Bearer {token}"


def _for_linux(index: Mapping[str, Any]) -> str:
    """Return the digest of the manifest of an index that is for Linux on amd64, the first where none is."""
    held = [each for each in index.get("manifests") or () if isinstance(each, dict) and each.get("digest")]
    if not held:
        raise FetchError("the image index is empty")
    for each in held:
        platform = each.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
            return str(each["digest"])
    return str(held[0]["digest"])


def verify(body: bytes, digest: str) -> None:
    """Raise ``FetchError`` where a body has another digest (``sha256:...``) than was asked for."""
    if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
        raise FetchError(f"what the registry sent is not {digest or 'what a digest names'}")


def _mapping(body: bytes, what: str) -> Mapping[str, Any]:
    try:
        value = json_value(body)
    except UnreadableError:
        value = None
    if not isinstance(value, dict):
        raise FetchError(f"the registry's {what} is no JSON object")
    return value
