"""Where outlets may send to. Names are answered by a table, so that nothing is asked of the network."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from streaming.address_policy import Resolve, Target, allowed_address, check_outlet, redact, resolve_host
from streaming.errors import Unprocessable
from streaming.settings import Settings

PUBLIC = "93.184.216.34"


def answers(*addresses: str) -> Resolve:
    def resolve(host: str) -> Sequence[str]:
        if not addresses:
            raise OSError("no such host")
        return addresses

    return resolve


def never(host: str) -> Sequence[str]:
    raise AssertionError(f"{host} was looked up")


def check(url: str, resolve: Resolve = never, **settings: object) -> Target:
    return check_outlet(url, Settings.model_validate(settings), resolve)


def refused(url: str, resolve: Resolve = never, **settings: object) -> str:
    """The sentence of a refusal."""
    with pytest.raises(Unprocessable) as caught:
        check(url, resolve, **settings)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_a_public_target_is_given_with_its_addresses() -> None:
    target = check("rtmp://live.example/app/key", answers(PUBLIC, "2606:2800:220:1::1", PUBLIC))
    assert (target.scheme, target.host, target.port) == ("rtmp", "live.example", None)
    assert target.addresses == (ip_address(PUBLIC), ip_address("2606:2800:220:1::1"))
    assert target.pinned_url == f"rtmp://{PUBLIC}/app/key"


def test_the_pinned_address_keeps_everything_but_the_name() -> None:
    url = "srt://user:pass@live.example:9000?streamid=a&latency=20"
    assert check(url, answers(PUBLIC)).pinned_url == f"srt://user:pass@{PUBLIC}:9000?streamid=a&latency=20"
    assert check("srt://live.example:9000", answers("2606::1")).pinned_url == "srt://[2606::1]:9000"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.1.1",
        "169.254.169.254",  # metadata of most clouds
        "100.100.100.200",  # Alibaba's
        "168.63.129.16",  # Azure's
        "192.0.0.192",  # Oracle's
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "239.1.2.3",
        "240.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "192.0.2.1",
        "::",
        "::1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",  # Amazon's
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:a00:1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
        "2002:c0a8:101::1",
        "2001:0:7f00:1::1",  # Teredo through 127.0.0.1
    ],
)
def test_addresses_that_are_not_public_are_refused_however_they_come(address: str) -> None:
    assert not allowed_address(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    assert "KOUBO_OUTLET_NETWORKS" in refused(f"srt://{host}:9000")
    assert "KOUBO_OUTLET_NETWORKS" in refused("rtmp://inner.example/app", answers(address))
    # One good answer does not excuse a bad one, wherever it stands.
    refused("rtmp://mixed.example/app", answers(PUBLIC, address))
    refused("rtmp://mixed.example/app", answers(address, PUBLIC))


@pytest.mark.parametrize(
    "address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses_pass(address: str) -> None:
    assert allowed_address(ip_address(address))


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.1", "1.2.3.4.5", "256.1.1.1"]
)
def test_numbers_that_resolvers_take_for_addresses_are_refused(host: str) -> None:
    assert "usual form" in refused(f"http://{host}/whip")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "without a scheme"),
        ("live.example", "without a scheme"),
        ("file:///etc/passwd", "file"),
        ("concat:a|b", "URL"),
        ("crypto:rtmp://live.example", "crypto"),
        ("gopher://live.example/", "gopher"),
        ("rtmp:///app", "names no host"),
        ("srt://:9000", "names no host"),
        ("rtmp://live.example:port/", "URL"),
        ("rtmp://live.example:99999/", "URL"),
        ("rtmp://live.example:0/", "port 0"),
        ("rtmp://[::1/app", "URL"),
        ("rtmp://live.example/a b", "spaces"),
        ("rtmp://live.example/a\r\nHost: x", "spaces"),
        ("rtmp://live.example\\@127.0.0.1/", "special"),
        ("rtmp://ｌive.example/", "special"),
        ("rtmp://live.example/\x00", "special"),
    ],
)
def test_what_is_not_a_usable_url_is_one_sentence(url: str, word: str) -> None:
    assert word in refused(url)


def test_a_name_without_an_address_is_one_sentence() -> None:
    assert "no address" in refused("rtmp://nowhere.example/app", answers())
    assert "no address" in refused("rtmp://nowhere.example/app", lambda host: [])
    assert "no address" in refused(f"rtmp://{'a' * 300}.example/app", resolve_host)


def test_userinfo_does_not_hide_the_host() -> None:
    refused("http://live.example@127.0.0.1/")
    refused("http://live.example:80@127.0.0.1:80/")
    assert check("http://127.0.0.1@live.example/", answers(PUBLIC)).host == "live.example"


def test_no_sentence_tells_a_secret() -> None:
    for url in ("rtmp://u:SECRET@10.0.0.1/app/SECRET?k=SECRET", "srt://10.0.0.1:9?passphrase=SECRET#SECRET"):
        assert "SECRET" not in refused(url)
    for url in ("rtmp://SECRET:SECRET@/SECRET", "rtmp://a:SECRET/", "rtmp://[SECRET/", "rtmp://a/SECRET b"):
        assert "SECRET" not in refused(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtmp://user:pass@live.example/app/key", "rtmp://live.example/…"),
        ("srt://live.example:9000?passphrase=x", "srt://live.example:9000/…"),
        ("srt://[2606::1]:9000", "srt://[2606::1]:9000"),
        ("https://live.example/", "https://live.example"),
        ("rtmp://[bad", "…"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_networks_can_be_allowed() -> None:
    assert check("udp://127.0.0.1:5000", outlet_networks=["127.0.0.0/8"]).port == 5000
    assert check("srt://[::1]:5000", outlet_networks=["::1/128"]).host == "::1"
    assert check("srt://[::ffff:127.0.0.1]:5000", outlet_networks=["127.0.0.0/8"])
    refused("udp://10.0.0.1:5000", outlet_networks=["127.0.0.0/8"])
    refused("rtmp://mixed.example/", answers("127.0.0.1", "10.0.0.1"), outlet_networks=["127.0.0.0/8"])
    assert allowed_address(ip_address("10.1.2.3"), [ip_network("10.0.0.0/8"), ip_network("::1/128")])


def test_an_srt_listener_opens_a_port_only_where_that_is_allowed() -> None:
    refused("srt://:9000?mode=listener")
    refused("srt://0.0.0.0:9000?mode=listener")
    assert check("srt://:9000?mode=listener", outlet_networks=["0.0.0.0/32"]).host == "0.0.0.0"
    assert check("srt://127.0.0.1:9000?mode=listener", outlet_networks=["127.0.0.0/8"])


def test_hosts_can_be_limited() -> None:
    only = ["a.rtmp.example", "*.live.example"]
    for host in ("a.rtmp.example", "A.RTMP.Example", "x.live.example", "a.rtmp.example."):
        check(f"rtmp://{host}/app", answers(PUBLIC), outlet_hosts=only)
    for host in ("b.rtmp.example", "live.example", "evillive.example", "a.rtmp.example.evil.test", PUBLIC):
        assert "a.rtmp.example" in refused(f"rtmp://{host}/app", answers(PUBLIC), outlet_hosts=only)
    # A host of the list must still be a public one.
    refused("rtmp://a.rtmp.example/app", answers("10.0.0.1"), outlet_hosts=only)


def test_schemes_can_be_limited() -> None:
    assert check("rtmps://live.example/app", answers(PUBLIC), outlet_schemes=["rtmps"]).scheme == "rtmps"
    assert "choose one of rtmps" in refused("rtmp://live.example/app", outlet_schemes=["rtmps"])


def test_a_name_that_changes_its_answer_is_caught_when_it_is_asked_again() -> None:
    url = "srt://rebound.example:9000"
    first = check(url, answers(PUBLIC))
    refused(url, answers("127.0.0.1"))
    assert first.pinned_url == f"srt://{PUBLIC}:9000"


def test_the_system_resolver_knows_this_machine() -> None:
    assert set(resolve_host("localhost")) <= {"127.0.0.1", "::1"}
    refused("rtmp://localhost/app", resolve_host)
