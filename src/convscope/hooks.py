"""Looking inside a model and leaving it as found: the only file that touches hooks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from convscope.errors import UsageError, closest
from convscope.relu_rules import ReluRule


class _AllSeen(BaseException):
    """Ends a forward pass early; a BaseException, so that no `except Exception` in a model swallows it."""


@dataclass(frozen=True)
class Layer:
    """One line of a model's structure."""

    name: str
    kind: str  # the module's class
    output_shape: tuple[int, ...]  # without the batch: (C, H, W) or (C,)
    parameters: int  # the module's own
    detail: str  # kernel, stride and the like, in words


def resolve_layer(model: nn.Module, name: str, *, model_name: str = "") -> str:
    """The dotted module name that `name` stands for.

    `name` is a module's own dotted name, or starts with one of the names in the model's optional attribute
    `layer_aliases` (our ResNets: conv2 … conv5 for layer1 … layer4). A module's own name wins over an alias.
    Raises UsageError for any other, naming the nearest.

    >>> resolve_layer(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), "1")
    '1'
    """
    modules = {known for known, _ in model.named_modules() if known}
    if name in modules:
        return name
    aliases = layer_aliases(model)
    head, dot, rest = name.partition(".")
    if head in aliases and (found := aliases[head] + dot + rest) in modules:
        return found
    where = model_name or type(model).__name__
    near = closest(name, sorted(modules | set(aliases)))
    raise UsageError(f'no layer "{name}" in {where}{near}; list them: convscope layers RUN')


def layer_aliases(model: nn.Module) -> Mapping[str, str]:
    """The model's other names for some of its layers; empty where it has none."""
    return cast("Mapping[str, str]", getattr(model, "layer_aliases", {}))


def convolutions(model: nn.Module, *, within: str = "") -> list[str]:
    """The dotted names of the model's two-dimensional convolutions, or of those in one of its modules.

    >>> convolutions(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)))
    ['0', '2']
    """
    found = model.get_submodule(within).named_modules(prefix=within)
    return [name for name, module in found if isinstance(module, nn.Conv2d)]


def record_outputs(
    model: nn.Module, inputs: Tensor, layers: Iterable[str], *, before_relu: bool = False
) -> dict[str, Tensor]:
    """The outputs of the named layers for one forward pass, which ends once all of them have run.

    `inputs` is what the model is fed. Each output is a differentiable clone, taken before anything after the
    layer can overwrite it. With `before_relu`, a layer that ends in a ReLU gives that ReLU's input instead.
    Of a module that runs more than once in a pass, the first output is recorded. The model's mode and gradients
    are the caller's (see `frozen_eval`). Raises UsageError for a layer that is unknown, does not run, or does
    not give a tensor.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Flatten())
    >>> before = record_outputs(model, torch.zeros(1, 3, 5, 5), ["0"])["0"]
    >>> tuple(before.shape)
    (1, 8, 3, 3)
    """
    asked = list(layers)
    recorded: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        recorded[name] = output.clone()

    observe_outputs(model, inputs, asked, keep, before_relu=before_relu)
    return {name: recorded[name] for name in asked}


