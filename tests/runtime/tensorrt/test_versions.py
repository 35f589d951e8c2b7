"""What differs between the libraries and their versions."""

import types

import pytest

from derain.core.errors import EngineError
from derain.runtime.tensorrt import versions
from derain.runtime.tensorrt.library import Api, Messages
from support.tensorrt_builder import BUILDER, CLASSIC, FAKE, Level


@pytest.mark.parametrize(
    ("name", "version", "flags"),
    [
        ("tensorrt", "10.3.0", 2),
        ("tensorrt", "10.16.1.11", 2),
        ("tensorrt", "11.4.0.106", 0),
        ("tensorrt-rtx", "1.7.1.116", 0),
    ],
)
def test_every_network_is_strongly_typed(name, version, flags):
    api = Api(name, FAKE, version, None, Messages())
    assert versions.create_network(api, BUILDER) == flags


def test_hardware_compatible_engines():
    config = types.SimpleNamespace()
    versions.set_hardware_compatible(Api("tensorrt", FAKE, "10", None, None), config)
    assert config.hardware_compatibility_level is Level.AMPERE_PLUS


def test_tensorrt_builds_for_the_gpu_that_is_there():
    with pytest.raises(EngineError, match="is for --backend tensorrt-rtx"):
        versions.set_compute_capabilities(CLASSIC, None, ["8.7"])


def test_tensorrt_before_10_8_has_no_tiling():
    module = types.SimpleNamespace()
    api = Api("tensorrt", module, "10.3.0", None, Messages())
    with pytest.raises(EngineError, match=r"^tensorrt 10\.3\.0 has no --tiling, which"):
        versions.set_tiling(api, None, "fast")


def test_engines_of_tensorrt_rtx_take_their_memory_from_us():
    """Else they cannot be captured. TensorRT's own never allocate while they run."""
    flags = []
    config = types.SimpleNamespace(set_flag=flags.append)
    new = types.SimpleNamespace(REQUIRE_USER_ALLOCATION="from us")
    for name, kinds in (
        ("tensorrt-rtx", new),
        ("tensorrt-rtx", FAKE.BuilderFlag),  # before 1.2
        ("tensorrt", new),
    ):
        module = types.SimpleNamespace(BuilderFlag=kinds)
        api = Api(name, module, "1.2", None, Messages())
        versions.require_user_allocation(api, config)
    assert flags == ["from us"]
