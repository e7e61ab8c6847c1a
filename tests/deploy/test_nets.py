"""ResNet-18 and MobileNetV2: what their files hold, and that engines run them on integers."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_custom_quant import FirstLast, PerLayer
from paddle_custom_quant.deploy import freeze, write_onnx, write_paddle, write_paddle_onednn
from paddle_custom_quant.deploy.engines import ENGINES
from paddle_custom_quant.deploy.worker import measure
from paddle_custom_quant.inspection.reading import read_model
from paddle_custom_quant.quantizers import LSQ, PACT, AbsMax, MovingAverageAbsMax
from paddle_custom_quant.training.models.mobilenet_v2 import MobileNetV2
from paddle_custom_quant.training.models.resnet import ResNet18

from .trained import images, trained

SHAPE = (3, 32, 32)
NETS = {"ResNet-18": lambda: ResNet18(width=8), "MobileNetV2": lambda: MobileNetV2(width=0.25)}
WEIGHTED = ("conv2d", "depthwise_conv2d", "matmul_v2", "mul", "fc", "fused_conv2d")


@pytest.fixture(scope="module", params=NETS)
def written(request, tmp_path_factory):
    from paddle_custom_quant.compat import legacy_static

    rules = {
        "image": PACT(8, alpha=2.0, signed=True),
        "elementwise_add": MovingAverageAbsMax(8),
        "pool2d": MovingAverageAbsMax(8),
        "flatten*": MovingAverageAbsMax(8),
        "relu*": LSQ(4, signed=False),
    }
    with legacy_static():
        held = trained(
            FirstLast(AbsMax(8, per_channel=True), LSQ(4, per_channel=True)),
            PerLayer(rules, default=LSQ(4, signed=True)),
            lambda image: NETS[request.param]()(image),
            shape=SHAPE,
            steps=1,
        )
        frozen = freeze(held.program, held.scope)
        path = tmp_path_factory.mktemp("nets") / "net"
        write_paddle(frozen, path)
        write_paddle_onednn(frozen, path)
    return frozen, path


def test_every_layer_is_integer_and_nothing_is_left_of_training(written):
    frozen, _ = written
    assert len(frozen.integer_layers()) == len(frozen.weighted_layers()) >= 21
    assert not frozen.notes
    assert not any(layer.kind == "batch_norm" for layer in frozen.layers)


@pytest.mark.parametrize("suffix", ["", ".onednn"])
def test_paddle_file_holds_no_observer_no_name_twice_and_standard_operators(written, suffix):
    frozen, path = written
    model = read_model(path.with_name(f"{path.name}{suffix}"))
    kinds = {op.kind for op in model.operators}
    strange = ("fake_", "pcq_", "moving_average", "observer", "custom")
    assert not [kind for kind in kinds if any(part in kind for part in strange)]
    names = [name for op in model.operators for name in op.writes]
    assert len(names) == len(set(names))
    count = sum(op.kind in WEIGHTED for op in model.operators)
    if suffix:
        # oneDNN's has additions and copies of layers as convolutions, too, and none in float.
        assert {kind for kind in kinds if kind in WEIGHTED} == {"fused_conv2d"}
        assert count > len(frozen.weighted_layers())
    else:
        assert count == len(frozen.weighted_layers())


def test_onnx_file_holds_no_name_twice_and_standard_operators(written):
    onnx = pytest.importorskip("onnx")
    frozen, path = written
    model = onnx.load(write_onnx(frozen, path, overwrite=True))
    assert {node.domain for node in model.graph.node} == {""}
    assert [(held.domain, held.version) for held in model.opset_import] == [("", 13)]
    names = [name for node in model.graph.node for name in node.output]
    names += [tensor.name for tensor in model.graph.initializer]
    names += [given.name for given in model.graph.input]
    assert len(names) == len(set(names))
    onnx.checker.check_model(model)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("paddle-onednn-int8", ""),
        ("paddle-onednn-int8", ".onednn"),
        ("onnxruntime", ""),
        ("openvino", ""),
    ],
)
def test_engines_run_every_convolution_and_linear_layer_on_integers(written, name, suffix):
    engine = ENGINES[name]
    if not engine.installed:
        pytest.skip(f"{engine.package} is not installed")
    frozen, path = written
    path = path.with_name(f"{path.name}{suffix}")
    if engine.format == "onnx":
        pytest.importorskip("onnx")
        path = write_onnx(frozen, path, overwrite=True)
    measured = measure(name, path, {"image": images(np.random.default_rng(4), 2, SHAPE)})
    # A layer that two quantizers read is there twice.
    assert len(measured.kernels) >= len(frozen.weighted_layers())
    assert [kernel for kernel in measured.kernels if not kernel.integer] == []
