"""A ResNet of ours built again in Keras, with the same weights: what it computes is the same."""

from __future__ import annotations

from typing import Any

import keras
from torch import Tensor, nn

from convscope.models.resnet import BasicBlock, ResNet


def keras_twin(model: nn.Module, image_size: tuple[int, int]) -> Any:
    """The Keras model of the same logits (N, classes) for the same normalized images (N, 3, H, W)."""
    if not isinstance(model, ResNet):
        raise TypeError(f"{type(model).__name__}; allowed: a ResNet of ours")
    keras.config.set_image_data_format("channels_first")  # what its torch backend computes fastest
    inputs = keras.Input((3, *image_size))
    x = _relu(_norm(_convolution(inputs, model.conv1), model.bn1))
    if isinstance(model.maxpool, nn.MaxPool2d):
        x = keras.layers.MaxPooling2D(3, 2)(keras.layers.ZeroPadding2D(1)(x))  # what it pads was rectified
    for name in model.layer_aliases.values():
        for block in model.get_submodule(name):  # pyright: ignore[reportGeneralTypeIssues] - a Sequential
            x = _block(x, block)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = _given(keras.layers.Dense(model.fc.out_features), x, model.fc.weight.T, model.fc.bias)
    return keras.Model(inputs, x)


def _block(x: Any, block: BasicBlock) -> Any:
    shortcut = x
    if isinstance(block.downsample, nn.Sequential):
        shortcut = _norm(_convolution(x, block.downsample[0]), block.downsample[1])
    x = _relu(_norm(_convolution(x, block.conv1), block.bn1))
    return _relu(keras.layers.Add()([_norm(_convolution(x, block.conv2), block.bn2), shortcut]))


def _convolution(x: Any, layer: Any) -> Any:
    """Padded beforehand where it strides, as Keras's own ResNets do: its "same" is not symmetric there."""
    side, stride = layer.kernel_size[0], layer.stride[0]
    if stride > 1 and side > 1:
        x = keras.layers.ZeroPadding2D(side // 2)(x)
    padding = "same" if stride == 1 else "valid"
    made = keras.layers.Conv2D(layer.out_channels, side, stride, padding=padding, use_bias=False)
    return _given(made, x, layer.weight.permute(2, 3, 1, 0))


def _norm(x: Any, layer: Any) -> Any:
    made = keras.layers.BatchNormalization(axis=1, momentum=1 - layer.momentum, epsilon=layer.eps)
    return _given(made, x, layer.weight, layer.bias, layer.running_mean, layer.running_var)


def _relu(x: Any) -> Any:
    return keras.layers.ReLU()(x)


def _given(layer: Any, x: Any, *weights: Tensor) -> Any:
    """The layer's output, once it has these weights."""
    output = layer(x)
    layer.set_weights([weight.detach().numpy() for weight in weights])
    return output
