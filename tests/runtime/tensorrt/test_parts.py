"""The small parts of a build: progress, timing cache, layer audit, versions."""

import enum
import json
import types

import pytest

from derain.core.errors import EngineError
from derain.core.sizes import SizeRange
from derain.runtime.tensorrt import (
    build,
    compile_cli,
    layer_precision,
    library,
    timing_cache,
    versions,
)
from derain.runtime.tensorrt.build_options import BuildOptions
from derain.runtime.tensorrt.library import Api, Messages, installed, open_api
from derain.runtime.tensorrt.monitor import PhaseTree

# Progress


def test_nested_phases_are_parts_of_a_step():
    told = []
    tree = PhaseTree(lambda part, phase: told.append((round(part, 3), phase)))
    tree.start("build", None, 4)
    tree.step("build", 0)
    tree.start("time", "build", 2)
    tree.step("time", 0)
    tree.finish("time")
    tree.step("build", 3)
    expected = [
        (0, "build"),
        (0.25, "build"),
        (0.25, "time"),
        (0.375, "time"),
        (1, "build"),
    ]
    assert told == expected


def test_progress_never_goes_back():
    told = []
    tree = PhaseTree(lambda part, phase: told.append(part))
    tree.start("build", None, 2)
    for _ in range(2):  # two phases one after the other in the same step
        tree.start("time", "build", 2)
        tree.step("time", 0)
        tree.finish("time")
    tree.step("unknown", 9)
    assert told == sorted(told)


# Timing cache


def test_a_timing_cache_is_kept(tmp_path):
    file = tmp_path / "new" / "x.cache"
    assert timing_cache.load(file) == b""
    timing_cache.save(file, b"measured")
    timing_cache.save(file, b"measured again")
    assert timing_cache.load(file) == b"measured again"
    assert [path.name for path in file.parent.iterdir()] == ["x.cache"]


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[:-1], lambda c: c + b"x", lambda c: b"other", lambda c: b""],
    ids=["cut", "longer", "another program's", "empty"],
)
def test_a_damaged_timing_cache_is_not_given_to_native_code(tmp_path, damage):
    file = tmp_path / "x.cache"
    timing_cache.save(file, b"measured")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(EngineError, match="damaged, or of another program"):
        timing_cache.load(file)


def test_a_timing_cache_for_each_device_and_version(monkeypatch, tmp_path, device):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = timing_cache.default_file("tensorrt", "10.3.0", device)
    assert file == tmp_path / "derain" / "timing" / "tensorrt-10.3.0-sm87-orin.cache"


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


CLASSIC = Api("tensorrt", None, "10.3.0", None, Messages())
RTX = Api("tensorrt-rtx", None, "1.7.1.116", None, Messages())


def use(config, device, api=CLASSIC, **options):
    notes = []
    chosen = BuildOptions(**options)
    file = build._use_timing_cache(api, config, chosen, device, notes)
    return file, notes


@pytest.fixture
def default_file(monkeypatch, tmp_path, device):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return timing_cache.default_file("tensorrt", "10.3.0", device)


def test_a_timing_cache_is_used_and_kept_by_default(default_file, device):
    timing_cache.save(default_file, b"measured before")
    config = Config()
    file, notes = use(config, device)
    assert config.given == [(b"measured before", False)]
    build._keep_timing_cache(config, file, notes)
    assert timing_cache.load(default_file) == b"measured now"
    assert notes == []


def test_a_damaged_default_timing_cache_is_ignored_with_a_note(default_file, device):
    default_file.parent.mkdir(parents=True)
    default_file.write_bytes(b"damaged")
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
    timing_cache.save(default_file, b"measured elsewhere")
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


# Layer audit


def layer(text):
    return {"Name": "l", "Outputs": [{"Name": "o", "Format/Datatype": text}]}


def test_layers_are_counted_by_the_type_of_their_result():
    formats = [
        "Row major linear FP16 format",
        "Channel major FP16 format where channel % 8 == 0",
        "Half",
        "Row major linear FP32",
        "Float",
        "Row major Int8 format",
        "Row major linear BF16",
        "Row major linear UInt8",
    ]
    layers = [*map(layer, formats), {"Name": "without outputs"}]
    counts = layer_precision.count_layers(json.dumps({"Layers": layers}))
    assert counts == {"bf16": 1, "fp16": 3, "fp32": 2, "int8": 1, "other": 2}


def test_an_engine_without_details_is_not_counted():
    assert layer_precision.count_layers('{"Layers": ["a", "b"]}') is None


@pytest.mark.parametrize(
    ("precision", "types", "reported"),
    [
        ("fp16", {"fp32": 3, "fp16": 2}, True),
        ("fp16", {"fp32": 2, "fp16": 2}, False),
        ("fp16", {"fp16": 2}, False),
        ("int8", {"fp32": 1}, True),
        ("fp32", {"fp32": 3}, False),
    ],
)
def test_mostly_fp32_layers_are_reported(precision, types, reported):
    note = layer_precision.precision_note(precision, types, "layers")
    assert (note is not None) == reported


