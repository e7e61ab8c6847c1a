"""What stands in the ONNX file, and that both engines run it on integers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from paddle_custom_quant.deploy import freeze, run_reference, write_onnx
from paddle_custom_quant.deploy.worker import measure
from paddle_custom_quant.quantizers import LSQ, PACT

from .trained import CLASSES, images, trained

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def path(tmp_path_factory, frozen):
    return write_onnx(frozen, tmp_path_factory.mktemp("onnx") / "model")


def test_every_name_is_written_once(path):
    graph = onnx.load(path).graph
    names = [name for node in graph.node for name in node.output]
    names += [tensor.name for tensor in graph.initializer]
    assert len(names) == len(set(names))
    assert onnx.load(path).opset_import[0].version == 13


def test_onnxruntime_runs_every_layer_on_integers(path, net, batch):
    pytest.importorskip("onnxruntime")
    _check_integers(measure("onnxruntime", path, {"image": batch}, batch_size=8), *net.run(batch))


def test_openvino_runs_every_layer_on_integers(path, frozen, batch):
    """Each branch of an addition is rounded first, as the program does."""
    pytest.importorskip("openvino")
    values = run_reference(frozen, {"image": batch})
    measured = measure("openvino", path, {"image": batch}, batch_size=8)
    _check_integers(measured, values[frozen.outputs[0]])


def _check_integers(measured, expected):
    assert len(measured.kernels) >= 5
    assert [k for k in measured.kernels if not k.integer] == []
    assert np.abs(measured.outputs[0] - expected).mean() < 1e-3 * np.ptp(expected)
    assert (measured.outputs[0].argmax(1) == expected.argmax(1)).mean() >= 0.95


def test_additions_are_integer_too(path, tmp_path, batch):
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = Counter(n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kinds["QLinearAdd"] and kinds["QLinearConv"] >= 4 and kinds["QGemm"] == 1
    assert not kinds["Conv"] and not kinds["Add"]


def test_four_bit_weights_halve_the_file(frozen, path, tmp_path, net, batch):
    small = write_onnx(frozen, tmp_path / "small", int4=True)
    model = onnx.load(small)
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.INT4 in kinds and model.opset_import[0].version == 21
    pytest.importorskip("onnxruntime")
    measured = measure("onnxruntime", small, {"image": batch})
    np.testing.assert_allclose(measured.outputs[0], net.run(batch)[0], atol=1e-5)


def test_channels_turned_by_batch_norm_fit_four_bits_too(tmp_path, batch):
    held = trained(steps=1)
    gamma = held.value("batch_norm2d_0.w_0")
    held.set("batch_norm2d_0.w_0", gamma * np.where(np.arange(8) % 2, 1, -1).astype("float32"))
    weight = held.value("conv2d_0.w_0")
    weight[:, 0, 0, 0] = -5 * np.abs(weight).max()
    held.set("conv2d_0.w_0", weight)
    frozen = freeze(held.program, held.scope)
    layer = next(x for x in frozen.layers if x.kind == "conv2d")
    q = frozen.weights[layer.inputs[1]].integers
    assert q.max() == 8 and q.min() == -8
    path = write_onnx(frozen, tmp_path / "m", int4=True)
    kinds = {t.data_type for t in onnx.load(path).graph.initializer if t.dims == [8, 3, 3, 3]}
    assert kinds == {onnx.TensorProto.INT4}
    pytest.importorskip("onnxruntime")
    measured = measure("onnxruntime", path, {"image": batch})
    np.testing.assert_allclose(measured.outputs[0], held.run(batch)[0], atol=1e-5)


def test_transformer_encoder(tmp_path):
    pytest.importorskip("onnxruntime")
    shape = (6, 16)

    def net(x):
        x = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, activation="gelu")(x)
        x = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0)(x)
        return nn.Linear(16, CLASSES)(paddle.mean(x, axis=1))

    held = trained(
        LSQ(8, per_channel=True), PACT(8, alpha=4.0, signed=True), net,
        ops=["matmul_v2"], shape=shape, steps=3,
    )  # fmt: skip
    _check(held, shape, tmp_path)


def test_gates_concatenation_and_hard_swish(tmp_path):
    def net(x):
        x = F.hardswish(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3, padding=1)(x)))
        gate = F.hardsigmoid(nn.Conv2D(8, 8, 1)(F.adaptive_avg_pool2d(x, 1)))
        x = paddle.concat([x * gate, F.avg_pool2d(x, 3, 1, 1)], axis=1)
        x = F.relu(nn.BatchNorm2D(16)(x))  # in front of a convolution, as in DenseNet
        x = F.swish(nn.Conv2D(16, 4, 3)(x))
        return nn.Linear(4, CLASSES)(paddle.mean(x, axis=[2, 3]))

    held = trained(LSQ(8), PACT(8, alpha=4.0, signed=True), net,
                   ops=["conv2d", "matmul_v2"], steps=3)  # fmt: skip
    _check(held, (3, 8, 8), tmp_path)


def _check(held, shape, tmp_path):
    frozen = freeze(held.program, held.scope)
    batch = images(np.random.default_rng(2), 6, shape)
    (expected,) = held.run(batch)
    values = run_reference(frozen, {"image": batch})
    np.testing.assert_allclose(values[frozen.outputs[0]], expected, atol=0.02 * np.ptp(expected))
    measured = measure("onnxruntime", write_onnx(frozen, tmp_path / "m"), {"image": batch})
    np.testing.assert_allclose(measured.outputs[0], expected, atol=0.03 * np.ptp(expected))
