"""The ResNet family (He et al. 2015, arXiv:1512.03385), with torchvision's parameter names and separate ReLUs."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut: relu(f(x) + shortcut(x)), figure 2 of the paper.

    Input (N, in_width, H, W), output (N, width, H/stride, W/stride).
    """

    def __init__(self, in_width: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.downsample: nn.Module | None = None
        if stride != 1 or in_width != width:
            self.downsample = nn.Sequential(nn.Conv2d(in_width, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D h w"]:
        """Add f(x) to the shortcut and rectify the sum."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(x)) + shortcut)


class ResNet(nn.Module):
    """A stem, stages of basic blocks (layer1, layer2, …), the mean over positions, one linear layer.

    `layer_aliases` maps the paper's names to ours: its conv1 is our stem, its conv2_x our layer1, and so on.
    """

    def __init__(
        self,
        *,
        class_count: int,
        widths: Sequence[int],
        strides: Sequence[int],
        blocks: int,
        stem_kernel: int,
        stem_stride: int = 1,
        stem_pool: bool = False,
    ) -> None:
        super().__init__()
        width = widths[0]
        self.conv1 = nn.Conv2d(3, width, stem_kernel, stem_stride, padding=stem_kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem_pool else nn.Identity()
        self.layer_aliases: dict[str, str] = {}
        for number, (stage_width, stride) in enumerate(zip(widths, strides, strict=True), start=1):
            first = BasicBlock(width, stage_width, stride)
            rest = [BasicBlock(stage_width, stage_width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
            self.layer_aliases[f"conv{number + 1}"] = f"layer{number}"
            width = stage_width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, class_count)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N classes"]:
        """The logits (N, classes) for normalized images (N, 3, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (N, widths[0], H, W)
        for stage in self.layer_aliases.values():
            x = self.get_submodule(stage)(x)
        return self.fc(self.avgpool(x).flatten(1))  # (N, classes)


RESNET18_WIDTHS = (64, 128, 256, 512)


def resnet18(*, class_count: int) -> ResNet:
    """ResNet-18 with a 3×3 stem at full resolution; at 32×32 its stages are 32, 16, 8 and 4 pixels wide."""
    return ResNet(class_count=class_count, widths=RESNET18_WIDTHS, strides=(1, 2, 2, 2), blocks=2, stem_kernel=3)


def resnet18_imagenet(*, class_count: int) -> ResNet:
    """ResNet-18 as in the paper and in torchvision: a torchvision state dict loads and gives the same outputs."""
    return ResNet(
        class_count=class_count,
        widths=RESNET18_WIDTHS,
        strides=(1, 2, 2, 2),
        blocks=2,
        stem_kernel=7,
        stem_stride=2,
        stem_pool=True,
    )


def resnet18_7x7(*, class_count: int) -> ResNet:
    """ResNet-18 with a 7×7 stride-2 stem and a stride of 2 in every stage: 32×32 → 16 → 8 → 4 → 2 → 1."""
    return ResNet(
        class_count=class_count,
        widths=RESNET18_WIDTHS,
        strides=(2, 2, 2, 2),
        blocks=2,
        stem_kernel=7,
        stem_stride=2,
    )


def resnet10_narrow(*, class_count: int) -> ResNet:
    """Half as wide and half as deep as ResNet-18, with a 5×5 stem at full resolution worth looking at."""
    return ResNet(class_count=class_count, widths=(32, 64, 128, 256), strides=(1, 2, 2, 2), blocks=1, stem_kernel=5)


def resnet8(*, class_count: int) -> ResNet:
    """The paper's CIFAR network with n = 1 (section 4.2): three stages of one block, widths 16, 32, 64."""
    return ResNet(class_count=class_count, widths=(16, 32, 64), strides=(1, 2, 2), blocks=1, stem_kernel=3)
