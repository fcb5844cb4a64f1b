"""The page in a real Chromium, before a control plane that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page

from tests.feature.client import Variant, connected
from tests.feature.objects import GOOD, MESH, manifest, to, virtual_service
from tests.feature.server import Server, serving
from tests.ui.browser import DESKTOP, PHONE, browsing, needs_chromium

pytestmark = pytest.mark.slow
SCREENS = (
    "/ui",
    "/ui/proxies",
    "/ui/proxies/client-1.shop",
    "/ui/proxies/client-1.shop/resource?type=CDS&name=BlackHoleCluster",
    "/ui/objects",
    "/ui/objects/VirtualService/shop/cart",
    "/ui/problems",
    "/ui/services",
    "/ui/services/shop/cart.shop.svc.cluster.local",
    "/ui/topology",
    "/ui/explain?from=pod/shop/client-1&url=http%3A%2F%2Fcart%3A8000%2F",
    "/ui/plan?object=VirtualService/shop/cart",
    "/ui/compare?one=client-1.shop&other=client-1.shop",
    "/ui/compare/resource?one=client-1.shop&other=client-1.shop&type=CDS&name=BlackHoleCluster",
    "/ui/changes",
    "/ui/certificates",
)
NAMELESS = """() => [...document.querySelectorAll("a, button, input, select, textarea, [tabindex='0'], svg[role]")]
    .filter((each) => !(each.textContent.trim() || each.getAttribute("aria-label")
        || [...(each.labels ?? [])].some((label) => label.textContent.trim())))
    .map((each) => each.outerHTML)"""
CONTRAST = """() => {
    const parts = (text) => text.match(/[0-9.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((each) => each / 255)
        .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
        .reduce((sum, each, place) => sum + each * [0.2126, 0.7152, 0.0722][place], 0);
    const behind = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const colour = parts(getComputedStyle(each).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll("body *")]
        .filter((each) => each.checkVisibility() && !each.closest("svg")
            && [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
        .map((each) => {
            const [a, b] = [light(parts(getComputedStyle(each).color)), light(behind(each))].sort((x, y) => y - x);
            return [(a + 0.05) / (b + 0.05), each.outerHTML.slice(0, 200)];
        })
        .filter(([ratio]) => ratio < 4.5);
}"""
"""Texts whose contrast is less than WCAG 2.2 wants (success criterion 1.4.3)."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    needs_chromium()
    with serving(
        tmp_path_factory.mktemp("mesh"),
        *MESH,
        GOOD,
        manifest("v1", "Pod", "client-1", spec={}, status={"podIP": "10.9.0.1"}),
    ) as held:
        yield held


@pytest.fixture
async def context(server: Server) -> AsyncIterator[BrowserContext]:
    async with connected(server.xds, Variant.DELTA), browsing(server.monitoring) as held:
        yield held


async def opened(context: BrowserContext, address: str) -> tuple[Page, list[str]]:
    """Open a screen; give it, and the list of what its browser complains of."""
    page, wrong = await context.new_page(), list[str]()
    page.on("console", lambda said: wrong.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(request.url) if "events" not in request.url else None)
    await page.goto(address)
    return page, wrong


async def follows(page: Page) -> None:
    """Wait until the page hears of events."""
    await page.wait_for_selector("html[data-follows]", state="attached")


async def test_every_screen_opens_and_the_policy_has_nothing_to_complain_of(
    context: BrowserContext, server: Server
) -> None:
    foreign: list[str] = []
    context.on("request", lambda request: foreign.append(request.url) if server.monitoring not in request.url else None)
    for address in SCREENS:
        page, wrong = await opened(context, address)
        await follows(page)
        assert await page.locator("h1").count() == 1
        assert wrong == [], address
        await page.close()
    assert foreign == []


async def test_a_change_of_a_file_and_a_refused_object_show_without_loading_anew(
    context: BrowserContext, server: Server
) -> None:
    page, wrong = await opened(context, "/ui/objects")
    await follows(page)
    await page.evaluate("window.stays = true")
    server.write("more.yaml", virtual_service({"route": [to("v1")]}, name="more", hosts=["more.example.com"]))
    await page.get_by_role("link", name="VirtualService shop/more").wait_for()
    server.write("bad.yaml", virtual_service({"retries": {"attempts": -1}}, name="bad", hosts=["bad.example.com"]))
    await page.get_by_role("link", name="VirtualService shop/bad").wait_for()
    assert await page.evaluate("window.stays"), "it was not loaded anew"
    await page.get_by_role("link", name="VirtualService shop/bad").click()
    await page.get_by_text("Not in force").wait_for()
    await page.get_by_text("spec.http[0]").first.wait_for()
    assert wrong == []


async def test_focus_stays_where_it_is_when_the_screen_is_made_anew(context: BrowserContext, server: Server) -> None:
    page, _ = await opened(context, "/ui/objects")
    await follows(page)
    link = page.get_by_role("link", name="VirtualService shop/cart")
    await link.focus()
    server.write("more.yaml", virtual_service({"route": [to("v1")]}, name="other", hosts=["other.example.com"]))
    await page.get_by_role("link", name="VirtualService shop/other").wait_for()
    assert await link.evaluate("(each) => each === document.activeElement")


async def test_keys_alone_lead_everywhere(context: BrowserContext) -> None:
    page, _ = await opened(context, "/ui")
    await page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert await focused.text_content() == "Skip to the content"
    box = await focused.bounding_box()
    assert box is not None
    assert box["x"] >= 0, "it is seen while it has the focus"
    await page.keyboard.press("Enter")
    assert await focused.get_attribute("id") == "content"
    await page.goto("/ui")
    for _ in range(4):
        await page.keyboard.press("Tab")
    assert await focused.text_content() == "Proxies"
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/ui/proxies")
    assert await page.locator("nav [aria-current=page]").text_content() == "Proxies"


async def test_a_copy_finds_out_who_uses_an_object(context: BrowserContext) -> None:
    page, wrong = await opened(context, "/ui/objects/VirtualService/shop/cart")
    await page.get_by_role("link", name="ask now").click()
    await page.get_by_text("1 of 1 proxies have something because of it: 1 sidecar.").wait_for()
    await page.get_by_text("RDS at these proxies: 1 SYNCED").wait_for()
    assert wrong == []


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
async def test_a_change_is_planned_from_the_form(server: Server, *, scripts: bool) -> None:
    """What is in force is put into the form, changed there, and planned; what is wrong is told, and the text stays."""
    async with connected(server.xds, Variant.DELTA), browsing(server.monitoring, scripts=scripts) as context:
        page, wrong = await opened(context, "/ui/objects/VirtualService/shop/cart")
        await page.get_by_role("link", name="Plan a change of it").click()
        text = page.get_by_label("New and changed objects, as YAML")
        before = await text.input_value()
        assert "kind: VirtualService" in before
        await text.fill(before.replace("subset: v1", "subset: nobody"))
        await page.get_by_role("button", name="Plan").click()
        await page.get_by_text("Nothing was applied.").wait_for()
        await page.get_by_text("1 of 1 proxies: 1 sidecar").wait_for()
        await page.get_by_text("IST0101").first.wait_for()
        assert "subset: nobody" in await text.input_value()
        await text.fill("kind: [")
        await page.get_by_role("button", name="Plan").click()
        alert = page.get_by_role("alert")
        await alert.wait_for()
        assert "not readable" in (await alert.text_content() or "")
        assert wrong == []


async def test_filtering_while_one_types(context: BrowserContext) -> None:
    page, _ = await opened(context, "/ui/services")
    await page.get_by_label("Host name").press_sequentially("ratings")
    await page.get_by_role("link", name="cart.shop.svc.cluster.local").wait_for(state="detached")
    assert await page.get_by_role("link", name="ratings.shop.svc.cluster.local").count() == 1
    assert page.url.endswith("/ui/services?name=ratings")
    assert await page.get_by_label("Host name").evaluate("(each) => each === document.activeElement")


async def test_everything_works_without_scripts(server: Server) -> None:
    async with connected(server.xds, Variant.DELTA), browsing(server.monitoring, scripts=False) as context:
        page = await context.new_page()
        await page.goto("/ui/explain")
        await page.get_by_label("From").fill("pod/shop/client-1")
        await page.get_by_label("URL").fill("http://cart:8000/")
        await page.get_by_role("button", name="Explain").click()
        await page.get_by_text("virtual host").first.wait_for()


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True)], ids=["light-desktop", "dark-phone"])
async def test_screens_fit_are_named_and_readable(server: Server, size: tuple[int, int], *, dark: bool) -> None:
    """No screen is wider than a phone, every control has a name, and every text stands out."""
    async with connected(server.xds, Variant.DELTA), browsing(server.monitoring, size, dark=dark) as context:
        page = await context.new_page()
        for address in SCREENS:
            await page.goto(address)
            width: Any = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= size[0], address
            assert await page.evaluate(NAMELESS) == [], address
            assert await page.evaluate(CONTRAST) == [], address
            ids: list[str] = await page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
            assert len(ids) == len(set(ids)), address
            levels: list[int] = await page.evaluate(
                "[...document.querySelectorAll('h1,h2,h3')].map((each) => Number(each.tagName[1]))"
            )
            assert all(after - before <= 1 for before, after in pairwise([0, *levels])), address
