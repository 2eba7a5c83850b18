"""Which addresses may be called, and which URL means which address."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execd.adapters.address_policy import AddressJudge, AddressPolicy, Reach, reach_of
from execd.adapters.http_target import parse_target
from execd.ports.http_caller import HttpCallError


@pytest.mark.parametrize(
    ("reach", "addresses"),
    [
        (Reach.PUBLIC, "1.1.1.1 93.184.216.34 172.15.255.255 172.32.0.1 100.63.255.255 100.128.0.1 2606:4700::1111"),
        (Reach.PRIVATE, "127.0.0.1 127.9.9.9 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 198.18.0.1"),
        (Reach.PRIVATE, "::1 fc00::1 fd12::1 fec0::1 ::ffff:127.0.0.1 ::ffff:a00:1 ::127.0.0.1"),
        (Reach.PRIVATE, "64:ff9b::7f00:1 64:ff9b::10.0.0.1 64:ff9b:1::10.0.0.1 2002:7f00:1:: 2002:c0a8:101::1"),
        (Reach.PRIVATE, "::ffff:0:127.0.0.1 2001:0:7f00:1:0:0:fefe:fefe 2001:0:101:101:0:0:80ff:fffe"),
        (Reach.SPECIAL, "0.0.0.0 0.1.2.3 169.254.169.254 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 192.0.2.1"),
        (Reach.SPECIAL, ":: fe80::1 ff02::1 2001:db8::1 3fff::1 100::1 4000::1 5f00::1 ::ffff:169.254.169.254"),
        (Reach.SPECIAL, "::ffff:a9fe:a9fe 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1 ::ffff:0.0.0.0"),
        (Reach.PUBLIC, "::ffff:1.1.1.1 64:ff9b::101:101 2002:101:101::1"),
    ],
)
def test_an_address_reaches_as_far_as_what_it_leads_to(reach: Reach, addresses: str) -> None:
    """IPv6 has six ways to write an IPv4 address; each has been somebody's way in."""
    assert {text: reach_of(ip_address(text)) for text in addresses.split()} == dict.fromkeys(addresses.split(), reach)


@given(st.integers(0, 2**32 - 1))
def test_an_embedded_address_is_judged_as_itself(number: int) -> None:
    """For all of them, not only those somebody thought of."""
    plain = reach_of(ip_address(number))

    for embedding in (f"::ffff:{ip_address(number)}", f"64:ff9b::{ip_address(number)}"):
        assert reach_of(ip_address(embedding)) is plain
    assert reach_of(ip_address((0x2002 << 112) | (number << 80))) is plain


def may(policy: AddressPolicy, host: str, address: str) -> bool:
    """Ask both questions."""
    judge = AddressJudge(policy)
    return judge.may_ask_for(host) and judge.may_connect(host, ip_address(address))


@pytest.mark.parametrize(
    ("policy", "host", "address", "allowed"),
    [
        (AddressPolicy(), "a.test", "1.1.1.1", True),
        (AddressPolicy(), "a.test", "10.0.0.1", False),
        (AddressPolicy(), "localhost", "1.1.1.1", False),
        (AddressPolicy(), "x.localhost", "1.1.1.1", False),
        (AddressPolicy(allow_private=True), "localhost", "127.0.0.1", True),
        (AddressPolicy(allow_private=True), "a.test", "169.254.169.254", False),
        (AddressPolicy(allow_private=True), "a.test", "0.0.0.0", False),
        (AddressPolicy(allow_private=True, denied_networks=("10.0.0.0/8",)), "a.test", "::ffff:10.0.0.1", False),
        (AddressPolicy(denied_networks=("1.1.1.0/24",)), "a.test", "64:ff9b::1.1.1.1", False),
        (AddressPolicy(allowed_networks=("10.1.0.0/16",)), "a.test", "10.1.2.3", True),
        (AddressPolicy(allowed_networks=("10.1.0.0/16",)), "a.test", "10.2.2.3", False),
        (AddressPolicy(allowed_networks=("169.254.169.254/32",)), "a.test", "169.254.169.254", True),
        (AddressPolicy(allowed_networks=("10.0.0.0/8",), denied_networks=("10.0.0.1/32",)), "a", "10.0.0.1", False),
        (AddressPolicy(allowed_hosts=("in.test",)), "in.test", "10.0.0.1", True),
        (AddressPolicy(allowed_hosts=("in.test",)), "x.in.test", "10.0.0.1", False),
        (AddressPolicy(allowed_hosts=("*.in.test",)), "x.in.test", "10.0.0.1", True),
        (AddressPolicy(allowed_hosts=("*.in.test",)), "evil-in.test", "10.0.0.1", False),
        (AddressPolicy(allowed_hosts=("in.test",), denied_networks=("10.0.0.0/8",)), "in.test", "10.0.0.1", False),
        (AddressPolicy(only_hosts=("a.test",)), "a.test", "1.1.1.1", True),
        (AddressPolicy(only_hosts=("a.test",)), "b.test", "1.1.1.1", False),
        (AddressPolicy(only_hosts=("a.test",)), "a.test", "10.0.0.1", False),
    ],
)
def test_a_policy_allows_what_it_says(policy: AddressPolicy, host: str, address: str, allowed: bool) -> None:
    """A denied network beats everything; a name that is allowed is exactly that name."""
    assert may(policy, host, address) is allowed


