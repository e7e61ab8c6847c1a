from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant.bench import proof as module
from paddle_custom_quant.bench.proof import prove
from paddle_custom_quant.deploy.report import Row

nn = static.nn
SEED = 5


@pytest.fixture()
def residual(legacy):
    """A block whose second convolution adds to the block's input, quantized after training."""
    random = np.random.default_rng(SEED)
    paddle.seed(SEED)
    program, startup, scope = static.Program(), static.Program(), static.Scope()
    with static.program_guard(program, startup), static.scope_guard(scope):
        x = static.data("x", [-1, 3, 8, 8], "float32")
        first = nn.conv2d(x, 8, 3, padding=1, act="relu")
        inner = nn.conv2d(first, 8, 3, padding=1, act="relu")
        added = paddle.nn.functional.relu(nn.conv2d(inner, 8, 3, padding=1) + first)
        nn.fc(paddle.flatten(paddle.nn.functional.adaptive_avg_pool2d(added, 1), 1), 5)
        static.Executor(paddle.CPUPlace()).run(startup)
    images = random.normal(size=(200, 3, 8, 8)).astype("float32")

    def quantized(setting):
        feeds = [{"x": images[:50]}]
        made = pcq.quantize_post_training(
            program, feeds, setting, weights=8, activations=8, scope=scope
        )
        return made.program, made.scope, images, setting

    return quantized


def test_onnx_runtime_proves_what_it_runs_on_integers(residual):
    pytest.importorskip("onnxruntime")
    proof = prove(*residual("onnxruntime"))
    assert (proof.deployable, proof.engine, proof.reason) == (True, "onnxruntime", "")
    assert proof.integer_layers == proof.all_layers == 4
    assert proof.top1_agreement >= 0.995 and proof.images == 200


def test_openvino_proves_an_addition_to_a_float_convolution(residual):
    """ONNX Runtime runs that convolution in float, TensorRT and OpenVINO on integers."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    proof = prove(*residual("tensorrt"))
    assert (proof.deployable, proof.engine, proof.reason) == (True, "openvino", "")
    assert proof.integer_layers == proof.all_layers == 4
    assert proof.top1_agreement >= 0.995


def answering(monkeypatch, engines):
    """Let engines answer as told; which of them were asked."""
    asked = []

    class Compared:
        def row(self, engine):
            asked.append(engine)
            held = {"samples": 200, "top1_agreement": 1.0, "integer_layers": 4, "all_layers": 4}
            return Row(engine, **{**held, **engines[engine]})

    monkeypatch.setattr(module, "compare", lambda *args, **settings: Compared())
    return asked


@pytest.mark.parametrize("lost", [{"failed": "signal 9"}, {"skipped": "it is not installed"}])
def test_an_engine_without_a_result_says_nothing_of_the_net(residual, monkeypatch, lost):
    answering(monkeypatch, {"onnxruntime": lost})
    with pytest.raises(RuntimeError, match="onnxruntime gave no result: "):
        prove(*residual("tensorrt"))


def test_missing_engines_are_named(monkeypatch):
    missing = {name: SimpleNamespace(installed=False) for name in module.ENGINES}
    monkeypatch.setattr(module, "INSTALLED", missing)
    with pytest.raises(ValueError, match=r"onnxruntime and openvino .* pip install"):
        module.check_engines()


@pytest.mark.parametrize(
    ("engines", "wanted"),
    [
        ({"onnxruntime": {"top1_agreement": 0.99}}, "onnxruntime agrees on 99.00%"),
        (
            {"onnxruntime": {"integer_layers": 3, "all_layers": 3},
             "openvino": {"integer_layers": 3}},
            "onnxruntime runs 1 of 4 layers in float; openvino runs 1 of 4 layers in float",
        ),
        (
            {"onnxruntime": {"integer_layers": 3, "float_kernels": ["sum"]},
             "openvino": {"top1_agreement": 0.9}},
            "onnxruntime runs 1 of 4 layers in float, such as sum; openvino agrees on 90.00%",
        ),
    ],
)  # fmt: skip
def test_what_no_engine_proves_names_the_reasons(residual, monkeypatch, engines, wanted):
    asked = answering(monkeypatch, engines)
    proof = prove(*residual("tensorrt"))
    assert not proof.deployable and proof.engine == "onnxruntime"
    assert wanted in proof.reason
    assert asked == list(engines)


def test_the_academic_setting_asks_no_engine():
    assert "of papers" in prove(None, None, np.zeros([1]), "academic").reason
