from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser
from itertools import product

import numpy as np
import pytest

from paddle_custom_quant.bench.overview import NOTE, overview
from paddle_custom_quant.bench.page import render, summary
from paddle_custom_quant.bench.pictures import pictures
from paddle_custom_quant.bench.results import COLUMNS, Row, as_csv, as_markdown, groups

PNG = b"\x89PNG\r\n\x1a\n"


def row(method="lsq", bits=4, setting="tensorrt", folding=4, seed=0, top1=90.0, **more):
    group = f"lenet_mnist_{method}_w{bits}a{bits}_{setting}_fold{folding}"
    what = {
        "net": "LeNet", "method": method, "bits": bits, "setting": setting, "folding": folding,
        "seed": seed, "status": "finished", "top1": top1, "float_top1": 95.0,
        "lost": 95.0 - (top1 or 0.0),
        "deployable": True, "engine": "onnxruntime", "top1_agreement": 0.999,
    }  # fmt: skip
    return Row(f"{group}_seed{seed}", group, **{**what, **more})


ROWS = [
    row(seed=0, top1=90.0),
    row(seed=1, top1=91.0, top1_agreement=0.997),
    row(setting="academic", folding=None, deployable=False, engine="", top1_agreement=None,
        reason="papers"),
    row(method="apot", status="not trained", top1=None, float_top1=None, lost=None,
        deployable=False, engine="", top1_agreement=None, reason="<b>no grid | none</b>"),
]  # fmt: skip

GRID = [
    row(method, bits, setting, None if setting == "academic" else 4, seed, 80.0 + bits + seed)
    for method, bits, setting, seed in product(["lsq", "dsq"], [4, 2], ["academic", "tvm"], [0, 1])
]

# More methods than there are colours.
MANY = [row(f"m{i}", bits, top1=80.0 + i) for i in range(12) for bits in (4, 2)]


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.content, self._in = [], [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("meta", "img"):
            self._in.append(tag)

    def handle_endtag(self, tag):
        assert self._in.pop() == tag

    def handle_data(self, data):
        if self._in and self._in[-1] in ("script", "style"):
            self.content[self._in[-1]] = data
        elif {"td", "th"} & set(self._in):
            self.rows[-1][-1] += data


def test_groups_have_mean_and_range():
    first = groups(ROWS)[0]
    assert (first.mean, first.lost, first.agreement) == (90.5, 4.5, 0.997)
    assert [len(group.rows) for group in groups(ROWS)] == [2, 1, 1]
    assert not groups([ROWS[0], row(seed=1, deployable=False)])[0].deployable
    lines = as_markdown(ROWS).splitlines()
    assert lines[2] == (
        "| LeNet | lsq | 4 | tensorrt | 4 | 90.50 | 90.00 to 91.00 | 2 | 4.50 | yes | "
        "onnxruntime | 99.70% |  |"
    )
    assert lines[4].endswith("| - | - | 0 | - | no | - | - | <b>no grid \\| none</b> |")
    assert len(as_csv(ROWS).splitlines()) == 1 + len(ROWS)
    assert summary(ROWS) == (
        "4 cells: 3 trained, 2 of them deployable; 1 not trained, as their setting cannot take the "
        "method."
    )


def test_the_page_needs_nothing_else_and_runs_no_other_script():
    page = Page(render("a <suite>", ROWS, {"x.png": PNG}))
    assert page.rows[0] == list(COLUMNS)
    assert len(page.rows) == 1 + 3
    assert page.rows[3][-1] == "<b>no grid | none</b>"  # text, not a tag
    assert "b" not in [tag for tag, _ in page.tags]
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    for kind in ("script", "style"):
        digest = hashlib.sha256(page.content[kind].encode()).digest()
        assert f"{kind}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert "default-src 'none'" in policy and "img-src data:" in policy
    (image,) = [a for tag, a in page.tags if tag == "img"]
    assert base64.b64decode(image["src"].split(",")[1]) == PNG
    links = [value for _, a in page.tags for key, value in a.items() if key in ("src", "href")]
    assert all(link.startswith("data:") for link in links)


def test_sorting_keys_are_numbers_where_columns_are():
    text = render("a", ROWS, {})
    page = Page(text)
    kinds = [a["data-kind"] for tag, a in page.tags if tag == "th"]
    keys = [a["data-key"] for tag, a in page.tags if tag == "td"]
    for column, kind in enumerate(kinds):
        for key in keys[column :: len(COLUMNS)]:
            assert kind == "text" or key == "" or np.isfinite(float(key))
    top1 = COLUMNS.index("top-1 (%)")
    assert keys[top1 :: len(COLUMNS)] == ["90.5", "90.0", ""]


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (ROWS, ["lenet-settings.png"]),
        ([row(), row(bits=2)], ["lenet-bits.png"]),
        ([row(folding=f) for f in range(5)], ["lenet-folding.png"]),
        ([ROWS[3]], []),
        (GRID, ["lenet-bits.png", "lenet-settings.png"]),
        (MANY, ["lenet-bits.png"]),
    ],
)  # fmt: skip
def test_pictures_of_what_there_is(rows, names):
    drawn = pictures(rows)
    assert list(drawn) == names
    assert all(content.startswith(PNG) for content in drawn.values())
    assert pictures(rows) == drawn


def test_every_method_has_a_line_of_its_own():
    for left in range(len(MANY) // 2):
        of = MANY[2 * left].method
        fewer = [one for one in MANY if one.method != of]
        assert pictures(fewer) != pictures(MANY), of


def test_the_overview_sets_methods_against_settings():
    folds = [row("dsq", 8, folding=f, top1=70.0 + (f or 0)) for f in (None, 0, 3)]
    lost = row("pact", status="failed", top1=None, deployable=False, reason="it diverged")
    assert (
        overview([*ROWS, lost, *folds])
        == f"""{NOTE}

| LeNet, 4 bits | tensorrt | academic |
| --- | --- | --- |
| lsq | 90.50 | (90.00) |
| apot | - | - |
| pact | failed | - |

| LeNet, folding | not folded | folding 0 | folding 3 |
| --- | --- | --- | --- |
| dsq, 8 bits, tensorrt | 70.00 | 70.00 | 73.00 |
"""
    )


def test_the_overview_keeps_what_has_another_folding_than_most():
    rows = [row(), row(bits=2), row("dsq", folding=1, top1=77.0), row("qil", folding=None)]
    assert "| dsq | 77.00 |" in overview(rows).splitlines()
    assert "| qil | 90.00 |" in overview(rows).splitlines()


def test_the_overview_has_a_table_for_each_number_of_bits():
    lines = overview(GRID).splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| LeNet")] == [
        "| LeNet, 4 bits", "| LeNet, 2 bits",
    ]  # fmt: skip
    assert "| dsq | 82.50 | 82.50 |" in lines
