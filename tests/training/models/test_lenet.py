from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle.vision import models

from paddle_custom_quant.training.models import LeNet, LeNetBN


@pytest.fixture(autouse=True)
def dynamic():
    paddle.disable_static()


def test_lenet_is_paddles(rng):
    ours, theirs = LeNet(), models.LeNet()
    for mine, other in zip(ours.parameters(), theirs.parameters()):
        assert mine.shape == other.shape
        mine.set_value(other)
    assert len(ours.parameters()) == len(theirs.parameters()) == 10
    image = paddle.to_tensor(rng.normal(size=(3, 1, 28, 28)).astype(np.float32))
    np.testing.assert_array_equal(ours(image).numpy(), theirs(image).numpy())


def test_lenet_bn_normalises_each_hidden_layer(recwarn):
    layers = [type(layer).__name__ for layer in LeNetBN().sublayers()]
    for kind, norm in (("Conv2D", "BatchNorm2D"), ("Linear", "BatchNorm1D")):
        places = [i for i, name in enumerate(layers) if name == kind]
        assert len(places) == {"Conv2D": 2, "Linear": 3}[kind]
        assert [layers[i + 1] for i in places if i + 1 < len(layers)] == [norm] * 2
    net = LeNetBN()
    hidden = []
    net.features[1].register_forward_post_hook(lambda *given: hidden.append(given[2]))
    net(paddle.randn([64, 1, 28, 28]) * 5 + 3)
    values = hidden[0].numpy()
    np.testing.assert_allclose(values.mean(axis=(0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(values.std(axis=(0, 2, 3)), 0.5, atol=1e-2)
    assert not [w for w in recwarn if "global mean" in str(w.message)]
