from __future__ import annotations

from typing import Any

import pytest

from bertqa.errors import InvalidOptionError
from bertqa.transport._address import Address


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


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(InvalidOptionError, match="token=") as caught:
        Address.parse("http://user:s3cret@localhost")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("port", ["abc", "99999", "-1"])
def test_a_port_that_is_none_is_named_in_plain_words(port: str) -> None:
    with pytest.raises(InvalidOptionError, match="its port has to be a number from 1 to 65535"):
        Address.parse(f"localhost:{port}")
