"""A plain network without shortcuts, after VGG (Simonyan and Zisserman 2014, arXiv:1409.1556): for 32×32 on CPUs."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

WIDTHS = (64, 256, 256)
"""Channels of the three stages; those of the stem are half as many as the first one's."""


class Stage(nn.Module):
    """Two 3×3 convolutions, the first one's maps halved before they are normalized: a quarter of the memory to walk.

    Input (N, in_width, H, W), output (N, width, H/2, W/2).
    """

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, width, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D h w"]:
        """Convolve, pool, normalize and rectify; convolve, normalize and rectify."""
        x = self.relu1(self.bn1(self.pool(self.conv1(x))))
        return self.relu2(self.bn2(self.conv2(x)))


class PlainNet(nn.Module):
    """A stem at full resolution, three stages, the mean over positions, one linear layer."""

    def __init__(self, *, class_count: int) -> None:
        super().__init__()
        stem = WIDTHS[0] // 2
        self.conv1 = nn.Conv2d(3, stem, 5, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        self.layer1 = Stage(stem, WIDTHS[0])
        self.layer2 = Stage(WIDTHS[0], WIDTHS[1])
        self.layer3 = Stage(WIDTHS[1], WIDTHS[2])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(WIDTHS[2], class_count)
        self.layer_aliases = {f"conv{number + 1}": f"layer{number}" for number in (1, 2, 3)}
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module is not self.conv1:  # the first channels begin by passing on what they are given
                    nn.init.dirac_(module.weight.data[: module.in_channels])

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N classes"]:
        """The logits (N, classes) for normalized images (N, 3, H, W)."""
        x = self.relu(self.bn1(self.conv1(x)))  # (N, 32, H, W)
        x = self.layer3(self.layer2(self.layer1(x)))  # (N, 256, H/8, W/8)
        return self.fc(self.avgpool(x).flatten(1))  # (N, classes)


def vgg7(*, class_count: int) -> PlainNet:
    """Seven convolutions and two million weights; at 32×32 its stages are 16, 8 and 4 pixels wide."""
    return PlainNet(class_count=class_count)
