"""Which addresses are public, and which callback URLs are taken. Nothing here reaches a network."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zing.addresses import is_public
from zing.egress import URL_MAX, Rules, check_url
from zing.errors import BadCallback

FORBIDDEN_V4 = """
0.0.0.0 0.0.0.1 0.255.255.255 10.0.0.0 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200
100.127.255.255 127.0.0.1 127.0.1.1 127.255.255.254 168.63.129.16 169.254.0.1 169.254.169.254
169.254.170.2 172.16.0.1 172.20.10.1 172.31.255.255 192.0.0.1 192.0.0.9 192.0.0.192 192.0.2.1
192.88.99.1 192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9
224.0.0.1 233.252.0.1 239.255.255.250 240.0.0.1 255.255.255.254 255.255.255.255
""".split()
FORBIDDEN_V6 = """
:: ::1 ::127.0.0.1 ::10.0.0.1 ::a9fe:a9fe ::ffff:127.0.0.1 ::ffff:10.1.2.3 ::ffff:100.64.0.1
::ffff:169.254.169.254 ::ffff:c0a8:1 ::ffff:0:127.0.0.1 ::ffff:0:8.8.8.8
64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1 64:ff9b:1::1 64:ff9b:1::8.8.8.8
64:ff9b:1:ffff::a00:1 100::1 100:0:0:1::1 2001::1 2001:0:a00:1::f7f7:f7f7
2001:0:808:808:0:0:80ff:fffe 2001:0:4136:e378:8000:63bf:3f57:fefd 2001:1::1 2001:2::1
2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1 2002:a9fe:a9fe::1 2002:c0a8:101:: 3ffe::1
3fff::1 4000::1 5f00::1 8000::1 e000::1 fc00::1 fd00:ec2::254 fdff::1 fe80::1 febf::1 fec0::1
feff::1 ff02::1 ff0e::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
""".split()
PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0 126.255.255.255
128.0.0.1 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.1 192.167.255.255
192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
2606:4700:4700::1111 2001:4860:4860::8888 2001:200::1 2400:3200::1 2a00:1450:4001:81b::200e
2620:fe::fe ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 2001:0:808:808:0:0:f7f7:f7f7
""".split()

# Other spellings of addresses that must not be reached; libc reads all of them.
SPELLINGS = """
2130706433 2852039166 0x7f000001 0X7F000001 0x7f.1 0x7f.0x0.0x0.0x1 0177.0.0.1 0177.1 017700000001
00000177.0.0.1 127.1 127.0.1 127.0x1 127.65535 0x7f.0.1 0 0x0 0.0 10.1 10.0x10001 167772161
0xa9fea9fe 0xa9.0xfe.0xa9.0xfe 0251.0376.0251.0376 169.254.43518 169.16689662 3232235777
192.168.257 192.11010305 0300.0250.0.1 4294967295 0xffffffff 0x64.64.1 1681915905
127.0.0.1. 127.1. 2130706433. 0x7f.1.
[0:0:0:0:0:0:0:1] [::ffff:7f00:1] [::FFFF:127.0.0.1] [0000:0000:0000:0000:0000:ffff:7f00:0001]
[64:FF9B::127.0.0.1] [2002:7F00:0001::] [FE80::1] [fe80::1%eth0] [fe80::1%25eth0] [fe80::1%251]
[2606:4700:4700::1111%eth0] [::1%lo]
localhost LOCALHOST LocalHost. localhost.localdomain localhost.localdomain. a.localhost
a.b.LOCALHOST. localhost6 localhost6.localdomain6 ip6-localhost ip6-loopback
""".split()

