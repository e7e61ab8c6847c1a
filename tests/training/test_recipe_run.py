from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from paddle_custom_quant.training.how import How
from paddle_custom_quant.training.recipe_file import load_recipe
from paddle_custom_quant.training.recipe_run import run_recipe
from paddle_custom_quant.training.tensor_file import read_tensors
from tests.training.tiny_recipe import recipe, some_digits

DATA = some_digits()
QUIET = How(workers=0, tell=lambda line: None)
FINISHED = "quantized.safetensors"


class Stop(Exception):
    """The run was ended from outside."""


def stopping(stage, step, **kwargs):
    def on_step(progress):
        if (progress.stage, progress.step) == (stage, step):
            raise Stop

    return How(workers=0, on_step=on_step, tell=lambda line: None, **kwargs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run_recipe(recipe(), DATA, folder, QUIET)


def values(folder, name=FINISHED):
    return read_tensors(folder / "seed-0" / name)[0]


def same(folder, other, name=FINISHED):
    ours, theirs = values(folder, name), values(other, name)
    assert set(ours) == set(theirs)
    for key, value in ours.items():
        np.testing.assert_array_equal(value, theirs[key], err_msg=key)


def test_everything_that_a_number_can_be_traced_by(whole):
    folder, result = whole
    assert load_recipe(folder / "recipe.yaml") == recipe()
    facts = json.loads((folder / "run.json").read_text())
    assert facts["data"]["training_images"] == 160 and {"paddle", "numpy"} <= set(facts["versions"])
    assert facts["commit"] is None or len(facts["commit"].rstrip("+")) == 40
    rows = [json.loads(line) for line in (folder / "seed-0" / "log.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        ("float", 1.0), ("float", 2.0), ("quantized", 1.0),
    ]  # fmt: skip
    held = json.loads((folder / "result.json").read_text())
    assert held["scores"]["0"]["quantized"]["top1"] == result.scores[0]["quantized"].top1
    assert held["lost"]["0"] == pytest.approx(result.lost(0))
    assert f"{result.scores[0]['float'].top1:6.2f}" in (folder / "result.txt").read_text()


def test_it_learns(whole):
    _, result = whole
    assert result.scores[0]["float"].top1 > 30
    assert result.scores[0]["quantized"].top1 > 30


@pytest.mark.parametrize(("stage", "step", "every"), [("float", 14, None), ("quantized", 9, 4)])
def test_resumed_equals_uninterrupted_bit_for_bit(whole, tmp_path, stage, step, every):
    with pytest.raises(Stop):
        run_recipe(recipe(), DATA, tmp_path, stopping(stage, step, checkpoint_every=every))
    told = []
    how = How(workers=2, tell=told.append)
    result = run_recipe(recipe(), DATA, tmp_path, how, resume=True)
    assert any(f"{stage}: going on after step" in line for line in told)
    same(tmp_path, whole[0])
    same(tmp_path, whole[0], "float.safetensors")
    # All else too: optimizers, gradient noise, schedules, logs.
    last = sorted(path.name for path in (whole[0] / "seed-0").glob("quantized-*"))[-1]
    same(tmp_path, whole[0], last)
    assert result == whole[1]


def test_checkpoints_hold_both_optimizers(whole):
    held = values(whole[0], "quantized-00000010.safetensors")
    assert any("velocity" in name and "alpha" in name for name in held)
    assert any("velocity" in name and name.startswith("conv2d_0") for name in held)


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(whole, tmp_path):
    with pytest.raises(Stop):
        run_recipe(recipe(), DATA, tmp_path, stopping("quantized", 9, checkpoint_every=4))
    newest = sorted((tmp_path / "seed-0").glob("quantized-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    told = []
    run_recipe(recipe(), DATA, tmp_path, How(workers=0, tell=told.append), resume=True)
    assert any("is damaged" in line and newest.name in line for line in told)
    assert any("quantized: going on after step 4 of 10" in line for line in told)
    same(tmp_path, whole[0])


def test_other_bits_and_other_nets_are_refused(tmp_path):
    with pytest.raises(Stop):
        run_recipe(recipe(), DATA, tmp_path, stopping("quantized", 9, checkpoint_every=4))
    wider = yaml.safe_load(yaml.safe_dump(recipe().model_dump(mode="json")["quantizers"]))
    wider["weights"]["bits"] = 3
    with pytest.raises(ValueError, match=r"quantizers.weights.bits was 4 there and is 3 here"):
        run_recipe(recipe(quantizers=wider), DATA, tmp_path, QUIET, resume=True)
    with pytest.raises(ValueError, match=r"another recipe: net was 'LeNetBN' there"):
        run_recipe(recipe(net="LeNet"), DATA, tmp_path, QUIET, resume=True)
    assert load_recipe(tmp_path / "recipe.yaml") == recipe()


def test_a_folder_that_holds_a_training_is_left_alone(whole):
    with pytest.raises(ValueError, match="holds a training: go on with --resume"):
        run_recipe(recipe(), DATA, whole[0], QUIET)


def test_the_same_float_net_is_taken_over(whole, tmp_path):
    told = []
    how = How(workers=0, tell=told.append)
    held = recipe(quantized={"epochs": 0.2, "learning_rate": 0.01})
    result = run_recipe(held, DATA, tmp_path / "a", how, reuse=whole[0])
    assert any("float: taken from" in line for line in told)
    assert result.scores[0]["float"] == whole[1].scores[0]["float"]
    same(tmp_path / "a", whole[0], "float.safetensors")
    other = recipe(batch_size=8, quantized=None, quantizers=None, float={
        "epochs": 0.1, "learning_rate": 0.02,
    })  # fmt: skip
    run_recipe(other, DATA, tmp_path / "b", how, reuse=whole[0])
    assert any("not taken over" in line and "recipe.batch_size was 16" in line for line in told)


def test_all_stages_and_seeds(tmp_path):
    short = {"epochs": 0.2, "learning_rate": 0.01}
    held = recipe(
        seeds=[3, 1],
        constrain=short,
        control=True,
        float=short,
        quantized={**short, "reestimate_bn": 2},
    )
    result = run_recipe(held, DATA, tmp_path, QUIET)
    assert list(result.scores) == [3, 1]
    assert list(result.scores[3]) == ["float", "constrain", "control", "quantized"]
    seeds = [read_tensors(tmp_path / f"seed-{s}" / FINISHED)[0] for s in (1, 3)]
    assert (seeds[0]["conv2d_0.w_0"] != seeds[1]["conv2d_0.w_0"]).any()
    scores = result.scores[1]
    assert result.lost(1) == scores["control"].top1 - scores["quantized"].top1


def test_trainings_from_one_float_net(tmp_path):
    short = {"epochs": 0.2, "learning_rate": 0.01}
    held = recipe(seeds=[3, 1], control=True, float={**short, "seed": 2}, quantized=short)
    run_recipe(held, DATA, tmp_path / "a", QUIET)
    for stage in ("float", "control"):
        name = f"{stage}.safetensors"
        ours, theirs = (read_tensors(tmp_path / "a" / f"seed-{s}" / name)[0] for s in (3, 1))
        for key, value in ours.items():
            np.testing.assert_array_equal(value, theirs[key], err_msg=key)
    seeds = [read_tensors(tmp_path / "a" / f"seed-{s}" / FINISHED)[0] for s in (1, 3)]
    assert (seeds[0]["conv2d_0.w_0"] != seeds[1]["conv2d_0.w_0"]).any()
    # The float stage is the one that a training with that seed has, whatever stages follow.
    alone = recipe(seeds=[2], constrain=short, control=True, float=short, quantized=short)
    run_recipe(alone, DATA, tmp_path / "b", QUIET)
    for stage in ("float", "control"):
        name = f"{stage}.safetensors"
        ours = read_tensors(tmp_path / "b" / "seed-2" / name)[0]
        theirs = read_tensors(tmp_path / "a" / "seed-3" / name)[0]
        for key, value in ours.items():
            np.testing.assert_array_equal(value, theirs[key], err_msg=key)


def test_a_stage_may_shift_its_images_less(tmp_path):
    short = {"epochs": 1, "learning_rate": 0.01}
    data = {"name": "digits", "pad": 4, "flip": False}
    given = {"control": True, "float": short, "data": data}
    own = run_recipe(recipe(**given, quantized={**short, "pad": 0}), DATA, tmp_path / "own")
    shared = run_recipe(recipe(**given, quantized=short), DATA, tmp_path / "shared")
    data = {**data, "pad": 0}
    none = run_recipe(
        recipe(**{**given, "data": data, "float": {**short, "pad": 4}}, quantized=short),
        DATA,
        tmp_path / "none",
    )
    ours, theirs, same = (result.scores[0] for result in (own, shared, none))
    assert ours["float"] == theirs["float"] == same["float"]
    for stage in ("control", "quantized"):
        assert ours[stage] == same[stage] != theirs[stage]


def test_quantizers_without_training(tmp_path):
    stage = {"epochs": 0, "learning_rate": 0.01, "reestimate_bn": 3}
    wide = {"weights": {"method": "lsq", "bits": 8}, "activations": {"method": "lsq", "bits": 8}}
    held = recipe(quantized=stage, quantizers=wide)
    scores = run_recipe(held, DATA, tmp_path, How(workers=1, tell=print)).scores[0]
    assert scores["quantized"].top1 > scores["float"].top1 - 15


def test_a_batch_larger_than_the_data(tmp_path):
    with pytest.raises(ValueError, match="batch_size must be at most the 160 training images"):
        run_recipe(recipe(batch_size=161), DATA, tmp_path, QUIET)