@pytest.mark.parametrize("network", ["10.0.0.1/8", "nonsense", "300.0.0.0/8"])
def test_a_policy_with_a_wrong_network_is_refused(network: str) -> None:
    """A typing error that silently denies nothing would be found by an attacker."""
    with pytest.raises(ValueError):
        AddressPolicy(denied_networks=(network,))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://2130706433/", "127.0.0.1"),
        ("http://0x7f000001/", "127.0.0.1"),
        ("http://0177.0.0.1/", "127.0.0.1"),
        ("http://0x7f.1/", "127.0.0.1"),
        ("http://127.1/", "127.0.0.1"),
        ("http://127.0.0.1./", "127.0.0.1"),
        ("http://0/", "0.0.0.0"),
        ("http://１２７.０.０.１/", "127.0.0.1"),
        ("http://127。0。0。1/", "127.0.0.1"),
        ("http://[::FFFF:127.0.0.1]/", "::ffff:7f00:1"),
        ("http://[0:0:0:0:0:0:0:1]/", "::1"),
        ("http://ⓛocalhost/", "localhost"),
        ("http://LOCALHOST./", "localhost"),
        ("http://good.test@127.0.0.1/", "127.0.0.1"),
        ("http://127.0.0.1#@good.test/", "127.0.0.1"),
        ("http://127.0.0.1?@good.test/", "127.0.0.1"),
        ("http://bücher.test/", "xn--bcher-kva.test"),
        (" http://a.test/ ", "a.test"),
        ("HTTP://A.Test:80", "a.test"),
        ("http://a_b.test/", "a_b.test"),
    ],
)
def test_a_url_means_one_host(url: str, host: str) -> None:
    """What is judged, looked up, connected to and sent is read once, from here."""
    target = parse_target(url)

    assert target.host == host
    assert (target.address is not None) == (host[0].isdigit() or ":" in host)


@pytest.mark.parametrize(
    "url",
    [
        *("", "a.test", "//a.test/", "/path", "http:a.test", "http://", "http:///x", "http://:80/", "ftp://a.test/"),
        *("file:///etc/passwd", "gopher://a/", "http://a.test:0/", "http://a.test:65536/", "http://a.test:x/"),
        *("http://a.test:-1/", "http://a@b@c/", "http://a.test\\@127.0.0.1/", "http://a.test\\.b/", "http://a%2eb/"),
        *("http://127.0.0.1%00.test/", "http://a\tb/", "http://a.test/\r\nX: 1", "http://a\0b/", "http://a b/"),
        *("http://256.0.0.1/", "http://1.2.3.4.5/", "http://a.08/", "http://1.2.3.08/", "http://4294967296/"),
        *(
            "http://[::1",
            "http://[fe80::1%25eth0]/",
            "http://[::g]/",
            "http://[127.0.0.1]/",
            "http://a..b/",
            "http://-a/",
        ),
        *(
            "http://" + "a" * 64 + ".test/",
            "http://" + "a." * 130 + "test/",
            "http://a.test/" + "x" * 70000,
            "http://a!b/",
        ),
    ],
)
def test_a_url_that_could_be_read_two_ways_is_refused(url: str) -> None:
    """Refusing costs a user a correction; guessing costs a network."""
    with pytest.raises(HttpCallError) as caught:
        parse_target(url)

    assert (caught.value.code, caught.value.retryable) == ("invalid_url", False)


@given(st.text(max_size=80))
def test_any_text_is_a_target_or_a_refusal(text: str) -> None:
    """Templates make URLs of anything; no other error may come out."""
    for url in (text, f"http://{text}", f"http://a.test/{text}", f"http://a.test:{text}/"):
        try:
            target = parse_target(url)
        except HttpCallError:
            continue
        assert target.path.isascii()
        assert not any(character <= " " for character in target.path + target.authority)
        assert parse_target(target.url).origin == target.origin


def test_an_error_never_quotes_the_password() -> None:
    """It is shown to whoever sees the execution."""
    for url in ("http://u:geheim@a.test:x/", "http://u:geheim@[::1/", "http://u:geheim@a@b/", "ftp://u:geheim@a/"):
        with pytest.raises(HttpCallError) as caught:
            parse_target(url)
        assert "geheim" not in caught.value.message
        assert caught.value.__cause__ is None
