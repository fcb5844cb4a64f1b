"""Modules for Envoy: fetched from web servers and registries, checked, kept as files; what stands for missing ones."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import ipaddress
import json
import tarfile
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm as HttpWasm
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.extensions.filters.network.wasm.v3.wasm_pb2 import Wasm as NetworkWasm
from envoy.extensions.wasm.v3.wasm_pb2 import FailurePolicy
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from google.protobuf.json_format import MessageToDict
from xds.type.v3.typed_struct_pb2 import TypedStruct

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.environment import Environment, StartError
from controlplane.agent.http.client import Reply
from controlplane.agent.http.server import HttpServer, Request, Response
from controlplane.agent.wasm import archives
from controlplane.agent.wasm.fetching import Fetcher, FetchError, Rules
from controlplane.agent.wasm.images import WASM_LAYER, ImageName, Login
from controlplane.agent.wasm.modules import Modules, Wanted
from controlplane.agent.wasm.rewriting import rewrite

MODULE = b"\0asm\1\0\0\0" + bytes(40)
OTHER = b"\0asm\1\0\0\0" + bytes(50)
QUICK = Rules(attempts=2, insecure=frozenset({"*"}), first_pause=0.001)
LONG = timedelta(seconds=60)


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def packed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)  # the same in each process that collects tests


def layer(files: dict[str, bytes], *, compress: bool = True) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return packed(held.getvalue()) if compress else held.getvalue()


class World:
    """A web server, which is a registry too, and the agent's modules."""

    def __init__(self, folder: Path) -> None:
        self.bodies: dict[str, bytes | int] = {}
        self.asked: list[str] = []
        self.token = ""
        self.port = 0
        self.now = 0.0
        self.folder = folder / "modules"
        self.modules = Modules(self.folder, Fetcher(QUICK), timedelta(hours=24), lambda: self.now)

    async def answer(self, request: Request) -> Response:
        self.asked.append(request.path)
        if request.path == "/token":
            given = request.headers.get("authorization", "")
            assert "repository%3Ateam%2Ffilter%3Apull" in request.query
            answer = json.dumps({"token": self.token if given == f"Basic {self.basic}" else "nobody's"})
            return Response(200, answer.encode())
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            asked = f'Bearer realm="http://127.0.0.1:{self.port}/token",service="here"'
            return Response(401, headers=(("www-authenticate", asked),))
        found = self.bodies.get(request.path, 404)
        if isinstance(found, int):
            return Response(found)
        if found.startswith(b"Location: "):
            return Response(302, headers=(("location", found.removeprefix(b"Location: ").decode()),))
        return Response(200, found)

    basic = base64.b64encode(b"me:secret").decode()

    @property
    def login(self) -> str:
        return json.dumps({"auths": {f"127.0.0.1:{self.port}": {"username": "me", "password": "secret"}}})

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def image(self, tag: str, body: bytes, media_type: str = "application/vnd.oci.image.layer.v1.tar+gzip") -> str:
        """Put an image into the registry, and return its digest."""
        blob = digest(body)
        layers = [{"digest": "sha256:0", "mediaType": "application/x-config"}] if media_type == WASM_LAYER else []
        layers.append({"digest": f"sha256:{blob}", "mediaType": media_type})
        manifest = json.dumps({"schemaVersion": 2, "layers": layers}).encode()
        for reference in (tag, f"sha256:{digest(manifest)}"):
            self.bodies[f"/v2/team/filter/manifests/{reference}"] = manifest
        self.bodies[f"/v2/team/filter/blobs/sha256:{blob}"] = body
        return digest(manifest)

    def oci(self, suffix: str) -> str:
        return f"oci://127.0.0.1:{self.port}/team/filter{suffix}"

    def read(self, file: Path) -> bytes:
        return file.read_bytes()

    async def got(self, url: str, **said: Any) -> bytes:
        wanted: dict[str, Any] = {
            "checksum": "",
            "plugin": "p",
            "version": "1",
            "always": False,
            "timeout": LONG,
        } | said
        return (await self.modules.path(Wanted(url, **wanted))).read_bytes()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(World(tmp_path)) as found:
        yield found


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[World]:
    server = HttpServer(world.answer)
    world.port = (await server.start(TcpAddress("127.0.0.1", 0))).port
    try:
        yield world
    finally:
        await server.stop()


