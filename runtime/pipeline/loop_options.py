"""How the frames of one source are limited and watched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from derain.core.sizes import Size
from derain.runtime.pipeline.options import Late
from derain.runtime.pipeline.rain_gate import RainGate
from derain.runtime.session import Session
from derain.runtime.telemetry.statistics import Statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopOptions:
    """How the frames of one source are limited and watched.

    Attributes:
        name: What messages call the camera, where there are several.
        limit: Stop after this many frames; None: all.
        resize: Fit frames the bundle does not take into it; of a live source, also
            what was made of frames of another size than the first ones into theirs.
        choose: Which session takes frames of a size; None: always the same.
        gate: Lets frames without rain pass; None: every frame is derained.
        max_latency_ms: How old a live frame may get until the first sink has it; None:
            no bound but the newest frame wins.
        late: What becomes of frames that would be older.
        priority: Of several cameras, those of a lower one give way first.
        statistics: Counts what happens.
        stopped: Asked before every frame, and while none comes, whether to stop here.
        progress: Told after every frame how many went on to the sinks.
        heartbeat: Called as often as `stopped`, for a watchdog.
    """

    name: str = ""
    limit: int | None = None
    resize: bool = False
    choose: Callable[[Size], Session] | None = None
    gate: RainGate | None = None
    max_latency_ms: float | None = None
    late: Late = "drop"
    priority: int = 0
    statistics: Statistics = field(default_factory=Statistics)
    stopped: Callable[[], object] = lambda: False
    progress: Callable[[int], None] = lambda done: None
    heartbeat: Callable[[], None] = lambda: None