@pytest.mark.parametrize(
    ("precision", "types", "got"),
    [
        ("fp16", {"fp32": 3}, "fp32"),
        ("fp32", {"fp16": 1, "fp32": 3}, "fp16"),
        ("int8", {"fp16": 3}, "fp16"),
        ("fp16", {"fp16": 3, "int8": 1}, "int8"),
    ],
)
def test_a_graph_of_another_precision_is_refused(precision, types, got):
    expected = f"the bundle says {precision}, but its model is {got} .*; export it ag"
    with pytest.raises(EngineError, match=expected):
        layer_precision.check_precision(precision, types)


@pytest.mark.parametrize(
    ("precision", "types"),
    [
        ("fp32", {"fp32": 3}),
        ("fp16", {"fp16": 1, "fp32": 3}),  # the exporter may leave many in FP32
        ("int8", {"fp16": 2, "fp32": 1, "int8": 1}),
        ("fp16", {}),
    ],
)
def test_the_lowest_precision_is_that_of_the_graph(precision, types):
    layer_precision.check_precision(precision, types)


@pytest.mark.parametrize("compatible", [False, True])
def test_a_version_compatible_engine_is_inspected_with_its_own_code(compatible):
    layers = json.dumps({"Layers": [layer("Half")]})
    inspector = types.SimpleNamespace(get_engine_information=lambda kind: layers)
    engine = types.SimpleNamespace(create_engine_inspector=lambda: inspector)

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, logger):
            pass

        def deserialize_cuda_engine(self, plan):
            # TensorRT loads such an engine only where its code is allowed.
            return engine if self.engine_host_code_allowed == compatible else None

    module = types.SimpleNamespace(
        Runtime=Runtime, LayerInformationFormat=types.SimpleNamespace(JSON=1)
    )
    api = Api("tensorrt", module, "10.3.0", None, Messages())
    counts = layer_precision.engine_layers(api, b"plan", version_compatible=compatible)
    assert counts == {"fp16": 1}


# Versions. These stand for modules that are not here; what names the real ones have is
# checked in test_api.py.


class Flag(enum.IntEnum):
    STRONGLY_TYPED = 1


class Level(enum.Enum):
    AMPERE_PLUS = 1


FAKE = types.SimpleNamespace(
    NetworkDefinitionCreationFlag=Flag,
    HardwareCompatibilityLevel=Level,
    BuilderFlag=types.SimpleNamespace(VERSION_COMPATIBLE="VERSION_COMPATIBLE"),
    MemoryPoolType=types.SimpleNamespace(WORKSPACE="the workspace"),
    ProfilingVerbosity=types.SimpleNamespace(DETAILED="DETAILED"),
    Dims=tuple,
)
BUILDER = types.SimpleNamespace(create_network=lambda flags: flags)


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
    )
    api = Api("tensorrt", FAKE, "10.3.0", None, Messages())
    assert build._configure(api, builder, options) is config
    assert limits == {"the workspace": 1 << 29}
    assert config.builder_optimization_level == 1
    assert config.hardware_compatibility_level is Level.AMPERE_PLUS
    assert flags == ["VERSION_COMPATIBLE"]
    assert config.profiling_verbosity == "DETAILED"


def test_options_that_are_not_given_are_left_to_the_library():
    config = types.SimpleNamespace()  # to set anything else is an error
    builder = types.SimpleNamespace(create_builder_config=lambda: config)
    api = Api("tensorrt", FAKE, "10.3.0", None, Messages())
    build._configure(api, builder, BuildOptions())
    assert vars(config) == {"profiling_verbosity": "DETAILED"}


@pytest.mark.parametrize(
    ("text", "amount"), [("512M", 512 << 20), ("2GiB", 2 << 30), ("4096", 4096)]
)
def test_amounts_of_memory(text, amount):
    assert compile_cli._parse_bytes(text) == amount


@pytest.fixture
def set_sizes():
    """What the builder is told: the frame's shape, and the profiles it gets."""

    def run(shape, sizes):
        frame = types.SimpleNamespace(name="frame", shape=shape)
        network = types.SimpleNamespace(get_input=lambda index: frame)
        profile = types.SimpleNamespace(
            set_shape=lambda name, *shapes: setattr(profile, name, shapes)
        )
        builder = types.SimpleNamespace(create_optimization_profile=lambda: profile)
        profiles = []
        config = types.SimpleNamespace(add_optimization_profile=profiles.append)
        api = Api("tensorrt", FAKE, "10.3.0", None, Messages())
        build._set_sizes(api, builder, config, network, SizeRange.parse(sizes))
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


# Import


def test_a_folder_of_stubs_is_no_library(tmp_path, monkeypatch):
    for name in library.MODULES.values():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.pyi").touch()
    monkeypatch.setattr(library.importlib.util.sys, "path", [str(tmp_path)])
    assert installed() == []
    with pytest.raises(EngineError, match="tensorrt is not installed; it comes with J"):
        open_api("tensorrt")


def test_a_library_that_does_not_load_is_one_line(tmp_path, monkeypatch):
    code = "raise ImportError('libnvinfer.so.10:\\n no')"
    (tmp_path / "tensorrt.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert installed()[0] == "tensorrt"
    with pytest.raises(EngineError, match=r"does not load: libnvinfer\.so\.10: no$"):
        open_api("tensorrt")
