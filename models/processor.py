"""CUDA means the processor, while somebody's network is built, run and traced.

Networks that were published with ``.cuda()``, ``use_GPU=True`` or ``device="cuda"``
inside need no change: what they send to a GPU stays where it is, and a note says so.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_log = logging.getLogger(__name__)

_CUDA = re.compile(r"cuda(:\d+)?")
_TYPE = "torch.cuda."  # of "torch.cuda.FloatTensor", which .type() takes
_noted: ContextVar[bool] = ContextVar("noted", default=False)


def forget_note() -> None:
    """Begin with another network, of which the note is yet to be said."""
    _noted.set(False)


def _note() -> None:
    if not _noted.get():
        _noted.set(True)
        _log.warning("the network asks for CUDA: here that means the processor")


def _here(value: Any) -> Any:
    """`value`, or the processor where it is a CUDA device."""
    if isinstance(value, torch.device) and value.type == "cuda":
        _note()
        return torch.device("cpu")
    if isinstance(value, str) and _CUDA.fullmatch(value):
        _note()
        return "cpu"
    if isinstance(value, str) and value.startswith(_TYPE):
        _note()
        return "torch." + value.removeprefix(_TYPE)
    return value


class ProcessorMode(TorchFunctionMode):
    """While active, every function of PyTorch that is given a CUDA device has none."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run `func` on the processor."""
        if func is torch.Tensor.cuda:
            _note()
            return args[0]
        if func is torch.Tensor.to and len(args) > 1 and type(args[1]) is int:
            args = (args[0], torch.device("cuda"), *args[2:])
        return func(
            *map(_here, args), **{k: _here(v) for k, v in (kwargs or {}).items()}
        )


@contextlib.contextmanager
def on_processor() -> Iterator[None]:
    """While active, CUDA means the processor."""
    with contextlib.ExitStack() as stack:
        for home, name, value in _replaced():
            if hasattr(home, name):
                stack.callback(setattr, home, name, getattr(home, name))
                setattr(home, name, value)
        stack.enter_context(ProcessorMode())
        yield


def _replaced() -> Iterator[tuple[Any, str, Any]]:
    """What no mode sees: where it is, its name, and what stands in for it."""

    def nothing() -> Callable[..., None]:  # PyTorch takes no function of two names
        return lambda *arguments, **keywords: _note()

    for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Byte"):
        yield torch.cuda, f"{kind}Tensor", getattr(torch, f"{kind}Tensor")
    for name in ("synchronize", "empty_cache", "set_device"):
        yield torch.cuda, name, nothing()
    yield torch.cuda, "current_device", lambda: 0
    read = torch.load

    def load(*arguments: Any, **keywords: Any) -> Any:
        if len(arguments) > 1:
            arguments = (arguments[0], "cpu", *arguments[2:])
        else:
            keywords["map_location"] = "cpu"
        return read(*arguments, **keywords)

    yield torch, "load", load
