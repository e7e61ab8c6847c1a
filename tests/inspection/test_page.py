"""The page in a real browser, and what keeps a model's names from running."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paddle import static

from paddle_custom_quant.inspection.difference import compare
from paddle_custom_quant.inspection.page import render
from paddle_custom_quant.inspection.program import as_model
from tests.inspection.conftest import quantized_net

EVIL = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1500,950",
)  # fmt: skip
SUMMARY = "return document.querySelector('#panel').innerText"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a window."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs a browser: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def opened(browser: Any, path: Path, content: str) -> dict[str, Any]:
    """Open a page from its file; return what it counts."""
    path.write_text(content, encoding="utf-8")
    browser.get(path.as_uri())
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    fetched = "return performance.getEntriesByType('resource').map((r) => r.name)"
    assert browser.execute_script(fetched) == []
    assert path.stat().st_size < 5_000_000
    return browser.execute_script("return graphPage.counts()")


def search(browser: Any, text: str) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.find_element("tag name", "body").send_keys("/")
    field = browser.switch_to.active_element
    assert field.get_attribute("id") == "search"
    field.clear()
    field.send_keys(text, Keys.ENTER)


def click(browser: Any, key: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    at = browser.execute_script("return graphPage.position(arguments[0])", key)
    chain = ActionChains(browser)
    chain.w3c_actions.pointer_action.move_to_location(int(at["x"]), int(at["y"]))
    chain.click().perform()


@pytest.mark.parametrize("name", ["lenet", "resnet50", "mobilenet_v2", "transformer"])
def test_search_open_read(browser, name, tmp_path):
    """A node is searched and found, a folded quantizer opens, the panel shows its facts."""
    model = as_model(quantized_net(name)[1], static.Scope())
    counts = opened(browser, tmp_path / "page.html", render(model))
    assert counts["operators"] == len(model.operators)
    weight = next(v.name for v in model.variables.values() if v.parameter and len(v.shape) > 1)
    copies = [v.name for v in model.variables.values() if v.name == f"{weight}.absmax"]
    if not copies:  # the transformer's embedding is read through a matmul of its own
        weight = "linear_0.w_0"
    search(browser, weight)
    key = browser.execute_script("return graphPage.selected()")
    panel = browser.execute_script(SUMMARY)
    assert f"quantizes the weight {weight}" in panel
    assert re.search(r"bits\s+5\n", panel)
    shape = " × ".join(map(str, model.variables[weight].shape))
    assert re.search(rf"shape\s+{shape}\n", panel)
    assert browser.execute_script("return graphPage.opened()") == []
    click(browser, key)
    assert browser.execute_script("return graphPage.opened()") == [int(key[1:].split(".")[0])]
    inner = browser.execute_script("return graphPage.find(arguments[0])", f"{weight}.absmax")
    inside = next(k for k in inner if k.startswith("o"))
    assert browser.execute_script("return graphPage.position(arguments[0])", inside)
    picture = tmp_path / "page.png"
    assert browser.save_screenshot(str(picture)) and picture.stat().st_size > 20_000
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_keyboard(browser, built, tmp_path):
    from selenium.webdriver.common.keys import Keys

    opened(browser, tmp_path / "page.html", render(as_model(built.train, built.scope)))
    search(browser, "relu_0.tmp_0")
    before = browser.execute_script("return graphPage.selected()")
    graph = browser.switch_to.active_element
    assert graph.get_attribute("id") == "graph"
    graph.send_keys(Keys.ARROW_DOWN)
    assert browser.execute_script("return graphPage.selected()") != before
    graph.send_keys(Keys.ARROW_UP)
    assert browser.execute_script("return graphPage.selected()") == before
    search(browser, "conv2d_0.w_0")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert len(browser.execute_script("return graphPage.opened()")) == 1
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.execute_script("return graphPage.opened()") == []
    nodes = browser.execute_script("return graphPage.counts().nodes")
    browser.switch_to.active_element.send_keys("2")
    assert browser.execute_script("return graphPage.counts().nodes") < nodes
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert "Quantized tensors (4)" in browser.execute_script(
        "return document.querySelector('#panel').textContent"
    )
    status = browser.execute_script("return document.querySelector('#status').textContent")
    assert "conv2d_0.w_0" in status


def test_histograms_and_difference(browser, built, tmp_path):
    before, after = (as_model(p, built.scope) for p in (built.float_train, built.train))
    opened(browser, tmp_path / "page.html", render(after, compare(before, after)))
    assert "rewired" in browser.execute_script(SUMMARY)
    search(browser, "conv2d_0.w_0")
    assert browser.execute_script("return document.querySelectorAll('.grid-bars').length") > 3
    assert browser.execute_script("return document.querySelectorAll('.float-bars').length") > 3
    assert "New" in browser.execute_script(SUMMARY)


def evil_model(built: Any) -> Any:
    """A model whose tensors, types and attributes are called like markup."""
    model = as_model(built.train, built.scope)
    for op in model.operators:
        for slots in (op.inputs, op.outputs):
            for names in slots.values():
                names[:] = [EVIL if n == "relu_0.tmp_0" else n for n in names]
        if op.kind == "relu":
            op.attributes[EVIL] = [EVIL]
    model.source = EVIL
    return model


def test_names_are_data(browser, built, tmp_path):
    opened(browser, tmp_path / "page.html", render(evil_model(built)))
    search(browser, "onerror")
    assert EVIL in browser.execute_script(SUMMARY)
    assert browser.execute_script("return window.hacked === undefined")
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert EVIL.split("/")[-1] in browser.title  # the name of a file is what follows a slash


def test_policy_and_data(built):
    """Only the page's own script may run, and nothing in the data can end it."""
    page = render(evil_model(built))
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and "default-src 'none'" in page
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    names = [v[0] for v in json.loads(data)["variables"]]
    assert EVIL in names
