"""C++ operators stay in training programs: what can be saved runs without them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant import kernels
from paddle_custom_quant.deploy import freeze, load_program
from paddle_custom_quant.inspection.reading import read_model
from paddle_custom_quant.qat.lower import FORMULAS, lowered
from paddle_custom_quant.quantizers import (
    DSQ,
    LSQ,
    N2UQ,
    AbsMax,
    DoReFaActivation,
    DoReFaWeight,
    LQNet,
    LSQPlus,
    MovingAverageAbsMax,
)
from paddle_custom_quant.quantizers.fused import dorefa_weight, dsq, fake_quantize
from paddle_custom_quant.quantizers.look_up import nearest_level
from paddle_custom_quant.scope import write
from tests.kernels.agreement import needs_kernels
from tests.qat.small_net import CONFIG, batch, small_net, value

pytestmark = needs_kernels

CPU = paddle.CPUPlace()
PAIRS = {
    "dorefa": (DoReFaWeight(4, rescale=True), DoReFaActivation(4)),
    "lsq by channel": (LSQ(4, per_channel=True), LSQ(4, signed=False)),
    "lsq+": (LSQPlus(4), LSQPlus(4)),
    "dsq": (DSQ(4), DSQ(4)),
    "lq-net": (LQNet(3, per_channel=True), LQNet(3, signed=False)),
    "n2uq": (N2UQ(4), N2UQ(4, signed=False)),
    "uniform": (AbsMax(8, per_channel=True), MovingAverageAbsMax(8)),
}


class Trained:
    """A small net after a step: its training program, a clone of that, and its test program."""

    def __init__(self, executor: Any, rng: np.random.Generator, pair: str) -> None:
        weight, activation = PAIRS[pair]
        functions = {"weight_quantize_func": weight, "act_quantize_func": activation}
        net = small_net()
        executor.run(net.startup)
        self.train = pcq.quant_aware(
            net.main,
            CPU,
            CONFIG,
            optimizer_func=lambda: paddle.optimizer.SGD(0.01),
            return_program=True,
            **functions,
        )
        executor.run(self.train, feed=batch(rng))
        self.clone = self.train.clone(for_test=True)
        self.test = pcq.quant_aware(net.test, CPU, CONFIG, for_test=True, **functions)
        self.logits, self.executor = net.logits, executor
        self.feed = batch(rng)

    def run(self, program: Any) -> np.ndarray:
        """The logits; ranges that a clone goes on to measure are put back."""
        parameters = self.train.quantization.parameters.values()
        states = {p.name: value(p.name) for p in parameters if not p.trainable}
        (logits,) = self.executor.run(program, feed=self.feed, fetch_list=[self.logits])
        for name, state in states.items():
            write(static.global_scope(), CPU, name, state)
        return np.asarray(logits)

    def save(self, program: Any, path: Path) -> None:
        """Save for inference, and check the kinds of operators that the file holds."""
        block = program.global_block()
        ends = [block.var("image")], [block.var(self.logits)]
        static.save_inference_model(str(path), *ends, self.executor, program=program)
        kinds = {op.kind for op in read_model(path).operators}
        assert "conv2d" in kinds and not any(kind.startswith("pcq_") for kind in kinds), kinds


def own(program: Any) -> list[str]:
    return [op.type for op in program.global_block().ops if op.type.startswith("pcq_")]


def told(program: Any) -> list[Any]:
    """What stands on the operators that write quantized copies."""
    ops = [op for op in program.global_block().ops if op.desc.has_attr("quantizer")]
    keys = "quantizer", "op_namescope", "op_role"
    return [(op.output("Out"), *map(op.desc.attr, keys)) for op in ops]


def name_scopes(program: Any) -> set[str]:
    return {op.desc.attr("op_namescope") for op in program.global_block().ops}


INFER = """
import sys
import numpy as np
from paddle import inference
folder = sys.argv[1]
for name in sys.argv[2:]:
    config = inference.Config(f"{folder}/{name}.pdmodel", f"{folder}/{name}.pdiparams")
    config.disable_gpu()
    config.disable_glog_info()
    predictor = inference.create_predictor(config)
    predictor.get_input_handle("image").copy_from_cpu(np.load(f"{folder}/{name}.npy"))
    predictor.run()
    output = predictor.get_output_handle(predictor.get_output_names()[0])
    np.save(f"{folder}/{name}.out.npy", output.copy_to_cpu())
