"""What kept published networks from export: each exports, or one line says how."""

import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from derain.core.bundle import Bundle
from derain.core.errors import NetworkError
from derain.core.sizes import Size, SizeRange
from derain.export import trial
from derain.export.cli import main
from derain.export.pipeline import export
from derain.models.forward_inputs import Feed
from derain.models.loading import open_network
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import derain_frame
from support import published_networks
from support.video_networks import lively

HERE = "support.published_networks"
FACTS, SIZES = NetworkFacts(), SizeRange.parse("40x32")
CUDA = "the network asks for CUDA: here that means the processor"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _figures(bundle):
    figures = bundle.manifest.verification["onnxruntime"]
    assert figures["max_levels"] <= 1
    return bundle.manifest.network


def test_cuda_in_forward_means_the_processor_and_a_list_of_pictures_is_said(said):
    bundle = export(f"{HERE}:PReNetLike", size="40x32", random_weights=True)
    assert _figures(bundle)["output_index"] == 0
    assert said().count(CUDA) == 1
    note = (
        "PReNetLike returns 3 pictures: output 0 is taken; --output-index takes another"
    )
    assert [line for line in said() if line.startswith(note)]


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_a_residual_and_a_picture_are_told_apart(said, value_range):
    """A tenth of white everywhere, 20 dB: taken off, and as it is."""
    black, white = value_range
    network = published_networks.ResidualFirst(white - black)
    loaded = open_network(network, facts=NetworkFacts(value_range=value_range))
    tried = trial.try_network(loaded, SIZES, None)
    assert tried.facts.output_index == 1  # the residual is nearer to nothing
    (note,) = (line for line in said() if "returns 2 pictures" in line)
    near = re.search(r": 0: ([\d.]+) and ([\d.]+), 1: ([\d.]+) and ([\d.]+)$", note)
    assert near[2] == near[3] == "20.0"
    assert float(near[1]) < 15 > float(near[4])
    chosen = trial.try_network(loaded, SIZES, 1)
    assert chosen.facts.output_index == 1


def test_cuda_anywhere_and_the_one_output_of_the_frame_s_size(said):
    bundle = export(f"{HERE}:NerdRainLike", size="40x32", random_weights=True)
    assert _figures(bundle)["output_index"] == 2
    assert said().count(CUDA) == 1
    assert (
        "NerdRainLike returns 3 outputs: 2 is taken, the one picture of its input's "
        "size" in said()
    )


def test_a_factory_with_settings_and_grey_levels_of_255():
    bundle = export(
        f"{HERE}:make_model",
        args={"width": 5, "scale": [2], "rain.level": 0.5},
        value_range=(0, 255),
        size="40x32",
        random_weights=True,
    )
    network = _figures(bundle)
    assert network["value_range"] == [0, 255]
    assert network["arguments"] == {"width": "5", "scale": "[2]", "rain.level": "0.5"}
    assert bundle.folder.name == "make_model-fp32-40x32"
    assert Bundle.open(bundle.folder).manifest.network["value_range"] == [0.0, 255.0]
    frame, derained = bundle.golden_frames()
    assert 2 < np.abs(frame.astype(int) - derained).mean() < 60  # levels, not [0, 1]


def test_smaller_copies_in_minus_one_to_one_over_a_range_of_sizes():
    network = lively(published_networks.UmrlLike())
    bundle = export(
        network,
        inputs={"x_256": "half", "x_128": "quarter"},
        value_range="-1,1",
        multiple_of=4,
        dynamic="24x20,40x32,64x48",
        precision="fp16",
    )
    assert _figures(bundle)["output_index"] == 1
    assert bundle.manifest.network["inputs"] == {"x_256": "half", "x_128": "quarter"}
    frame, derained = bundle.golden_frames()
    facts = NetworkFacts(multiple_of=4, value_range=(-1, 1), output_index=1)
    network.register_forward_pre_hook(
        lambda module, args: (args[0], args[0][..., ::2, ::2], args[0][..., ::4, ::4])
    )
    wanted = derain_frame(network, facts, frame)
    assert np.abs(wanted.astype(int) - derained).max() <= 1


def test_a_window_and_a_map_of_the_noise():
    bundle = export(
        f"{HERE}:NoiseMapLike",
        window=3,
        look_ahead=1,
        inputs={"noise_map": "constant:0.25"},
        size="40x32",
        random_weights=True,
    )
    assert _figures(bundle)["inputs"] == {"noise_map": "constant:0.25"}
    assert bundle.model_path.stat().st_size < 10_000  # no plane of the frame's size


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_loop_in_the_graph(precision):
    network = lively(published_networks.ScanLike())
    bundle = export(network, size="40x32", precision=precision, output=precision)
    assert _figures(bundle)


