"""What stands in for a camera and a screen, and the frame loop between them."""

import importlib.util
import threading
from pathlib import Path

import pytest

from derain.core.bundle import Bundle
from derain.runtime.derainer import Derainer
from derain.runtime.pipeline.capture import Capture
from derain.runtime.pipeline.loop import run_loop


@pytest.fixture(scope="session")
def fakes():
    """The module with `Camera` and `Screen`."""
    path = Path(__file__).with_name("fakes.py")
    spec = importlib.util.spec_from_file_location("derain_tests_live_fakes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def derainer(bundles):
    derainer = Derainer(Bundle.open(bundles("darken")))
    yield derainer
    derainer.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch, fakes):
    """Enough of it for a machine that stands still for a while."""
    for name in ("_PATIENCE_S", "_PATIENCE_LIVE_S"):
        monkeypatch.setattr(f"derain.runtime.pipeline.capture.{name}", fakes.SECONDS)


@pytest.fixture
def within(fakes):
    """Runs the loop, and fails if it hangs: ``within(source, derainer, ...)``."""

    def call(source, derainer, sinks, options, reopen=None):
        outcome = []

        def work():
            capture = Capture(
                source, options.statistics, limit=options.limit, reopen=reopen
            )
            try:
                outcome.append((run_loop(capture, derainer, sinks, options), None))
            except BaseException as error:
                outcome.append((None, error))

        thread = threading.Thread(target=work, name="loop", daemon=True)
        thread.start()
        thread.join(fakes.SECONDS)
        assert not thread.is_alive(), "the loop hangs"
        ((summary, error),) = outcome
        if error is not None:
            raise error
        return summary

    return call
