from __future__ import annotations

import csv
from pathlib import Path

import pytest

from paddle_custom_quant.bench.published import problems

PUBLISHED = sorted(path.parent for path in Path("suites", "results").glob("*/results.json"))
PAGE = Path("docs", "benchmark.md")


NAMES = ["cifar10_resnet8", "cifar10_resnet8_folding", "mnist_lenet_bn"]


def test_every_suite_is_published():
    assert [folder.name for folder in PUBLISHED] == NAMES
    assert sorted(path.stem for path in Path("suites").glob("*.yaml")) == NAMES


def test_folding_at_8_bits_costs_less_than_half_a_point():
    path = Path("suites", "results", "cifar10_resnet8_folding", "results.csv")
    held = {row["folding"]: row for row in csv.DictReader(path.read_text().splitlines())}
    for strategy in ("2", "3", "4"):
        assert abs(float(held[strategy]["top1"]) - float(held[""]["top1"])) <= 0.5, strategy


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
