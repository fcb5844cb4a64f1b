"""Pictures of the page for the documents: ``make screenshots`` writes ``docs/images/*.png``.

The mesh is the bookshop of the documents, with two proxies, of which one refuses what it is sent.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import yaml

from tests.cli.command import ROOT
from tests.feature.client import Variant, connected
from tests.feature.server import serving
from tests.ui.browser import CHROMIUM, DESKTOP, PHONE, browsing

IMAGES = ROOT / "docs" / "images"
SHOTS = {
    "overview": ("/ui", DESKTOP, False),
    "proxies": ("/ui/proxies", DESKTOP, False),
    "proxy": ("/ui/proxies/productpage-0.shop", DESKTOP, False),
    "object": ("/ui/objects/VirtualService/shop/old-reviews", DESKTOP, False),
    "problems": ("/ui/problems", DESKTOP, False),
    "topology": ("/ui/topology", DESKTOP, True),
    "explain": (
        "/ui/explain?from=pod/shop/productpage&method=GET&url=http%3A%2F%2Freviews%3A9080%2Fapi&header=end-user%3A+jason",
        DESKTOP,
        False,
    ),
    "phone": ("/ui", PHONE, True),
}
"""Name -> address, size, and whether it is dark."""


async def main(images: Path) -> None:
    """Take all of them."""
    objects = [
        each
        for file in sorted((ROOT / "docs" / "examples" / "bookshop").glob("*.yaml"))
        if not file.name.endswith(".routes.yaml")
        for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))
        if each
    ]
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), *objects) as server:
        ids = [
            f"sidecar~198.18.0.{place}~{name}.shop~shop.svc.cluster.local"
            for place, name in enumerate(("productpage-0", "reviews-v1-0", "reviews-v2-0", "ratings-0"), start=1)
        ]
        async with (
            connected(server.xds, Variant.DELTA, ids[0]),
            connected(server.xds, Variant.SOTW, ids[1]),
            connected(server.xds, Variant.DELTA, ids[2]),
            connected(server.xds, Variant.DELTA, ids[3]),
        ):
            for name, (address, size, dark) in SHOTS.items():
                async with browsing(server.monitoring, size, dark=dark) as context:
                    page = await context.new_page()
                    await page.goto(address)
                    await page.screenshot(path=images / f"{name}.png")


if __name__ == "__main__":
    if not CHROMIUM:
        sys.exit("There is no Chromium here: `make chromium` as root installs it.")
    IMAGES.mkdir(exist_ok=True)
    asyncio.run(main(IMAGES))
