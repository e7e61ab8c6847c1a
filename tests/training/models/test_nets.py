from __future__ import annotations

import numpy as np
import paddle
import pytest

from paddle_custom_quant.training.models import NETS

CONV = 3 * 3


@pytest.fixture(autouse=True)
def dynamic():
    paddle.disable_static()


def resnet(blocks, classes=10):
    """Parameters of a net with basic blocks at 16, 32 and 64 channels; norms have two a channel."""
    total = 3 * 16 * CONV + 2 * 16 + 64 * classes + classes
    for width in (16, 32, 64):
        inputs = max(width // 2, 16)
        total += inputs * width * CONV + (2 * blocks - 1) * width * width * CONV
        total += 2 * blocks * 2 * width
        if inputs != width:
            total += inputs * width + 2 * width
    return total


def vgg():
    pairs = [(3, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    return sum(i * o * CONV + 2 * o for i, o in pairs) + 512 * 16 * 10 + 10


# Counted by hand, not read off the nets.
SIZES = {"ResNet-8": resnet(1), "ResNet-20": resnet(3), "ResNet-56": resnet(9), "VGG-small": vgg()}


@pytest.mark.parametrize("name", SIZES)
def test_number_of_parameters(name):
    net = NETS[name](10, 3, 32)
    assert sum(int(np.prod(p.shape)) for p in net.parameters() if p.trainable) == SIZES[name]


@pytest.mark.parametrize("name", NETS)
def test_outputs_follow_the_number_of_classes(name):
    for channels, side in ((3, 32), (1, 28)):
        if name == "VGG-small" and side % 8:
            continue
        net = NETS[name](7, channels, side)
        net.eval()
        with paddle.no_grad():
            assert net(paddle.zeros([1, channels, side, side])).shape == [1, 7]
