"""The thin residual nets for CIFAR-10."""

from __future__ import annotations

from typing import Any

from paddle import nn

from .resnet import BasicBlock


class CifarResNet(nn.Layer):
    """ResNet-8, 20, 32, 44, 56 or 110: three stages of 16, 32 and 64 channels.

    ResNet-8 is the net of MLPerf Tiny's image classification.

    Shortcuts where shapes change are 1 x 1 convolutions.

    Args:
        depth: 6 n + 2 layers.
        classes: number of outputs.
        channels: of the images.

    Raises:
        ValueError: the depth is not 6 n + 2.

    Source:
        arXiv 1512.03385, section 4.2.
    """

    def __init__(self, depth: int = 20, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6 n + 2, such as 20 or 56, got {depth}.")
        stem = nn.Conv2D(channels, 16, 3, padding=1, bias_attr=False)
        layers: list[Any] = [stem, nn.BatchNorm2D(16), nn.ReLU()]
        inputs = 16
        for outputs, stride in ((16, 1), (32, 2), (64, 2)):
            for number in range((depth - 2) // 6):
                layers.append(BasicBlock(inputs, outputs, stride if number == 0 else 1))
                inputs = outputs
        head = [nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(inputs, classes)]
        self.layers = nn.Sequential(*layers, *head)

    def forward(self, image: Any) -> Any:
        """Logits ``[N, classes]`` of images ``[N, channels, H, W]``."""
        return self.layers(image)
