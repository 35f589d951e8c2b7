"""Settings that come by other ways: TOML, addresses with fields, Python's keywords."""

from fractions import Fraction

import click
import pytest

import derain
from derain.batch.options import BatchOptions
from derain.benchmarks.latency.options import BenchmarkOptions
from derain.benchmarks.quality.evaluate_options import EvaluateOptions
from derain.calibration.options import CalibrationOptions
from derain.core.options import described, from_keywords
from derain.export.options import ExportOptions
from derain.export.triton_options import TritonOptions
from derain.runtime.pipeline.options import RunOptions
from derain.runtime.tensorrt.compile_options import CompileOptions
from derain.training.options import TrainingOptions
from support.faults import Fault

GOOD = 'bundle = "b"\nsource = "in.png"\nsink = "o.png"\n'
TOML = {
    "no-toml": ("bundle", "f.toml is not TOML"),
    "unknown-key": ("colour = 1", "unknown key 'colour'"),
    "long-key": (f"{'k' * 5000} = 1", "unknown key"),
    "escape-key": ('"\\u001b[31m" = 1', "unknown key"),
    "twice": ("bundle = 'c'", "is not TOML"),
    "deep": ("limit = " + "[" * 20_000, "nested too deeply|is not TOML"),
    "deep-closed": ("limit = " + "[" * 300 + "]" * 300, "nested too deeply|limit is"),
    "long-integer": (f"limit = {'9' * 5000}", "is not TOML"),
    "long-hexadecimal": (f"limit = 0x{'f' * 5000}", "--limit"),
    "long-text": (f"preview = '{'x' * 5000}'", "--preview"),
    "nul": ('view = "\\u0000"', "view"),
    "nul-in-sources": ('bundles = "b\\u0000"', "bundles"),
    "not-utf-8": ("# \udcff", "is not TOML"),
    "infinity": ("stats-every = inf", "--stats-every"),
    "nan": ("max-latency-ms = nan", "--max-latency-ms"),
    "exponent": ("max-latency-ms = 1e400", "--max-latency-ms"),
    "negative": ("limit = -1", "--limit"),
    "fraction": ("limit = 1.5", "--limit"),
    "true": ("limit = true", "limit is True"),
    "date": ("limit = 2020-01-01", "limit is"),
    "table": ("limit = {}", "limit is {}"),
    "list": ("limit = [1]", r"limit is \[1\]"),
    "text-for-flag": ("force = 'yes'", "force is 'yes'"),
    "number-for-flag": ("force = 1", "force is 1"),
    "rate-exponent": ("fps = '1e999999999'", "--fps"),
    "rate-zero": ("fps = '25/0'", "--fps"),
    "rate-tiny": ("fps = 1e-300", "--fps"),
    "rate-nan": ("fps = nan", "--fps"),
    "config-in-config": ("config = 'f.toml'", "unknown key 'config'"),
}

ADDRESSES = {
    "rate-exponent": "test://rain?fps=1e999999999",
    "rate-infinite": "test://rain?fps=inf",
    "rate-nan": "test://rain?fps=nan",
    "rate-zero": "test://rain?fps=0",
    "rate-negative": "test://rain?fps=-25",
    "rate-by-zero": "test://rain?fps=25/0",
    "rate-tiny": "test://rain?fps=1/1000000000",
    "rate-huge": "test://rain?fps=1000000",
    "rate-unicode": "test://rain?fps=²",
    "rate-underscore": "test://rain?fps=2_5",
    "seconds-exponent": "test://rain?seconds=1e999999999",
    "seconds-nan": "test://rain?seconds=nan",
    "seconds-huge": "test://rain?seconds=1e9",
    "seconds-zero": "test://rain?seconds=0",
    "seed-huge": "test://rain?seed=" + "9" * 5000,
    "seed-negative": "test://rain?seed=-1",
    "seed-fraction": "test://rain?seed=1.5",
    "size-zero": "test://rain?size=0x0",
    "size-word": "test://rain?size=big",
    "size-unicode": "test://rain?size=٦٤x٤٨",
    "live-word": "test://rain?live=yes",
    "unknown-field": "test://rain?colour=red",
    "unknown-place": "test://snow",
    "many-fields": "test://rain?" + "&".join(f"f{k}=1" for k in range(2000)),
    "camera-rate": "camera:0?fps=1e999999999",
    "camera-number": "camera:" + "9" * 400,
    "camera-word": "camera:front",
    "camera-format": "camera:0?format=²²²²²",
    "csi-number": "csi://" + "9" * 5000,
    "csi-rate": "csi://0?fps=1e999999999",
    "input-rate": "-?size=64x48&format=bgr24&fps=1e999999999",
    "input-size": "-?size=99999x99999x1&format=bgr24",
    "http-timeout": "http://127.0.0.1:1/?timeout=nan",
    "http-timeout-exponent": "http://127.0.0.1:1/?timeout=1e400",
    "http-port": "http://127.0.0.1:99999/",
    "http-brackets": "http://[::1/",
    "rtsp-timeout": "rtsp://127.0.0.1:1/?timeout=-1",
    "rtsp-brackets": "rtsp://[/",
    "scheme": "gopher://there",
    "scheme-alone": "rtsp://",
}

FAULTS = [
    *(
        Fault(
            name=f"toml-{name}",
            run=("derain-run", "--config", "f.toml"),
            given={"f.toml": (GOOD + text).encode("utf-8", "surrogateescape")},
            status=2 if says.startswith("--") else 1,
            says=says,
        )
        for name, (text, says) in TOML.items()
    ),
    *(
        Fault(
            name=f"address-{name}",
            run=("derain-run", "b", "--source", address, "--sink", "o.mp4"),
            says="is not of the form|no camera|cannot be|unknown source|"
            "does not exist|is not an address|GStreamer|/dev/video9",
        )
        for name, address in ADDRESSES.items()
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_bad_setting_is_told_in_one_line(fault, place):
    fault.check(place)


BAD_NUMBERS = {
    "text": "many",
    "nan": float("nan"),
    "infinite": float("inf"),
    "huge": 10**5000,
    "negative": -1,
    "bool": True,
    "list": [1],
    "bytes": b"1",
    "complex": 1j,
}
NUMBERS = [
    (cls, each.name)
    for cls in (
        *(BenchmarkOptions, CalibrationOptions, CompileOptions, EvaluateOptions),
        *(ExportOptions, RunOptions, TrainingOptions, BatchOptions, TritonOptions),
    )
    for each in described(cls)
    if isinstance(
        each.metadata["option"].kind,
        (click.types.IntParamType, click.types.FloatParamType),
    )
]


@pytest.mark.parametrize("what", BAD_NUMBERS)
@pytest.mark.parametrize(
    ("cls", "name"), NUMBERS, ids=lambda each: getattr(each, "__name__", each)
)
def test_a_keyword_is_checked_as_an_option_is(cls, name, what):
    with pytest.raises(derain.DerainError, match=f"^{name}: "):
        from_keywords(cls, {name: BAD_NUMBERS[what]})


@pytest.mark.parametrize(
    "fps", [0, -1, 1e400, float("nan"), "1e999999999", Fraction(1, 10**30), 10**9]
)
def test_a_rate_has_a_range(fps, place):
    with pytest.raises(derain.DerainError, match="is not a rate"):
        derain.run(place / "b", str(place / "in.png"), "null:", fps=fps)
