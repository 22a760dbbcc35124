"""How much each pixel of an image counts for a class: nine methods, through Captum where it is right."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from convscope.errors import UsageError
from convscope.hooks import convolutions, list_layers, observe_outputs, record_outputs
from convscope.methods.needs import batch_limit
from convscope.relu_rules import ReluRule, Rule

How = Literal[
    "saliency",
    "input-x-gradient",
    "smoothgrad",
    "integrated-gradients",
    "occlusion",
    "grad-cam",
    "guided-grad-cam",
    "guided",
    "deconvnet",
]
HOWS: dict[How, str] = {
    "saliency": "the gradient of the logit (Simonyan et al. 2014), its largest size over the colours",
    "input-x-gradient": "the gradient times the pixel's distance from the mean colour, summed over the colours",
    "smoothgrad": "the mean gradient of noisy copies (Smilkov et al. 2017), its largest size over the colours",
    "integrated-gradients": "the logit's rise since the mean colour, shared out over the pixels "
    "(Sundararajan et al. 2017)",
    "occlusion": "how far the logit falls when a window becomes the mean colour (Zeiler & Fergus 2014)",
    "grad-cam": "the maps of a layer, weighted by their mean gradients, where the sum is positive "
    "(Selvaraju et al. 2017)",
    "guided-grad-cam": "guided backprop times Grad-CAM (Selvaraju et al. 2017), its largest size over the colours",
    "guided": "guided backprop (Springenberg et al. 2015), its largest size over the colours",
    "deconvnet": "the logit through the deconvnet (Zeiler & Fergus 2014), its largest size over the colours",
}
SIGNED = ("input-x-gradient", "integrated-gradients", "occlusion")
WITH_LAYER = ("grad-cam", "guided-grad-cam")
RULED = ("guided-grad-cam", "guided", "deconvnet")  # they need ReLUs, and no other rectifier
NOISE = 0.15  # of the input's range: within the 10 to 20 % that Smilkov et al. found best

ENOUGH = 4  # positions a side of a map that Grad-CAM reads by default


class Asked(NamedTuple):
    """What is attributed, the logit of one class, and the settings of the methods that have any."""

    target: int
    layer: str | None = None  # the one that Grad-CAM reads
    samples: int = 50
    seed: int = 0


def attributions(
    how: How, model: nn.Module, inputs: Float[Tensor, "1 C H W"], asked: Asked
) -> Float[Tensor, "1 channels H W"]:
    """One method's attribution, signed, at every pixel and colour; occlusion and Grad-CAM have no colours.

    `inputs` is what the model is fed, so that zero is the mean colour. The model's mode and gradients are the
    caller's (see `hooks.frozen_eval`). Raises UsageError for Grad-CAM at a layer without positions, and where
    guided backprop or the deconvnet would silently be something else. Simonyan et al. 2014 (arXiv:1312.6034), Smilkov
    et al. 2017 (arXiv:1706.03825), Sundararajan et al. 2017 (arXiv:1703.01365), Zeiler & Fergus 2014
    (arXiv:1311.2901), Selvaraju et al. 2017 (arXiv:1610.02391), Springenberg et al. 2015 (arXiv:1412.6806).

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> found = attributions("saliency", model, torch.rand(1, 3, 2, 2), Asked(target=1))
    >>> bool((found.flatten() == model[1].weight[1]).all())
    True
    """
    if how == "saliency":
        return _gradients(model, inputs, asked.target)
    if how == "input-x-gradient":
        from captum.attr import InputXGradient

        fed = inputs.clone().requires_grad_()
        return InputXGradient(model).attribute(fed, asked.target).detach()
    if how == "smoothgrad":
        return _smoothgrad(model, inputs, asked)
    if how == "integrated-gradients":
        return _integrated_gradients(model, inputs, asked)
    if how == "occlusion":
        return _occlusion(model, inputs, asked.target)
    if how == "grad-cam":
        return _grad_cam(model, inputs, asked)
    if how == "guided-grad-cam":
        return _grad_cam(model, inputs, asked) * _ruled(model, inputs, asked.target, "guided")
    return _ruled(model, inputs, asked.target, how)


def heat(how: How, attribution: Float[Tensor, "1 channels H W"]) -> Float[Tensor, "1 1 H W"]:
    """An attribution as one number a pixel: signed ones summed over the colours, of the others the largest size.

    >>> heat("saliency", torch.tensor([1.0, -3.0]).view(1, 2, 1, 1)).item()
    3.0
    >>> heat("integrated-gradients", torch.tensor([1.0, -3.0]).view(1, 2, 1, 1)).item()
    -2.0
    """
    return attribution.sum(1, keepdim=True) if how in SIGNED else attribution.abs().amax(1, keepdim=True)


def grad_cam_layer(model: nn.Module, inputs: Float[Tensor, "1 C H W"]) -> str | None:
    """The layer that Grad-CAM reads by default: the last one whose maps still have positions enough.

    That is the last on the model's trunk, not in a branch of a block, whose maps are at least 4×4 and do not come
    from a pooling: at 2×2, the pixels that Grad-CAM pointed at mattered less than others. Where there is none, one
    in a block, or one with maps larger than 1×1; None where there are none at all.

    >>> model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> grad_cam_layer(model, torch.zeros(1, 3, 8, 8))
    '0'
    """
    size = (inputs.shape[2], inputs.shape[3])
    layers = list_layers(model, size, channels=inputs.shape[1], blocks=True)
    maps = [layer for layer in layers if _is_map(layer.output_shape, size) and not ends_in_pool(model, layer.name)]
    trunk = [layer for layer in maps if _on_trunk(model, layer.name)]
    if not convolutions(model):
        return None
    for least in (ENOUGH, 1):
        for some in (trunk, maps):
            if found := [layer.name for layer in some if min(layer.output_shape[1:]) >= least]:
                return found[-1]
    return None


def _is_map(shape: tuple[int, ...], image_size: tuple[int, int]) -> bool:
    """Whether an output, without the batch, is (C, h, w), larger than 1×1 and not (h, w, C), going by its sides."""
    if len(shape) != 3 or shape[1] * shape[2] == 1:
        return False
    tall, wide = shape[1] * image_size[1], shape[2] * image_size[0]
    return tall == wide if image_size[0] == image_size[1] else tall <= 2 * wide and wide <= 2 * tall


def ends_in_pool(model: nn.Module, layer: str) -> bool:
    """Whether the module is a pooling, or its last part is one."""
    *_, last = model.get_submodule(layer).modules()
    return "Pool" in type(last).__name__


def _on_trunk(model: nn.Module, layer: str) -> bool:
    """Whether the module is a part of the model itself, or of a sequence that is."""
    parts = layer.split(".")
    above = (model.get_submodule(".".join(parts[:count])) for count in range(1, len(parts)))
    return all(isinstance(module, (nn.Sequential, nn.ModuleList)) for module in above)


def occlusion_window(image_size: tuple[int, int]) -> tuple[int, int]:
    """The side of occlusion's window and its stride: a fifth of the shorter side, moved by about a third of that.

    >>> occlusion_window((32, 32)), occlusion_window((224, 224)), occlusion_window((8, 8))
    ((6, 2), (45, 15), (2, 1))
    """
    side = max(1, round(min(image_size) / 5))
    return side, max(1, round(side / 3))


def _gradients(model: nn.Module, inputs: Tensor, target: int) -> Tensor:
    """The gradient of the target's logit at each of the inputs."""
    from captum.attr import Saliency

    return Saliency(model).attribute(inputs.clone().requires_grad_(), target, abs=False).detach()


