from __future__ import annotations

import pytest

from bertqa.errors import InvalidOptionError
from bertqa_deploy.storage.address import Address


@pytest.mark.parametrize(
    ("text", "scheme", "container"),
    [
        ("az://models/qa", "az", "models"),
        ("s3://my.bucket-1/a/b", "s3", "my.bucket-1"),
        ("gs://models/", "gs", "models"),
        ("hf://org/name", "hf", "org"),
        ("hf://My-Org/name_1.5/", "hf", "My-Org"),
        ("hf://org/name@refs/pr/1", "hf", "org"),
        ("mlflow://Question answering/12", "mlflow", "Question answering"),
    ],
)
def test_the_forms_of_ovms_are_read(text: str, scheme: str, container: str) -> None:
    address = Address.parse(text)
    assert (address.scheme, address.container) == (scheme, container)
    assert str(address) == text.rstrip("/")


@pytest.mark.parametrize("text", ["elsewhere", "/srv/models", "../models", "a:b"])
def test_what_is_not_a_url_is_a_directory(text: str) -> None:
    assert Address.parse(text) == Address("", text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty: write az://container/path"),
        ("az:models", "lacks //"),
        ("az:/models", "lacks //"),
        ("abfs://models/qa", "write az:// for 'abfs://models/qa'"),
        ("azure://models/qa", "write az://"),
        ("azfs://share/qa", "write az://"),
        ("s3a://models", "write s3://"),
        ("gcs://models", "write gs://"),
        ("ftp://models", "A repository cannot be at ftp://"),
        ("https://a.blob.core.windows.net/models", "cannot be at https://"),
        ("file:///srv/models", "cannot be at file://"),
        ("az://", "does not name a container"),
        ("s3:///models", "does not name a container"),
        ("s3://localhost:9000/models", "the endpoint come from the environment"),
        ("az://models@account.dfs.core.windows.net/qa", "The account"),
        ("az://Models/qa", "lower-case"),
        ("az://models/../qa", r"'\.\.' should be letters"),
        ("az://models//qa", "'' should be letters"),
        ("gs://models/qa?x=1", "should be letters"),
        ("s3://models/a b", "should be letters"),
    ],
)
def test_what_ovms_would_not_read_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(InvalidOptionError, match=complaint):
        Address.parse(text)
