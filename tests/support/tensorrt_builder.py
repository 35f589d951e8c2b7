"""Names of TensorRT's builder, of modules that are not here.

What names the real ones have is checked in tests/runtime/tensorrt/test_api.py.
"""

import enum
import types

from derain.runtime.tensorrt.library import Api, Messages


class Flag(enum.IntEnum):
    STRONGLY_TYPED = 1


class Level(enum.Enum):
    AMPERE_PLUS = 1


FAKE = types.SimpleNamespace(
    NetworkDefinitionCreationFlag=Flag,
    HardwareCompatibilityLevel=Level,
    BuilderFlag=types.SimpleNamespace(VERSION_COMPATIBLE="VERSION_COMPATIBLE"),
    TilingOptimizationLevel=types.SimpleNamespace(FULL="FULL"),
    MemoryPoolType=types.SimpleNamespace(WORKSPACE="the workspace"),
    ProfilingVerbosity=types.SimpleNamespace(DETAILED="DETAILED"),
    Dims=tuple,
)
BUILDER = types.SimpleNamespace(create_network=lambda flags: flags)

CLASSIC = Api("tensorrt", None, "10.3.0", None, Messages())
RTX = Api("tensorrt-rtx", None, "1.7.1.116", None, Messages())
