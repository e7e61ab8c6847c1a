"""PaddleSlim's own entry points on this engine, and put back exactly."""

from __future__ import annotations

import numpy as np
import paddle
import paddleslim.quant
import pytest
from paddle.framework import LayerHelper
from paddleslim.quant import quant_aware as imported_before
from paddleslim.quant import quanter

import paddle_custom_quant as pcq

NAMES = ("quant_aware", "convert", "QuantizationTransformPass", "QuantizationTransformPassV2")


def state() -> list[object]:
    return [
        *(getattr(quanter, name) for name in NAMES),
        *(getattr(paddleslim.quant, name) for name in NAMES[:2]),
    ]


def pact(x, name=None):
    """PaddleSlim's documented example of an activation preprocess function."""
    helper = LayerHelper("pact", **locals())
    attribute = paddle.ParamAttr(
        name=x.name + "_pact",
        initializer=paddle.nn.initializer.Constant(value=2.0),
        regularizer=paddle.regularizer.L2Decay(0.0001),
        learning_rate=1,
    )
    bound = helper.create_parameter(attr=attribute, shape=[1], dtype="float32")
    x = paddle.subtract(x, paddle.nn.functional.relu(paddle.subtract(x, bound)))
    return paddle.add(x, paddle.nn.functional.relu(paddle.subtract(-bound, x)))


def build():
    main, startup = paddle.static.Program(), paddle.static.Program()
    startup.random_seed = 3
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        image = paddle.static.data("image", [None, 3, 8, 8])
        label = paddle.static.data("label", [None, 1], "int64")
        hidden = paddle.nn.functional.relu(paddle.nn.Conv2D(3, 4, 3)(image))
        logits = paddle.nn.Linear(144, 5)(paddle.flatten(hidden, 1))
        loss = paddle.nn.functional.cross_entropy(logits, label)
        test = main.clone(for_test=True)
        paddle.optimizer.Momentum(0.1, 0.9).minimize(loss)
    return main, test, startup, loss.name


@pytest.mark.parametrize("restore", ["block", "call", "error"])
def test_everything_is_put_back(restore):
    before = state()
    if restore == "block":
        with pcq.patch_paddleslim():
            assert quanter.quant_aware is pcq.quant_aware
    elif restore == "call":
        patch = pcq.patch_paddleslim()
        assert paddleslim.quant.convert is pcq.convert
        patch.restore()
        patch.restore()
    else:
        with pytest.raises(KeyError), pcq.patch_paddleslim():
            raise KeyError
    assert all(a is b for a, b in zip(state(), before))


@pytest.mark.parametrize("onnx_format", [True, False])
@pytest.mark.parametrize("entry", ["attribute", "imported before"])
def test_documented_pact_example_trains(entry, onnx_format, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {"onnx_format": onnx_format, "quantize_op_types": ["conv2d", "matmul_v2"]}
    with pcq.legacy_static(), paddle.static.scope_guard(paddle.static.Scope()):
        with pcq.patch_paddleslim():
            call = paddleslim.quant.quant_aware if entry == "attribute" else imported_before
            main, test, startup, loss = build()
            place = paddle.CPUPlace()
            executor = paddle.static.Executor(place)
            executor.run(startup)
            arguments = {
                "act_preprocess_func": pact,
                "executor": executor,
                "optimizer_func": lambda: paddle.optimizer.Momentum(0.1, 0.9),
            }
            tested = call(test, place, config, for_test=True, **arguments)
            trained = call(main, place, config, for_test=False, **arguments)
        rng = np.random.default_rng(0)
        feed = {
            "image": rng.normal(size=(16, 3, 8, 8)).astype("float32"),
            "label": rng.integers(0, 5, (16, 1)),
        }
        losses = [executor.run(trained, feed, [loss])[0].item() for _ in range(20)]
        (after,) = executor.run(tested, feed, [loss])
        with pcq.patch_paddleslim():
            paddleslim.quant.convert(tested, place, config)
        bound = np.array(paddle.static.global_scope().find_var("image_pact").get_tensor())
    assert losses[-1] < 0.3 * losses[0]
    assert after.item() < 0.5 * losses[0]
    assert bound.item() != 2.0
    assert not list(tmp_path.iterdir())