async def test_a_module_of_a_web_server_is_fetched_once_and_again_when_it_is_gone(world: World) -> None:
    world.bodies["/a.wasm"] = MODULE
    url = world.url("/a.wasm")
    assert [await world.got(url), await world.got(url, version="2")] == [MODULE, MODULE]
    assert world.asked == ["/a.wasm"]
    world.now += timedelta(hours=23).total_seconds()
    world.modules.purge()
    assert await world.got(url) == MODULE
    assert len(world.asked) == 1
    world.now += timedelta(hours=25).total_seconds()
    world.modules.purge()
    assert list(world.folder.glob("*/*.wasm")) == []
    assert await world.got(url) == MODULE
    assert len(world.asked) == 2


async def test_always_asks_again_for_another_version_of_the_plugin_alone(world: World) -> None:
    world.bodies["/a.wasm"] = MODULE
    url = world.url("/a.wasm")
    await world.got(url, always=True)
    world.bodies["/a.wasm"] = OTHER
    assert await world.got(url, always=True) == MODULE
    assert await world.got(url, always=True, version="2") == OTHER
    assert await world.got(url, checksum=digest(MODULE)) == MODULE, "the former one is there still"
    assert len(world.asked) == 2


@pytest.mark.parametrize(
    ("body", "said", "reason"),
    [
        (MODULE, {"checksum": digest(OTHER)}, f"has the checksum {digest(MODULE)}, not {digest(OTHER)}"),
        (MODULE, {"checksum": "xyz"}, "'xyz' is no SHA-256 in 64 hexadecimal digits"),
        (b"<html>", {}, "it is neither a module nor an archive of one"),
        (packed(b"text"), {}, "it is neither a module nor an archive of one"),
        (layer({"a.txt": MODULE}), {}, "the archive has no file plugin.wasm"),
        (layer({"plugin.wasm": b"text"}), {}, "does not begin with its magic number"),
        (404, {}, "was answered with 404"),
        (503, {}, "it was answered with 503"),
        (b"Location: /a.wasm", {}, "there are more than 5 redirections"),
        (b"Location: ftp://here/a", {}, "is no address of http or https"),
        (b"Location: http://[/a", {}, "is no URL: "),
    ],
)
async def test_what_is_no_module_is_said_to_be_none(
    world: World, body: bytes | int, said: dict[str, str], reason: str
) -> None:
    world.bodies["/a.wasm"] = body
    with pytest.raises(FetchError) as found:
        await world.got(world.url("/a.wasm"), **said)
    assert reason in str(found.value)
    assert not list(world.folder.glob("*/*"))


def many(members: int) -> bytes:
    """An archive of empty members, and the module after them."""
    return packed(tarfile.TarInfo("a").tobuf() * members + layer({"plugin.wasm": MODULE}, compress=False))


async def test_a_module_is_looked_for_among_a_thousand_members(world: World) -> None:
    world.bodies = {"/a.wasm": many(999), "/b.wasm": many(1000)}
    assert await world.got(world.url("/a.wasm")) == MODULE
    with pytest.raises(FetchError, match=r"has no file plugin\.wasm among its first 1,000 members"):
        await world.got(world.url("/b.wasm"))


