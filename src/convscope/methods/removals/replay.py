"""A forward pass taken up in its middle: layers that ran already give what they gave, without running again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from convscope.errors import UsageError
from convscope.hooks import changed_outputs, record_outputs


def layers_until(model: nn.Module, inputs: Float[Tensor, "N C H W"], layer: str) -> dict[str, bool]:
    """The layers that end before `layer` does, and itself: what need not run again, and whether the rest reads it.

    Each is the outermost one. What only the others read is of no importance: it must have its shape, not its values.

    `layer` is a dotted name; `inputs` is what the model is fed, and one image is enough. Layers that run more than
    once, and those that give no tensor, are left out, and what is in them stands for itself. In a model that
    takes up what a layer overwrote, rather than what it gave, it is `layer` alone. Raises UsageError where that does
    not run, or more than once.

    >>> model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.ReLU(), nn.Conv2d(4, 2, 3))
    >>> layers_until(model, torch.zeros(1, 3, 8, 8), "1")
    {'0': False, '1': True}
    """
    order: list[str] = []

    def note(name: str, _given: Tensor, output: Tensor) -> None:
        order.append(name)

    with changed_outputs(model, [name for name, _ in model.named_modules() if name], note), torch.no_grad():
        expected = model(inputs)
    runs = Counter(order)
    if runs[layer] != 1:
        times = f"runs {runs[layer]} times" if runs[layer] else "does not run"
        raise UsageError(
            f'layer "{layer}" {times} in a pass; allowed: one that runs once, such as the block it is in'
        )
    ended = {name for name in order[: order.index(layer) + 1] if runs[name] == 1}
    names = [name for name in order if name in ended and not any(name.startswith(other + ".") for other in ended)]
    with torch.no_grad():
        given = record_outputs(model, inputs, names)  # overwritten in the next pass, by what follows them
    if not torch.equal(resume(model, inputs, given), expected):
        return {layer: True}
    return _read(model, inputs, {name: given[name] for name in names})


def _read(model: nn.Module, inputs: Tensor, outputs: Mapping[str, Tensor]) -> dict[str, bool]:
    """Which of these outputs what the model gives depends on."""
    free = {name: output.clone().requires_grad_() for name, output in outputs.items()}
    with torch.enable_grad():
        copies = {model.get_submodule(name): output.clone() for name, output in free.items()}  # may be overwritten
        with _answered(copies):
            given = model(inputs)
        found = cast("Sequence[Tensor | None]", torch.autograd.grad(given.sum(), [*free.values()], allow_unused=True))
    return {name: gradient is not None for name, gradient in zip(free, found, strict=True)}


def resume(
    model: nn.Module, inputs: Float[Tensor, "N C H W"], outputs: Mapping[str, Tensor]
) -> Float[Tensor, "N ..."]:
    """What the model gives where the named layers give these outputs, without running.

    `inputs` are as many as the outputs are of. What follows in the pass may overwrite the outputs. The model's
    mode is the caller's.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    >>> resume(model, torch.zeros(1, 3, 3, 3), {"0": torch.ones(1, 4, 1, 1)})
    tensor([[1., 1., 1., 1.]])
    """
    with _answered({model.get_submodule(name): output for name, output in outputs.items()}), torch.no_grad():
        return model(inputs)


@contextmanager
def _answered(outputs: Mapping[nn.Module, Tensor]) -> Generator[None]:
    """Within it each module gives its output, whatever it is fed; afterwards it runs as before."""

    def answer(output: Tensor) -> Callable[..., Tensor]:
        def forward(*_: Any, **__: Any) -> Tensor:
            return output

        return forward

    own = {module: vars(module)["forward"] for module in outputs if "forward" in vars(module)}
    try:
        for module, output in outputs.items():
            module.forward = answer(output)
        yield
    finally:
        for module in outputs:
            vars(module).pop("forward", None)
            if module in own:
                module.forward = own[module]
