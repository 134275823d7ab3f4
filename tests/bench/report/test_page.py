"""bench.report.page: self-contained, escaped, sortable; opened in a real browser where there is one."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser

import pytest

from bench import report

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(few, lay):
    """The page of a board with a malicious method name, task note and prompt."""
    records = []
    for r in few:
        if r.run.spec == "adapter":
            run = r.run.model_copy(update={"spec": EVIL, "method": "mine"})
            r = r.model_copy(update={"run": run, "notes": [f"unknown word {EVIL}"]})
        records.append(r)
    folder = lay(records)
    (folder / "runs" / "broken.json").write_text("{")
    report.write(folder)
    return folder / "report.html"


class Audit(HTMLParser):
    """Collects every address and handler that a page holds."""

    def __init__(self):
        super().__init__()
        self.addresses, self.handlers, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "action", "data") and v]
        self.handlers += [k for k, _ in attrs if k.startswith("on")]


@pytest.mark.slow
def test_nothing_from_outside_and_nothing_injected(page):
    text = page.read_text(encoding="utf-8")
    audit = Audit()
    audit.feed(text)
    assert all(a.startswith(("data:", "#")) for a in audit.addresses)
    assert audit.handlers == []
    assert audit.tags.count("script") == 1
    assert not re.search(r"url\(|@import|http-equiv=.refresh", text)
    assert "&lt;script&gt;alert(1)" in text
    assert "broken.json" in text
    strips = len(re.findall(r'alt="[^"]*: samples for 3 prompts"', text))
    assert strips >= 2 * 7  # truth, base and five or more rows for each task
    assert audit.tags.count("img") == 6 + strips
    assert audit.tags.count("source") == 6  # each figure in the other ink


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no chromium on this machine")
def test_in_a_browser(page):
    playwright = pytest.importorskip("playwright.sync_api")
    said, asked = [], []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.set_default_timeout(120_000)
        tab.on("console", lambda m: said.append(m.text))
        tab.on("pageerror", lambda e: said.append(str(e)))
        tab.on("dialog", lambda d: (said.append(d.message), d.dismiss()))
        tab.on("request", lambda r: asked.append(r.url))
        tab.goto(page.as_uri())
        table = tab.locator("table.sortable").first
        names = table.locator("tbody tr td:nth-child(2)").all_inner_texts()
        assert EVIL in names
        assert {"lora", "full", "frozen base", "truth (VAE)"} <= set(names)
        assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")

        head = table.locator("thead th", has_text="headline")
        at = table.locator("thead th").all_inner_texts().index("headline [95 %]")

        def values():
            cells = table.locator(f"tbody tr td:nth-child({at + 1})").all_inner_texts()
            return [float(c.split()[0].replace("−", "-")) for c in cells if c != "–"]

        before = values()
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        assert values() == sorted(before, reverse=True)
        head.locator("button").click()
        assert values() == sorted(before)
        head.locator("button").click()
        assert values() == before
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        tab.set_viewport_size({"width": 400, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no chromium on this machine")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_have_the_ink_of_the_page(page, scheme):
    """On dark ground light ink, on light ground dark ink, and the ground shows through in both."""
    import io

    import numpy as np
    from PIL import Image

    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme=scheme)
        tab.set_default_timeout(120_000)
        tab.goto(page.as_uri())
        for figure in tab.locator("#figures img").all():
            pixels = np.asarray(Image.open(io.BytesIO(figure.screenshot())).convert("L"), float)
            ground = float(np.median(pixels))
            inked = pixels[np.abs(pixels - ground) > 150]
            assert (ground < 40) if scheme == "dark" else (ground > 250)
            assert len(inked) > 200
        assert tab.evaluate(
            "[...document.images].every(i => getComputedStyle(i).backgroundColor === 'rgba(0, 0, 0, 0)')"
        )
        tab.emulate_media(media="print")  # paper is white, whatever the screen
        shown = tab.locator("#figures img").first.evaluate("i => i.currentSrc === i.src")
        assert shown
        browser.close()


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no chromium on this machine")
def test_without_script_all_rows_are_there(page):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_context(java_script_enabled=False).new_page()
        tab.set_default_timeout(120_000)
        tab.goto(page.as_uri())
        assert tab.locator("table.sortable").first.locator("tbody tr").count() >= 9
        assert tab.locator("th button").count() == 0
        browser.close()
