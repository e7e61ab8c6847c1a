"""The operators in programs give what they give in the dynamic graph, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import static
from paddle.framework import IrGraph, core

from paddle_custom_quant import kernels
from paddle_custom_quant.compat import PADDLE3
from paddle_custom_quant.quantizers.fused import dorefa_weight, dsq, fake_quantize
from paddle_custom_quant.quantizers.look_up import nearest_level
from tests.kernels.agreement import evaluate, needs_kernels

pytestmark = needs_kernels

LSQ = partial(fake_quantize, qmin=-8, qmax=7, rule="lsq", gradient_scale=0.3)
LEVELS = {"levels": np.float32([-1, 0, 2]), "thresholds": np.float32([-0.5, 1])}
STEPS, OFFSETS = np.float32([0.1, 0.2, 0.3]), np.float32([-0.1, 0, 0.1])
FORMULAS: dict[str, tuple[Any, dict[str, Any]]] = {
    "fixed": (partial(fake_quantize, step=0.25, qmin=0, qmax=15), {}),
    "lsq": (LSQ, {"step": STEPS[:1]}),
    "lsq by channel": (partial(LSQ, axis=1), {"step": STEPS}),
    "lsq+": (LSQ, {"step": STEPS[:1], "offset": OFFSETS[:1]}),
    "dorefa": (partial(dorefa_weight, bits=4), {}),
    "dorefa by channel": (partial(dorefa_weight, bits=4, axis=1), {}),
    "dsq": (partial(dsq, bits=3), {"low": [-1.0], "high": [2.0], "alpha": [0.3]}),
    "levels": (partial(nearest_level, **LEVELS), {}),
    "scaled levels": (partial(nearest_level, **LEVELS, axis=1), {"scale": STEPS * 5}),
}
CASES = pytest.mark.parametrize("name", FORMULAS)
RNG = np.random.default_rng(5)
X, GRADIENT = RNG.normal(size=(2, 5, 3, 4)).astype("float32")[:, :, :, :3]


@pytest.fixture(autouse=True)
def in_programs() -> Iterator[None]:
    """Programs hold the operators here, as those that ``quant_aware`` makes for training do."""
    with kernels.in_programs():
        yield


class Program:
    """One formula with its gradients, built in the current mode."""

    def __init__(self, name: str, x_has_gradient: bool = True) -> None:
        formula, tensors = FORMULAS[name]
        shape = [-1, *X.shape[1:]]
        self.main = static.default_main_program()
        x = static.data("x", shape, "float32")
        x.stop_gradient = not x_has_gradient
        gradient = static.data("g", shape, "float32")
        self.feed = {"x": X, "g": GRADIENT}
        given = {}
        for key, value in tensors.items():
            self.feed[key] = np.asarray(value, "float32")
            given[key] = static.data(key, list(self.feed[key].shape), "float32")
            given[key].stop_gradient = False
        self.y = formula(x, **given)
        sources = {**({"x": x} if x_has_gradient else {}), **given}
        found = static.gradients([self.y], list(sources.values()), target_gradients=[gradient])
        self.fetch = {"y": self.y, **dict(zip(sources, found))}

    def check(self, name: str, program: Any = None) -> None:
        """Run; compare with the dynamic graph."""
        executor = static.Executor(paddle.CPUPlace())
        fetch = list(self.fetch.values())
        if program is not None:
            fetch = [v.name for v in fetch]
        values = executor.run(program or self.main, feed=self.feed, fetch_list=fetch)
        formula, tensors = FORMULAS[name]
        with paddle.base.dygraph.guard(paddle.CPUPlace()):
            expected = evaluate(formula, X, GRADIENT, tensors)
        for key, value in zip(self.fetch, values):
            np.testing.assert_array_equal(value, expected[key], err_msg=key)


@CASES
def test_old_program(legacy: Any, name: str) -> None:
    program = Program(name)
    assert tuple(program.y.shape) == (-1, 3, 3) and program.y.dtype == paddle.float32
    kinds = [op.type for op in program.main.global_block().ops]
    assert sum(kind.startswith("pcq_") for kind in kinds) == 2, kinds
    program.check(name)


@CASES
def test_through_an_ir_graph_with_roles_and_scopes(legacy: Any, name: str) -> None:
    """As the engine does it: descriptions copied, attributes set, the graph made a program."""
    program = Program(name)
    block = program.main.global_block()
    for op in block.ops:
        if op.type.startswith("pcq_"):
            copy = core.OpDesc()
            copy.copy_from(op.desc)
            copy._set_attr("op_role", int("grad" in op.type))
            copy._set_attr("op_namescope", "/conv.lsq/")
            op.desc.copy_from(copy)
    graph = IrGraph(core.Graph(program.main.desc), for_test=False)
    program.check(name, graph.to_program())


@CASES
def test_cloned_and_serialized(legacy: Any, name: str) -> None:
    program = Program(name)
    program.check(name, program.main.clone())
    text = program.main.desc.serialize_to_string()
    program.check(name, static.Program.parse_from_string(text))


def test_clone_for_test_drops_the_backward(legacy: Any) -> None:
    x = static.data("x", [-1, 3], "float32")
    y = LSQ(static.nn.fc(x, 3), step=paddle.create_parameter([1], "float32"))
    static.append_backward(paddle.mean(y))
    kinds = [op.type for op in static.default_main_program().global_block().ops]
    assert "pcq_fake_quantize_step_grad" in kinds
    clone = static.default_main_program().clone(for_test=True)
    kinds = [op.type for op in clone.global_block().ops]
    assert "pcq_fake_quantize_step" in kinds and not any("_grad" in kind for kind in kinds)


@CASES
def test_compiled_program(legacy: Any, name: str) -> None:
    program = Program(name)
    program.check(name, static.CompiledProgram(program.main))


@CASES
def test_saved_model(legacy: Any, name: str, tmp_path: Path) -> None:
    program = Program(name)
    keys = ["x", *FORMULAS[name][1]]
    inputs = [program.main.global_block().var(key) for key in keys]
    static.save_inference_model(str(tmp_path / "m"), inputs, [program.y], legacy)
    loaded, names, outputs = static.load_inference_model(str(tmp_path / "m"), legacy)
    (value,) = legacy.run(loaded, feed={k: program.feed[k] for k in names}, fetch_list=outputs)
    with paddle.base.dygraph.guard(paddle.CPUPlace()):
        expected = evaluate(FORMULAS[name][0], X, GRADIENT, FORMULAS[name][1])
    np.testing.assert_array_equal(value, expected["y"])


@pytest.mark.parametrize("name", [name for name, (_, tensors) in FORMULAS.items() if tensors])
def test_input_without_gradient(legacy: Any, name: str) -> None:
    """The parameters of a quantizer on the model's input still learn."""
    Program(name, x_has_gradient=False).check(name)


