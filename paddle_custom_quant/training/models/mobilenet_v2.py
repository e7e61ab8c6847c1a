"""MobileNetV2 for small images."""

from __future__ import annotations

from typing import Any

from paddle import nn

# expansion, channels, blocks, stride of the first block
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[Any]:
    conv = nn.Conv2D(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias_attr=False
    )
    return [conv, nn.BatchNorm2D(outputs)]


class InvertedResidual(nn.Layer):
    """Expand, depthwise, project without an activation; a shortcut where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [*_conv(inputs, hidden, 1), nn.ReLU6()] if expansion != 1 else []
        depthwise = [*_conv(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6()]
        self.layers = nn.Sequential(*expand, *depthwise, *_conv(hidden, outputs, 1))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Any) -> Any:
        """``[N, inputs, H, W]`` to ``[N, outputs, H / stride, W / stride]``."""
        return x + self.layers(x) if self.adds else self.layers(x)


class MobileNetV2(nn.Layer):
    """MobileNetV2 whose stem and second stage keep the resolution, as for CIFAR-10.

    Args:
        classes: number of outputs.
        channels: of the images.
        width: factor on the channels of every stage.

    Source:
        arXiv 1801.04381, table 2.
    """

    def __init__(self, classes: int = 10, channels: int = 3, width: float = 1.0) -> None:
        super().__init__()

        def scaled(count: int) -> int:
            return max(8, int(count * width + 4) // 8 * 8)

        inputs = scaled(32)
        layers: list[Any] = [*_conv(channels, inputs, 3), nn.ReLU6()]
        for expansion, count, blocks, stride in _STAGES:
            for index in range(blocks):
                first = stride if index == 0 else 1
                layers.append(InvertedResidual(inputs, scaled(count), first, expansion))
                inputs = scaled(count)
        last = max(1280, scaled(1280))
        layers += [*_conv(inputs, last, 1), nn.ReLU6()]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(last, classes))

    def forward(self, image: Any) -> Any:
        """Logits ``[N, classes]`` of images ``[N, channels, H, W]``."""
        return self.head(self.pool(self.features(image)))
