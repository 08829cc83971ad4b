"""Addresses and URLs that must not be reached, and some that may, for the tests of the door."""

import ipaddress

URL_MAX = 2048

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

# IANA's special-purpose registries and multicast, as they stand there.
REGISTRIES = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
192.0.0.0/29 192.0.0.170/31 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15
198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001:2::/48 2001:10::/28 2001:20::/28
2001:30::/28 2001:db8::/32 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8
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


def embeddings(address: str) -> list[ipaddress.IPv6Address]:
    """The IPv6 addresses that are ways to an IPv4 address."""
    inner = int(ipaddress.IPv4Address(address))
    flipped = inner ^ 0xFFFFFFFF
    outer = [
        inner,  # compatible
        0xFFFF << 32 | inner,  # mapped
        0x64FF9B << 96 | inner,  # NAT64
        0x64FF9B0001 << 80 | inner,  # local NAT64
        0x2002 << 112 | inner << 80 | 1,  # 6to4
        0x20010000 << 96 | inner << 64 | 0xF7F7F7F7,  # Teredo's server
        0x20010000 << 96 | 0x08080808 << 64 | flipped,  # Teredo's client
    ]
    return [ipaddress.IPv6Address(each) for each in outer]


def forbidden() -> list[str]:
    """Every forbidden address of the tables, the ways to each of IPv4, the edges of networks."""
    inside = [str(each) for address in FORBIDDEN_V4 for each in embeddings(address)]
    edges = [str(each) for network in REGISTRIES for each in _edges(network)]
    return list(dict.fromkeys([*FORBIDDEN_V4, *FORBIDDEN_V6, *inside, *edges]))


def literal(address: str) -> str:
    """An address as URLs have it."""
    return f"[{address}]" if ":" in address else address


def _edges(text: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    network = ipaddress.ip_network(text)
    last = network.num_addresses - 1
    return [network[place] for place in (0, 1, last // 2, last)]
