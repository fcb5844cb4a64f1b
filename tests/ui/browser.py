"""A real Chromium: Debian's, which ``make chromium`` installs."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import BrowserContext, async_playwright

from tests.patience import PATIENCE_SECONDS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
DESKTOP, PHONE = (1280, 900), (360, 740)


def needs_chromium() -> None:
    """Skip where there is no Chromium; a machine of CI that may install it must have it."""
    if CHROMIUM:
        return
    if os.environ.get("CI") and os.geteuid() == 0:
        pytest.fail("CI runs as root and has no Chromium: `make chromium` installs it")
    pytest.skip("NO CHROMIUM HERE: the page is not tried in a browser; `make chromium` as root installs it")


@asynccontextmanager
async def browsing(
    address: str, size: tuple[int, int] = DESKTOP, *, dark: bool = False, scripts: bool = True
) -> AsyncIterator[BrowserContext]:
    """Open a browser whose pages stand under ``address``, and that reaches nothing else."""
    width, height = size
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],  # root has no sandbox; small machines
            timeout=PATIENCE_SECONDS * 1000,
        )
        try:
            context = await browser.new_context(
                base_url=f"http://{address}",
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                java_script_enabled=scripts,
            )
            context.set_default_timeout(PATIENCE_SECONDS * 1000)
            yield context
        finally:
            await browser.close()