async def test_modules_are_unpacked_and_compared_beside_the_loop_by_one_thread(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither holds up the streams of the proxy; two large modules are not in memory at once."""
    body = layer({"plugin.wasm": MODULE})
    world.bodies["/a.wasm"] = packed(OTHER)
    world.image("v1", body)
    threads: dict[str, list[int]] = {"read": [], "compared": []}
    opened, summed = gzip.GzipFile, hashlib.sha256

    def opens(**said: Any) -> gzip.GzipFile:
        threads["read"].append(threading.get_ident())
        return opened(**said)

    def sums(data: bytes) -> Any:
        if data in {body, packed(OTHER)}:
            threads["compared"].append(threading.get_ident())
        return summed(data)

    monkeypatch.setattr(gzip, "GzipFile", opens)
    monkeypatch.setattr(hashlib, "sha256", sums)
    wanted = [world.got(world.url("/a.wasm")), world.got(world.oci(":v1"))]
    assert await asyncio.gather(*wanted) == [OTHER, MODULE]
    assert {name: len(found) for name, found in threads.items()} == {"read": 2, "compared": 2}
    (thread,) = {*threads["read"], *threads["compared"]}
    assert thread != threading.get_ident()


async def test_a_server_that_fails_is_asked_again(world: World) -> None:
    world.bodies["/a.wasm"] = 500
    with pytest.raises(FetchError, match="answered with 500"):
        await world.got(world.url("/a.wasm"))
    assert len(world.asked) == 3  # the first time, and two attempts more


@pytest.mark.parametrize(
    "body",
    [
        MODULE,
        packed(MODULE),
        layer({"x": b"", "plugin.wasm": MODULE}),
        layer({"./plugin.wasm": MODULE}, compress=False),
    ],
)
async def test_a_module_may_be_packed(world: World, body: bytes) -> None:
    world.bodies["/a.wasm"] = b"Location: /b"
    world.bodies["/b"] = body
    assert await world.got(world.url("/a.wasm")) == MODULE


@pytest.mark.parametrize("media_type", [WASM_LAYER, "application/vnd.docker.image.rootfs.diff.tar.gzip"])
async def test_a_module_of_an_image(world: World, media_type: str) -> None:
    packed = MODULE if media_type == WASM_LAYER else layer({"plugin.wasm": MODULE})
    found = world.image("v1", packed, media_type)
    assert await world.got(world.oci(":v1"), checksum=found) == MODULE
    asked = len(world.asked)
    assert await world.got(world.oci(f"@sha256:{found}")) == MODULE
    assert await world.got(world.oci(f"@sha256:{found}")) == MODULE
    assert len(world.asked) == asked + 2, "another name for it, once"
    with pytest.raises(FetchError, match=f"has the checksum {found}, not {digest(b'')}"):
        await world.got(world.oci(":v1"), checksum=digest(b""))


async def test_an_index_leads_to_the_image_for_linux(world: World) -> None:
    wrong, right = world.image("a", layer({"plugin.wasm": OTHER})), world.image("b", layer({"plugin.wasm": MODULE}))
    platforms = [(wrong, {"os": "linux", "architecture": "arm64"}), (right, {"os": "linux", "architecture": "amd64"})]
    index = {"manifests": [{"digest": f"sha256:{each}", "platform": platform} for each, platform in platforms]}
    world.bodies["/v2/team/filter/manifests/v1"] = json.dumps(index).encode()
    assert await world.got(world.oci(":v1")) == MODULE


async def test_a_layer_that_was_changed_is_not_used(world: World) -> None:
    world.image("v1", layer({"plugin.wasm": MODULE}))
    blob = next(path for path in world.bodies if "/blobs/" in path)
    world.bodies[blob] = layer({"plugin.wasm": OTHER})
    with pytest.raises(FetchError, match="what the registry sent is not sha256:"):
        await world.got(world.oci(":v1"))


async def test_an_image_is_shown_its_pull_secret(world: World) -> None:
    world.token = "granted"
    world.image("v1", layer({"plugin.wasm": MODULE}))
    with pytest.raises(FetchError, match="answered with 401"):
        await world.got(world.oci(":v1"))
    assert await world.got(world.oci(":v1"), login=world.login) == MODULE


@pytest.mark.parametrize(
    ("config", "registry", "basic"),
    [
        ("", "ghcr.io", ""),
        ('{"auths": {"ghcr.io": {"auth": "bWU6eA=="}}}', "ghcr.io", "bWU6eA=="),
        (
            '{"auths": {"https://index.docker.io/v1/": {"username": "me", "password": "x"}}}',
            "registry-1.docker.io",
            "bWU6eA==",
        ),
        ('{"auths": {"other.io": {"auth": "bWU6eA=="}}}', "ghcr.io", ""),
    ],
)
def test_logins(config: str, registry: str, basic: str) -> None:
    assert Login.of(config, registry).basic == basic


@pytest.mark.parametrize(
    "config", ["text", "{}", '{"auths": {"a.io": {}}}', '{"auths": {"a.io": {"auth": "?"}}}', '{"auths": []}']
)
def test_a_pull_secret_that_is_none(config: str) -> None:
    with pytest.raises(FetchError, match=r"the pull secret is no \.dockerconfigjson"):
        Login.of(config, "a.io")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ghcr.io/istio/filter:v1", ImageName("ghcr.io", "istio/filter", "v1")),
        ("localhost:5000/filter", ImageName("localhost:5000", "filter", "latest")),
        ("filter", ImageName("registry-1.docker.io", "library/filter", "latest")),
        ("docker.io/me/filter:1@sha256:ab", ImageName("registry-1.docker.io", "me/filter", "sha256:ab")),
    ],
)
def test_names_of_images(text: str, name: ImageName) -> None:
    assert ImageName.parse(text) == name


@pytest.mark.parametrize("text", ["", "a.io/", "a.io/b@md5:1"])
def test_what_is_no_name_of_an_image(text: str) -> None:
    with pytest.raises(FetchError, match="is no name of an image"):
        ImageName.parse(text)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "[fd20:ce::254]",
        "168.63.129.16",
        "100.100.100.200",
        "10.1.2.3",
    ],
)
async def test_addresses_of_the_surroundings_are_never_asked(tmp_path: Path, host: str) -> None:
    rules = Rules.of(Environment({"BLOCKED_CIDRS_IN_WASM_FETCH": "10.0.0.0/8, 192.0.2.0/24"}))
    assert rules.blocked[1] == ipaddress.ip_network("192.0.2.0/24")
    modules = Modules(tmp_path, Fetcher(rules))
    with pytest.raises(FetchError, match="is not asked for modules"):
        await modules.path(Wanted(f"http://{host}/a.wasm", "", "p", "1", always=False, timeout=LONG))


class Redirecting(Fetcher):
    """Asks nobody: what a server answers is stated, and what it was shown is noted."""

    def __init__(self, target: str) -> None:
        super().__init__(Rules(attempts=0))
        self.target = target
        self.shown: list[str | None] = []

    async def _ask(self, url: str, headers: Mapping[str, str], place: TcpAddress) -> Reply:  # noqa: ARG002
        self.shown.append(headers.get("Authorization"))
        return Reply(302, {"location": self.target}) if len(self.shown) == 1 else Reply(200, {}, url.encode())


@pytest.mark.parametrize(
    ("target", "shown"),
    [("/b", "Basic x"), ("http://192.0.2.1/b", None), ("https://192.0.2.2/b", None)],
    ids=["same", "plaintext", "other"],
)
async def test_a_redirection_to_plaintext_or_another_server_is_shown_no_login(target: str, shown: str | None) -> None:
    fetcher = Redirecting(target)
    await fetcher.get("https://192.0.2.1/a", {"Authorization": "Basic x"})
    assert fetcher.shown == ["Basic x", shown]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "0.0.0.0", "[64:ff9b::127.0.0.1]"])
async def test_a_server_elsewhere_leads_nobody_to_this_machine(host: str) -> None:
    with pytest.raises(FetchError, match=r"a redirection to this machine, .* is not followed"):
        await Redirecting(f"http://{host}:15000/").get("http://192.0.2.1/a")


def test_a_network_that_is_none() -> None:
    with pytest.raises(StartError, match="BLOCKED_CIDRS_IN_WASM_FETCH: '10' is no network"):
        Rules.of(Environment({"BLOCKED_CIDRS_IN_WASM_FETCH": "10.0.0.0/8,10"}))


def settings(
    url: str, policy: int = FailurePolicy.FAIL_CLOSED, *, http: bool = True, **variables: str
) -> TypedExtensionConfig:
    wasm = HttpWasm() if http else NetworkWasm()
    wasm.config.failure_policy = policy
    machine = wasm.config.vm_config
    machine.code.remote.http_uri.uri = url
    machine.code.remote.http_uri.timeout.seconds = 60
    said = {"ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION": "1"} | variables
    machine.environment_variables.key_values.update(said)
    config = TypedExtensionConfig(name="extensions.istio.io/trafficextension/shop.a")
    config.typed_config.Pack(wasm)
    return config


def response(*configs: TypedExtensionConfig, delta: bool = False) -> Any:
    made: Any = DeltaDiscoveryResponse() if delta else DiscoveryResponse()
    for each in configs:
        (made.resources.add().resource if delta else made.resources.add()).Pack(each)
    return made


def read(packed: Any) -> TypedExtensionConfig:
    config = TypedExtensionConfig()
    assert packed.Unpack(config)
    return config


@pytest.mark.parametrize("delta", [False, True])
async def test_a_module_that_is_elsewhere_becomes_a_file(world: World, delta: bool) -> None:  # noqa: FBT001 - a column
    world.bodies["/a.wasm"] = MODULE
    stated = settings(world.url("/a.wasm"), LIMIT="3", ISTIO_META_WASM_IMAGE_PULL_POLICY="Always")
    made = response(stated, delta=delta)
    assert await rewrite(made, world.modules)
    wasm = HttpWasm()
    config = read(made.resources[0].resource if delta else made.resources[0])
    assert config.name == stated.name
    assert config.typed_config.Unpack(wasm)
    file = Path(wasm.config.vm_config.code.local.filename)
    assert file.is_absolute()
    assert world.read(file) == MODULE
    assert file.name == f"{digest(MODULE)}.wasm"
    assert dict(wasm.config.vm_config.environment_variables.key_values) == {"LIMIT": "3"}


async def test_settings_written_as_a_struct_are_rewritten_too(world: World) -> None:
    world.bodies["/a.wasm"] = MODULE
    wasm = HttpWasm()
    stated = settings(world.url("/a.wasm"))
    stated.typed_config.Unpack(wasm)
    struct = TypedStruct(type_url=stated.typed_config.type_url)
    struct.value.update(MessageToDict(wasm, preserving_proto_field_name=True))
    stated.typed_config.Pack(struct)
    made = response(stated)
    assert await rewrite(made, world.modules)
    assert read(made.resources[0]).typed_config.Unpack(wasm)
    assert wasm.config.vm_config.code.local.filename


@pytest.mark.parametrize(
    ("policy", "http", "opens"),
    [
        (FailurePolicy.FAIL_OPEN, True, True),
        (FailurePolicy.FAIL_CLOSED, True, False),
        (FailurePolicy.FAIL_RELOAD, True, False),
        (FailurePolicy.FAIL_OPEN, False, True),
        (FailurePolicy.FAIL_CLOSED, False, False),
    ],
)
async def test_what_cannot_be_fetched_follows_its_fail_strategy(
    world: World,
    policy: int,
    http: bool,  # noqa: FBT001 - a column
    opens: bool,  # noqa: FBT001 - a column
) -> None:
    """A filter of the same name, whose rules are none (all pass) or empty (nobody does)."""
    world.bodies["/good.wasm"] = MODULE
    made = response(settings(world.url("/a.wasm"), policy, http=http), settings(world.url("/good.wasm")))
    assert await rewrite(made, world.modules)
    filter_: Any = (http_rbac_pb2 if http else network_rbac_pb2).RBAC()
    assert read(made.resources[0]).typed_config.Unpack(filter_)
    assert filter_.HasField("rules") is not opens
    assert read(made.resources[1]).typed_config.Is(HttpWasm.DESCRIPTOR), "the other module is there"


def long_links() -> bytes:
    """An archive of 30,000 headers that each announce a longer name for the next."""
    link = tarfile.TarInfo("././@LongLink")
    link.type = tarfile.GNUTYPE_LONGNAME
    return packed(link.tobuf(tarfile.GNU_FORMAT) * 30_000)


def wrong_sparse_map() -> bytes:
    """An archive with a file with holes whose map is no list of numbers."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("plugin.wasm")
        member.pax_headers = {"GNU.sparse.map": "a,b", "GNU.sparse.size": "1"}
        archive.addfile(member)
    return held.getvalue()


@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/a.wasm", b"Location: /a b", "LocalProtocolError"),
        ("/a.wasm", b"Location: http://" + b"a" * 70 + b".example/", "Unicode"),
        ("/a.wasm", long_links(), "RecursionError"),
        ("/a.wasm", wrong_sparse_map(), "ValueError"),
        ("/v2/team/filter/manifests/v1", b'{"layers": 5}', "TypeError"),
        ("/v2/team/filter/manifests/v1", b'{"manifests": 5}', "TypeError"),
        (
            "/v2/team/filter/manifests/v1",
            b'{"manifests": [{"digest": "sha256:0", "platform": "linux"}]}',
            "AttributeError",
        ),
    ],
    ids=["space", "label", "long-links", "sparse-map", "layers", "manifests", "platform"],
)
async def test_whatever_a_server_sends_follows_the_fail_strategy(
    world: World,
    path: str,
    body: bytes,
    reason: str,
    opens: bool,  # noqa: FBT001 - a column
) -> None:
    """An error of a library or of ours is that of one module, and not of all that the response holds."""
    world.bodies = {path: body, "/good.wasm": MODULE}
    url = world.url(path) if path == "/a.wasm" else world.oci(":v1")
    policy = FailurePolicy.FAIL_OPEN if opens else FailurePolicy.FAIL_CLOSED
    made = response(settings(url, policy), settings(world.url("/good.wasm")))
    with structlog.testing.capture_logs() as logs:
        assert await rewrite(made, world.modules)
    (said,) = (each["reason"] for each in logs if each["event"] == "agent.module_missing")
    assert said.startswith(f"{url} cannot be fetched: {reason}")
    filter_ = http_rbac_pb2.RBAC()
    assert read(made.resources[0]).typed_config.Unpack(filter_)
    assert filter_.HasField("rules") is not opens
    assert read(made.resources[1]).typed_config.Is(HttpWasm.DESCRIPTOR), "the other module is there"


