"""``derain-run`` on a network camera that goes away and comes back."""

import json
import signal
import subprocess
import sys

import pytest

pytest.importorskip("av")


def test_a_camera_that_comes_back_is_derained_again(
    rtsp_server, bundles, tmp_path, play
):
    path = tmp_path / "out.mkv"
    command = [
        *(sys.executable, "-m", "derain.runtime.cli", str(bundles("any"))),
        *(
            "--source",
            rtsp_server.uri(user="me:secret@", fields="?timeout=60"),
            "--sink",
            str(path),
        ),
        *("--stats", "json", "--stats-every", "0.2"),
    ]
    run = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    shown = []

    def wait_for(condition):
        for line in run.stderr:
            shown.append(line)
            if line.startswith("{") and condition(json.loads(line)):
                return json.loads(line)
        raise AssertionError("".join(shown))

    try:
        wait_for(lambda statistics: statistics["captured"] > 10)
        rtsp_server.kill()
        wait_for(lambda statistics: not statistics["signal"])
        rtsp_server.start()
        back = wait_for(lambda statistics: statistics["reconnects"] >= 1)
        wait_for(lambda statistics: statistics["captured"] > back["captured"] + 10)
        run.send_signal(signal.SIGINT)
        rest = run.communicate(timeout=120)
    finally:
        run.kill()
        run.communicate()
    assert run.returncode == 130
    text = "".join((*shown, *rest))
    assert "secret" not in text
    assert f"{rtsp_server.uri()} is lost" in text
    assert len(play(path).images) > 20
