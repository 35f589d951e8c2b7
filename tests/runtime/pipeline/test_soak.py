"""Fifty thousand frames: memory stays, and every frame is accounted for."""

import subprocess
import sys

import pytest

# In a process of its own: its memory is then that of the run.
CODE = """
import sys, time
from fractions import Fraction
from pathlib import Path
import numpy as np
from derain.core.bundle import Bundle
from derain.runtime.derainer import Derainer
from derain.runtime.telemetry.sensors import Sensors
from derain.runtime.pipeline.capture import Capture
from derain.runtime.pipeline.loop_options import LoopOptions
from derain.runtime.pipeline.loop import run_loop
from derain.runtime.video.frames import Frame, SourceInfo
from derain.runtime.video.sinks.null import NullSink

FRAMES, EARLY = 50_000, 5_000
live = sys.argv[2] == "live"
image = np.zeros((48, 64, 3), np.uint8)
memory = lambda: Sensors().read()["memory_bytes"]
early = []

class Source:
    info = SourceInfo(
        description="s", time_base=Fraction(1, 1000), fps=Fraction(30), live=live
    )
    def __iter__(self):
        for index in range(FRAMES):
            if index == EARLY:
                early.append(memory())
            yield Frame(
                image.copy(), index, Fraction(index, 1000),
                captured=time.monotonic() if live else None,
            )
    def interrupt(self):
        pass

    def close(self):
        pass

derainer = Derainer(Bundle.open(Path(sys.argv[1])), threads=1)
sinks = [NullSink("null:", Source.info, None) for _ in range(2)]
options = LoopOptions()
run_loop(Capture(Source(), options.statistics), derainer, sinks, options)
values = options.statistics.as_dict()
assert values["captured"] == FRAMES, values
parts = ("derained", "passed_through", "dropped")
assert FRAMES == sum(values[part] for part in parts), values
for row in values["sinks"]:
    assert row["written"] + row["dropped"] == values["derained"], values
assert live or values["derained"] == FRAMES, values
print(memory() - early[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "live"])
def test_50000_frames(bundles, kind):
    result = subprocess.run(
        [sys.executable, "-c", CODE, str(bundles("darken")), kind],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 20_000_000
