from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bertqa import QATokenizer
from bertqa.errors import InvalidOptionError
from bertqa.transport._address import Address, is_authority
from tests.support.models import tokenizer_json
from tests.support.twins import Twins

TOKENIZER = QATokenizer.from_json(tokenizer_json())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:9000", Address("grpc", "localhost", 9000)),
        (" localhost ", Address("grpc", "localhost", 9000)),
        ("grpc://models.example:9001", Address("grpc", "models.example", 9001)),
        ("grpcs://models.example", Address("grpcs", "models.example", 9000)),
        ("dns:///bert-qa.default.svc:9000", Address("dns", "bert-qa.default.svc", 9000)),
        ("[::1]:9000", Address("grpc", "::1", 9000)),
        ("http://localhost", Address("http", "localhost", 8000)),
        ("https://models.example/team/", Address("https", "models.example", 8000, "/team")),
        ("tfs://localhost:9000", Address("tfs", "localhost", 9000)),
    ],
)
def test_addresses_are_read(text: str, expected: Address) -> None:
    assert Address.parse(text) == expected
    assert Address.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("localhost:9000", "http://localhost:8000"),
        ("grpcs://models.example:9443", "https://models.example:8443"),
        ("dns:///bert-qa:9000", "http://bert-qa:8000"),
        ("tfs://[::1]:9000", "http://[::1]:8000"),
    ],
)
def test_the_rest_address_follows_from_the_grpc_one(text: str, rest: str) -> None:
    assert str(Address.parse(text).rest) == rest


@pytest.mark.parametrize(
    ("host", "ip"),
    [
        ("127.1", "127.0.0.1"),
        ("0x7f.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("10.513", "10.0.2.1"),
        ("127.0.0.01", "127.0.0.1"),
        ("1.2.3.4.5", "1.2.3.4.5"),
    ],
)
@pytest.mark.parametrize("form", ["{}:9000", "grpcs://{}", "dns:///{}", "http://{}:8000"])
def test_a_short_form_of_an_ip_address_means_the_same_over_both_protocols(
    form: str, host: str, ip: str
) -> None:
    assert Address.parse(form.format(host)) == Address.parse(form.format(ip))
    assert Address.parse(form.format(host)).host == ip


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/" + "a" * 5000,
        "grpc://localhost/" + "a" * 5000,
        "a" * 5000,
        "a" * 5000 + "://localhost",
        "localhost:" + "9" * 5000,
        "unix:/" + "a" * 5000,
        "http://[" + "a" * 5000,
        [10**5000],
    ],
)
def test_a_message_shortens_an_address_of_thousands_of_characters(url: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r"address") as caught:
        Address.parse(url)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":9000",
        "9000",
        "localhost:port",
        "localhost:99999",
        "localhost:0",
        "http://localhost:0",
        "ftp://localhost",
        "grpc://localhost:9000/path",
        "http://user:secret@localhost",
        "http://localhost:8000?x=1",
        "grpc://[::1",
    ],
)
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidOptionError, match="address"):
        Address.parse(text)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:s3cret@localhost",
        "http://user:s3cret@localhost:x",
        "http://user:s3cret\u2100@localhost",
        "http:/user:s3cret@localhost",
        "http:///user:s3cret@localhost",
        "ftp://user:s3cret@localhost",
        "unix:user:s3cret@localhost",
    ],
)
def test_a_password_in_an_address_is_not_repeated(url: str) -> None:
    with pytest.raises(InvalidOptionError, match="address") as caught:
        Address.parse(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("port", ["abc", "99999", "-1"])
def test_a_port_that_is_none_is_named_in_plain_words(port: str) -> None:
    with pytest.raises(InvalidOptionError, match="its port has to be a number from 1 to 65535"):
        Address.parse(f"localhost:{port}")


NO_HOSTS = [
    "xn--a",
    "xn--",
    "a.xn--a",
    "\u0662",
    "\u0301a",
    "\u0301",
    "\ufffd",
    "a b",
    "xn--\u0662",
]


@pytest.mark.parametrize("host", NO_HOSTS)
@pytest.mark.parametrize("form", ["{}:9000", "grpcs://{}", "dns:///{}", "http://{}:8000"])
def test_a_name_that_no_host_has_is_named(form: str, host: str, open_client: Twins) -> None:
    url = form.format(host)
    with pytest.raises(InvalidOptionError, match="neither the name of a host nor an IP") as caught:
        open_client(url, tokenizer=TOKENIZER)
    assert repr(host) in str(caught.value)
    with pytest.raises(InvalidOptionError, match="neither the name of a host nor an IP"):
        open_client("localhost:1", metadata_url=f"http://{host}:8000")


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        ("stra\u00dfe.example", "xn--strae-oqa.example"),
        ("B\u00dcCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("\uff11\uff12\uff17.1", "127.0.0.1"),
    ],
)
def test_a_name_in_any_script_is_what_name_servers_know(host: str, meant: str) -> None:
    assert Address.parse(f"{host}:9000").host == meant


HOSTS = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"(xn--)?[a-z0-9.:%\[\]-]{0,10}", fullmatch=True),
    st.text("xn-\u00e9\u0662a\u00df\u0301.\uff10", max_size=10),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}%eth0]"),
)
ENDS = ["", ":9000", ":0", ":x", "/p", "/\u00e9", "/..", "/%", "/%zz", "/\u0301"]


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(["", "grpc://", "http://", "https://", "dns:///", "grpc:/"]),
    HOSTS,
    st.sampled_from(ENDS),
)
@example("", "xn--a", ":9000")
@example("http://", "xn--", "")
def test_an_address_is_one_that_http_clients_take_or_refused(
    scheme: str, host: str, end: str
) -> None:
    text = f"{scheme}{host}{end}"
    try:
        address = Address.parse(text)
    except InvalidOptionError:
        return
    assert Address.parse(str(address)) == address
    is_rest = address.scheme in ("http", "https")
    url = httpx.URL(str(address) if is_rest else f"http://{address.location}")
    assert url.host
    assert httpx.Request("GET", url).headers["host"].isascii()


@pytest.mark.parametrize("url", ["http:/models", "https:/models:8000", "grpc:/models:9000"])
def test_an_address_with_one_slash_is_refused(url: str) -> None:
    with pytest.raises(InvalidOptionError, match=r"has one slash behind .* and needs two"):
        Address.parse(url)


@pytest.mark.parametrize("url", ["localhost:0", "http://localhost:0"])
def test_the_port_0_is_none(url: str) -> None:
    with pytest.raises(InvalidOptionError, match="its port has to be a number from 1 to 65535"):
        Address.parse(url)


@pytest.mark.parametrize("text", ["models", "models:80", "[::1]:80", "a_b.example", "10.0.0.1"])
def test_a_host_with_or_without_a_port_is_a_host_header(text: str) -> None:
    assert is_authority(text)


@pytest.mark.parametrize(
    "text", ["", "a b", "a/b", "a@b", "a?b", "a:b", "a:0", "[::1", "xn--a", "a\tb", "\u00e9"]
)
def test_anything_else_is_not_a_host_header(text: str) -> None:
    assert not is_authority(text)
