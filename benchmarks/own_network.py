"""How to feed a network of the user's own: what ``derain-export`` must be told, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from derain.export.keywords import export_options
from derain.export.options import ExportOptions
from derain.models.forward_inputs import Feed
from derain.models.registry import NetworkFacts


class OwnNetworkOptions(Protocol):
    """Options of a command that are those of the same name in `ExportOptions`."""

    @property
    def bgr(self) -> bool: ...  # noqa: D102 - see `ExportOptions`
    @property
    def rain(self) -> bool: ...  # noqa: D102
    @property
    def args(self) -> tuple[tuple[str, Any], ...]: ...  # noqa: D102
    @property
    def inputs(self) -> tuple[tuple[str, Feed], ...]: ...  # noqa: D102
    @property
    def value_range(self) -> tuple[float, float] | None: ...  # noqa: D102
    @property
    def output_index(self) -> int | None: ...  # noqa: D102
    @property
    def multiple_of(self) -> int | None: ...  # noqa: D102
    @property
    def minimum(self) -> int | None: ...  # noqa: D102
    @property
    def window(self) -> int | None: ...  # noqa: D102
    @property
    def look_ahead(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnNetwork:
    """How to feed a network of the user's own.

    Attributes:
        facts: Its frame contract and what it returns.
        window: Frames that it sees at once.
        look_ahead: How many of them come after the one that it derains.
        args: What its constructor is given.
        inputs: What its forward is given besides pictures.
    """

    facts: NetworkFacts = field(default_factory=NetworkFacts)
    window: int = 1
    look_ahead: int = 0
    args: tuple[tuple[str, Any], ...] = ()
    inputs: tuple[tuple[str, Feed], ...] = ()

    @classmethod
    def of(cls, options: OwnNetworkOptions, *, own: bool) -> OwnNetwork:
        """What `options` say.

        Args:
            options: Of a command.
            own: Whether there is a network of the user's own.

        Raises:
            ConfigError: They say something, and there is none.
        """
        said = ExportOptions(
            bgr=options.bgr,
            rain=options.rain,
            args=options.args,
            inputs=options.inputs,
            value_range=options.value_range,
            output_index=options.output_index,
            multiple_of=options.multiple_of,
            minimum=options.minimum,
            window=options.window,
            look_ahead=options.look_ahead,
        )
        said.check(own=own)
        return cls(
            facts=said.facts(),
            window=said.window or 1,
            look_ahead=said.look_ahead or 0,
            args=said.args,
            inputs=said.inputs,
        )

    def keywords(self) -> dict[str, Any]:
        """The same for `derain.models.loading.open_network`, but for the facts."""
        return {
            "window": self.window,
            "look_ahead": self.look_ahead,
            "arguments": dict(self.args),
            "inputs": dict(self.inputs),
        }

    def arguments(self) -> list[str]:
        """The same for the command line of ``derain-export``."""
        facts, usual = self.facts, NetworkFacts()
        black, white = facts.value_range
        given = [
            (facts.colour == "bgr", ["--bgr"]),
            (facts.returns_rain, ["--rain"]),
            (facts.value_range != usual.value_range, [f"--range={black},{white}"]),
            *((True, [f"--arg={name}={value!r}"]) for name, value in self.args),
            *((True, [f"--input={name}={feed}"]) for name, feed in self.inputs),
            *(
                (value != default, [f"--{name}", str(value)])
                for name, value, default in (
                    ("output-index", facts.output_index, usual.output_index),
                    ("multiple-of", facts.multiple_of, usual.multiple_of),
                    ("minimum", facts.minimum, usual.minimum),
                    ("window", self.window, 1),
                    ("look-ahead", self.look_ahead, 0),
                )
            ),
        ]
        return [word for is_given, words in given if is_given for word in words]


def own_network_values(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Of `keywords` those that need reading, as options have them.

    Raises:
        ConfigError: A value is none that the option takes.
    """
    names = [name for name in ("args", "inputs", "value_range") if name in keywords]
    said = export_options({name: keywords[name] for name in names})
    return {name: getattr(said, name) for name in names}
