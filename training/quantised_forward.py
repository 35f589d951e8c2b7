"""Convolutions in the forward pass as INT8 makes them: quantisation in the loop.

What `derain.calibration.qdq` writes into a graph: one scale for an activation, one
for each output channel of weights, zero points 0, rounding to even, biases in floating
point, residuals added as convolutions read them. The gradient goes straight through
where nothing is cut (Bengio, Léonard and Courville, 2013, arXiv:1308.3432; Jacob et
al., CVPR 2018, section 3).

A mode sees every convolution of a forward pass, those of functions, too, and knows it
by its kernel's name and how often that was used before: networks that share kernels
have a range for each use, as their graphs do.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from derain.calibration.qdq import scale_of
from derain.calibration.ranges import LEVELS
from derain.core.errors import TrainingError

if TYPE_CHECKING:
    from typing_extensions import Self

_LOWEST = -LEVELS - 1  # of QuantizeLinear; weights never reach it
_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_ADDITIONS = ("add", "add_")

Function = Callable[..., Any]
Call = dict[str, Any]  # arguments of `torch.conv2d` by name


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantisationPlan:
    """What is quantised in a forward pass, and how far INT8 reaches.

    Attributes:
        layers: Convolutions in INT8, each with the tensor it reads.
        reach: Of those tensors, each called by the convolution that reads it first.
        additions: Tensors that are added as they are quantised: number of the addition
            in the forward pass, which of its two addends, and the tensor.
    """

    layers: dict[str, str]
    reach: dict[str, float]
    additions: list[tuple[int, int, str]]

    @property
    def kernels(self) -> frozenset[str]:
        """Names of the parameters that INT8 holds."""
        return frozenset(layer.rpartition("#")[0] for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """The plan as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> QuantisationPlan:
        """The plan that `to_json` made."""
        additions = [(n, index, name) for n, index, name in fields["additions"]]
        return cls(**{**fields, "additions": additions})