def _smoothgrad(model: nn.Module, inputs: Tensor, asked: Asked) -> Tensor:
    """The mean gradient of noisy inputs; not Captum's, which draws its noise from the global generator."""
    generator = torch.Generator().manual_seed(asked.seed)
    spread = NOISE * (inputs.max() - inputs.min())
    total = torch.zeros_like(inputs)
    for some in torch.arange(asked.samples).split(batch_limit(inputs.shape[2:])):
        noise = torch.randn((len(some), *inputs.shape[1:]), generator=generator).to(inputs)
        total += _gradients(model, inputs + spread * noise, asked.target).sum(0, keepdim=True)
    return total / asked.samples


def _integrated_gradients(model: nn.Module, inputs: Tensor, asked: Asked) -> Tensor:
    """The input's distance from the mean colour, times the mean gradient on the straight way between them."""
    from captum.attr import IntegratedGradients

    found = IntegratedGradients(model).attribute(
        inputs,
        baselines=0,
        target=asked.target,
        n_steps=asked.samples,
        internal_batch_size=batch_limit(inputs.shape[2:]),
    )
    return found.detach()


def _occlusion(model: nn.Module, inputs: Tensor, target: int) -> Tensor:
    """How far the logit falls when a window becomes the mean colour, averaged over the windows on a pixel."""
    from captum.attr import Occlusion

    channels, height, width = inputs.shape[1:]
    side, stride = occlusion_window((height, width))
    found = Occlusion(model).attribute(
        inputs,
        sliding_window_shapes=(channels, side, side),
        strides=(channels, stride, stride),
        baselines=0,
        target=target,
        perturbations_per_eval=batch_limit((height, width)),
    )
    return found[:, :1].detach()


