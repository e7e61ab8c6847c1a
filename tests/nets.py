"""The nets of the equality table, small, as static programs of the old kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable
from unittest.mock import patch

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F
from paddle.vision import models

Feed = dict[str, np.ndarray]


@dataclass(frozen=True)
class Net:
    """``loss()`` appends the net to the current program; ``feed(rng, dtype)`` is its input.

    ``tolerance`` is what the order of a sum alone may move a float32 gradient by, relative to the
    gradient's largest entry: batch norm over few values divides small differences.
    """

    loss: Callable[[], Any]
    feed: Callable[[np.random.Generator, str], Feed]
    tolerance: float = 1e-5


@contextmanager
def default_dtype(dtype: str) -> Iterator[None]:
    """Parameters and inputs of nets built in this block have ``dtype``."""
    before = paddle.get_default_dtype()
    paddle.set_default_dtype(dtype)
    try:
        yield
    finally:
        paddle.set_default_dtype(before)


CLASSES = 10
DEEP = 3e-4


def classifier(make: Callable[[], Any], shape: tuple[int, ...], tolerance: float = 1e-5) -> Net:
    """A net from images ``shape`` (batch first) to class scores, with cross entropy."""

    def loss() -> Any:
        image = paddle.static.data("image", shape, paddle.get_default_dtype())
        label = paddle.static.data("label", [shape[0], 1], "int64")
        net = make()
        for layer in net.sublayers():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0  # two programs do not draw the same numbers
        scores = net(image)
        scores = scores if isinstance(scores, (list, tuple)) else [scores]
        return paddle.add_n([F.cross_entropy(s, label) for s in scores])

    def feed(rng: np.random.Generator, dtype: str) -> Feed:
        image = rng.standard_normal(shape).astype(dtype)
        return {"image": image, "label": rng.integers(0, CLASSES, [shape[0], 1])}

    return Net(loss, feed, tolerance)


def alexnet() -> Any:
    """AlexNet's layers with 64 units in the place of 4096."""
    net = models.AlexNet(num_classes=0)
    net.num_classes = CLASSES
    net._drop1 = net._drop2 = nn.Dropout(0.0)
    net._fc6, net._fc7 = nn.Linear(256 * 6 * 6, 64), nn.Linear(64, 64)
    net._fc8 = nn.Linear(64, CLASSES)
    return net


def vgg11() -> Any:
    """VGG-11's convolutions and three linear layers of 64 units, for 32 x 32 images."""
    widths = [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]
    net = models.VGG(models.vgg.make_layers(widths), num_classes=0, with_pool=False)
    net.num_classes = CLASSES
    net.classifier = nn.Sequential(
        nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES)
    )
    return net


def googlenet() -> Any:
    """GoogLeNet with its three outputs, the two early ones for images of 93 x 93."""
    net = models.GoogLeNet(CLASSES)
    net._fc_o1, net._fc_o2 = nn.Linear(128, 64), nn.Linear(128, 64)
    net._out1, net._out2 = nn.Linear(64, CLASSES), nn.Linear(64, CLASSES)
    return net


