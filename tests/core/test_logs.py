"""What is logged, and who sees it."""

import logging

import pytest

from derain.core.logs import is_shown, shown

LOG = logging.getLogger("derain.core.test")


def speak():
    LOG.debug("a detail")
    LOG.info("exporting")
    LOG.warning("no GPU")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, "exporting\nnote: no GPU\n"),
        ({"verbose": True}, "derain.core.test: a detail\nexporting\nnote: no GPU\n"),
        ({"quiet": True}, ""),
    ],
)
def test_a_command_shows_it_on_standard_error(capsys, options, wanted):
    with shown(**options):
        speak()
        assert is_shown() == (not options.get("quiet", False))
    assert capsys.readouterr() == ("", wanted)


def test_a_library_says_nothing_by_itself(capsys):
    speak()
    assert not is_shown()
    assert capsys.readouterr() == ("", "")


def test_a_closed_standard_error_stops_nobody(monkeypatch):
    class Gone:
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Gone())
    with shown():
        speak()