async def test_a_pull_secret_that_is_not_there_is_a_failure(world: World) -> None:
    world.bodies["/a.wasm"] = MODULE
    made = response(settings(world.url("/a.wasm"), ISTIO_META_WASM_IMAGE_PULL_SECRET=""))
    assert await rewrite(made, world.modules)
    assert read(made.resources[0]).typed_config.Is(http_rbac_pb2.RBAC.DESCRIPTOR)
    assert world.asked == []


async def test_what_is_no_module_or_a_file_already_passes_as_it_is(world: World) -> None:
    local = HttpWasm()
    local.config.vm_config.code.local.filename = "/a.wasm"
    plain = TypedExtensionConfig(name="a")
    plain.typed_config.Pack(local)
    made = response(plain, TypedExtensionConfig(name="b"))
    before = made.SerializeToString(deterministic=True)
    assert not await rewrite(made, world.modules)
    assert made.SerializeToString(deterministic=True) == before


async def test_what_cannot_be_read_is_refused(world: World) -> None:
    broken = TypedExtensionConfig(name="a")
    broken.typed_config.type_url = f"type.googleapis.com/{HttpWasm.DESCRIPTOR.full_name}"
    broken.typed_config.value = b"\x0a\xff"
    with pytest.raises(ValueError, match="the settings of the filter a cannot be read"):
        await rewrite(response(broken), world.modules)


