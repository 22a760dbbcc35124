"""What a gradient does at a ReLU, met as an operation, however the model spells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from convscope.errors import UsageError

Rule = Literal["gradient", "deconvnet", "guided"]
RULES: tuple[Rule, ...] = ("deconvnet", "guided", "gradient")

_RELU = {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_RELU6 = {F.relu6}
_HARDTANH = {F.hardtanh, F.hardtanh_}
_THRESHOLD = {F.threshold, torch.threshold, torch.threshold_}
_CLAMP = {torch.clamp, torch.clamp_, torch.clip, torch.clip_, Tensor.clamp, Tensor.clamp_, Tensor.clip, Tensor.clip_}
_CLAMP_MIN = {torch.clamp_min, torch.clamp_min_, Tensor.clamp_min, Tensor.clamp_min_}
_MAXIMUM = {torch.maximum, torch.max, Tensor.maximum, Tensor.max}
_WHERE = {torch.where, Tensor.where}
_IN_PLACE = {"relu_", "hardtanh_", "threshold_", "clamp_", "clip_", "clamp_min_"}

# Gates (sigmoid, hardsigmoid, tanh, softmax) scale a signal rather than rectify it: they keep their derivative.
_OTHERS = {
    getattr(F, name)
    for name in (
        *("leaky_relu", "leaky_relu_", "prelu", "rrelu", "rrelu_", "elu", "elu_", "selu", "selu_", "celu", "celu_"),
        *("gelu", "silu", "mish", "hardswish", "softplus", "logsigmoid", "softsign", "tanhshrink"),
    )
} | {torch.prelu, torch.selu, torch.celu, Tensor.prelu}


class _Rectifier(NamedTuple):
    """One met ReLU: its input, where it saturates, and whether it overwrites its input."""

    values: Tensor
    ceiling: float | None
    in_place: bool


class ReluRule(TorchFunctionMode):
    """Within it, gradients pass every ReLU of a model's forward pass by `rule`, and ReLUs are counted.

    With x the ReLU's input and g the gradient at its output, the gradient at its input is g where x > 0
    ("gradient"); g where g > 0 ("deconvnet", Zeiler & Fergus 2014, arXiv:1311.2901, section 2.1); or g where
    both are ("guided", Springenberg et al. 2015, arXiv:1412.6806, figure 1). ReLU6 adds x < 6 to the conditions on x.
    Functions, methods, modules, in-place and reused ones are all met, and an input shared with a skip keeps the
    skip's own gradient. Under the last two rules an activation of PyTorch that is not a ReLU raises UsageError;
    sigmoids and their like, which are gates, keep their derivative. An activation that a model composes itself of
    products, such as x · sigmoid(x), cannot be told from a gate and is taken for one.

    >>> x = torch.tensor([-1.0, 2.0], requires_grad=True)
    >>> with ReluRule("deconvnet") as rule:
    ...     y = torch.relu(x)
    >>> torch.autograd.grad(y, x, torch.tensor([3.0, -4.0]))[0].tolist(), rule.count
    ([3.0, 0.0], 1)
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        if rule not in RULES:
            raise UsageError(f'no rule "{rule}"; allowed: {", ".join(RULES)}')
        self.rule: Rule = rule
        self.count = 0
        self._last: tuple[Tensor, int, Tensor] | None = None  # output, its version, input

    def input_of(self, output: Tensor) -> Tensor | None:
        """The input of the ReLU that gave `output`, if that was the last one met and nothing has changed it since."""
        if self._last is None or self._last[0] is not output or self._last[1] != _version(output):
            return None
        return self._last[2]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls func, or the rule where func is a ReLU."""
        kwargs = kwargs or {}
        met = _rectifier(func, args, kwargs)
        if self.rule != "gradient" and (func in _OTHERS or (func in _HARDTANH and met is None)):
            name = func.__name__.rstrip("_")
            raise UsageError(
                f'the rule "{self.rule}" is not defined for {name}; allowed: ReLU and ReLU6, or the rule gradient'
            )
        if met is None:
            return func(*args, **kwargs)
        self.count += 1
        before = met.values.clone() if met.in_place else met.values
        if self.rule == "gradient":
            output = cast("Tensor", func(*args, **kwargs))
        else:
            output = cast("Tensor", _Rectify.apply(before, met.ceiling, self.rule))
            if met.in_place:
                output = met.values.copy_(output)
        self._last = (output, _version(output), before)
        return output


class OpenRelus(TorchFunctionMode):
    """Within it, every ReLU of a model's forward pass gives its input as it came, as one does where all is positive.

    So what lies between two layers' weights becomes what it is for signals that pass. ReLUs are met as in `ReluRule`.

    >>> with OpenRelus():
    ...     torch.relu(torch.tensor([-1.0, 2.0])).tolist()
    [-1.0, 2.0]
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls func, or gives the input back where func is a ReLU."""
        met = _rectifier(func, args, kwargs or {})
        return func(*args, **(kwargs or {})) if met is None else met.values


def _version(output: Tensor) -> int:
    """How often the tensor was changed in place; inference tensors do not count that."""
    return 0 if output.is_inference() else output._version


def _compared(func: Callable[..., Any], args: tuple[Any, ...]) -> Tensor | None:
    """x, where func is max(x, 0) or where(x > 0, x, 0) of tensors."""
    if func in _MAXIMUM and len(args) == 2 and isinstance(args[1], Tensor):
        first, second = args
        return next((x for x, zero in ((first, second), (second, first)) if not zero.detach().any()), None)
    if func in _WHERE and len(args) == 3:
        condition, x, other = args if func is torch.where else (args[1], args[0], args[2])
        zero = not other.detach().any() if isinstance(other, Tensor) else other == 0
        if zero and isinstance(x, Tensor) and torch.equal(condition, x.detach() > 0):
            return x
    return None


def _rectifier(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Rectifier | None:
    """What func does if it is a ReLU or a ReLU6."""

    def argument(place: int, name: str, default: Any = None) -> Any:
        return args[place] if len(args) > place else kwargs.get(name, default)

    if func in _RELU:
        low, high, flag = 0, None, argument(1, "inplace", default=False)
    elif func in _RELU6:
        low, high, flag = 0, 6.0, argument(1, "inplace", default=False)
    elif func in _HARDTANH:
        low, high, flag = argument(1, "min_val", -1.0), argument(2, "max_val", 1.0), argument(3, "inplace", False)
    elif func in _THRESHOLD:
        low, high, flag = argument(1, "threshold"), None, argument(3, "inplace", default=False)
        low = low if argument(2, "value") == low else None
    elif func in _CLAMP:
        low, high, flag = argument(1, "min"), argument(2, "max"), False
    elif func in _CLAMP_MIN:
        low, high, flag = argument(1, "min"), None, False
    elif (x := _compared(func, args)) is not None:
        return _Rectifier(x, None, in_place=False)
    else:
        return None
    if isinstance(low, Tensor) or isinstance(high, Tensor) or low != 0:
        return None
    return _Rectifier(argument(0, "input"), high, bool(flag) or func.__name__ in _IN_PLACE)


class _Rectify(torch.autograd.Function):
    """max(x, 0), at most the ceiling, with the gradient of the rules "deconvnet" and "guided"."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, ceiling: float | None, rule: Rule) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return values.clamp(0, ceiling)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        values, ctx.ceiling, ctx.rule = inputs
        ctx.save_for_backward(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (values,) = ctx.saved_tensors
        passed = gradient.clamp(min=0)
        if ctx.rule == "guided":
            passed = passed * (values > 0)
        if ctx.ceiling is not None:
            passed = passed * (values < ctx.ceiling)
        return passed, None, None
