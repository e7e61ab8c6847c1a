from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import static

import paddle_custom_quant as pcq
from tests.distributed.member import LEARNED, trained
from tests.distributed.processes import ROOT, finish, start


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What two processes came to."""
    folder = tmp_path_factory.mktemp("members")
    for code, _, errors in finish(start(["-m", "tests.distributed.member", str(folder)], ROOT)):
        assert code == 0, errors
    return [dict(np.load(folder / f"{rank}.npz")) for rank in range(2)]


def test_two_with_half_the_batch_equal_one_with_the_whole(both):
    """A value that lies on a rounding threshold to the last bit may turn: not with both seeds."""
    largest = []
    for name, seed in (("a", 0), ("b", 3)):
        alone, averaged = trained(pcq.ProcessGroup(), seed, **LEARNED)
        assert averaged == () and any(key.endswith(".lsq.step") for key in alone)
        ours = {key[2:]: value for key, value in both[0].items() if key[0] == name}
        assert set(ours) == set(alone)
        largest.append(max(float(np.abs(ours[key] - alone[key]).max()) for key in alone))
    assert min(largest) < 1e-5, largest


def test_both_hold_the_same_bit_for_bit(both):
    assert set(both[0]) == set(both[1])
    kinds = (".lsq.step", ".pact.alpha", ".total", ".w_1", "velocity_0")  # w_1: a running mean
    for kind in kinds:
        assert any(key.endswith(kind) for key in both[0]), kind
    for key, value in both[0].items():
        np.testing.assert_array_equal(value, both[1][key], err_msg=key)


def net(size=(4, 3), **options):
    x = static.data("x", [-1, size[0]])
    loss = paddle.mean(static.nn.fc(x, size[1]) ** 2)
    paddle.optimizer.SGD(0.1, **options).minimize(loss)
    return loss


def test_of_one_process_nothing_is_changed(legacy):
    net()
    main = static.default_main_program()
    before = str(main)
    assert pcq.data_parallel(main, pcq.ProcessGroup()) == ()
    assert str(main) == before


def test_without_optimizer(legacy):
    static.data("x", [-1, 4])
    with pytest.raises(ValueError, match="no optimizer that reads gradients"):
        pcq.data_parallel(static.default_main_program(), pcq.ProcessGroup(0, 2))


def test_sparse_gradients_are_refused(legacy):
    words = static.data("words", [-1, 1], "int64")
    table = paddle.nn.Embedding(10, 4, sparse=True)
    paddle.optimizer.SGD(0.1).minimize(paddle.mean(table(words)))
    with pytest.raises(ValueError, match="is sparse, and only dense tensors are averaged"):
        pcq.data_parallel(static.default_main_program(), pcq.ProcessGroup(0, 2))


def test_gradients_are_averaged_before_they_are_clipped(legacy, monkeypatch):
    module = "paddle_custom_quant.distributed.reductions.share_values"
    monkeypatch.setattr(module, lambda *_: None)
    net(grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0), weight_decay=0.1)
    main = static.default_main_program()
    block = main.global_block()
    gradients = {v for v in block.vars if v.endswith(("w_0@GRAD", "b_0@GRAD"))}
    assert set(pcq.data_parallel(main, pcq.ProcessGroup(0, 2))) == gradients
    kinds = [op.type for op in block.ops]
    assert kinds.count("all_reduce") == 1
    assert kinds.index("all_reduce") < kinds.index("squared_l2_norm")
    with pytest.raises(ValueError, match="data-parallel already"):
        pcq.data_parallel(main, pcq.ProcessGroup(0, 2))


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PADDLE_TRAINERS_NUM": "two"}, "PADDLE_TRAINERS_NUM must be a number, got 'two'"),
        ({"PADDLE_TRAINERS_NUM": "2"}, "PADDLE_TRAINER_ID is not: start with python -m paddle"),
        ({"PADDLE_TRAINERS_NUM": "2", "PADDLE_TRAINER_ID": "2"}, "between 0 and 1, got 2"),
    ],
)
def test_environment_of_no_launcher(monkeypatch, environment, message):
    monkeypatch.delenv("PADDLE_TRAINER_ID", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        pcq.process_group()


def test_alone_without_a_launcher(monkeypatch):
    monkeypatch.delenv("PADDLE_TRAINERS_NUM", raising=False)
    group = pcq.process_group()
    assert (group.rank, group.size) == (0, 1)
    assert group.part(7) == slice(0, 7) and group.total([2.0]).tolist() == [2.0]
    assert group.agreed(lambda: b"own") == b"own"


def test_parts_cover_everything_once():
    parts = [pcq.ProcessGroup(rank, 3).part(8) for rank in range(3)]
    assert [list(range(8))[part] for part in parts] == [[0, 1], [2, 3, 4], [5, 6, 7]]
