from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import trustme
import typer

from bertqa.errors import InvalidOptionError
from bertqa_cli.catalog import load
from bertqa_cli.connection import ConnectionOptions
from bertqa_cli.errors import CommandError
from bertqa_cli.token_file import TokenFile
from bertqa_cli.values import seconds_of
from tests.cli.conftest import CONTEXT, QUESTION, Invoke
from tests.support.engines import Served, toy_server
from tests.support.gates import pipe_to, tcp_server

TOKEN = "correct-horse"
VARIABLES = (
    *("url", "metadata_url", "ca", "certificate", "key", "server_name"),
    *("token", "token_file", "header", "timeout"),
)
CONNECTING = (
    "ask",
    "evaluate",
    "compare",
    "switch",
    "versions",
    "bench client",
    "bench load",
    "bench mlperf",
    "bench profile",
)


def command(path: str) -> click.Command:
    verb, *below = path.split()
    found: click.Command = load(verb)
    for name in below:
        found = found.commands[name]  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("path", CONNECTING)
def test_each_verb_that_reaches_a_server_has_the_same_connection_options(path: str) -> None:
    options = {name for each in command(path).params for name in each.opts}

    assert options >= {
        *("--url", "--metadata-url", "--model", "--ca", "--certificate", "--key"),
        *("--token", "--token-file", "--header", "--server-name", "--timeout"),
    }
    variables = {
        each.name: each.envvar for each in command(path).params if isinstance(each, click.Option)
    }
    for name in VARIABLES:
        assert variables[name] == f"BERTQA_{name.upper()}"


