import pytest

from derain.runtime.video.uris import public, split_fields, take_fields


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://me:secret@camera:554/live?key=secret", "rtsp://camera:554/live"),
        ("RTSPS://me@camera/live#secret", "RTSPS://camera/live"),
        ("http://host/a@b", "http://host/a@b"),
        ("test://rain?size=8x8", "test://rain?size=8x8"),
        ("gst:videotestsrc", "gst:videotestsrc"),
    ],
)
def test_messages_show_no_credentials(uri, shown):
    assert public(uri) == shown


def test_the_fields_of_a_server_stay_as_they_are():
    uri = "rtsp://camera/cam?channel=1&transport=udp&subtype=0"
    rest, taken = take_fields(uri, ("transport", "timeout"))
    assert rest == "rtsp://camera/cam?channel=1&subtype=0"
    assert taken == {"transport": "udp"}


def test_an_address_without_our_fields_is_not_touched():
    uri = "http://camera/a%20b?x=a+b&&y"
    assert take_fields(uri, ("timeout",)) == (uri, {})


def test_fields_go_over_defaults():
    place, fields = split_fields("x:1?b=3", "x:0", {"a": "1", "b": "2"})
    assert (place, fields) == ("x:1", {"a": "1", "b": "3"})
