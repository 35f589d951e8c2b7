"""A Triton Inference Server: frames go there and come back, by gRPC.

The server has the model that ``derain-triton`` has made of the bundle; what a network
remembers stays with it, in a sequence for each memory.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import numpy as np
import tritonclient.grpc as grpc
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from derain.core.bundle import MODEL_FILE, Bundle
from derain.core.errors import EngineError, StateError
from derain.runtime.backends.protocol import Memory, StageTimes
from derain.runtime.backends.states import HEALTH, NOT_FINITE
from derain.runtime.backends.triton_memory import SharedFrames, error_line

_ANSWERS_S = 5.0
_INFERS_S = 60.0  # the first frame may build an engine on the server
FRAME, DERAINED = "frame", "derained"
HASH = "derain_onnx_sha256"  # parameter of the model: of the bundle's graph
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_FORM = "triton://HOST:PORT/MODEL"


def check_triton() -> str:
    """Whether a server is there is not to be told without its address.

    Raises:
        EngineError: Always.
    """
    raise EngineError(f"it wants the address of a server: --backend {_FORM}")


def open_triton(bundle: Bundle, address: str) -> TritonBackend:
    """`bundle` on the server and as the model that `address` names."""
    return TritonBackend(bundle, address)


class TritonBackend:
    """Has a server derain frames.

    Args:
        bundle: What the server's model was made of.
        address: ``HOST:PORT/MODEL``.

    Raises:
        EngineError: Nobody answers, the model is not ready, or of another bundle.
    """

    def __init__(self, bundle: Bundle, address: str) -> None:
        server, slash, self._model = address.partition("/")
        host, _, port = server.rpartition(":")
        if not (host and port.isdecimal() and slash and self._model):
            raise EngineError(f"triton://{address} is not of the form {_FORM}")
        self._name = f"triton://{address}"
        self._manifest = bundle.manifest
        self.notes: Sequence[str] = []
        self.times: StageTimes | None = None
        self._client = grpc.InferenceServerClient(server)
        self._frames: SharedFrames | None = None
        try:
            version = self._greet(server)
            self._check_model()
            if host in _LOCAL:
                self._frames = SharedFrames(self._client)
        except BaseException:
            self._client.close()
            raise
        self.description = f"Triton {version} at {server}, model {self._model}"

    def _greet(self, server: str) -> str:
        try:
            found = self._client.get_server_metadata(client_timeout=_ANSWERS_S)
        except InferenceServerException as error:
            raise EngineError(
                f"no Triton server answers at {server}: {error_line(error)}; the port "
                "is that for gRPC, 8001 unless it was given another one"
            ) from error
        return str(found.version)

    def _check_model(self) -> None:
        """See that it is ready, and made of this bundle."""
        try:
            config = self._client.get_model_config(
                self._model, client_timeout=_ANSWERS_S
            ).config
        except InferenceServerException as error:
            raise EngineError(
                f"{self._name}: {error_line(error)}; put it there with derain-triton, "
                "and see the server's log"
            ) from error
        inputs = [each.name for each in config.input]
        outputs = [each.name for each in config.output]
        if FRAME not in inputs or DERAINED not in outputs:
            raise EngineError(
                f"{self._name} takes {', '.join(inputs)} and gives "
                f"{', '.join(outputs)}, wanted {FRAME} and {DERAINED}: make it of the "
                "bundle with derain-triton"
            )
        self._has_health = HEALTH in outputs
        wanted = self._manifest.files[MODEL_FILE]
        found = (
            config.parameters[HASH].string_value if HASH in config.parameters else ""
        )
        remembers = config.HasField("sequence_batching")
        if found not in ("", wanted) or remembers != bool(self._manifest.states):
            raise EngineError(
                f"{self._name} was made of another bundle than this one; make it anew: "
                "derain-triton BUNDLE --repository FOLDER --force"
            )

    def new_memory(self) -> ServerSequence:
        """See `Backend.new_memory`."""
        return ServerSequence(self, bool(self._manifest.states))

    def infer(self, frame: NDArray[np.uint8], memory: Memory) -> NDArray[np.uint8]:
        """See `Backend.infer`."""
        if not isinstance(memory, ServerSequence) or memory.backend is not self:
            raise EngineError(f"{self.description}: this memory is of another backend")
        started = time.perf_counter()
        sequence = memory.next(frame)
        try:
            derained, health = self._ask(frame, sequence)
        except InferenceServerException as error:
            memory.reset()
            if "START" in str(error):  # idle for too long, or the server is a new one
                raise StateError(
                    f"{self.description} has forgotten the frames before this one; "
                    "the memory was reset"
                ) from error
            raise EngineError(
                f"{self.description} failed: {error_line(error)}"
            ) from error
        whole = (time.perf_counter() - started) * 1000
        self.times = StageTimes(upload_ms=None, compute_ms=whole, download_ms=None)
        if health != 0:  # also where it is not a number
            memory.reset()
            raise StateError(NOT_FINITE)
        return derained

    def end(self, sequence: dict[str, Any]) -> None:
        """Free what the server keeps of a sequence: it ends with a frame, of any kind.

        Where it cannot be told, it forgets by itself in a while.
        """
        size = self._manifest.sizes.optimum
        frame = np.zeros((1, size.height, size.width, 3), np.uint8)
        with contextlib.suppress(InferenceServerException, ValueError):
            self._ask(frame, {**sequence, "sequence_end": True})

    def _ask(
        self, frame: NDArray[np.uint8], sequence: dict[str, Any]
    ) -> tuple[NDArray[np.uint8], float]:
        given = grpc.InferInput(FRAME, list(frame.shape), "UINT8")
        derained = grpc.InferRequestedOutput(DERAINED)
        shared = self._shared(frame)
        if shared is None:
            given.set_data_from_numpy(frame)
        else:
            shared.put(frame, given, derained)
        outputs = [derained]
        if self._has_health:
            outputs.append(grpc.InferRequestedOutput(HEALTH))
        result = self._client.infer(
            self._model, [given], outputs=outputs, client_timeout=_INFERS_S, **sequence
        )
        health = math.nan
        if self._has_health:
            health = float(result.as_numpy(HEALTH).item())
        picture = result.as_numpy(DERAINED) if shared is None else shared.take()
        return picture, health if self._has_health else 0.0

    def _shared(self, frame: NDArray[np.uint8]) -> SharedFrames | None:
        """Memory that the server sees, too; None where it does not."""
        if self._frames is None:
            return None
        try:
            self._frames.make_room(frame)
        except (InferenceServerException, OSError) as error:
            # A container has a /dev/shm of its own.
            self.notes = [
                *self.notes,
                f"frames are sent to {self._model}, as it does not see this machine's "
                f"shared memory (docker run --ipc host): {error_line(error)}",
            ]
            self._frames.close()
            self._frames = None
        return self._frames

    def stream(
        self, frames: Iterable[NDArray[np.uint8]], memory: Memory
    ) -> Generator[NDArray[np.uint8], None, None]:
        """See `Backend.stream`. One frame is on its way at a time."""
        for frame in frames:
            yield self.infer(frame, memory)

    def close(self) -> None:
        """See `Backend.close`."""
        if self._frames is not None:
            self._frames.close()
            self._frames = None
        self._client.close()


class ServerSequence:
    """See `Memory`: the server has the states; here is the number it knows them by.

    Attributes:
        backend: Whose it is.
    """

    def __init__(self, backend: TritonBackend, remembers: bool) -> None:
        self.backend = backend
        self._remembers = remembers
        # Drawn, so that it is no other camera's of any other machine.
        self._number = secrets.randbits(62) + 1
        self._shape: tuple[int, ...] = ()  # of the frames so far; empty before any
        self._is_open = False  # whether the server keeps something
        self._is_closed = False

    def next(self, frame: NDArray[np.uint8]) -> dict[str, Any]:
        """What the server is told of the sequence with `frame`.

        Raises:
            EngineError: It is closed.
        """
        if self._is_closed:
            raise EngineError("this memory is closed; make a new one")
        if not self._remembers:
            return {}
        start = frame.shape != self._shape
        self._shape, self._is_open = frame.shape, True
        return {"sequence_id": self._number, "sequence_start": start}

    def reset(self) -> None:
        """See `Memory.reset`."""
        self._shape = ()

    def close(self) -> None:
        """See `Memory.close`."""
        if self._is_open and not self._is_closed:
            self.backend.end({"sequence_id": self._number, "sequence_start": True})
        self._is_closed = True