@dataclass(frozen=True)
class Secured:
    """A way to a server that asks for a client's certificate; `seen` has what was sent in it."""

    options: list[str]
    seen: bytearray

    @property
    def requests(self) -> int:
        return self.seen.count(b" HTTP/1.1\r\n")

    def count(self, header: str) -> int:
        return self.seen.lower().count(header.encode().lower())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, list[str]]:
    """A server's side of mutual TLS, and the options of a client that it accepts."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    own = authority.issue_cert("client.example")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    own.cert_chain_pems[0].write_to_path(directory / "certificate.pem")
    own.private_key_pem.write_to_path(directory / "key.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    files = [(f"--{name}", str(directory / f"{name}.pem")) for name in ("ca", "certificate", "key")]
    return context, [text for option in files for text in option]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("secured") / "model_repository"
    with toy_server("local", directory, 1, 2) as served:
        yield served


@pytest.fixture
def secured(
    repository: Served,
    certificates: tuple[ssl.SSLContext, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Secured]:
    context, files = certificates
    seen = bytearray()
    monkeypatch.setenv("BERTQA_TOKEN", TOKEN)
    with tcp_server(pipe_to(repository.rest_port, seen), context) as port:
        url = f"https://localhost:{port}"
        yield Secured(["--url", url, *files, "--header", "X-Tenant=qa"], seen)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    question = {"id": "1", "question": QUESTION, "answers": [{"text": "Rouen", "answer_start": 0}]}
    document = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": [question]}]}]}
    path = tmp_path_factory.mktemp("data") / "one.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


@pytest.mark.usefixtures("short_loop")
@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", QUESTION, "--context", CONTEXT],
        ["evaluate", "--data", "DATA"],
        ["compare", "1", "2", "--data", "DATA"],
        ["versions"],
        ["bench", "client", "--data", "DATA"],
        [*("bench", "load", "--data", "DATA"), *("--duration", "1s", "--warm-up", "0s")],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_request_of_a_verb_has_the_certificate_the_token_and_the_headers(
    invoke: Invoke, secured: Secured, data: str, arguments: list[str]
) -> None:
    typed = [data if each == "DATA" else each for each in arguments]

    result = invoke(*typed, "--json", *secured.options)

    assert result.status == 0, result.err
    assert json.loads(result.out)
    assert secured.requests >= 1
    assert secured.count(f"authorization: Bearer {TOKEN}") == secured.requests
    assert secured.count("x-tenant: qa") == secured.requests


def test_a_switch_goes_through_the_same_door(
    invoke: Invoke,
    certificates: tuple[ssl.SSLContext, list[str]],
    tmp_path: Path,
) -> None:
    context, files = certificates
    seen = bytearray()
    smoke = ["--smoke-question", "When?", "--smoke-context", "1932", "--smoke-answer", "1932"]
    policy = {"specific": {"versions": [1]}}
    with (
        toy_server("local", tmp_path, 1, 2, policy=policy) as served,
        tcp_server(pipe_to(served.rest_port, seen), context) as port,
    ):
        options = ["--url", f"https://localhost:{port}", *files, "--token", TOKEN]
        secured = Secured(options, seen)

        result = invoke("switch", "--to", "2", "--repository", str(tmp_path), *smoke, *options)

    assert result.status == 0, result.err
    assert "Version 2 is the default" in result.out
    assert secured.requests > 5
    assert secured.count(f"authorization: Bearer {TOKEN}") == secured.requests


def test_a_server_that_is_not_trusted_is_not_sent_the_token(
    invoke: Invoke, secured: Secured
) -> None:
    result = invoke("versions", *secured.options[:2])

    assert result.status == 1
    assert "The certificate of https://localhost" in result.err
    assert "is not trusted" in result.err
    assert not secured.seen


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--header", "no-equals-sign"], "--header number 1 cannot be read"),
        (["--header", "a=1", "--header", "b c=secret"], "--header number 2 cannot be read"),
        (["--header", "a=line\nbreak secret"], "--header number 1 cannot be read"),
        (["--token", "a\nsecret"], "The header 'authorization' cannot be sent: --token has"),
        (["--certificate", __file__], "--certificate and --key"),
        (["--certificate", "c.pem"], "'--certificate': File 'c.pem' does not exist"),
        (["--key", "c.pem"], "'--key': File 'c.pem' does not exist"),
        (["--ca", "c.pem"], "File 'c.pem' does not exist"),
        (["--ca", "/"], "'/' is a directory"),
        (["--token-file", "c.pem"], "File 'c.pem' does not exist"),
        (["--token-file", "/dev/null"], "/dev/null cannot be read: it is a pipe or a device"),
        (["--token-file", "/dev/zero"], "/dev/zero cannot be read: it is a pipe or a device"),
        (["--token-file", __file__], "does not hold a token"),
        (["--token", "secret", "--token-file", __file__], "Pass --token or --token-file"),
        (["--server-name", "a/b"], "--server-name 'a/b'"),
        (["--timeout", "soon"], "'--timeout': The duration 'soon' cannot be read"),
        (["--timeout", "0"], "'--timeout': The duration '0' has to be above 0"),
        (["--timeout", "-1"], "'--timeout': The duration '-1' cannot be read"),
    ],
)
@pytest.mark.parametrize("verb", ["versions", f"evaluate --data {__file__}"])
def test_what_cannot_be_sent_is_wrong_usage_and_secrets_are_not_shown(
    invoke: Invoke, verb: str, arguments: list[str], complaint: str
) -> None:
    result = invoke(*verb.split(), *arguments)

    assert (result.status, result.out) == (2, "")
    assert complaint in result.err
    assert "secret" not in result.err


def test_a_token_is_shown_nowhere(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTQA_TOKEN", TOKEN)
    options = ConnectionOptions(token=TOKEN, header=[f"X-Key={TOKEN}"])

    assert TOKEN not in repr(options)
    for path in CONNECTING:
        shown = invoke(*path.split(), "--help").out
        assert "BERTQA_TOKEN" in shown
        assert TOKEN not in shown


def test_options_reach_the_client_as_they_were_typed() -> None:
    options = ConnectionOptions(token="t", header=["X-One=1=2", "x-two= 2 "])

    assert options.address == "localhost:9000"
    assert options.headers() == {"X-One": "1=2", "x-two": "2"}
    assert options.security().headers == {"x-one": "1=2", "x-two": "2"}
    assert options.security().token == "t"
    with pytest.raises(CommandError):
        ConnectionOptions(header=["=1"])


def test_the_environment_stands_for_each_option(
    invoke: Invoke,
    secured: Secured,
    data: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is typed takes precedence, and a token may be renewed in its file."""
    token = tmp_path / "token"
    token.write_text("first\n")
    monkeypatch.delenv("BERTQA_TOKEN")
    names = iter(secured.options)
    for option, value in zip(names, names, strict=True):
        monkeypatch.setenv(f"BERTQA_{option.removeprefix('--').upper()}", value)
    monkeypatch.setenv("BERTQA_HEADER", "X-Tenant=qa\n\nX-Words=two words\n")
    monkeypatch.setenv("BERTQA_TIMEOUT", "50s")
    monkeypatch.setenv("BERTQA_SERVER_NAME", "localhost")
    monkeypatch.setenv("BERTQA_TOKEN_FILE", str(token))

    for sent, typed in (
        ("first", []),
        ("second", []),
        ("typed", ["--token", "typed"]),
    ):
        token.write_text(f"{sent}\n" if not typed else "unused")
        before = secured.requests
        result = invoke("ask", QUESTION, "--context", CONTEXT, "--json", *typed)
        assert result.status == 0, result.err
        assert secured.requests > before
        assert secured.count(f"authorization: Bearer {sent}\r\n") == secured.requests - before
    assert secured.count("x-words: two words") == secured.requests

    monkeypatch.setenv("BERTQA_TOKEN", "both")
    result = invoke("versions")
    assert (result.status, result.out) == (2, "")
    assert "BERTQA_TOKEN or BERTQA_TOKEN_FILE" in result.err