# What is no plain https URL; many lead to 127.0.0.1 by one parser and elsewhere by another.
ODD = [
    "",
    "https",
    "https:",
    "https:/",
    "https://",
    "https:///",
    "https:///hooks.example.com",
    "https:/hooks.example.com",
    "https:hooks.example.com",
    "//hooks.example.com",
    "hooks.example.com",
    "hooks.example.com/https://",
    "http://hooks.example.com/",
    "HTTP://hooks.example.com/",
    "ftp://hooks.example.com/",
    "file:///etc/passwd",
    "gopher://hooks.example.com/_",
    "javascript:alert(1)",
    "data:text/plain,x",
    "wss://hooks.example.com/",
    "https+unix://hooks.example.com/",
    "httpſ://hooks.example.com/",
    "ｈttps://hooks.example.com/",
    " https://hooks.example.com/",
    "https://hooks.example.com/ ",
    "https://hooks.example.com/a b",
    "https://hooks.example.com/a\tb",
    "ht\ntps://hooks.example.com/",
    "https://hooks.example.com/\r\nHost: 127.0.0.1",
    "https://hooks.example.com/\0",
    "https://hooks.example.com\x7f/",
    "https://hooks.example.com/\u00a0",
    "https://hooks.example.com/\u2028",
    "https://hooks.example.com/\u202egnp",
    "https://hooks\u200b.example.com/",
    "https://local\u00adhost/",
    "https://local\ufe0fhost/",
    "https://127.0.0.1\u034f/",
    "https://hooks.example.com/\ud800",
    "https:\\\\127.0.0.1\\",
    "https://127.0.0.1\\@hooks.example.com/",
    "https://hooks.example.com\\@127.0.0.1/",
    "https://hooks.example.com\\.127.0.0.1/",
    "https://user@hooks.example.com/",
    "https://user:secret@hooks.example.com/",
    "https://@hooks.example.com/",
    "https://:@hooks.example.com/",
    "https://hooks.example.com@127.0.0.1/",
    "https://a@b@127.0.0.1/",
    "https://127.0.0.1#@hooks.example.com/",
    "https://127.0.0.1?@hooks.example.com/",
    "https://127.0.0.1;.hooks.example.com/",
    "https://hooks.example.com:0/",
    "https://☃.example/",
    "https://hooks.example.com:65536/",
    "https://hooks.example.com:/",
    "https://hooks.example.com:-1/",
    "https://hooks.example.com:+443/",
    "https://hooks.example.com:4_43/",
    "https://hooks.example.com:４４３/",
    "https://hooks.example.com:٤٤٣/",
    "https://hooks.example.com:443:443/",
    "https://hooks.example.com:0x1bb/",
    "https://hooks.example.com:https/",
    "https://hooks.example.com:99999999999999999999/",
    "https://:443/",
    "https://127.0.0.1:80:443/",
    "https://[::1/",
    "https://::1]/",
    "https://::1/",
    "https://2606:4700:4700::1111/",
    "https://[]/",
    "https://[:]/",
    "https://[1.1.1.1]/",
    "https://[v1.a]/",
    "https://[::1].example.com/",
    "https://a[::1]/",
    "https://[::1]443/",
    "https://[[::1]]/",
    "https://[2606:4700:4700::1111]x/",
    "https://[hooks.example.com]/",
    "https://[::ffff:0127.0.0.1]/",
    "https://127。0。0。1/",
    "https://127｡0｡0｡1/",
    "https://127．0．0．1/",
    "https://127․0․0․1/",
    "https://１２７.0.0.1/",
    "https://①②⑦.⓪.⓪.①/",
    "https://𝟏𝟐𝟕.𝟎.𝟎.𝟏/",
    "https://²¹³⁰⁷⁰⁶⁴³³/",
    "https://١٢٧.٠.٠.١/",
    "https://ｌｏｃａｌｈｏｓｔ/",
    "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
    "https://localhoſt/",
    "https://hoo\u212as.example.com/",
    "https://hooks。example。com/",
    "https://ex℀mple.com/",
    "https://127%2e0%2e0%2e1/",
    "https://127.0.0.1%2f@hooks.example.com/",
    "https://%31%32%37.0.0.1/",
    "https://hooks.example.com%00.127.0.0.1/",
    "https://hooks%2eexample%2ecom/",
    "https://./",
    "https://../",
    "https://.hooks.example.com/",
    "https://hooks..example.com/",
    "https://hooks.example.com../",
    "https://localhost../",
    "https://-hooks.example.com/",
    "https://hooks-.example.com/",
    "https://*.example.com/",
    "https://$host/",
    "https://{host}/",
    "https://<host>/",
    "https://a,b/",
    "https://a!b/",
    "https://a|b/",
    "https://256.1.1.1/",
    "https://1.2.3.256/",
    "https://1.2.65536/",
    "https://1.16777216/",
    "https://4294967296/",
    "https://0x100000000/",
    "https://1.1.1.1.1/",
    "https://1..1/",
    "https://08.8.8.8/",
    "https://010.8.8.8/",
    "https://8.8.8.08/",
    "https://8.8.8.0x/",
    "https://0x/",
    "https://hooks.example.1/",
    "https://hooks.example.0x1/",
    f"https://{'a' * 64}.example.com/",
    f"https://{'é' * 60}.example.com/",
    f"https://{'a.' * 127}com/",
    f"https://{'1' * 1000}/",
    f"https://[{'1:' * 500}]/",
]

