"""The fused unit of QSNet on a GPU, against PyTorch's: ``derain-bench unit``.

Twelve units in a row, as in QSNet's encoder, on FP16 maps of one size: eager, eager
with channels last, ``torch.compile`` with CUDA graphs, and the kernel. They take turns,
round by round, each timed by CUDA events. Correctness is judged against FP32.
"""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from derain.core.errors import BenchmarkError
from derain.core.sizes import Size
from derain.models.networks.qsnet import UNITS, ShuffleUnit
from derain.runtime.cuda import shuffle_unit as unit
from derain.runtime.cuda.kernel import CompiledKernel, LoadedKernel, compile_kernel

_WARM_UP = 10
_loaded: dict[tuple[int, str], LoadedKernel] = {}


@torch.library.custom_op("derain::shuffle_unit", mutates_args=())
def shuffle_unit(x: Tensor, parameters: Tensor) -> Tensor:
    """One unit by the kernel.

    Args:
        x: `(N, 32, H, W)` float16, channels last, on a CUDA device.
        parameters: `(720,)` float32, of `derain.runtime.cuda.shuffle_unit`.

    Returns:
        `(N, 32, H, W)` float16, channels last.
    """
    batch, channels, height, width = x.shape
    if channels != unit.defined("CHANNELS") or x.dtype != torch.float16:
        raise ValueError(f"shuffle_unit: got {x.dtype} {tuple(x.shape)}")
    x = x.contiguous(memory_format=torch.channels_last)
    result = torch.empty_like(x)
    _kernel(x.device).launch(
        unit.grid(batch, height, width),
        unit.defined("THREADS"),
        torch.cuda.current_stream(x.device).cuda_stream,
        (x.data_ptr(), parameters.data_ptr()),
        (height, width),
        (result.data_ptr(),),
    )
    return result


@shuffle_unit.register_fake
def _(x: Tensor, parameters: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


def _compiled(device: torch.device) -> CompiledKernel:
    major, minor = torch.cuda.get_device_capability(device)
    return compile_kernel(unit.SOURCE, unit.NAME, f"{major}.{minor}")


def _kernel(device: torch.device) -> LoadedKernel:
    key = (device.index or 0, unit.NAME)
    if key not in _loaded:
        _loaded[key] = LoadedKernel(_compiled(device))
    return _loaded[key]


def parameters_of(module: ShuffleUnit) -> Tensor:
    """What the kernel wants of a unit in eval mode: its BatchNorms folded in.

    Returns:
        `(720,)` float32.
    """
    weights, biases = [], []
    for conv, norm in (module.squeeze, module.depthwise, module.expand):
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weights.append((conv.weight * scale[:, None, None, None]).detach().numpy())
        biases.append((norm.bias - norm.running_mean * scale).detach().numpy())
    return torch.from_numpy(unit.pack_parameters(weights, biases))


class FusedUnits(nn.Module):
    """Units in a row, by the kernel.

    Args:
        units: Of a network in eval mode, on the processor.
    """

    def __init__(self, units: nn.Sequential) -> None:
        super().__init__()
        packed = [
            parameters_of(each) for each in units if isinstance(each, ShuffleUnit)
        ]
        self.register_buffer("parameters_of_units", torch.stack(packed))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, 32, H, W)` float16 in and out."""
        for parameters in self.get_buffer("parameters_of_units"):
            x = shuffle_unit(x, parameters)
        return x


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRow:
    """One way to run the units.

    Attributes:
        name: What ran.
        median_ms: Of all units, over the rounds.
        fastest_ms: The least.
        max_error: Largest difference from FP32.
        mean_error: Mean difference from FP32.
    """

    name: str
    median_ms: float
    fastest_ms: float
    max_error: float
    mean_error: float


def measure_units(size: Size, rounds: int) -> dict[str, Any]:
    """Time the encoder's units in FP16 and compare them with FP32.

    Args:
        size: Of the maps; QSNet's are of the frame's size.
        rounds: How often each is timed.

    Returns:
        The record: device, versions, kernel, rows.

    Raises:
        BenchmarkError: There is no CUDA device, or PyTorch is not built for it.
        EngineError: NVRTC is missing, or the kernel does not compile or start.
    """
    if not torch.cuda.is_available():
        raise BenchmarkError(
            "derain-bench unit needs a CUDA device and a PyTorch built for CUDA; "
            f"PyTorch {torch.__version__} sees none"
        )
    torch.manual_seed(0)
    units = nn.Sequential(*(ShuffleUnit(32, 2) for _ in range(UNITS))).eval()
    fused = FusedUnits(units).cuda()
    whole = units.cuda()
    x32 = torch.randn(1, 32, size.height, size.width, device="cuda").relu()
    x16 = x32.half()
    last = x16.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        wanted = whole(x16.float())
        plain = nn.Sequential(*(ShuffleUnit(32, 2) for _ in range(UNITS))).eval()
        plain.load_state_dict(whole.state_dict())
        plain = plain.cuda().half()
        ways: dict[str, Callable[[], Tensor]] = {
            "eager": lambda: plain(x16),
            "channels last": lambda: plain(last),
        }
        compiled = torch.compile(plain, mode="reduce-overhead")
        ways["torch.compile, CUDA graphs"] = lambda: compiled(last)
        ways["fused unit"] = lambda: fused(last)
        results = {name: way().float().clone() for name, way in ways.items()}
        times = _take_turns(ways, rounds)
    kernel = _compiled(x16.device)
    rows = [
        UnitRow(
            name=name,
            median_ms=statistics.median(times[name]),
            fastest_ms=min(times[name]),
            max_error=(results[name] - wanted).abs().max().item(),
            mean_error=(results[name] - wanted).abs().mean().item(),
        )
        for name in ways
    ]
    return {
        "what": f"{UNITS} units of qsnet, FP16, {size}",
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "rounds": rounds,
        "kernel": {
            key: value for key, value in asdict(kernel).items() if key != "cubin"
        },
        "rows": [asdict(row) for row in rows],
    }


def _take_turns(
    ways: dict[str, Callable[[], Tensor]], rounds: int
) -> dict[str, list[float]]:
    for way in ways.values():
        for _ in range(_WARM_UP):
            way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    order = np.random.default_rng(0)
    for _ in range(rounds):
        for name in order.permutation(list(ways)):
            start, end = (_event() for _ in range(2))
            start.record()
            ways[name]()
            end.record()
            end.synchronize()
            times[name].append(start.elapsed_time(end))
    return times


def _event() -> torch.cuda.Event:
    event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event


def table(record: dict[str, Any]) -> list[tuple[str, ...]]:
    """The rows of a record as text, with a heading."""
    rows: list[tuple[str, ...]] = [
        ("units of qsnet", "median ms", "x eager", "largest error")
    ]
    eager = record["rows"][0]["median_ms"]
    for row in record["rows"]:
        ms = row["median_ms"]
        error = f"{row['max_error']:.2g}"
        rows.append((row["name"], f"{ms:.3f}", f"{eager / ms:.2f}", error))
    return rows