assert not any(module.startswith("paddle_custom_quant") for module in sys.modules)
"""


def test_what_is_saved_runs_where_the_package_is_not(
    legacy: Any, rng: np.random.Generator, tmp_path: Path
) -> None:
    """All methods: test programs and clones of training programs; the models in a new process."""
    expected = {}
    for number, pair in enumerate(PAIRS):
        with static.scope_guard(static.Scope()):
            trained = Trained(legacy, rng, pair)
            assert any(kind.endswith("_grad") for kind in own(trained.train)), pair
            assert own(trained.clone) and not own(trained.test), pair
            plain = lowered(trained.clone)
            assert own(trained.clone) and not own(plain) and lowered(plain) is plain
            assert len(told(plain)) == 6 and told(plain) == told(trained.clone), pair
            assert name_scopes(plain) == name_scopes(trained.clone), pair
            models = {
                "test": trained.test,
                "test, converted": pcq.convert(trained.test, CPU, CONFIG),
                "clone, converted": pcq.convert(trained.clone, CPU, CONFIG),
            }
            for kind, model in models.items():
                name = f"{kind}, {number}"
                expected[name] = trained.run(trained.clone if "clone" in kind else trained.test)
                np.save(tmp_path / f"{name}.npy", trained.feed["image"])
                trained.save(model, tmp_path / name)
                if kind == "test, converted":
                    stored = {v.name for v in model.list_vars() if v.persistable}
                    assert {out for (out,), *_ in told(plain) if ".w_0." in out} <= stored, pair
    command = [sys.executable, "-W", "ignore", "-c", INFER, str(tmp_path), *expected]
    # Not where the package could be found by its folder.
    subprocess.run(command, check=True, cwd=tmp_path, timeout=300)
    for name, values in expected.items():
        got = np.load(tmp_path / f"{name}.out.npy")
        np.testing.assert_allclose(got, values, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("pair", ["dorefa", "lsq by channel", "lsq+"])
def test_freeze_reads_a_clone_as_the_test_program(
    legacy: Any, rng: np.random.Generator, pair: str
) -> None:
    trained = Trained(legacy, rng, pair)
    one, other = (
        freeze(program, inputs=["image"], outputs=[trained.logits])
        for program in (trained.clone, trained.test)
    )
    assert [layer.kind for layer in one.layers] == [layer.kind for layer in other.layers]
    assert one.weights.keys() == other.weights.keys() and len(one.weights) == 3
    for name, weight in one.weights.items():
        np.testing.assert_array_equal(weight.integers, other.weights[name].integers)


def test_saved_training_program_needs_the_operators(
    legacy: Any, rng: np.random.Generator, tmp_path: Path, monkeypatch: Any
) -> None:
    trained = Trained(legacy, rng, "lsq+")
    static.save(trained.clone, str(tmp_path / "model"))
    program, scope = load_program(tmp_path / "model")
    with static.scope_guard(scope):
        np.testing.assert_array_equal(trained.run(program), trained.run(trained.clone))
    monkeypatch.setenv("PCQ_KERNELS", "0")
    with pytest.raises(ValueError, match=r"it holds C\+\+ operators \(pcq_"):
        load_program(tmp_path / "model")


def test_a_weight_may_be_frozen_before_autodiff(legacy: Any, rng: np.random.Generator) -> None:
    """It then has no gradient, which a C++ operator would have to write."""
    net = small_net(minimize=False)
    legacy.run(net.startup)
    functions = {"weight_quantize_func": LSQ(4), "act_quantize_func": LSQ(4)}
    program = pcq.quant_aware(net.main, CPU, CONFIG, return_program=True, **functions)
    assert not own(program)
    with static.program_guard(program, net.startup):
        loss = program.global_block().var(net.loss)
        paddle.optimizer.SGD(0.1).minimize(loss, no_grad_set={"conv2d_1.w_0"})
    legacy.run(net.startup)
    legacy.run(program, feed=batch(rng))


STEP = np.float32([0.3])
LEVELS = {"levels": np.float32([-1, 0, 2]), "thresholds": np.float32([-0.5, 1])}
CALLS: dict[str, Any] = {
    "fixed": lambda x, p: fake_quantize(x, p["step"], -8, 7),
    "fixed, offset": lambda x, p: fake_quantize(x, p["step"], 0, 7, offset=p["step"] * -3.0),
    "lsq by channel": lambda x, p: fake_quantize(x, p["steps"], -8, 7, axis=1, rule="lsq"),
    "clip, offset": lambda x, p: fake_quantize(
        x, p["step"], 0, 7, offset=p["step"] * -3.0, rule="clip"
    ),
    "dorefa": lambda x, p: dorefa_weight(x, 3),
    "dorefa, one bit": lambda x, p: dorefa_weight(x, 1, axis=1),
    "dorefa, rescaled": lambda x, p: dorefa_weight(x, 3, rescale=True, axis=0),
    "dsq": lambda x, p: dsq(x, p["step"] * -4.0, p["step"] * 5.0, p["step"], 3),
    "dsq by channel": lambda x, p: dsq(x, p["steps"] * -4.0, p["steps"], p["step"], 3, axis=1),
    "levels": lambda x, p: nearest_level(x, **LEVELS),
    "scaled levels": lambda x, p: nearest_level(
        x, **LEVELS, scale=p["steps"], axis=1, rule="below"
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_operator_and_setting(legacy: Any, rng: np.random.Generator, name: str) -> None:
    program = static.default_main_program()
    feed = {"step": STEP, "steps": np.float32([0.2, 0.3, 0.5])}
    feed["x"] = rng.normal(size=(4, 3, 5)).astype("float32")
    shapes = {"x": [4, 3, 5], "step": [1], "steps": [3]}
    given = {key: static.data(key, shape, "float32") for key, shape in shapes.items()}
    with kernels.in_programs():
        y = CALLS[name](given["x"], given)
        z = y + given["x"]  # what follows still finds its input
    assert len(own(program)) == 1
    (expected,) = legacy.run(program, feed=feed, fetch_list=[z])
    (got,) = legacy.run(lowered(program), feed=feed, fetch_list=[z.name])
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_every_operator_has_a_formula() -> None:
    text = "".join(path.read_text() for path in Path(kernels.__path__[0]).glob("*.cc"))
    built = {line[12:-1] for line in text.splitlines() if line.startswith("PD_BUILD_OP(")}
    assert built == FORMULAS.keys()
