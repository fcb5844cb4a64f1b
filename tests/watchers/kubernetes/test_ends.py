"""Connections end with what uses them: nothing waits for a server that has not heard of the end."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import warnings
from pathlib import Path

from controlplane.watchers.kubernetes.api import connect
from tests.security.test_serving import World
from tests.watchers.kubernetes.following import FAST

EVENT = b'{"type": "BOOKMARK"}\n'
ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(EVENT), EVENT)


def test_a_watch_is_given_up_at_once_though_the_server_says_nothing_of_the_end(tmp_path: Path) -> None:
    """The two ends of TLS would be said one after the other, and the loop is over before that."""
    context, over = World().tls.https_context(), threading.Event()
    port = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        accepted, _ = port.accept()
        with context.wrap_socket(accepted, server_side=True) as peer:
            peer.recv(1 << 16)
            peer.sendall(ANSWER)
            over.wait()

    async def watch() -> None:
        api = await connect(str(kubeconfig), "", FAST)
        async with api.lines("/api/v1/pods", {"watch": "1"}, "application/json") as lines:
            async for batch in lines:
                assert batch == [EVENT.strip()]
                break
        await api.close()

    cluster = {"server": f"https://localhost:{port.getsockname()[1]}", "insecure-skip-tls-verify": True}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    server = threading.Thread(target=serve)
    server.start()
    try:
        gc.collect()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            asyncio.run(watch())
            gc.collect()
        assert [str(each.message) for each in told if each.category is ResourceWarning] == []
    finally:
        over.set()
        server.join()
        port.close()
