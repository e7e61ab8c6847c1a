from __future__ import annotations

import numpy as np
import paddle
import pytest

from paddle_custom_quant.training.constrain import clamp_output, clamp_weight


def run(function, values):
    x = paddle.to_tensor(values, stop_gradient=False)
    y = function(x)
    y.sum().backward()
    return y.numpy(), x.grad.numpy()


@pytest.mark.parametrize("multiple", [1.5, 7.0])
def test_weights_are_clipped_at_a_multiple_of_their_mean(rng, multiple):
    w = rng.standard_t(2, (8, 4, 3, 3)).astype(np.float32)
    bound = min(multiple * np.abs(w).mean(dtype=np.float64), np.abs(w).max())
    y, gradient = run(clamp_weight(multiple), w)
    np.testing.assert_allclose(y, np.clip(w, -bound, bound), rtol=1e-5)
    clear = np.abs(np.abs(w) - bound) > 1e-4 * bound
    inside = np.abs(w) < bound
    assert (~inside).any()
    # The bound is detached: nothing but 1 and 0.
    np.testing.assert_array_equal(gradient[clear], inside[clear].astype(np.float32))


def test_outputs_are_clipped_at_the_bound():
    y, gradient = run(clamp_output(8.0), np.float32([-9, -8, 0.5, 7, 100]))
    assert y.tolist() == [-8, -8, 0.5, 7, 8] and gradient.tolist() == [0, 1, 1, 1, 0]