ALLOWED = [
    "https://hooks.example.com",
    "https://hooks.example.com/",
    "https://your-domain.com/webhooks/image-task-completed",
    "HTTPS://Hooks.Example.COM/Path",
    "https://hooks.example.com./",
    "https://hooks.example.com:443/",
    "https://hooks.example.com:8443/",
    "https://hooks.example.com:1/",
    "https://hooks.example.com:65535/",
    "https://hooks.example.com?task=1&x=[a]",
    "https://hooks.example.com#part",
    "https://hooks.example.com/a?b=c#d",
    "https://hooks.example.com/@user",
    "https://hooks.example.com/?to=user@example.com",
    "https://hooks.example.com/#@127.0.0.1",
    "https://hooks.example.com/127.0.0.1",
    "https://hooks.example.com/?url=https://127.0.0.1/",
    "https://hooks.example.com/a%20b%0d%0a",
    "https://hooks.example.com/a:b;c=d,e!f$g'(h)*+~",
    "https://hooks.example.com//double//../dots",
    "https://hooks.example.com/回调?名=值",
    "https://hooks.example.com/{task}",
    "https://a.b.c.d.e.f.example.com/",
    "https://under_score.example.com/_",
    "https://_dmarc.example.com/",
    "https://123.example.com/",
    "https://1e3.example.com/",
    "https://127.0.0.1.example.com/",
    "https://localhost.example.com/",
    "https://notlocalhost/",
    "https://a--b.example.com/",
    "https://r3---sn.example.com/",
    "https://3com.com/",
    "https://0x7f.example/",
    "https://8.8.8.0xg/",  # no number, so a name like any other
    "https://xn--fiqs8s.example/",
    "https://xn--bcher-kva.example/",
    "https://bücher.example/",
    "https://BÜCHER.example/",
    "https://bu\u0308cher.example/",
    "https://straße.example/",
    "https://例子.测试/回调",
    "https://中国.example:8443/",
    "https://пример.испытание/",
    "https://παράδειγμα.δοκιμή/",
    "https://उदाहरण.परीक्षा/",
    "https://مثال.إختبار/",
    "https://한국.example/",
    "https://xn--n3h.example/",
    "https://8.8.8.8/",
    "https://8.8.8.8:8443/hook",
    "https://8.8.8.8./",
    "https://134744072/",
    "https://0x8.0x8.0x8.0x8/",
    "https://8.8.2056/",
    "https://[2606:4700:4700::1111]/",
    "https://[2606:4700:4700::1111]:8443/hook",
    "https://[2001:4860:4860:0:0:0:0:8888]",
    "https://[2606:4700:4700::1.1.1.1]/",
    "https://[::ffff:8.8.8.8]/",
    "https://[64:ff9b::808:808]/",
    "https://[2A00:1450:4001:81B::200E]?x",
    f"https://{'a' * 63}.example.com/",
    f"https://{'a.' * 125}com/",
    "https://hooks.example.com/" + "a" * (URL_MAX - 26),
    "https://hooks.example.com/" + "猫" * (URL_MAX - 26),
]


ANY_PORT = Rules(ports=frozenset(range(1, 65536)))


def refusal(url: str) -> str:
    with pytest.raises(BadCallback) as refused:
        check_url(url)
    return str(refused.value)


def literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize("address", FORBIDDEN_V4 + FORBIDDEN_V6)
def test_forbidden_address_is_not_public_and_its_url_is_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    assert "not an address of the public internet" in refusal(f"https://{literal(address)}/hook")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_public_and_its_url_is_taken(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    check_url(f"https://{literal(address)}/hook")


@pytest.mark.parametrize("address", FORBIDDEN_V4)
def test_forbidden_address_is_forbidden_inside_every_ipv6_that_carries_it(address: str) -> None:
    inner = int(ipaddress.IPv4Address(address))
    flipped = inner ^ 0xFFFFFFFF
    for outer in (
        inner,
        0xFFFF << 32 | inner,
        0x64FF9B << 96 | inner,
        0x64FF9B0001 << 80 | inner,
        0x2002 << 112 | inner << 80 | 1,
        0x20010000 << 96 | inner << 64 | 0xF7F7F7F7,
        0x20010000 << 96 | 0x08080808 << 64 | flipped,
    ):
        assert not is_public(ipaddress.IPv6Address(outer))


@pytest.mark.parametrize("address", FORBIDDEN_V4)
def test_forbidden_address_is_refused_as_one_number_and_in_hex(address: str) -> None:
    number = int(ipaddress.IPv4Address(address))
    parts = address.split(".")
    tail = number & 0xFFFFFF
    for spelled in (
        str(number),
        hex(number),
        f"{number:#X}",
        oct(number).replace("o", ""),
        ".".join(hex(int(part)) for part in parts),
        ".".join(f"0{int(part):o}" for part in parts),
        f"{parts[0]}.{tail}",
        f"{parts[0]}.{parts[1]}.{tail & 0xFFFF}",
        f"{parts[0]}.{parts[1]}.{parts[2]}.{hex(int(parts[3]))}",
    ):
        assert socket.inet_aton(spelled) == number.to_bytes(4, "big")
        refusal(f"https://{spelled}/")
        refusal(f"https://{spelled}:443/")


@pytest.mark.parametrize("host", SPELLINGS)
def test_other_spelling_of_a_forbidden_host_is_refused(host: str) -> None:
    for url in (f"https://{host}", f"https://{host}:8443/hook?x#y", f"HTTPS://{host.upper()}/"):
        refusal(url)


@pytest.mark.parametrize("url", ODD)
def test_odd_url_is_refused_in_one_sentence_that_does_not_repeat_it(url: str) -> None:
    message = refusal(url)
    assert message.endswith(".")
    assert message.isascii()
    assert "\n" not in message
    assert "secret" not in message


@pytest.mark.parametrize("url", ALLOWED)
def test_public_url_is_taken(url: str) -> None:
    check_url(url, ANY_PORT)


def test_longest_url_is_taken_and_one_more_is_refused() -> None:
    url = "https://hooks.example.com/".ljust(URL_MAX, "a")
    check_url(url)
    assert "2049 characters; at most 2048" in refusal(url + "a")


def test_refusal_says_what_can_be_used() -> None:
    assert "https://" in refusal("http://hooks.example.com/")
    assert "1 to 65535" in refusal("https://hooks.example.com:0/")
    assert "169.254.169.254" in refusal("https://0xa9fea9fe/")
    assert "user name" in refusal("https://a:b@hooks.example.com/")


def test_there_are_enough_cases() -> None:
    assert len(set(FORBIDDEN_V4 + FORBIDDEN_V6)) >= 63
    assert len(set(ODD)) >= 60
    assert len(set(ALLOWED)) >= 30


hosts = st.text("0123456789abcdefxX.:[]%@/\\#?-_。１é\u200b localhost", max_size=40)


@given(st.one_of(st.text(), st.text().map("https://".__add__), hosts.map("https://".__add__)))
def test_any_text_is_taken_or_refused(url: str) -> None:
    try:
        check_url(url)
    except BadCallback:
        return
    assert url[:8].lower() == "https://"
    assert len(url) <= URL_MAX


@given(hosts)
def test_what_libc_reads_as_an_address_is_taken_only_where_it_is_public(host: str) -> None:
    try:
        check_url(f"https://{host}/")
        address = socket.inet_aton(host)
    except (BadCallback, OSError, UnicodeError):
        return
    assert is_public(ipaddress.IPv4Address(address))


@given(st.ip_addresses())
def test_public_is_never_what_the_standard_library_calls_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_public(address):
        assert not address.is_multicast
        assert not address.is_loopback
        assert not address.is_link_local
        assert not address.is_unspecified
    if isinstance(address, ipaddress.IPv4Address) and is_public(address):
        assert address.is_global