def test_a_timeout_of_the_environment_is_checked_as_one_that_is_typed(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TIMEOUT", "soon"), ("CA", "/no/such/file"), ("HEADER", "secret")):
        with monkeypatch.context() as patch:
            patch.setenv(f"BERTQA_{name}", value)
            result = invoke("versions")
            assert (result.status, result.out) == (2, "")
            assert f"BERTQA_{name}" in result.err or f"--{name.lower()}" in result.err
            assert "Traceback" not in result.err


def test_a_server_of_the_environment_is_not_in_the_way_of_a_release(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERTQA_URL", "localhost:9000")
    typed = ["switch", "--to", "2", "--release", "qa", "--retire"]
    assert "--retire is for one server" in invoke(*typed).err
    typed = ["switch", "--to", "2", "--release", "qa"]
    assert "one server" not in invoke(*typed).err
    assert "one server" in invoke(*typed, "--url", "localhost:9000").err


def test_a_token_file_that_goes_away_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("t\n")
    token = TokenFile(path)
    path.write_text("renewed")
    assert token() == "renewed"
    path.unlink()
    with pytest.raises(InvalidOptionError, match="cannot be read: No such file"):
        token()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("2m", 120), ("1.5h", 5400), (30.0, 30)]
)
def test_durations(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", "1d", "1m30s", "nan", "inf"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="write 90s, 2m or 1h"):
        seconds_of(text)


@pytest.mark.parametrize(
    "verb",
    [
        ["switch", "--to", "2", "--release", "r"],
        ["versions", "--release", "r"],
        ["versions"],
        ["evaluate"],
        ["compare", "1", "2"],
        ["compare", "--from-log"],
    ],
)
def test_an_option_for_a_server_is_refused_where_none_is_called(
    invoke: Invoke, tmp_path: Path, verb: list[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("secret")
    if verb[-1] == "--from-log":
        verb = [*verb, str(file)]
    elif verb[0] in ("evaluate", "compare"):
        verb = [*verb, "--data", str(file)]
    options = {"server-name": "localhost", "token": "secret", "token-file": str(file)}
    options |= {"ca": str(file), "header": "a=b", "timeout": "5", "metadata-url": "http://[::1]"}
    if "--release" in verb:
        options["url"] = "localhost:9000"
    for name, value in options.items():
        result = invoke(*verb, f"--{name}", value)
        assert (result.status, result.out) == (2, "")
        assert f"--{name} is for " in result.err
    many = invoke(*verb, "--token", "secret", "--timeout", "5")
    assert "--token and --timeout are for " in many.err


def test_what_the_environment_has_for_a_server_is_not_refused(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERTQA_TOKEN", TOKEN)
    (tmp_path / "repository").mkdir()
    assert invoke("versions", "--repository", str(tmp_path / "repository")).status == 0


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        (["switch", "--to", "2"], "--namespace"),
        (["switch", "--to", "2"], "--chart"),
        (["versions"], "--namespace"),
        (["versions", "--url", "localhost:9"], "--namespace"),
        (["compare", "1", "2", "--serve"], "--namespace"),
    ],
)
def test_an_option_for_a_release_is_refused_without_one(
    invoke: Invoke, verb: list[str], option: str
) -> None:
    result = invoke(*verb, option, "x")
    assert (result.status, result.out) == (2, "")
    assert f"{option} is for a --release." in result.err


def test_a_release_is_compared_over_a_way_of_its_own(invoke: Invoke) -> None:
    for option in ("--url", "--metadata-url"):
        result = invoke("compare", "1", "2", "--serve", "--release", "r", option, "http://[::1]")
        assert result.status == 2
        assert f"{option} is for one server, not for a release." in result.err


def test_a_header_that_is_typed_twice_is_refused(invoke: Invoke) -> None:
    arguments = ["--header", "x-team=a", "--header", "X-Team=b"]
    result = invoke("ask", "Who?", "--context", "Anna.", *arguments)
    assert (result.status, result.out) == (2, "")
    assert "--header X-Team is given twice" in result.err


def test_a_pipe_with_a_token_is_refused_without_being_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(InvalidOptionError, match="cannot be read: it is a pipe or a device"):
            TokenFile(path)


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        (["ask", "q", "--context", "c", "--id-column", "x"], "--id-column is for --input."),
        (
            ["ask", "q", "--context", "c", "--question-column", "q", "--context-column", "c"],
            "--question-column and --context-column are for --input.",
        ),
        (["compare", "--from-log", "FILE", "--data", "FILE"], "--data is for two versions"),
        (["compare", "1", "--from-log", "FILE", "--html", "x.html"], "first and --html are for "),
        (["compare", "1", "2", "--serve", "--html", "x.html"], "--html is not for --serve."),
        (["compare", "1", "2", "--port", "8081"], "--port is for --serve."),
        (
            ["evaluate", "--data", "FILE", "--url", "localhost:9000", "--repository", "r"],
            "--repository is for a published version",
        ),
        (["serve", "--no-http-api", "--queue", "9"], "--queue is for the HTTP API"),
        (["serve", "http-api", "--record-texts"], "--record-texts needs --record"),
        (["serve", "--record-share", "0.5"], "--record-share needs --record"),
    ],
)
def test_an_option_that_would_be_ignored_is_wrong_usage(
    invoke: Invoke, tmp_path: Path, verb: list[str], expected: str
) -> None:
    file = tmp_path / "file.json"
    file.write_text("{}")
    result = invoke(*(str(file) if each == "FILE" else each for each in verb))
    assert (result.status, result.out) == (2, "")
    assert expected in " ".join(result.err.split())
