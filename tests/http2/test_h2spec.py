"""The conformance suite of HTTP/2 (h2spec, strict), in plaintext and over TLS."""

from __future__ import annotations

import asyncio
import ssl
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from controlplane.http2.call import Call
from controlplane.http2.headers import Status
from controlplane.http2.options import ConnectionOptions
from controlplane.http2.server import Server
from tests.http2.client import ECHO
from tests.http2.h2spec.build import binary
from tests.http2.test_grpc import certificate
from tests.patience import in_time

ALLOWED = {
    # RFC 9113, section 5.3.2: dependencies between streams are deprecated, and what a PRIORITY says is ignored.
    ("http2/5.3.1", "Sends HEADERS frame that depend on itself"),
    ("http2/5.3.1", "Sends PRIORITY frame that depend on itself"),
}
"""What the suite, which follows RFC 7540, asks for and RFC 9113 does not."""


def answer(call: Call) -> None:
    """Say something at once, and end when the peer does. The suite expects no SETTINGS as when a call is accepted."""
    call.send(bytes(100))
    call.listen(lambda _: None, lambda: None, lambda: call.finish(Status.OK))


@pytest.mark.parametrize("secure", [False, True], ids=["plaintext", "tls"])
async def test_every_rule_is_kept(tmp_path: Path, *, secure: bool) -> None:
    if not binary().exists():
        pytest.skip("h2spec is not there: `make h2spec` builds it")
    context = None
    if secure:
        key, crt = certificate(tmp_path, "server")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(crt, key)
    server = Server({ECHO: answer}, ConnectionOptions())
    port = await server.add_port("127.0.0.1", 0, context)
    await server.start()
    report = tmp_path / "report.xml"
    command = [str(binary()), "--strict", "-p", str(port), "-P", ECHO, "-o", "2", "-j", str(report)]
    command += ["--tls", "--insecure"] if secure else []
    suite = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await in_time(suite.communicate())
    await server.stop()
    cases = list(ET.parse(report).iter("testcase"))
    failed = {
        (case.get("package", ""), case.get("classname", ""))
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None or case.find("skipped") is not None
    }
    assert len(cases) == 146
    assert failed == ALLOWED, out.decode()
