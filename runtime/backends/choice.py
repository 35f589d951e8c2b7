"""How the backend of a command is named on its command line."""

from __future__ import annotations

from typing import Any

import click

from derain.runtime.backends import AUTO, BACKENDS, is_address


class BackendChoice(click.Choice):  # type: ignore[type-arg]  # not generic before 8.2
    """One of the table's names, or the address of one that is elsewhere."""

    def __init__(self) -> None:
        super().__init__([AUTO, *BACKENDS])

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """The name, or the address as it is."""
        if isinstance(value, str) and is_address(value):
            return value
        return super().convert(value, param, ctx)
