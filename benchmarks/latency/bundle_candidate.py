"""Our bundles, as ``derain-run`` runs them: the rows that are ours."""

from __future__ import annotations

import time
from collections.abc import Mapping

from derain.benchmarks.latency.candidate import Frame, FrameMemory
from derain.benchmarks.latency.candidates import CandidateSpec
from derain.core.bundle import Bundle
from derain.core.errors import BundleError
from derain.runtime.derainer import Derainer


def open_bundle(spec: CandidateSpec) -> BundleCandidate:
    """The bundle of `spec` on its backend, self-test passed."""
    assert spec.file is not None
    bundle = Bundle.open(spec.file)
    if spec.size not in bundle.manifest.sizes:
        raise BundleError(
            f"{spec.file} takes {bundle.manifest.sizes}, the frames are {spec.size}"
        )
    memory = FrameMemory(
        bundle.manifest.state_bytes(spec.size), bundle.manifest.look_ahead
    )
    return BundleCandidate(Derainer(bundle, spec.backend, spec.threads), memory)


class BundleCandidate:
    """A bundle with the runtime's own checks around it."""

    def __init__(self, derainer: Derainer, memory: FrameMemory) -> None:
        self._derainer = derainer
        self.memory = memory
        self.description = derainer.description
        self._last_ms = 0.0

    @property
    def split_ms(self) -> Mapping[str, float]:
        """See `Candidate.split_ms`: pixels are converted inside the graph."""
        return {"compute": self._last_ms}

    def infer(self, frame: Frame) -> Frame | None:
        """See `Candidate.infer`."""
        started = time.perf_counter()
        derained: Frame | None = self._derainer.derain(frame)
        self._last_ms = (time.perf_counter() - started) * 1000
        return derained

    def reset(self) -> None:
        """See `Candidate.reset`."""
        self._derainer.reset()

    def device_bytes(self) -> int | None:
        """See `Candidate.device_bytes`."""
        return None

    def close(self) -> None:
        """See `Candidate.close`."""
        self._derainer.close()
