"""Bundles, backends, rates; and what a run needs of memory and packages."""

import re

import pytest


def test_a_wrong_golden_frame_stops_everything(
    invoke, bundles, tmp_path, picture_folder, failed
):
    result = invoke(
        *(bundles("wrong-golden"), "--source", picture_folder()),
        *("--sink", tmp_path / "out"),
    )
    assert failed(
        result,
        r"self-test failed: onnxruntime .* dB from the expected picture, wanted 50",
    )
    assert not (tmp_path / "out").exists()


def test_a_backend_that_is_not_there(invoke, bundles, picture_folder, failed):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    result = invoke(
        *(bundles("darken"), "--source", picture_folder(), "--sink", "null:"),
        *("--backend", "onnxruntime-cuda"),
    )
    assert failed(result, r"no CUDAExecutionProvider; run: .* 'derain\[gpu\]'")


def test_an_unknown_backend_is_a_usage_error(invoke, bundles):
    result = invoke(
        *(bundles("darken"), "--source", "x", "--sink", "y", "--backend", "magic")
    )
    assert result.exit_code == 2
    assert (
        "'magic' is not one of 'auto', 'onnxruntime', 'onnxruntime-cuda'"
        in result.stderr
    )


@pytest.mark.parametrize("rate", ["0", "-5", "fast", "1/0", "nan"])
def test_a_senseless_rate_is_a_usage_error(invoke, bundles, rate):
    result = invoke(*(bundles("darken"), "--source", "x", "--sink", "y", "--fps", rate))
    assert result.exit_code == 2
    assert f"'{rate}' is not a rate such as 25 or 30000/1001" in result.stderr


def test_without_pyav_pictures_work_and_videos_say_what_to_install(
    bundles, tmp_path, picture_folder, python
):
    command = (
        "import sys; sys.modules['av'] = None;"
        "from derain.runtime.cli import main; main()"
    )

    arguments = (command, bundles("darken"), "--source", picture_folder(), "--sink")
    good = python(*arguments, tmp_path / "out")
    assert good.returncode == 0, good.stderr
    bad = python(*arguments, tmp_path / "out.mp4")
    assert bad.returncode == 1
    assert bad.stderr == (
        "Error: av is not installed; run: pip install 'derain[video]'\n"
    )


def test_memory_does_not_grow_with_the_clip(bundles, tmp_path, make_video, python):
    source = make_video(tmp_path / "in.mp4", 3000, audio="aac")
    command = (
        "import resource, sys; from dataclasses import replace\n"
        "from derain.runtime.pipeline import run as stream\n"
        "from derain.runtime.cli import main\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "run_loop, early = stream.run_loop, []\n"
        "def watched(source, derainer, sinks, options):\n"
        "    def progress(done):\n"
        "        if done == 500: early.append(peak())\n"
        "    options = replace(options, progress=progress)\n"
        "    return run_loop(source, derainer, sinks, options)\n"
        "stream.run_loop = watched\n"
        "main(standalone_mode=False)\n"
        "print('grown', peak() - early[0])\n"
    )
    result = python(
        *(command, bundles("darken"), "--quiet", "--source", source),
        *("--sink", tmp_path / "out.mp4"),
    )
    assert result.returncode == 0, result.stderr
    grown_kib = int(re.search(r"grown (\d+)", result.stdout)[1])
    # 2500 frames would be 23 MB as pictures; indexes and the allocator take some.
    assert grown_kib < 8_000


def test_help_has_examples_and_the_backends(invoke):
    result = invoke("--help")
    assert result.exit_code == 0
    assert "--source rainy.mp4 --sink clean.mp4" in result.output
    assert "onnxruntime-cuda" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--source", "a", "--source", "b", "--sink", "null:"),
            "--source a has no name; of several",
        ),
        (("--source", "a", "--sink", ""), "must not be empty"),
        (("--source", "", "--sink", "null:"), "must not be empty"),
    ],
)
def test_sources_and_sinks_that_make_no_sense(invoke, bundles, arguments, message):
    result = invoke(bundles("darken"), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
