"""VGG-small."""

from __future__ import annotations

from typing import Any

from paddle import nn


class VGGSmall(nn.Layer):
    """Six 3 x 3 convolutions in pairs of 128, 256 and 512 channels, and one linear layer.

    Each convolution is followed by batch normalisation and ReLU, each pair by 2 x 2 max pooling.

    Args:
        classes: number of outputs.
        channels: of the images.
        side: height and width of the images, a multiple of 8.
        width: channels of the first pair.

    Source:
        The net of LQ-Net's CIFAR-10 results, arXiv 1807.10029, section 5.3.
    """

    def __init__(
        self, classes: int = 10, channels: int = 3, side: int = 32, width: int = 128
    ) -> None:
        super().__init__()
        layers: list[Any] = []
        inputs = channels
        for outputs in (width, 2 * width, 4 * width):
            for _ in range(2):
                conv = nn.Conv2D(inputs, outputs, 3, padding=1, bias_attr=False)
                layers += [conv, nn.BatchNorm2D(outputs), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2D(2, 2))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(inputs * (side // 8) ** 2, classes))

    def forward(self, image: Any) -> Any:
        """Logits ``[N, classes]`` of images ``[N, channels, side, side]``."""
        return self.head(self.features(image))
