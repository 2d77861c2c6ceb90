"""Stream keys do not reach logs and answers."""

import pytest

from streaming.outlets.secrets import hide

URL = "rtmp://user:pass%20word@live.example/app-name/stream-key?auth=tok%2Fen&x=ab#frag"


@pytest.mark.parametrize(
    "secret",
    [
        "stream-key",
        "app-name/stream-key",
        "tok/en",
        "tok%2Fen",
        "pass word",
        "pass%20word",
        "user",
        "frag",
        URL,
    ],
)
def test_every_part_below_the_host_is_hidden(secret: str) -> None:
    assert secret not in hide(f"error: '{secret}' failed", URL, None)
    assert hide(f"error: '{secret}' failed", URL, None).endswith("failed")


def test_a_token_is_hidden() -> None:
    assert hide("bad token abc.def", "http://example.com", "abc.def") == "bad token …"


def test_the_host_and_short_words_stay() -> None:
    assert hide("no ab at live.example", URL, None) == "no ab at live.example"


def test_an_address_without_secrets_changes_nothing() -> None:
    assert hide("nothing here", "udp://1.2.3.4:5", None) == "nothing here"


def test_patterns_in_secrets_are_only_text() -> None:
    assert hide("a.c abc", "rtmp://h/a.c", None) == "… abc"
