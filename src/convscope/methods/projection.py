"""One forward pass of an image up to a layer, recorded, so that what goes back from there costs a backward pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from convscope.batched_backward import BatchedBackward, gradients
from convscope.errors import UsageError
from convscope.hooks import frozen_eval, like_model, record_outputs
from convscope.methods.needs import as_maps, check_finite, layer_maps
from convscope.relu_rules import ReluRule, Rule
from convscope.types import Network


@dataclass(frozen=True, eq=False)
class Recorded:
    """An image's pass up to a layer under a rule: its maps, and all that it takes to go back from them."""

    network: Network
    layer: str  # the dotted name
    images: Float[Tensor, "1 C H W"]  # in [0, 1]
    rule: Rule
    relus: int  # between image and layer
    maps: Float[Tensor, "K h w"]
    _output: Float[Tensor, "1 K h w"]  # the maps with what was recorded on the way to them
    _inputs: Float[Tensor, "1 C H W"]

    def back(self, signals: Float[Tensor, "M K h w"]) -> Float[Tensor, "M C H W"]:
        """Each signal at the maps, projected back to the pixels, as often as one likes; see `project`."""
        back = gradients(self._output, self._inputs, signals.to(self._output)[:, None])[:, 0]
        return back.float().cpu()


def record_pass(network: Network, layer: str, images: Float[Tensor, "1 C H W"], *, rule: Rule) -> Recorded:
    """Run one image in [0, 1] up to the layer, a dotted name, for signals to go back by the rule.

    Raises UsageError for a layer that gives no maps and where the rule would silently do nothing (see
    `check_met`), and NumericsError for maps that are not finite.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.ReLU())
    >>> network = Network(model, (0.5,) * 3, (0.5,) * 3, (8, 8), (), "tiny")
    >>> recorded = record_pass(network, "1", torch.ones(1, 3, 8, 8), rule="guided")
    >>> recorded.relus, tuple(recorded.maps.shape), tuple(recorded.back(recorded.maps[None]).shape)
    (1, (4, 8, 8), (1, 3, 8, 8))
    """
    with frozen_eval(network.model) as model, torch.enable_grad():
        inputs = network.normalize(like_model(model, images)).detach().requires_grad_()
        with ReluRule(rule) as met, BatchedBackward():
            output = record_outputs(model, inputs, [layer])[layer]
        maps = as_maps(model.get_submodule(layer), output, layer=layer, image_size=images.shape[2:])
    check_finite(maps, layer=layer)
    check_met(network, images, rule, met.count)
    return Recorded(network, layer, images, rule, met.count, maps.detach()[0], maps, inputs)


def project(
    network: Network,
    layer: str,
    images: Float[Tensor, "N C H W"],
    signals: Float[Tensor, "M K h w"],
    *,
    rule: Rule,
) -> Float[Tensor, "M C H W"]:
    """Each signal at the layer's maps, projected back through the forward pass of its image, as one batch.

    There is an image for each signal, or one for all, which then has a single forward pass. `images` are in [0, 1];
    what comes back is in the units of the model's input, in main memory. `layer` is a dotted name. With the rule
    "gradient" it is the signal times the layer's Jacobian.
    """
    if len(images) == 1:
        return record_pass(network, layer, images, rule=rule).back(signals)
    with frozen_eval(network.model) as model, torch.enable_grad():
        inputs = network.normalize(like_model(model, images)).requires_grad_()
        with ReluRule(rule):
            output = record_outputs(model, inputs, [layer])[layer]
        maps = as_maps(model.get_submodule(layer), output, layer=layer, image_size=images.shape[2:])
        return torch.autograd.grad(maps, inputs, signals.to(maps))[0].float().cpu()


def met_relus(network: Network, layer: str, images: Float[Tensor, "1 C H W"], rule: Rule) -> int:
    """How many ReLUs lie between image and layer. Raises UsageError where a rule would silently do nothing."""
    with frozen_eval(network.model), torch.no_grad(), ReluRule(rule) as met:
        layer_maps(network, layer, images)
    check_met(network, images, rule, met.count)
    return met.count


def check_met(network: Network, images: Float[Tensor, "1 C H W"], rule: Rule, count: int) -> None:
    """Raise UsageError where a rule other than the gradient met no ReLU, neither before the layer nor behind it."""
    if rule == "gradient" or count:
        return
    # Before the first ReLU the rules agree; without any there is no rule.
    with frozen_eval(network.model) as model, torch.no_grad(), ReluRule("gradient") as anywhere:
        model(network.normalize(like_model(model, images)))
    if not anywhere.count:
        raise UsageError(
            f'no ReLU was met in {network.name}, so the rule "{rule}" would be the plain gradient; '
            "a scripted or compiled model hides them: pass the original; otherwise allowed: the rule gradient"
        )
