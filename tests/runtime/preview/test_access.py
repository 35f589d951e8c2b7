import pytest

from derain.core.errors import ConfigError
from derain.runtime.preview.access import Access

TOKEN = "correct horse"


def cookie_of(access):
    return access.cookie_for("token=correct+horse").partition(";")[0]


def test_without_a_token_everybody_may():
    access = Access(None)
    assert access.allows("", "")
    assert access.cookie_for("token=x") is None


def test_the_token_is_enough_and_brings_a_cookie():
    access = Access(TOKEN)
    assert access.allows("view=rain&token=correct%20horse", "")
    attributes = access.cookie_for("token=correct%20horse").split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
    assert TOKEN not in attributes[0]


def test_the_cookie_is_enough_also_after_a_restart():
    cookie = cookie_of(Access(TOKEN))
    assert Access(TOKEN).allows("", f"other=1; {cookie}")


@pytest.mark.parametrize(
    ("query", "cookies"),
    [
        ("", ""),
        ("token=", ""),
        ("token=correct", ""),
        ("token=%ff%00", ""),
        ("token=correct+horse&token=wrong", ""),
        ("", "derain=1"),
        ("", "; = ;\x00"),
    ],
)
def test_anything_else_is_not(query, cookies):
    assert not Access(TOKEN).allows(query, cookies)


def test_a_cookie_for_another_token_is_not():
    name = cookie_of(Access(TOKEN)).partition("=")[0]
    other = Access("another token").cookie_for("token=another+token").partition(";")[0]
    value = other.partition("=")[2]
    assert not Access(TOKEN).allows("", other)
    assert not Access(TOKEN).allows("", f"{name}={value}")


def test_a_short_token_is_refused():
    with pytest.raises(ConfigError, match="has 7 characters, wanted at least 8"):
        Access("1234567")