class Block(nn.Layer):
    """Two convolutions and a shortcut, as in the CIFAR ResNets."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2D(inputs, outputs, 3, stride, padding=1, bias_attr=False)
        self.first_norm = nn.BatchNorm2D(outputs)
        self.second = nn.Conv2D(outputs, outputs, 3, padding=1, bias_attr=False)
        self.second_norm = nn.BatchNorm2D(outputs)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2D(inputs, outputs, 1, stride, bias_attr=False)

    def forward(self, x: Any) -> Any:
        y = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        return F.relu(y + (self.shortcut(x) if self.shortcut else x))


def densenet121() -> Any:
    """DenseNet-121, whose batch norm is float32 unless told otherwise."""
    norm = partial(nn.BatchNorm, dtype=paddle.get_default_dtype())
    with patch.object(models.densenet, "BatchNorm", norm):
        return models.densenet121(num_classes=CLASSES)


def resnet20() -> Any:
    """ResNet-20 for CIFAR, with a quarter of the channels."""
    blocks, width = [], 4
    for channels in (4, 8, 16):
        for i in range(3):
            blocks.append(Block(width, channels, 2 if i == 0 and channels != width else 1))
            width = channels
    head = nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(width, CLASSES))
    stem = (nn.Conv2D(3, 4, 3, padding=1, bias_attr=False), nn.BatchNorm2D(4), nn.ReLU())
    return nn.Sequential(*stem, *blocks, head)


def transformer(layers: int = 2, words: int = 17, width: int = 16, length: int = 6) -> Net:
    """An encoder whose word embedding is also its output layer."""

    def loss() -> Any:
        text = paddle.static.data("text", [2, length], "int64")
        following = paddle.static.data("following", [2, length], "int64")
        embedding = nn.Embedding(words, width)
        x = embedding(text)
        for _ in range(layers):
            # Attention does not depend on a bias of its keys: the gradient would be rounding alone.
            x = nn.TransformerEncoderLayer(
                width, 2, 2 * width, dropout=0.0, bias_attr=[False, None]
            )(x)
        scores = paddle.matmul(x, embedding.weight, transpose_y=True)
        return F.cross_entropy(scores, following)

    def feed(rng: np.random.Generator, dtype: str) -> Feed:
        return {name: rng.integers(0, words, [2, length]) for name in ("text", "following")}

    return Net(loss, feed)


def unet(size: int = 16) -> Net:
    """Two levels down, two up with transposed convolutions, and the maps of the way down."""

    def stage(x: Any, channels: int) -> Any:
        x = nn.Conv2D(x.shape[1], channels, 3, padding=1)(x)
        return F.relu(nn.BatchNorm2D(channels)(x))

    def up(x: Any, across: Any) -> Any:
        channels = across.shape[1]
        x = nn.Conv2DTranspose(x.shape[1], channels, 2, stride=2)(x)
        return stage(paddle.concat([x, across], axis=1), channels)

    def loss() -> Any:
        image = paddle.static.data("image", [2, 3, size, size], paddle.get_default_dtype())
        mask = paddle.static.data("mask", [2, 1, size, size], paddle.get_default_dtype())
        top = stage(image, 4)
        middle = stage(F.max_pool2d(top, 2), 8)
        bottom = stage(F.max_pool2d(middle, 2), 16)
        scores = nn.Conv2D(4, 1, 1)(up(up(bottom, middle), top))
        return F.mse_loss(scores, mask)

    def feed(rng: np.random.Generator, dtype: str) -> Feed:
        image = rng.standard_normal([2, 3, size, size]).astype(dtype)
        return {"image": image, "mask": (image[:, :1] > 0).astype(dtype)}

    return Net(loss, feed)


NETS = {
    "lenet": classifier(lambda: models.LeNet(CLASSES), (4, 1, 28, 28)),
    "resnet18": classifier(lambda: models.resnet18(num_classes=CLASSES), (4, 3, 64, 64), DEEP),
    "resnet20": classifier(resnet20, (8, 3, 32, 32), DEEP),
    "resnet50": classifier(lambda: models.resnet50(num_classes=CLASSES), (4, 3, 64, 64), DEEP),
    "mobilenet_v1": classifier(
        lambda: models.mobilenet_v1(scale=0.25, num_classes=CLASSES), (4, 3, 64, 64), DEEP
    ),
    "mobilenet_v2": classifier(
        lambda: models.mobilenet_v2(scale=0.25, num_classes=CLASSES), (4, 3, 64, 64), DEEP
    ),
    "mobilenet_v3_small": classifier(
        lambda: models.mobilenet_v3_small(scale=0.5, num_classes=CLASSES), (4, 3, 64, 64), DEEP
    ),
    "vgg11": classifier(vgg11, (2, 3, 32, 32)),
    "densenet121": classifier(densenet121, (4, 3, 64, 64), DEEP),
    # 58 layers in which nothing is normalised: float32 sums cancel as they do in deep nets.
    "googlenet": classifier(googlenet, (2, 3, 93, 93), DEEP),
    "shufflenet_v2": classifier(
        lambda: models.shufflenet_v2_x0_25(num_classes=CLASSES), (4, 3, 64, 64), DEEP
    ),
    "squeezenet": classifier(lambda: models.squeezenet1_1(num_classes=CLASSES), (2, 3, 64, 64)),
    "alexnet": classifier(alexnet, (2, 3, 224, 224)),
    "transformer": transformer(),
    "unet": unet(),
}
