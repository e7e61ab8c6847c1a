"""ResNet-18 for small images."""

from __future__ import annotations

from typing import Any

from paddle import nn
from paddle.nn import functional as F


def _norm(channels: int) -> Any:
    return nn.BatchNorm2D(channels)


class BasicBlock(nn.Layer):
    """Two 3 x 3 convolutions and a shortcut, which is a 1 x 1 convolution where shapes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(inputs, outputs, 3, stride, padding=1, bias_attr=False)
        self.norm1 = _norm(outputs)
        self.conv2 = nn.Conv2D(outputs, outputs, 3, padding=1, bias_attr=False)
        self.norm2 = _norm(outputs)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2D(inputs, outputs, 1, stride, bias_attr=False)
            self.shortcut = nn.Sequential(conv, _norm(outputs))

    def forward(self, x: Any) -> Any:
        """``[N, inputs, H, W]`` to ``[N, outputs, H / stride, W / stride]``."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + (self.shortcut(x) if self.shortcut else x))


class ResNet18(nn.Layer):
    """ResNet-18 whose stem is one 3 x 3 convolution of stride 1, as for CIFAR-10.

    Args:
        classes: number of outputs.
        channels: of the images.
        width: channels of the stem; the four stages have 1, 2, 4 and 8 times as many.

    Source:
        arXiv 1512.03385, with the stem of section 4.2.
    """

    def __init__(self, classes: int = 10, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        stem = nn.Conv2D(channels, width, 3, padding=1, bias_attr=False)
        self.stem = nn.Sequential(stem, _norm(width), nn.ReLU())
        blocks, inputs = [], width
        for outputs, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
            blocks += [BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1)]
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))

    def forward(self, image: Any) -> Any:
        """Logits ``[N, classes]`` of images ``[N, channels, H, W]``."""
        return self.head(self.pool(self.blocks(self.stem(image))))
