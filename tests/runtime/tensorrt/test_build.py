"""What the builder is told, and what is kept of what it measured."""

import dataclasses
import json
import types

import pytest

from derain.core.errors import EngineError
from derain.core.sizes import SizeRange
from derain.runtime.tensorrt import build, layer_precision
from derain.runtime.tensorrt.build_options import BuildFacts, BuildOptions, BuildRequest
from derain.runtime.tensorrt.cache_file import CacheFile
from derain.runtime.tensorrt.library import Api, Messages
from support.tensorrt_builder import CLASSIC, FAKE, RTX, Level


class Config:
    """Notes what the builder is given."""

    def __init__(self, accepts=True):
        self.given, self.accepts = [], accepts

    def create_timing_cache(self, data):
        return data

    def set_timing_cache(self, cache, ignore_mismatch):
        self.given.append((cache, ignore_mismatch))
        return self.accepts or cache == b""

    def get_timing_cache(self):
        return types.SimpleNamespace(serialize=lambda: b"measured now")


def use(config, device, api=CLASSIC, **options):
    notes = []
    chosen = BuildOptions(**options)
    file = build._use_timing_cache(api, config, chosen, device, notes)
    return file, notes


@pytest.fixture
def default_file(monkeypatch, tmp_path, device):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return CacheFile.default("timing", "tensorrt", "10.3.0", device)


def test_a_timing_cache_is_used_and_kept_by_default(default_file, device):
    default_file.save(b"measured before")
    config = Config()
    file, notes = use(config, device)
    assert config.given == [(b"measured before", False)]
    build._keep_timing_cache(config, file, notes)
    assert default_file.load() == b"measured now"
    assert notes == []


def test_a_damaged_default_timing_cache_is_ignored_with_a_note(default_file, device):
    default_file.path.parent.mkdir(parents=True)
    default_file.path.write_bytes(b"damaged")
    config = Config()
    file, notes = use(config, device)
    assert config.given == [(b"", False)]
    assert file == default_file
    assert [note for note in notes if "ignored" in note] == notes != []


def test_a_file_of_the_user_that_is_no_timing_cache_is_left_alone(tmp_path, device):
    file = tmp_path / "thesis.doc"
    file.write_bytes(b"dear")
    with pytest.raises(EngineError, match=r"thesis\.doc is damaged, or of another"):
        use(Config(), device, timing_cache_file=file)
    assert file.read_bytes() == b"dear"


def test_a_timing_cache_of_another_device_is_ignored_with_a_note(default_file, device):
    default_file.save(b"measured elsewhere")
    config = Config(accepts=False)
    _, notes = use(config, device)
    assert config.given[-1] == (b"", False)
    assert "of another device" in notes[0]


def test_no_timing_cache_where_it_is_not_wanted_or_does_nothing(tmp_path, device):
    config = Config()
    assert use(config, device, timing_cache=False) == (None, [])
    assert use(config, device, api=RTX) == (None, [])
    _, (note,) = use(config, device, api=RTX, timing_cache_file=tmp_path / "x")
    assert "no timing cache used" in note
    assert config.given == []


def test_the_options_reach_the_builder():
    limits, flags = {}, []
    config = types.SimpleNamespace(
        set_memory_pool_limit=limits.__setitem__, set_flag=flags.append
    )
    builder = types.SimpleNamespace(create_builder_config=lambda: config)
    options = BuildOptions(
        workspace_bytes=1 << 29,
        optimization_level=1,
        hardware_compatible=True,
        version_compatible=True,
        tiling="full",
    )
    api = Api("tensorrt", FAKE, "10.16.1", None, Messages())
    got, settings = build._configure(api, builder, options, None)
    assert got is config
    assert settings == {
        "workspace_bytes": 1 << 29,
        "optimization_level": 1,
        "tiling": "full",
    }
    assert config.tiling_optimization_level == "FULL"
    assert limits == {"the workspace": 1 << 29}
    assert config.builder_optimization_level == 1
    assert config.hardware_compatibility_level is Level.AMPERE_PLUS
    assert flags == ["VERSION_COMPATIBLE"]
    assert config.profiling_verbosity == "DETAILED"


