from __future__ import annotations

from pathlib import Path

import pytest

from paddle_custom_quant.bench.published import problems

PUBLISHED = sorted(path.parent for path in Path("suites", "results").glob("*/results.json"))
PAGE = Path("docs", "benchmark.md")


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_every_number_has_its_recipe_log_and_hash(folder):
    assert problems(folder) == []
    assert Path("suites", f"{folder.name}.yaml").is_file()


def test_every_line_of_the_documents_tables_is_published():
    published = {
        line for folder in PUBLISHED for line in (folder / "results.md").read_text().splitlines()
    }
    found = PAGE.read_text().partition("## What was found")[2]
    lines = [line for line in found.splitlines() if line.startswith("|")]
    assert not [line for line in lines if line not in published]