def test_nothing_has_a_gradient(legacy: Any) -> None:
    x = static.data("x", [-1, 3], "float32")
    step = static.data("step", [1], "float32")
    hidden = paddle.static.nn.fc(LSQ(x, step=step), 2)
    static.append_backward(paddle.mean(hidden))
    kinds = [op.type for op in static.default_main_program().global_block().ops]
    assert kinds.count("pcq_fake_quantize_step") == 1
    assert "pcq_fake_quantize_step_grad" not in kinds and "assign" not in kinds


@pytest.mark.skipif(not PADDLE3, reason="Paddle 2.6 has no programs of the new kind")
@CASES
def test_new_program(name: str) -> None:
    paddle.enable_static()
    try:
        with static.program_guard(static.Program(), static.Program()):
            program = Program(name)
            assert tuple(program.y.shape) == (-1, 3, 3)
            program.check(name)
        with static.program_guard(static.Program(), static.Program()):
            if FORMULAS[name][1]:
                Program(name, x_has_gradient=False).check(name)
    finally:
        paddle.disable_static()


@CASES
def test_views_are_read_and_differentiated_in_their_own_order(name: str) -> None:
    """The dynamic graph hands over transposed views, forward and backward."""
    formula, tensors = FORMULAS[name]
    expected = evaluate(formula, X, GRADIENT, tensors)
    x = paddle.to_tensor(np.ascontiguousarray(X.transpose(2, 0, 1)), stop_gradient=False)
    given = {k: paddle.to_tensor(np.float32(v), stop_gradient=False) for k, v in tensors.items()}
    y = formula(x.transpose([1, 2, 0]), **given).transpose([2, 1, 0])
    y.backward(paddle.to_tensor(np.ascontiguousarray(GRADIENT.transpose(2, 1, 0))))
    np.testing.assert_array_equal(y.numpy().transpose(2, 1, 0), expected["y"])
    np.testing.assert_array_equal(x.grad.numpy().transpose(1, 2, 0), expected["x"])
    for key, tensor in given.items():
        np.testing.assert_array_equal(tensor.grad.numpy(), expected[key], err_msg=key)
