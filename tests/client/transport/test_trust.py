"""What is trusted without `ca`: the same over gRPC as over REST."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bertqa import TLS, QATokenizer
from bertqa.errors import CertificateError, InvalidOptionError
from tests.support.certificates import Authority
from tests.support.engines import Served
from tests.support.gates import pipe_to, tcp_server
from tests.support.models import tokenizer_json
from tests.support.questions import CONTEXT, QUESTION
from tests.support.twins import Twins

TOKENIZER = QATokenizer.from_json(tokenizer_json())
ALPN = {"grpcs": "h2", "https": "http/1.1"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("by", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_the_certificates_of_the_environment_are_trusted_over_both_protocols(
    open_client: Twins,
    local_server: Served,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    by: str,
) -> None:
    program = shutil.which("openssl")
    if by == "SSL_CERT_DIR" and program is None:
        pytest.skip("OpenSSL's program, which names certificates, is not installed")
    name = tmp_path / "other.pem"
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    with tcp_server(
        pipe_to(local_server.port(scheme)), authority.context(alpn=ALPN[scheme])
    ) as port:
        url = f"{scheme}://localhost:{port}"
        with pytest.raises(CertificateError, match="is not trusted"):
            open_client(url, tokenizer=TOKENIZER, timeout=60.0).answer(QUESTION, CONTEXT)
        if program is not None and by == "SSL_CERT_DIR":
            asked = [program, "x509", "-hash", "-noout", "-in", str(authority.ca)]
            name = tmp_path / f"{subprocess.check_output(asked, text=True).strip()}.0"
            monkeypatch.setenv(by, f"{tmp_path / 'a'}{os.pathsep}{tmp_path}")
            (tmp_path / "a").mkdir()
        else:
            monkeypatch.setenv(by, str(name))
        name.symlink_to(authority.ca)
        client = open_client(url, tokenizer=TOKENIZER, timeout=60.0)
        assert client.answer(QUESTION, CONTEXT).model_version == 2


@pytest.mark.parametrize(
    ("variable", "fault"),
    [("SSL_CERT_FILE", "No such file"), ("SSL_CERT_DIR", "it is not a directory")],
)
@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_certificates_of_the_environment_that_cannot_be_used_are_named(
    open_client: Twins,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    variable: str,
    fault: str,
) -> None:
    url = f"{scheme}://localhost:1"
    monkeypatch.setenv(variable, str(tmp_path / "missing"))
    with pytest.raises(InvalidOptionError, match=f"missing, of .*{variable}, .*{fault}"):
        open_client(url, tokenizer=TOKENIZER)
    open_client(url, tokenizer=TOKENIZER, tls=TLS(ca=authority.ca))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.pem").write_text("none")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    if variable == "SSL_CERT_FILE":
        with pytest.raises(InvalidOptionError, match=r"empty.pem, of .*SSL_CERT_FILE, cannot be"):
            open_client(url, tokenizer=TOKENIZER)
    monkeypatch.setenv("SSL_CERT_FILE", "")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "empty"))
    with pytest.raises(InvalidOptionError, match="has no certificates to trust"):
        open_client(url, tokenizer=TOKENIZER)


def test_a_log_of_keys_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "absent" / "keys"))
    with pytest.raises(InvalidOptionError, match="variable SSLKEYLOGFILE, cannot be written: No"):
        TLS().ssl_context()
