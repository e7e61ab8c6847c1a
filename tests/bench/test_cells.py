from __future__ import annotations

from pathlib import Path

import pytest

from paddle_custom_quant.bench import cells as module
from paddle_custom_quant.bench.cells import float_recipe, planned_cells
from paddle_custom_quant.bench.suite import load_suite
from paddle_custom_quant.training.models import NETS, WITHOUT_BATCH_NORM
from tests.bench.tiny_suite import held, suite

SUITES = sorted(Path("suites").glob("*.yaml"))
CELL = {"method": "lsq", "bits": 4, "setting": "tensorrt"}


def test_every_combination_is_there_once_with_a_name_of_its_own():
    again = [{**CELL, "folding": 4}, {**CELL, "folding": 1, "seed": 3}, {**CELL, "folding": None}]
    cells = planned_cells(suite(cells=again))
    assert [cell.name for cell in cells] == [
        "lenetbn_digits_lsq_w4a4_academic_seed0",
        "lenetbn_digits_lsq_w4a4_tensorrt_fold4_seed0",
        "lenetbn_digits_lsq_w2a2_academic_seed0",
        "lenetbn_digits_lsq_w2a2_tensorrt_fold4_seed0",
        "lenetbn_digits_apot_w4a4_academic_seed0",
        "lenetbn_digits_apot_w4a4_tensorrt_fold4_seed0",
        "lenetbn_digits_apot_w2a2_academic_seed0",
        "lenetbn_digits_apot_w2a2_tensorrt_fold4_seed0",
        "lenetbn_digits_lsq_w4a4_tensorrt_fold1_seed3",
        "lenetbn_digits_lsq_w4a4_tensorrt_seed0",
    ]
    assert all(cell.recipe is None or cell.recipe.title == cell.group for cell in cells)


def test_what_a_setting_cannot_take_is_not_trained_and_says_why():
    cells = {cell.name: cell for cell in planned_cells(suite())}
    refused = cells["lenetbn_digits_apot_w4a4_tensorrt_fold4_seed0"]
    assert refused.recipe is None
    assert refused.reason == (
        "apot is not deployable on tensorrt because its levels are sums of powers of two, not "
        "equidistant."
    )
    academic = cells["lenetbn_digits_apot_w4a4_academic_seed0"]
    assert academic.recipe is not None and academic.recipe.hardware.folding is None


def test_all_cells_start_from_one_float_net():
    parts = held()
    recipe = {**parts["recipe"], "float": {**parts["recipe"]["float"], "seed": 5}}
    seeds = {**parts["grid"], "seed": [0, 7]}
    made = suite(recipe=recipe, grid=seeds)
    start = float_recipe(made, "LeNetBN")
    assert start.seeds == [5] and start.quantized is None
    trained = [cell.recipe for cell in planned_cells(made) if cell.recipe is not None]
    assert {r.float_stage.seed for r in trained} == {5}
    assert {r.seeds[0] for r in trained} == {0, 7}
    assert {r.quantized.epochs for r in trained} == {0.1}


def test_nets_without_batch_norm_have_nothing_to_fold():
    for name, make in NETS.items():
        norms = [x for x in make(10, 3, 32).sublayers() if "Norm" in type(x).__name__]
        assert (not norms) == (name in WITHOUT_BATCH_NORM), name
    (cell,) = planned_cells(suite(grid=None, cells=[{**CELL, "net": "LeNet"}]))
    assert cell.recipe is not None and cell.recipe.hardware.folding is None
    assert cell.name == "lenet_digits_lsq_w4a4_tensorrt_seed0"


def test_post_training_has_the_float_recipe():
    one = {**CELL, "method": "post-training", "bits": 8}
    (cell,) = planned_cells(suite(grid=None, cells=[one]))
    assert cell.name == "lenetbn_digits_post-training_w8a8_tensorrt_seed0"
    assert cell.recipe == float_recipe(suite(), "LeNetBN")


def test_many_cells_are_asked_about(monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 7)
    with pytest.raises(ValueError, match="has 8 cells, more than 7: pass --yes"):
        planned_cells(suite())
    assert len(planned_cells(suite(), yes=True)) == 8


def test_a_combination_that_is_no_recipe_is_named():
    stage = {**held()["quantized"], "reestimate_bn": 3}
    with pytest.raises(ValueError, match="lsq_w4a4_tensorrt_fold4: reestimate_bn is 3"):
        planned_cells(suite(quantized=stage))


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_suites_can_be_planned(path):
    made = load_suite(path)
    cells = planned_cells(made)
    net, data = made.recipe.net.lower(), made.recipe.data.name
    assert path.stem.replace("_", "").startswith(f"{data}{net}".replace("-", ""))
    assert {cell.group.split("_")[0] for cell in cells} == {net}


def test_what_the_suites_hold():
    names = {path.stem: [c.group for c in planned_cells(load_suite(path))] for path in SUITES}
    mnist, cifar = names["mnist_lenet_bn"], names["cifar10_resnet8"]
    assert len(set(mnist)) == 6 * 2 * 6 and len(mnist) == 72 + 12  # LSQ's with another seed
    assert len(cifar) == 36 + 4 + 1
    folds = [name for name in cifar if "_lsq_w4a4_tensorrt_" in name]
    assert sorted(name[-1] for name in folds) == list("01234")
    folds = names["cifar10_resnet8_folding"]
    assert [name.partition("tensorrt")[2] for name in folds] == [
        "", *(f"_fold{strategy}" for strategy in range(5))
    ]  # fmt: skip