class NetworkMode(TorchFunctionMode):
    """Sees the convolutions and additions of a network while it is entered.

    Args:
        network: Counting begins anew with each of its forward passes.
    """

    refuses = False  # other kernels than the network's own; losses have some

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network
        self._names = {id(x): name for name, x in _tensors_of(network).items()}
        self.restart()

    def restart(self, *inputs: Any) -> None:
        """Begin a forward pass, of `inputs` where they are known."""
        self._uses: Counter[str] = Counter()
        self._added = 0

    def __enter__(self) -> Self:
        """See the forward passes from here on."""
        self.restart()
        self._hook = self._network.register_forward_pre_hook(
            lambda _, inputs: self.restart(*inputs)
        )
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *reason: object) -> None:
        """See no more."""
        super().__exit__(*reason)  # type: ignore[no-untyped-call]
        self._hook.remove()
        self.restart()

    def __torch_function__(
        self,
        func: Function,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Call | None = None,
    ) -> Any:
        """Take one call of a function of PyTorch; inside, the mode is off.

        Raises:
            TrainingError: It is a convolution with a kernel that is not the network's.
        """
        kwargs = kwargs or {}
        if func is torch.cat and len(args[0]) == 1:  # no graph has a node for that
            return args[0][0]
        if func is torch.conv2d:
            call = {**dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
            name = self._names.get(id(call["weight"]))
            if name is not None:
                self._uses[name] += 1
                return self.convolution(f"{name}#{self._uses[name]}", name, call)
            if self.refuses:
                raise TrainingError(
                    "--qat: the forward pass computes the kernel of a convolution, "
                    f"{tuple(call['weight'].shape)}; wanted a parameter or a buffer: "
                    "take weight norm and the like off first (remove_parametrizations)"
                )
        if getattr(func, "__name__", "") in _ADDITIONS and _adds(args, kwargs):
            self._added += 1
            return self.addition(self._added, func, args)
        return self.other(func, args, kwargs)

    @abstractmethod
    def convolution(self, layer: str, kernel: str, call: Call) -> Tensor:
        """Take the convolution `layer` with the parameter `kernel`."""

    @abstractmethod
    def addition(self, number: int, func: Function, args: tuple[Any, ...]) -> Any:
        """Take an addition of two tensors."""

    def other(self, func: Function, args: tuple[Any, ...], kwargs: Call) -> Any:
        """Take anything else."""
        return func(*args, **kwargs)


class FakeQuantisation(NetworkMode):
    """Makes a network compute as its graph in INT8, while it is entered.

    Args:
        network: Its parameters stay as they are.
        plan: Of `derain.training.quantised_layers.plan_of`.
    """

    def __init__(self, network: nn.Module, plan: QuantisationPlan) -> None:
        self._plan = plan
        self._scales = {k: float(scale_of(v)) for k, v in plan.reach.items()}
        self._addends: dict[int, list[tuple[int, str]]] = {}
        for number, index, tensor in plan.additions:
            self._addends.setdefault(number, []).append((index, tensor))
        super().__init__(network)

    def restart(self, *inputs: Any) -> None:
        """Begin a forward pass: nothing of the one before is quantised already."""
        super().restart(*inputs)
        # By tensor and kernel; the tensor itself is kept, so that its number stays its.
        self._tensors: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._kernels: dict[str, tuple[Tensor, Tensor]] = {}

    def convolution(self, layer: str, kernel: str, call: Call) -> Tensor:
        """Multiply whole numbers, as INT8 does: bfloat16 holds them exactly, too."""
        tensor = self._plan.layers.get(layer)
        if tensor is None:
            return torch.conv2d(**call)
        if kernel not in self._kernels:
            scale = kernel_scale(call["weight"])
            self._kernels[kernel] = _steps(call["weight"], scale), scale
        weight, scale = self._kernels[kernel]
        x = self._steps_of(call["input"], tensor)
        y = torch.conv2d(**{**call, "input": x, "weight": weight, "bias": None})
        made = y.float() * (scale * self._scales[tensor]).view(1, -1, 1, 1)
        if (bias := call.get("bias")) is not None:
            made = made + bias.view(1, -1, 1, 1)
        return made.to(y.dtype)

    def addition(self, number: int, func: Function, args: tuple[Any, ...]) -> Any:
        """Add what is quantised where the plan says so; what is changed is not."""
        addends = list(args)
        for index, tensor in self._addends.get(number, ()):
            if index or func.__name__ == "add":
                steps = self._steps_of(args[index], tensor)
                value = steps * self._scales[tensor]
                addends[index] = value.to(args[index].dtype)
        return func(*addends)

    def _steps_of(self, x: Tensor, tensor: str) -> Tensor:
        key = identity(x)
        if key not in self._tensors:
            scale = torch.tensor(self._scales[tensor], device=x.device)
            self._tensors[key] = x, _steps(x, scale)
        return self._tensors[key][1]


def identity(x: Tensor) -> tuple[int, int]:
    """What tells the content of `x` from that of others, as long as it is kept."""
    return id(x), 0 if x.is_inference() else x._version


def kernel_scale(weight: Tensor) -> Tensor:
    """The scales of a kernel, `(O, ...)` -> `(O,)`, as the graph has them."""
    reach = weight.detach().abs().flatten(1).amax(1).float().cpu().numpy()
    return torch.from_numpy(scale_of(reach)).to(weight.device)


@torch.no_grad()
def onto_grid(network: nn.Module, plan: QuantisationPlan) -> None:
    """Round the weights to what INT8 holds, in place; rounded again they stay."""
    tensors = _tensors_of(network)
    for name in plan.kernels:
        weight = tensors[name]
        scale = kernel_scale(weight)
        weight.copy_(_steps(weight, scale) * scale.view(-1, 1, 1, 1))


def _tensors_of(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _adds(args: tuple[Any, ...], kwargs: Call) -> bool:
    return not kwargs and len(args) == 2 and all(isinstance(x, Tensor) for x in args)


def _steps(x: Tensor, scale: Tensor) -> Tensor:
    if scale.ndim:
        scale = scale.view(-1, 1, 1, 1)
    made: Tensor = _Steps.apply(x, scale)  # type: ignore[no-untyped-call]
    return made


class _Steps(torch.autograd.Function):
    """``clip(round(x / scale))``, whose gradient is that of ``x / scale`` inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        rounded = (x.float() / scale).round_()
        ctx.save_for_backward((rounded >= _LOWEST) & (rounded <= LEVELS), scale)
        ctx.dtype = x.dtype
        return rounded.clamp_(_LOWEST, LEVELS)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        inside, scale = ctx.saved_tensors
        return (gradient.float() / scale * inside).to(ctx.dtype), None
