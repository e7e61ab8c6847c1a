"""What is folded in a net, what is left alone, and what is refused."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn, static
from paddle.nn import functional as F

import paddle_custom_quant as pcq
from paddle_custom_quant.quantizers import LSQ
from paddle_custom_quant.scope import read, write
from paddle_custom_quant.training.models import NETS


def forward(net, shape=(3, 16, 16), classes=4):
    main, startup = static.Program(), static.Program()
    with static.program_guard(main, startup), paddle.utils.unique_name.guard():
        x = static.data("x", [-1, *shape])
        y = net(x)
        return main, main.clone(for_test=True), startup, y


def fill(startup, scope, place, rng):
    """Statistics and scales that are not those of the start."""
    for name in startup.global_block().vars:
        if ".w_" in name and "batch_norm" in name:
            value = rng.uniform(0.5, 1.5, read(scope, name).shape)
            write(scope, place, name, value.astype("float32"))


@pytest.mark.parametrize("strategy", range(5))
@pytest.mark.parametrize("name", ["ResNet-8", "MobileNetV2", "LeNetBN"])
def test_in_test_mode_a_net_computes_what_it_did(name, strategy, legacy, rng):
    side = 16 if name != "LeNetBN" else 28
    channels = 3 if name != "LeNetBN" else 1
    shape = (channels, side, side)
    main, test, startup, y = forward(lambda x: NETS[name](10, channels, side)(x), shape)
    unfolded = test.clone(for_test=True)
    count = sum(op.type == "batch_norm" for op in main.global_block().ops)
    folding = pcq.fold_batch_norm(main, test, strategy=strategy)
    assert (len(folding.folded), len(folding.left)) == (count, 0)
    kinds = [op.type for op in test.global_block().ops]
    assert kinds.count("batch_norm") == (count if strategy == 4 else 0)
    legacy.run(startup)
    fill(startup, static.global_scope(), legacy.place, rng)
    images = rng.normal(size=(2, *shape)).astype("float32")
    (before,) = legacy.run(unfolded, {"x": images}, [y.name])
    folding.start()
    (after,) = legacy.run(test, {"x": images}, [y.name])
    np.testing.assert_allclose(after, before, atol=1e-5 * max(1.0, np.abs(before).max()))
    assert pcq.verify(main) == []


def structures(x):
    conv = nn.Conv2D(3, 4, 3, padding=1, bias_attr=False)(x)
    twice = nn.BatchNorm2D(4)(conv) + conv  # another reader
    image = nn.BatchNorm2D(3)(x)  # an input of the program
    pooled = nn.BatchNorm2D(4)(F.relu(twice))  # no layer
    shared = nn.Conv2D(4, 4, 1, bias_attr=False)
    a = nn.BatchNorm2D(4)(shared(pooled))
    b = nn.BatchNorm2D(4)(shared(a))
    folded = nn.BatchNorm2D(4)(nn.Conv2D(4, 4, 3)(b))
    return paddle.mean(folded) + paddle.mean(image)


@pytest.mark.parametrize("strategy", range(5))
def test_what_cannot_be_folded_is_left_alone_and_listed(strategy, legacy):
    main, test, *_ = forward(structures)
    folding = pcq.fold_batch_norm(main, test, strategy=strategy)
    # Weights are numbered by Paddle, differently from line to line.
    assert len(folding.folded) == 1
    reasons = [left.reason for left in folding.left]
    assert "has another reader, elementwise_add" in reasons[0]
    assert "an input of the program stands before it" in reasons[1]
    assert "relu stands before it, no convolution or linear layer" in reasons[2]
    assert all("is shared with another operator" in reason for reason in reasons[3:])
    assert len(reasons) == 5
    assert str(folding).count("left alone") == 5
    remaining = [op.type for op in main.global_block().ops].count("batch_norm")
    assert remaining == (6 if strategy == 4 else 5)
    folded, weight = folding.folded[0]
    assert not any(left.tensor == folded for left in folding.left)
    assert weight.endswith(".w_0")


def conv_net(x):
    return nn.BatchNorm2D(4)(nn.Conv2D(3, 4, 3)(x))


def test_unusable_programs_and_settings_are_refused(legacy):
    main, test, startup, y = forward(conv_net)
    for strategy in (5, -1, "4", True):
        with pytest.raises(ValueError, match=r"strategy must be 0 to 4 \(0 merged once"):
            pcq.fold_batch_norm(main, test, strategy=strategy)
    with pytest.raises(ValueError, match="delay is of strategy 3"):
        pcq.fold_batch_norm(main, test, strategy=2, delay=5)
    with pytest.raises(ValueError, match="delay must be a number of steps, 0 or more, got -1"):
        pcq.fold_batch_norm(main, test, strategy=3, delay=-1)
    with pytest.raises(TypeError, match="CompiledProgram"):
        pcq.fold_batch_norm(static.CompiledProgram(main), strategy=1)
    other = forward(lambda x: conv_net(nn.Conv2D(3, 3, 3)(x)))[1]
    with pytest.raises(ValueError, match="test_program does not belong to program"):
        pcq.fold_batch_norm(main, other, strategy=1)
    with pytest.raises(ValueError, match=r"does not belong.*clone\(for_test=True\)"):
        pcq.fold_batch_norm(main, main.clone(), strategy=1)
    plain = forward(lambda x: nn.Conv2D(3, 4, 3)(x))[0]
    with pytest.raises(ValueError, match="no batch norm: there is nothing to fold"):
        pcq.fold_batch_norm(plain, strategy=1)
    legacy.run(startup)
    quantized = pcq.quant_aware(test, legacy.place, for_test=True, weight_quantize_func=LSQ(4))
    with pytest.raises(ValueError, match="is quantized: call fold_batch_norm before quant_aware"):
        pcq.fold_batch_norm(quantized, strategy=1)
    with static.program_guard(main, startup):
        paddle.optimizer.SGD(0.1).minimize(paddle.mean(y))
    with pytest.raises(ValueError, match=r"backward pass.*before minimize"):
        pcq.fold_batch_norm(main, test, strategy=1)
    assert [op.type for op in test.global_block().ops].count("batch_norm") == 1


def test_values_that_are_not_there_yet_are_asked_for(legacy):
    main, test, *_ = forward(conv_net)
    folding = pcq.fold_batch_norm(main, test, strategy=0)
    with pytest.raises(ValueError, match="is not in the scope: run the start-up program"):
        folding.start()


@pytest.mark.parametrize("name", ["tensorrt", "tvm"])
@pytest.mark.parametrize("strategy", range(5))
def test_quantizers_find_folded_weights_in_both_programs(strategy, name, legacy):
    main, test, startup, y = forward(lambda x: NETS["ResNet-8"](10, 3, 16)(x))
    plain = pcq.backend(name).arguments("lsq", 4, test)
    wanted = {p.target.name for p in pcq.placement(test, **plain)}
    folding = pcq.fold_batch_norm(main, test, strategy=strategy)
    if strategy:
        weights = {weight for _, weight in folding.folded}
        wanted = {f"{n}.folded" if n in weights else n for n in wanted}
    arguments = pcq.backend(name).arguments("lsq", 4, test)
    with static.program_guard(main, startup):
        paddle.optimizer.SGD(0.1).minimize(paddle.mean(y))
    for program in (main, test):
        placement = pcq.placement(program, **arguments)
        assert {p.target.name for p in placement} == wanted
        roles = {p.target.role for p in placement if p.target.name.endswith((".w_0", ".folded"))}
        assert roles == {"weight"}
        assert {p.root for p in placement if p.root} <= {w.name for w in main.all_parameters()}


@pytest.mark.parametrize("strategy", [1, 2, 3, 4])
def test_steps_start_from_the_folded_weight(strategy, legacy, rng):
    main, test, startup, y = forward(conv_net)
    folding = pcq.fold_batch_norm(main, test, strategy=strategy)
    with static.program_guard(main, startup):
        paddle.optimizer.SGD(0.1).minimize(paddle.mean(y))
    legacy.run(startup)
    scope = static.global_scope()
    fill(startup, scope, legacy.place, rng)
    folding.start()
    pcq.quant_aware(
        main,
        legacy.place,
        weight_quantize_func=LSQ(4, per_channel=True),
        act_quantize_func=pcq.FirstLast(None, None),
        optimizer_func=lambda: paddle.optimizer.SGD(0.1),
    )
    w, gamma, variance = (
        read(scope, name) for name in ("conv2d_0.w_0", "batch_norm2d_0.w_0", "batch_norm2d_0.w_2")
    )
    folded = w * (gamma / np.sqrt(variance + 1e-5))[:, None, None, None]
    step = 2 * np.abs(folded).mean(axis=(1, 2, 3)) / np.sqrt(7)
    np.testing.assert_allclose(read(scope, "conv2d_0.w_0.folded.lsq.step"), step, rtol=1e-4)
