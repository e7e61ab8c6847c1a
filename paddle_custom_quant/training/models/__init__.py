"""Nets for demos, recipes and measurements, by name."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable

from .lenet import LeNet, LeNetBN
from .mobilenet_v2 import MobileNetV2
from .resnet import ResNet18
from .resnet_cifar import CifarResNet
from .vgg import VGGSmall


def _cifar(depth: int, classes: int, channels: int, side: int) -> CifarResNet:
    return CifarResNet(depth, classes, channels)


def _any_size(net: Callable[[int, int], Any], classes: int, channels: int, side: int) -> Any:
    return net(classes, channels)


# Called with the number of classes, and channels and side of the images.
NETS: dict[str, Callable[[int, int, int], Any]] = {
    "LeNet": LeNet,
    "LeNetBN": LeNetBN,
    **{f"ResNet-{depth}": partial(_cifar, depth) for depth in (8, 20, 32, 56)},
    "ResNet-18": partial(_any_size, ResNet18),
    "MobileNetV2": partial(_any_size, MobileNetV2),
    "VGG-small": VGGSmall,
}

# Nothing to fold in these.
WITHOUT_BATCH_NORM = ("LeNet",)

__all__ = [
    "NETS",
    "WITHOUT_BATCH_NORM",
    "CifarResNet",
    "LeNet",
    "LeNetBN",
    "MobileNetV2",
    "ResNet18",
    "VGGSmall",
]