def _grad_cam(model: nn.Module, inputs: Tensor, asked: Asked) -> Tensor:
    """The layer's maps weighted by their mean gradients, where positive, enlarged to the image: one channel.

    Not Captum's, which reads the last run of a module that runs more than once; everything else reads the first.
    """
    height, width = inputs.shape[2:]
    if asked.layer is None:
        raise UsageError(
            f"no layer of {type(model).__name__} gives maps with positions for an image of {height}×{width}, so "
            "Grad-CAM has nothing to read; allowed: a larger image, or another method"
        )
    shape = tuple(record_outputs(model, inputs, [asked.layer])[asked.layer].shape)
    if not _is_map(shape[1:], (height, width)):
        raise UsageError(
            f'layer "{asked.layer}" gives {shape} for an image of {height}×{width}, which Grad-CAM cannot read; '
            "allowed: (N, C, h, w) with more than one position and the image's proportions"
        )
    whole, read = nn.Sequential(model), f"0.{asked.layer}"  # so that the logits are a layer's output too
    seen: dict[str, Tensor] = {}
    edges: list[GradientEdge] = []

    def see(name: str, output: Tensor) -> None:
        seen[name] = output.clone()
        if name == read:
            edges.append(get_gradient_edge(output))  # where it is now: what follows may overwrite the tensor

    observe_outputs(whole, inputs.clone().requires_grad_(), [read, "0"], see)
    (gradient,) = torch.autograd.grad(seen["0"][0, asked.target], edges)
    weights = gradient.mean((2, 3), keepdim=True)
    cam = (weights * seen[read].detach()).sum(1, keepdim=True).relu()
    return F.interpolate(cam, inputs.shape[2:], mode="bilinear")


def _ruled(model: nn.Module, inputs: Tensor, target: int, rule: Rule) -> Tensor:
    """The target's logit back at the pixels by the rule; not Captum's, which meets only ReLUs that are modules."""
    fed = inputs.clone().requires_grad_()
    with ReluRule(rule) as met:
        logit = model(fed)[0, target]
    if not met.count:
        raise UsageError(
            f'no ReLU was met in {type(model).__name__}, so "{rule}" would be the plain gradient; '
            "a scripted or compiled model hides them: pass the original; otherwise allowed: saliency"
        )
    return torch.autograd.grad(logit, fed)[0]