def test_options_that_are_not_given_are_left_to_the_library(device):
    config = types.SimpleNamespace()  # to set anything else is an error
    builder = types.SimpleNamespace(create_builder_config=lambda: config)
    api = Api("tensorrt", FAKE, "10.3.0", None, Messages())
    card = dataclasses.replace(device, integrated=False)
    for there in (None, card):
        assert build._configure(api, builder, BuildOptions(), there) == (config, {})
    assert vars(config) == {"profiling_verbosity": "DETAILED"}


@pytest.mark.parametrize(("wanted", "workspace"), [(None, 2 << 30), (1 << 29, 1 << 29)])
def test_where_memory_is_shared_a_build_leaves_some(device, wanted, workspace):
    limits = {}
    config = types.SimpleNamespace(set_memory_pool_limit=limits.__setitem__)
    builder = types.SimpleNamespace(create_builder_config=lambda: config)
    api = Api("tensorrt", FAKE, "10.3.0", None, Messages())
    options = BuildOptions(workspace_bytes=wanted)
    _, settings = build._configure(api, builder, options, device)
    assert limits == {"the workspace": workspace}
    assert config.max_aux_streams == 0
    assert settings == {"max_aux_streams": 0, "workspace_bytes": workspace}


def test_an_inspection_that_fails_costs_a_note(monkeypatch, device):
    def broken(*arguments, **options):
        raise json.JSONDecodeError("Expecting value", "", 0)

    monkeypatch.setattr(layer_precision, "engine_layers", broken)
    facts = BuildFacts(
        version="10.3.0",
        device=device,
        compute_capabilities=("8.7",),
        seconds=1.0,
        peak_bytes=1,
        settings={},
        network_types={},
        layers=None,
        notes=("a warning",),
    )
    got = build.inspect(CLASSIC, b"plan", facts, version_compatible=False)
    assert got.layers is None
    assert got.notes == (
        "a warning",
        "layers of the engine not inspected: JSONDecodeError: Expecting value: line 1 "
        "column 1 (char 0)",
    )


@pytest.fixture
def set_sizes():
    """What the builder is told: the frame's shape, and the profiles it gets."""

    def run(shape, sizes):
        frame = types.SimpleNamespace(name="frame", shape=shape)
        network = types.SimpleNamespace(num_inputs=1, get_input=lambda index: frame)
        profile = types.SimpleNamespace(
            set_shape=lambda name, *shapes: setattr(profile, name, shapes)
        )
        builder = types.SimpleNamespace(create_optimization_profile=lambda: profile)
        profiles = []
        config = types.SimpleNamespace(add_optimization_profile=profiles.append)
        api = Api("tensorrt", FAKE, "10.3.0", None, Messages())
        request = BuildRequest(
            backend="tensorrt",
            model=None,
            precision="fp32",
            sizes=SizeRange.parse(sizes),
            options=BuildOptions(),
        )
        build._set_shapes(api, builder, config, network, request)
        return frame.shape, [each.frame for each in profiles]

    return run


def test_a_graph_of_one_size_needs_no_profile(set_sizes):
    assert set_sizes((1, 48, 64, 3), "64x48") == ((1, 48, 64, 3), [])


def test_a_range_is_a_profile_of_height_and_width(set_sizes):
    open_ = (1, -1, -1, 3)
    shapes = (1, 32, 40, 3), (1, 48, 64, 3), (1, 96, 128, 3)
    assert set_sizes(open_, "40x32,64x48,128x96") == (open_, [shapes])


def test_one_size_of_a_range_closes_the_graph(set_sizes):
    assert set_sizes((1, -1, -1, 3), "64x48") == ((1, 48, 64, 3), [])
