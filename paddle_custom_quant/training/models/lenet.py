"""LeNet, plain and with batch normalisation."""

from __future__ import annotations

import warnings
from typing import Any

import paddle
from paddle import nn

# Batch norm starts with this standard deviation: at 1, max pooling would put half of the values
# above 1, where DoReFa's activations have no levels and pass no gradient.
_DEVIATION = 0.5


class LeNet(nn.Layer):
    """The LeNet of ``paddle.vision.models``: two convolutions, three linear layers.

    Nothing normalises between layers and no ReLU stands between the linear ones.

    Args:
        classes: number of outputs.
        channels: of the images.
        side: height and width of the images: 28, 32 or any other multiple of 4 from 16 on.
        batch_norm: normalise after each convolution and each hidden linear layer.
    """

    def __init__(
        self, classes: int = 10, channels: int = 1, side: int = 28, batch_norm: bool = False
    ) -> None:
        super().__init__()

        def normalised(layer: Any, kind: Any, channels: int) -> list[Any]:
            start = paddle.ParamAttr(initializer=nn.initializer.Constant(_DEVIATION))
            return [layer, kind(channels, weight_attr=start)] if batch_norm else [layer]

        def conv(channels: int, outputs: int, kernel: int, padding: int) -> list[Any]:
            layer = nn.Conv2D(channels, outputs, kernel, padding=padding)
            return [*normalised(layer, nn.BatchNorm2D, outputs), nn.ReLU(), nn.MaxPool2D(2, 2)]

        def hidden(inputs: int, outputs: int) -> list[Any]:
            return normalised(nn.Linear(inputs, outputs), nn.BatchNorm1D, outputs)

        self.features = nn.Sequential(*conv(channels, 6, 3, 1), *conv(6, 16, 5, 0))
        features = 16 * (side // 4 - 2) ** 2
        layers = [*hidden(features, 120), *hidden(120, 84), nn.Linear(84, classes)]
        self.classifier = nn.Sequential(*layers)

    def forward(self, image: Any) -> Any:
        """Logits ``[N, classes]`` of images ``[N, channels, side, side]``."""
        with warnings.catch_warnings():
            # Paddle's batch norm warns that it tracks statistics in training, as it should.
            warnings.filterwarnings("ignore", "When training, we now always track")
            return self.classifier(paddle.flatten(self.features(image), 1))


class LeNetBN(LeNet):
    """:class:`LeNet` with batch normalisation after each convolution and hidden linear layer.

    The scale of each batch normalisation starts at 1/2.
    """

    def __init__(self, classes: int = 10, channels: int = 1, side: int = 28) -> None:
        super().__init__(classes, channels, side, batch_norm=True)
