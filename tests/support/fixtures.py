"""Tiny bundles made by hand, and pictures and clips to run them on."""

import subprocess
import sys
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest

from derain.core.pictures import write_picture
from derain.core.sizes import Size, SizeRange
from support.bundles import frame_model, write_bundle

SIZE = Size(64, 48)
ANY_SIZE = SizeRange.parse("1x1,64x48,4096x4096")


def smooth_image(size=SIZE, shift=0):
    """A picture without edges, which a codec keeps within a few levels."""
    y, x = np.mgrid[: size.height, : size.width].astype(np.float32)
    channels = [
        127 + 90 * np.sin((x + 3 * shift) / 29 + phase) * np.cos(y / 23 + phase)
        for phase in (0.0, 0.3, 0.6)
    ]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def _nodes(kind):
    from onnx import TensorProto, helper

    if kind == "identity":
        return [helper.make_node("Identity", ["frame"], ["derained"])]
    if kind == "darken":
        return [
            helper.make_node(
                "BitShift", ["frame", "one"], ["derained"], direction="RIGHT"
            )
        ]
    # "slow": much work whose result is not used, but cannot be folded away.
    window = {"kernel_shape": [9, 3], "pads": [4, 1, 4, 1], "count_include_pad": 1}
    count = 12
    return [
        helper.make_node("Cast", ["frame"], ["x0"], to=TensorProto.FLOAT),
        *(
            helper.make_node("AveragePool", [f"x{i}"], [f"x{i + 1}"], **window)
            for i in range(count)
        ),
        helper.make_node("Mul", [f"x{count}", "zero"], ["nothing"]),
        helper.make_node("Add", ["x0", "nothing"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["derained"], to=TensorProto.UINT8),
    ]


def _write_bundle(folder, kind="darken", sizes=None, expected=None, precision="fp32"):
    onnx = pytest.importorskip("onnx")
    from onnx import helper

    sizes = sizes or SizeRange.static(SIZE)
    constants = [
        helper.make_tensor("one", onnx.TensorProto.UINT8, [1], [1]),
        helper.make_tensor("zero", onnx.TensorProto.FLOAT, [1], [0.0]),
    ]
    golden = smooth_image(sizes.optimum)
    if expected is None:
        expected = golden >> 1 if kind == "darken" else golden
    model = frame_model(_nodes(kind), sizes, constants, name=kind)
    return write_bundle(folder, model, sizes, golden, expected, precision=precision)


_BUNDLES = {
    "darken": {},  # 64x48 alone; halves every level
    "identity": {"kind": "identity"},
    "dynamic": {"sizes": SizeRange.parse("32x32,64x48,128x96")},
    "any": {"sizes": ANY_SIZE},
    "any-identity": {"kind": "identity", "sizes": ANY_SIZE},
    "slow": {"kind": "slow", "sizes": ANY_SIZE},
    "fp16": {"precision": "fp16"},
    "int8": {"precision": "int8"},
    "wrong-golden": {"expected": 255 - smooth_image()},
}


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Bundles by name, made when first asked for: ``bundles("darken")``."""
    root = tmp_path_factory.mktemp("bundles")

    def bundle(name):
        folder = root / name
        return folder if folder.exists() else _write_bundle(folder, **_BUNDLES[name])

    return bundle


@pytest.fixture(scope="session")
def image():
    """The function that renders a test picture: ``image(size, shift)``."""
    return smooth_image


@pytest.fixture
def picture_folder(tmp_path):
    """Makes a folder of pictures: ``picture_folder("in", count=3)``."""

    def make(name="in", count=3, size=SIZE, suffix=".png"):
        folder = tmp_path / name
        folder.mkdir()
        for index in range(count):
            write_picture(folder / f"frame{index}{suffix}", smooth_image(size, index))
        return folder

    return make


@dataclass
class Played:
    """What a player makes of a video file."""

    images: list = field(default_factory=list)
    times: list = field(default_factory=list)
    planes: list = field(default_factory=list)
    audio_times: list = field(default_factory=list)
    audio_bytes: list = field(default_factory=list)
    audio_codecs: list = field(default_factory=list)
    samples: int = 0
    video: dict = field(default_factory=dict)


@pytest.fixture(scope="session")
def play():
    """Decodes all of a file: ``play(path)``; damage raises."""
    av = pytest.importorskip("av")

    def decode(path):
        played = Played()
        with av.open(str(path)) as file:
            stream = file.streams.video[0]
            context = stream.codec_context
            for frame in file.decode(stream):
                played.images.append(frame.to_ndarray(format="bgr24"))
                played.times.append(frame.pts * stream.time_base)
                played.planes = [
                    np.frombuffer(p, np.uint8).reshape(p.height, -1)[:, : p.width]
                    for p in frame.planes
                ]
                played.video = {
                    "codec": context.name,
                    "format": frame.format.name,
                    "aspect": stream.sample_aspect_ratio,
                    "matrix": frame.colorspace,
                    "range": frame.color_range,
                    "primaries": context.color_primaries,
                    "transfer": context.color_trc,
                    "rate": stream.average_rate,
                    "duration": stream.duration and stream.duration * stream.time_base,
                }
        with av.open(str(path)) as file:
            played.audio_codecs = [s.codec_context.name for s in file.streams.audio]
            for packet in (
                file.demux(*file.streams.audio) if played.audio_codecs else ()
            ):
                if packet.size:
                    played.audio_times.append(packet.pts * packet.time_base)
                    played.audio_bytes.append(bytes(packet))
                    played.samples += sum(f.samples for f in packet.decode())
        return played

    return decode


@pytest.fixture(scope="session")
def make_video():
    """Encodes a clip: ``make_video(path, frames=20, audio="aac", ...)``."""
    av = pytest.importorskip("av")

    def make(
        path,
        frames=20,
        size=SIZE,
        pts=None,
        time_base=Fraction(1, 12800),
        rate=25,
        audio=None,
        audio_seconds=None,
        audio_rate=48000,
        tags=(1, 1, 1),
        full_range=False,
        aspect=1,
        picture=smooth_image,
        codec="libx264",
        options=None,
        pixel_format="yuv420p",
        encoder=None,
    ):
        pts = pts or [index * 512 for index in range(frames)]
        with av.open(str(path), "w", options=options or {}) as file:
            video = file.add_stream(codec, rate=rate, options=encoder or {})
            video.width, video.height, video.pix_fmt = *_pair(size), pixel_format
            context = video.codec_context
            context.time_base = time_base
            context.sample_aspect_ratio = Fraction(aspect)
            context.colorspace, context.color_primaries, context.color_trc = tags
            context.color_range = 2 if full_range else 1
            sound = None
            if audio:
                sound = file.add_stream(audio, rate=audio_rate)
                sound.layout = "stereo"
                samples = _tone(audio_rate, audio_seconds or float(pts[-1] * time_base))
            for index, when in enumerate(pts):
                frame = av.VideoFrame.from_ndarray(picture(size, index), format="bgr24")
                frame = frame.reformat(
                    format=pixel_format,
                    src_color_range=2,
                    dst_colorspace=tags[0] if tags[0] != 2 else 5,
                    dst_color_range=2 if full_range else 1,
                    interpolation=0x40004,
                )
                frame.pts, frame.time_base = when, time_base
                file.mux(video.encode(frame))
                while sound and samples and samples[0].time <= when * time_base:
                    file.mux(sound.encode(samples.pop(0)))
            file.mux(video.encode(None))
            if sound:
                for block in samples:
                    file.mux(sound.encode(block))
                file.mux(sound.encode(None))
        return path

    def _pair(size):
        return size.width, size.height

    def _tone(rate, seconds):
        blocks = []
        for start in range(0, round(rate * seconds), 1024):
            phase = np.arange(start, start + 1024) * (2 * np.pi * 440 / rate)
            wave = (np.sin(phase) * 8000).astype(np.int16)
            block = av.AudioFrame.from_ndarray(
                np.repeat(wave, 2)[None], format="s16", layout="stereo"
            )
            block.rate, block.pts, block.time_base = rate, start, Fraction(1, rate)
            blocks.append(block)
        return blocks

    return make


@pytest.fixture(scope="session")
def derain_run():
    """Runs ``derain-run`` in a process of its own: ``derain_run(bundle, ...)``."""

    def run(*arguments, **options):
        return subprocess.run(
            [sys.executable, "-m", "derain.runtime.cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            **options,
        )

    return run


@pytest.fixture
def invoke():
    """Runs ``derain-run`` in this process: ``invoke(bundle, "--source", ...)``."""
    from click.testing import CliRunner

    from derain.runtime.cli import main

    def run(*arguments):
        return CliRunner().invoke(main, [str(each) for each in arguments])

    return run


@pytest.fixture(scope="session")
def closeness():
    """Largest difference of two pictures, in grey levels."""

    def largest(a, b):
        assert a.shape == b.shape
        return int(np.abs(a.astype(int) - b.astype(int)).max())

    return largest


def _pair(index, height=40, width=48):
    from derain.core.pairs import Pair

    random = np.random.default_rng(index)
    clean = random.integers(0, 200, (height, width, 3), np.uint8)
    clean = clean // 2 + np.arange(width, dtype=np.uint8)[:, None]
    streaks = random.random((height, width, 1)) < 0.1
    return Pair(f"{index}", np.where(streaks, np.uint8(255), clean), clean)


@pytest.fixture
def pairs():
    return [_pair(index) for index in range(4)]


@pytest.fixture
def pairs_folder(tmp_path, pairs):
    """Side-by-side files: left half clean, right half rainy."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for pair in pairs:
        both = np.hstack([pair.clean, pair.rainy])
        write_picture(folder / f"{pair.name}.png", both)
    return folder


@pytest.fixture
def two_folders(tmp_path, pairs):
    """A folder with the folders ``rain`` and ``clean``."""
    for kind in ("rain", "clean"):
        (tmp_path / "video" / kind).mkdir(parents=True)
    for pair in pairs:
        write_picture(tmp_path / "video" / "rain" / f"{pair.name}.png", pair.rainy)
        write_picture(tmp_path / "video" / "clean" / f"{pair.name}.png", pair.clean)
    return tmp_path / "video"


@pytest.fixture
def finished_run(tmp_path, pairs_folder):
    """A run of two steps, in its folder."""
    from derain.training.options import TrainingOptions
    from derain.training.run import train

    options = TrainingOptions(
        model="qsnet",
        pairs=(pairs_folder,),
        steps=2,
        crop=16,
        batch=2,
        output=tmp_path / "run",
    )
    train(options)
    return options.folder