@pytest.mark.parametrize(
    "body",
    [MODULE, layer({"plugin.wasm": MODULE}, compress=False), layer({"plugin.wasm": MODULE})],
    ids=["bare", "archive", "packed"],
)
async def test_the_largest_module_is_stated(tmp_path: Path, body: bytes) -> None:
    """``ISTIO_WASM_MAX_BINARY_SIZE_BYTES`` is about the module, not about what it comes in; an image's counts too."""
    for largest in (len(MODULE), len(MODULE) - 1):
        rules = replace(QUICK, largest=largest)
        limited = World(tmp_path / str(largest))
        limited.modules = Modules(limited.folder, Fetcher(rules), timedelta(hours=24), lambda: 0.0)
        async with serving(limited):
            limited.image("v1", body)
            if largest == len(MODULE):
                assert await limited.got(limited.oci(":v1")) == MODULE
            else:
                with pytest.raises(FetchError, match=f"has more than {largest:,} bytes"):
                    await limited.got(limited.oci(":v1"))


def test_a_limit_that_is_none() -> None:
    assert Rules.of(Environment({"ISTIO_WASM_MAX_BINARY_SIZE_BYTES": "77"})).largest == 77
    assert Rules.of(Environment({})).largest == 256 << 20
    for text in ("0", "-1", "1MB"):
        with pytest.raises(StartError, match="ISTIO_WASM_MAX_BINARY_SIZE_BYTES"):
            Rules.of(Environment({"ISTIO_WASM_MAX_BINARY_SIZE_BYTES": text}))


def test_a_module_larger_than_any_should_be_is_not_unpacked_whole() -> None:
    with pytest.raises(FetchError, match="more than 1,048,576 bytes"):
        archives.unpacked(gzip.compress(b"\0asm" + bytes(1 << 20)), 1 << 20)
