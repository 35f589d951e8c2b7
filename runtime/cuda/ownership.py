"""Free what was made, in reverse order, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Protocol, TypeVar

from derain.core.errors import EngineError


class Closable(Protocol):
    """Something that is closed."""

    def close(self) -> None:
        """Free it."""
        ...


ClosableT = TypeVar("ClosableT", bound=Closable)


def own(stack: ExitStack, resource: ClosableT) -> ClosableT:
    """Let `stack` close `resource`, which is returned."""
    at_exit(stack, resource.close)
    return resource


def at_exit(stack: ExitStack, callback: Callable[[], None]) -> None:
    """Let `stack` call `callback`; of several errors the first is the one raised.

    After an error of the device every further call fails, too: those say nothing new.
    """

    def leave(
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            callback()
        except EngineError:
            if error is None:
                raise

    stack.push(leave)