def observe_outputs(
    model: nn.Module,
    inputs: Tensor,
    layers: Iterable[str],
    see: Callable[[str, Tensor], None],
    *,
    before_relu: bool = False,
) -> None:
    """Call see(name, output) when each named layer has run in a forward pass, which ends after the last of them.

    The outputs are those of `record_outputs`, but the tensors themselves: see them now, since what follows in the
    pass may overwrite them, and change nothing in them. Raises UsageError like `record_outputs`.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True))
    >>> observe_outputs(model, torch.zeros(1, 3, 5, 5), ["0"], lambda name, output: print(name, tuple(output.shape)))
    0 (1, 8, 3, 3)
    """
    asked = list(layers)
    known = dict(model.named_modules())  # once, since a long pass observes many layers in many batches
    modules = {name: known[name if name and name in known else resolve_layer(model, name)] for name in asked}
    seen: set[str] = set()
    relus = ReluRule("gradient")  # changes nothing; it remembers the last ReLU's input

    def watch(name: str, _module: nn.Module, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise UsageError(f'layer "{name}" gives a {type(output).__name__}, not a tensor; name a layer within it')
        if name not in seen:
            seen.add(name)
            before = relus.input_of(output) if before_relu else None
            see(name, output if before is None else before)
        if len(seen) == len(modules):
            raise _AllSeen

    with _watch(modules, watch), relus if before_relu else nullcontext(), suppress(_AllSeen):
        model(inputs)
    if missing := [name for name in asked if name not in seen]:
        raise UsageError(
            f'layer "{missing[0]}" does not run in the forward pass of {type(model).__name__}; '
            "a compiled model hides its layers: pass the model that was compiled"
        )


def record_input(model: nn.Module, inputs: Tensor, layer: str) -> Tensor:
    """The first input of the named layer for one forward pass, which ends there: a differentiable clone.

    The model's mode and gradients are the caller's (see `frozen_eval`). Raises UsageError for a layer that is
    unknown or does not run.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Flatten())
    >>> tuple(record_input(model, torch.zeros(1, 3, 5, 5), "2").shape)
    (1, 8, 3, 3)
    """
    recorded: list[Tensor] = []

    def keep(_module: nn.Module, given: tuple[Any, ...]) -> None:
        recorded.append(given[0].clone())
        raise _AllSeen

    hook = model.get_submodule(resolve_layer(model, layer)).register_forward_pre_hook(keep)
    try:
        with suppress(_AllSeen):
            model(inputs)
    finally:
        hook.remove()
    if not recorded:
        raise UsageError(f'layer "{layer}" does not run in the forward pass of {type(model).__name__}')
    return recorded[0]


@contextmanager
def _watch(modules: Mapping[str, nn.Module], see: Callable[[str, nn.Module, Any], None]) -> Generator[None]:
    """Calls see(name, module, output) whenever one of the modules has run."""

    def hook(name: str, module: nn.Module, _inputs: Any, output: Any) -> None:
        see(name, module, output)

    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.enter_context(module.register_forward_hook(partial(hook, name)))
        yield


@contextmanager
def changed_outputs(
    model: nn.Module, layers: Iterable[str], change: Callable[[str, Tensor, Tensor], Tensor | None]
) -> Generator[None]:
    """Within it, each named layer gives what change(name, given, output) returns; its own output for None.

    `given` is the layer's first input, after the layer ran. It is called each time that one of them runs, in the
    order in which they end, but for layers that take or give no tensor. `layers` are dotted names.

    >>> model = nn.Sequential(nn.Flatten(), nn.ReLU())
    >>> with changed_outputs(model, ["0"], lambda name, given, output: output - 1):
    ...     model(torch.tensor([[0.0, 3.0]])).tolist()
    [[0.0, 2.0]]
    """

    def hook(name: str, _module: nn.Module, given: tuple[Any, ...], output: Any) -> Tensor | None:
        if isinstance(output, Tensor) and given and isinstance(given[0], Tensor):
            return change(name, given[0], output)
        return None

    with ExitStack() as hooks:
        for name in layers:
            hooks.enter_context(model.get_submodule(name).register_forward_hook(partial(hook, name)))
        yield


@contextmanager
def frozen_eval(model: nn.Module) -> Generator[nn.Module]:
    """The model in evaluation mode with no gradients for its parameters; afterwards, exactly as it was.

    Sets the flags themselves, since a model's own `train()` may do more than that.

    >>> model = nn.Dropout()
    >>> with frozen_eval(model):
    ...     model.training
    False
    >>> model.training
    True
    """
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        for module, _ in modes:
            module.training = False
        for parameter, _, _ in gradients:
            parameter.requires_grad_(False)
        yield model
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad, gradient in gradients:
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient


def like_model(model: nn.Module, images: Shaped[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The images on the device and in the floating-point type of the model's parameters.

    >>> like_model(nn.Linear(2, 2).double(), torch.zeros(1)).dtype
    torch.float64
    """
    reference = next(model.parameters(), images)
    return images.to(device=reference.device, dtype=reference.dtype)


def list_layers(
    model: nn.Module, image_size: tuple[int, int], *, channels: int = 3, blocks: bool = False
) -> list[Layer]:
    """What runs for one image (channels, H, W), in order of first output.

    These are the modules without parts, and any with parameters of their own; with `blocks`, all modules. Those
    that give no tensor are left out; of a module that runs more than once, the first run counts.

    >>> [layer.output_shape for layer in list_layers(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten()), (5, 5))]
    [(8, 3, 3), (72,)]
    """
    found: dict[str, Layer] = {}

    def note(name: str, module: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor) and name not in found:
            own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
            found[name] = Layer(name, type(module).__name__, tuple(output.shape[1:]), own, _detail(module))

    def is_listed(module: nn.Module) -> bool:
        return next(module.children(), None) is None or next(module.parameters(recurse=False), None) is not None

    modules = {name: module for name, module in model.named_modules() if name and (blocks or is_listed(module))}
    with frozen_eval(model), torch.no_grad(), _watch(modules, note):
        model(like_model(model, torch.zeros(1, channels, *image_size)))
    return list(found.values())


def _detail(module: nn.Module) -> str:
    """What decides a module's shape, in words, such as "3×3, stride 2"."""
    if isinstance(module, nn.Linear):
        return f"{module.in_features} to {module.out_features}"
    kernel = getattr(module, "kernel_size", None)
    if kernel is None:
        return f"p {module.p:g}" if isinstance(module, nn.Dropout) else ""
    words = [_sides(kernel)]
    if (stride := _sides(getattr(module, "stride", 1))) != "1×1":
        words.append(f"stride {stride.split('×')[0] if len(set(stride.split('×'))) == 1 else stride}")
    if isinstance(module, nn.Conv2d):
        if _sides(module.dilation) != "1×1":
            words.append(f"dilation {_sides(module.dilation)}")
        if module.groups > 1:
            words.append(f"{module.groups} groups")
    return ", ".join(words)


def _sides(size: Any) -> str:
    """A kernel's or stride's two sides, such as "3×3"."""
    return "×".join(str(side) for side in (size if isinstance(size, tuple) else (size, size)))