@pytest.mark.parametrize(
    ("network", "options", "line"),
    [
        (
            "make_model",
            ["--arg", "width=4"],
            r"make_model reads args\.scale, which is not given; give --arg scale=VALUE",
        ),
        (
            "make_model",
            ["--arg", "width=4", "--arg", "scale=[1]", "--arg", "rain.x=1"],
            r"reads args\.rain\.level, which is not given; give --arg rain\.level=",
        ),
        ("NafLike", ["--arg", "widht=8"], "no argument 'widht'; it takes width, enc_b"),
        ("NafLike", ["--arg", "width=false"], "write width=False"),
        ("NafLike", ["--arg", "width"], "not of the form NAME=VALUE"),
        ("NafLike", ["--arg", "width=4", "--arg", "width=5"], "width is given twice"),
        (
            "UmrlLike",
            [],
            "wants x_256, x_128 besides the picture; give --input x_256=WHAT --input",
        ),
        ("UmrlLike", ["--input", "x_256=double"], "'double' is no input; wanted frame"),
        ("UmrlLike", ["--input", "y=half"], "no input 'y'; it takes x, x_256, x_128"),
        ("KpnLike", ["--input", "data=constant:nan"], "no input; wanted frame, half"),
        ("ByName", [], r"takes no picture by position; --input image=frame"),
        ("Plain", ["--range", "1,0"], "no range of values; wanted BLACK,WHITE"),
        ("Plain", ["--output-index", "3"], r"output 3: .*--output-index 0 is one"),
        ("UNetLike", ["--size", "1284x722"], r"RuntimeError: .*; --multiple-of 8 solv"),
        ("UNetLike", ["--dynamic", "64x48,72x56,96x96"], "--multiple-of 8 solves it"),
        ("Shrinks", [], r"padding.*; --multiple-of 64 solves it"),
        ("Interrupts", [], "running Interrupts on a picture of 40x32 failed: Stop: en"),
        ("Returns", ["--arg", "dtype=int64"], r"returns torch\.int64, wanted floats"),
        ("Returns", ["--arg", "dtype=bool"], r"returns torch\.bool, wanted floats"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_what_is_missing_is_said_with_the_option_that_gives_it(
    network, options, line, tmp_path
):
    size = [] if {"--size", "--dynamic"} & set(options) else ["--size", "40x32"]
    given = ["--model", f"{HERE}:{network}", "--random-weights", "-q", *size, *options]
    result = CliRunner().invoke(main, [*given, "--keep-graphs", "graphs"])
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit)
    said = result.stderr.splitlines()[-1]
    assert result.exit_code == 2 or len(result.stderr.splitlines()) == 1
    assert re.search(line, said), said
    assert not list(tmp_path.iterdir())  # an empty folder of graphs neither


def test_a_picture_by_name():
    loaded = open_network(
        published_networks.ByName(), inputs={"image": Feed("frame")}, facts=FACTS
    )
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(
        loaded.network(x), published_networks.Plain.forward(loaded.network, x)
    )


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_become_the_picture(dtype):
    loaded = open_network(published_networks.Returns(dtype), facts=FACTS)
    frame = np.zeros((8, 8, 3), np.uint8)
    assert derain_frame(loaded.network, FACTS, frame).dtype == np.uint8


def test_a_network_that_returns_its_input_is_refused():
    loaded = open_network(torch.nn.Identity(), facts=FACTS)
    with pytest.raises(NetworkError, match="Identity returns its input as it is"):
        trial.try_network(loaded, SIZES, None)


def test_a_network_for_one_size_alone_is_tried_at_that():
    class Fixed(published_networks.Plain):
        def forward(self, x):
            if x.shape[2:] != (150, 200):
                raise ValueError("made for 200x150")
            return super().forward(x)

    loaded = open_network(Fixed(), facts=FACTS)
    sizes = SizeRange.parse("200x150")
    assert trial.try_network(loaded, sizes, None).facts == FACTS


@pytest.mark.parametrize("side", [63, 64, 65, 127, 128, 720, 1080, 2160])
def test_the_small_frame_leaves_the_same_remainders(side):
    small = trial._small(Size(side, side), FACTS).width
    assert small <= min(side, 127)
    assert (small - side) % 64 == 0


def test_a_network_that_takes_no_small_picture_is_tried_at_a_larger_one():
    loaded = open_network(published_networks.Shrinks(60), facts=FACTS)
    sizes = SizeRange.parse("1280x720")
    assert trial.try_network(loaded, sizes, None).facts == FACTS
