"""Switching to programs of the old kind, and back without a trace."""

from __future__ import annotations

import sys
import threading
import types

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from paddle_custom_quant import compat


def _state() -> tuple[object, ...]:
    """Mode, kind of program, and every function that is replaced for old programs."""
    names = ("Program", "program_guard", "default_main_program", "default_startup_program")
    flags = paddle.get_flags(["FLAGS_enable_pir_api", "FLAGS_enable_pir_in_executor"])
    variable = dict(vars(paddle.base.framework.Variable))
    functions = {
        (name, key): value
        for name, module in list(sys.modules.items())
        if name.startswith("paddle.") and isinstance(module, types.ModuleType)
        for key, value in list(vars(module).items())
        if callable(value)
    }
    kind = [getattr(owner, name) for owner in (paddle.static, paddle.base) for name in names]
    mode = (paddle.in_dynamic_mode(), paddle.is_grad_enabled(), str(paddle.float32))
    return mode, flags, kind, variable, functions


class _Stop(Exception):
    pass


def _assert_unchanged(before: tuple[object, ...]) -> None:
    for was, now in zip(before, _state()):
        assert was == now


def test_legacy_static_puts_everything_back() -> None:
    before = _state()
    with compat.legacy_static():
        assert compat.in_legacy_static()
        assert not paddle.in_dynamic_mode()
        compat.require_legacy_static()
        if compat.PADDLE3:
            assert before[-1] != _state()[-1]
            assert paddle.static.Program is not before[2][0]
    _assert_unchanged(before)
    assert not compat.in_legacy_static()


def test_legacy_static_puts_everything_back_after_an_error() -> None:
    before = _state()
    with pytest.raises(_Stop), compat.legacy_static():
        raise _Stop
    _assert_unchanged(before)


def test_legacy_static_nests() -> None:
    before = _state()
    with compat.legacy_static():
        within = _state()
        with compat.legacy_static():
            assert compat.in_legacy_static()
        _assert_unchanged(within)
        with pytest.raises(_Stop), compat.legacy_static():
            raise _Stop
        _assert_unchanged(within)
    _assert_unchanged(before)


def test_legacy_static_in_static_mode() -> None:
    paddle.enable_static()
    try:
        before = _state()
        with compat.legacy_static():
            assert compat.in_legacy_static()
        _assert_unchanged(before)
        assert compat.in_legacy_static() is not compat.PADDLE3
    finally:
        paddle.disable_static()


@pytest.mark.parametrize("switch", ["enable_static", "disable_static"])
@pytest.mark.parametrize("within", ["enable_static", "disable_static"])
def test_legacy_static_puts_back_the_mode_that_was_switched_within(
    switch: str, within: str
) -> None:
    getattr(paddle, switch)()
    try:
        before = _state()
        with compat.legacy_static():
            getattr(paddle, within)()
        _assert_unchanged(before)
    finally:
        paddle.disable_static()


def test_legacy_static_keeps_gradient_recording() -> None:
    with paddle.no_grad():
        with compat.legacy_static():
            pass
        assert not paddle.is_grad_enabled()
    assert paddle.is_grad_enabled()
    x = paddle.to_tensor([2.0], stop_gradient=False)
    (x * x).backward()
    np.testing.assert_allclose(x.grad.numpy(), [4.0])


def test_legacy_static_does_not_reuse_layer_names() -> None:
    before = nn.Linear(1, 1).weight.name
    with compat.legacy_static():
        pass
    assert nn.Linear(1, 1).weight.name != before


def test_legacy_static_leaves_the_default_programs() -> None:
    with compat.legacy_static():
        main = paddle.static.default_main_program()
        with compat.legacy_static():
            assert paddle.static.default_main_program() is main


def test_old_operators_leave_no_trace() -> None:
    before = _state()
    with compat.old_operators(), compat.old_operators():
        np.testing.assert_array_equal(paddle.abs(paddle.to_tensor([-1.0])).numpy(), [1.0])
        np.testing.assert_array_equal((-paddle.to_tensor([-1.0])).round().numpy(), [1.0])
    _assert_unchanged(before)
    with pytest.raises(_Stop), compat.old_operators():
        raise _Stop
    _assert_unchanged(before)


def test_old_operators_respect_what_a_module_rebinds(monkeypatch: pytest.MonkeyPatch) -> None:
    module, normalize = types.ModuleType("a_users_module"), F.normalize
    module.normalize = module.remainder = normalize
    module.lerp = paddle.lerp
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with compat.old_operators():
        assert (module.normalize is not normalize) is compat.PADDLE3
        module.lerp = None
    assert module.normalize is module.remainder is normalize
    assert module.lerp is None
    module.normalize = None
    with compat.old_operators():
        assert module.normalize is None
    assert module.normalize is None


@pytest.mark.skipif(not compat.PADDLE3, reason="Paddle 2.6 has no programs of the new kind")
def test_old_operators_leave_new_programs_alone() -> None:
    paddle.enable_static()
    try:
        main = paddle.static.Program()
        with compat.old_operators(), paddle.static.program_guard(main):
            x = paddle.static.data("x", [2])
            result = paddle.maximum(paddle.round(x), x.abs()).sum()
        value = paddle.static.Executor().run(main, {"x": np.float32([1.7, -0.4])}, [result])[0]
        with pytest.raises(ValueError, match="new kind"):
            compat.require_legacy_static()
        with compat.legacy_static(), pytest.raises(TypeError, match="legacy_static"):
            compat.require_legacy_static(main)
    finally:
        paddle.disable_static()
    np.testing.assert_allclose(value, 2.4, rtol=1e-6)


def test_old_operators_in_threads_that_overlap() -> None:
    before = _state()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with compat.old_operators():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    with compat.old_operators():
        thread.start()
        assert entered.wait(10)
    within = _state()
    leave.set()
    thread.join(10)
    _assert_unchanged(before)
    assert (within[-1] != before[-1]) is compat.PADDLE3


def test_require_legacy_static_says_how() -> None:
    with pytest.raises(ValueError, match=r"dynamic mode.*with pcq.legacy_static"):
        compat.require_legacy_static()
    with compat.legacy_static():
        compat.require_legacy_static(paddle.static.Program())
        with pytest.raises(TypeError, match=r"builtins.str.*with pcq.legacy_static"):
            compat.require_legacy_static("main")


def test_a_detached_copy_keeps_its_values_beside_operators_that_work_in_place(legacy, rng):
    image = paddle.static.data("image", [None, 64])
    outputs = [image + (paddle.round(image.detach()) - image.detach())]
    for _ in range(3):
        outputs.append(outputs[-1] + (paddle.round(outputs[-1].detach()) - outputs[-1].detach()))
    values = rng.uniform(-4, 4, (256, 64)).astype("float32")
    program = paddle.static.default_main_program()
    (result,) = legacy.run(program, {"image": values}, [outputs[-1]])
    np.testing.assert_allclose(result, np.rint(values), atol=1e-5)
    assert "share_data" not in [op.type for op in program.global_block().ops]
    assert outputs[0].detach().stop_gradient
