from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from paddle_custom_quant.training.recovery import Checkpoints, differences

OWNER = {"recipe": {"net": "ResNet-8", "quantizers": {"weights": {"bits": 4}}}, "seed": 0}


@pytest.fixture
def told():
    return []


@pytest.fixture
def kept(tmp_path, told):
    made = Checkpoints(tmp_path / "run", "float", OWNER, told.append)
    for step in (10, 20, 30):
        made.save(step, {"w": np.full(3, step, np.float32)}, {"loss": step / 7})
    return made


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "run").iterdir())


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_two_are_kept_and_the_newest_comes_back(kept, tmp_path, told):
    assert names(tmp_path) == ["float-00000020.safetensors", "float-00000030.safetensors"]
    values, state = kept.newest()
    assert values["w"].tolist() == [30] * 3 and state == {"step": 30, "loss": 30 / 7}
    assert not told


def test_a_damaged_one_is_told_and_the_one_before_used(kept, tmp_path, told):
    damage(tmp_path / "run" / "float-00000030.safetensors")
    values, state = kept.newest()
    assert state["step"] == 20 and values["w"][0] == 20
    assert len(told) == 1 and "float-00000030" in told[0] and "The one before" in told[0]
    damage(tmp_path / "run" / "float-00000020.safetensors")
    assert kept.newest() is None and len(told) == 3


def test_what_a_killed_process_left_is_removed(kept, tmp_path):
    (tmp_path / "run" / ".float-00000040.safetensors.abc").write_bytes(b"begun")
    assert kept.newest()[1]["step"] == 30
    assert len(names(tmp_path)) == 2


def test_stages_do_not_mix(kept, tmp_path, told):
    other = Checkpoints(tmp_path / "run", "quantized", OWNER, told.append)
    assert other.newest() is None and other.finished() is None
    other.save(5, {}, {})
    other.finish({"w": np.ones(1, np.float32)}, {"top1": 50.0})
    assert kept.newest()[1]["step"] == 30
    assert other.finished()[1] == {"top1": 50.0}


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        ({"recipe": {"net": "LeNet", "quantizers": {"weights": {"bits": 4}}}, "seed": 0},
         "recipe.net was 'ResNet-8' there and is 'LeNet' here"),
        ({"recipe": {"net": "ResNet-8", "quantizers": {"weights": {"bits": 2}}}, "seed": 0},
         "recipe.quantizers.weights.bits was 4 there and is 2 here"),
        ({**OWNER, "seed": 1}, "seed was 0 there and is 1 here"),
    ],
)  # fmt: skip
def test_of_another_training(kept, tmp_path, told, owner, message):
    with pytest.raises(ValueError, match=f"of another training: {message}"):
        Checkpoints(tmp_path / "run", "float", owner, told.append).newest()


def test_full_disk_says_which_one_is_left(kept, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        OSError, match=r"\(No space left on device\); the last good one is float-0*30"
    ):
        kept.save(40, {"w": np.zeros(3, np.float32)}, {})
    assert kept.newest()[1]["step"] == 30


def test_differences_of_equal_trees():
    assert differences(OWNER, dict(OWNER)) == []
    assert differences({"a": None}, {}) == []
