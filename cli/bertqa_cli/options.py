"""Every option that more than one verb has, so that one word means one thing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bertqa import TLS, QAClient
from bertqa.artifact import MODEL_NAME, Split, parse_split
from bertqa.errors import TokenizerError
from bertqa.transport import (
    AsyncTransport,
    Security,
    ServedVersion,
    Token,
    Transport,
    TransportOptions,
    open_async_transport,
    open_transport,
    served_versions,
)
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.progress import working
from bertqa_cli.token_file import TokenFile
from bertqa_cli.values import (
    Lines,
    Whole,
    model_name,
    output_directory,
    precedence,
    refuse_typed,
    timeout_seconds,
)

if TYPE_CHECKING:
    from bertqa.artifact import Repository as ModelRepository
    from bertqa_deploy.cluster.helm import Helm

DEFAULT_REPOSITORY = Path("model_repository")
DEFAULT_URL = "localhost:9000"
DEFAULT_MODEL = MODEL_NAME
# That of HELM_NAMESPACE, or of the kubeconfig's context.
DEFAULT_NAMESPACE: str | None = None
DEFAULT_CHART = Path("deploy/helm/bert-qa")
# What the names of the variables for a connection begin with.
VARIABLES = "BERTQA_"
HELM_VARIABLE = "HELM"

_ALL = 100.0
_CONNECTION = "Connection"
_CLUSTER = "Cluster"
_HEADER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Model = Annotated[str, typer.Option(callback=model_name, help="The model's name.")]
Repository = Annotated[
    Path, typer.Option(file_okay=False, help="The model repository, in the layout of OVMS.")
]
Destination = Annotated[
    Path,
    typer.Option(
        "--repository",
        callback=output_directory,
        file_okay=False,
        help="The model repository, in the layout of OVMS.",
    ),
]
Version = Annotated[
    int | None,
    typer.Option(
        click_type=Whole(min=1),
        metavar="N",
        help="The model version; the server's default if left out.",
    ),
]
To = Annotated[
    int | None,
    typer.Option(click_type=Whole(min=1), metavar="N", help="The version that gets all traffic."),
]
Back = Annotated[bool, typer.Option("--back", help="Return to the split before the last one.")]
Percents = Annotated[
    str | None, typer.Option(metavar="1=90,2=10", help="Percents of the traffic by version.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Accept a version that failed the quality gate.")
]
Release = Annotated[
    str | None,
    typer.Option(help="A Helm release of the chart, in a cluster.", rich_help_panel=_CLUSTER),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="The namespace of the release; by default HELM_NAMESPACE, or the context's own.",
        show_default=False,
        rich_help_panel=_CLUSTER,
    ),
]
Chart = Annotated[
    Path,
    typer.Option(help="The chart that the release was installed from.", rich_help_panel=_CLUSTER),
]


def _connection_option(help_: str, variable: str, **arguments: Any) -> Any:
    """Return an option for the connection to a server, which a variable may hold as well."""
    return typer.Option(
        help=help_, envvar=f"{VARIABLES}{variable}", rich_help_panel=_CONNECTION, **arguments
    )


def _file_option(help_: str, variable: str) -> Any:
    """Return such an option that names a file, which has to be there."""
    return _connection_option(help_, variable, exists=True, dir_okay=False, readable=True)


_Url = Annotated[
    str | None,
    _connection_option(
        "The server: host:port, grpc://, grpcs://, dns:///, dnss:///, http:// or https://.", "URL"
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """How to reach a server, and how to prove the right to: the same for every verb.

    What is typed takes precedence over the environment.

    Raises:
        InvalidOptionError: A file or the token is not one that can be used.
        CommandError: Options exclude each other, or a header is not one that can be sent.
    """

    url: _Url = None
    metadata_url: Annotated[
        str | None,
        _connection_option(
            "The server's REST address, if it is not the gRPC port less 1000.", "METADATA_URL"
        ),
    ] = None
    model: Annotated[
        str,
        typer.Option(callback=model_name, help="The model's name.", rich_help_panel=_CONNECTION),
    ] = DEFAULT_MODEL
    ca: Annotated[
        Path | None,
        _file_option("A PEM file with the certificates to trust, in place of the system's.", "CA"),
    ] = None
    certificate: Annotated[
        Path | None,
        _file_option(
            "A PEM file with the client's own certificate, for mutual TLS.", "CERTIFICATE"
        ),
    ] = None
    key: Annotated[
        Path | None, _file_option("A PEM file with the key of that certificate.", "KEY")
    ] = None
    server_name: Annotated[
        str | None,
        _connection_option(
            "The name in the server's certificate, if it is not that of the address.",
            "SERVER_NAME",
        ),
    ] = None
    token: Annotated[
        str | None,
        _connection_option(
            "A bearer token. The environment variable keeps it out of the process list.", "TOKEN"
        ),
    ] = field(default=None, repr=False)
    token_file: Annotated[
        Path | None,
        _file_option("A file with the bearer token, read again for each request.", "TOKEN_FILE"),
    ] = None
    header: Annotated[
        list[str] | None,
        _connection_option(
            "A header to send with each request; repeatable, in the variable one a line.",
            "HEADER",
            click_type=Lines("NAME=VALUE"),
            metavar="NAME=VALUE",
        ),
    ] = field(default=None, repr=False)
    timeout: Annotated[
        float,
        _connection_option(
            "How long to wait for an answer, as in 5, 90s or 2m; 30s if left out.",
            "TIMEOUT",
            parser=timeout_seconds,
            metavar="DURATION",
            show_default=False,
        ),
    ] = 30.0

    def __post_init__(self) -> None:
        if self.token is not None and self.token_file is not None:
            # The one that was typed goes before one of the environment, and that before a file's.
            both = sorted(("token", "token_file"), key=precedence)
            if precedence(both[0]) == precedence(both[1]):
                raise CommandError(
                    f"Pass --token or --token-file ({VARIABLES}TOKEN or {VARIABLES}TOKEN_FILE), "
                    "and not both.",
                    status=Status.USAGE,
                )
            object.__setattr__(self, both[1], None)
        # It checks what it is made from: a mistake is reported before any work.
        self.security()

    def refuse(self, reason: str) -> None:
        """Refuse what was typed for a connection, where it would be ignored.

        Args:
            reason: Why, as the end of a sentence whose subject is the options.

        Raises:
            CommandError: One was typed.
        """
        refuse_typed({each.name for each in fields(self)} - {"model"}, reason)

    @property
    def address(self) -> str:
        """The server's address: the one on this machine where none is named."""
        return self.url or DEFAULT_URL

    def tls(self) -> TLS | None:
        """Return the TLS files, None where no option names one: any other TLS needs its address."""
        tls = TLS(
            ca=self.ca,
            certificate=self.certificate,
            key=self.key,
            server_name=self.server_name,
        )
        return None if tls == TLS() else tls

    def bearer(self) -> Token | None:
        """Return the token, or what reads it."""
        return self.token if self.token_file is None else TokenFile(self.token_file)

    def headers(self) -> dict[str, str]:
        """Return the headers by name."""
        headers: dict[str, str] = {}
        for number, text in enumerate(self.header or (), start=1):
            name, equals, value = text.partition("=")
            name, value = name.strip(), value.strip()
            if not (equals and _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
                # The value may be a secret, so that it is not shown.
                raise CommandError(
                    f"The value of --header number {number} cannot be read: write NAME=VALUE, in "
                    "printable ASCII.",
                    status=Status.USAGE,
                )
            if name.lower() in map(str.lower, headers):
                raise CommandError(f"--header {name} is given twice.", status=Status.USAGE)
            headers[name] = value
        return headers

    def security(self) -> Security:
        """Return what a transport or the admin client takes for the connection."""
        return Security.of(self.tls(), self.bearer(), self.headers())

    def client_arguments(self) -> dict[str, Any]:
        """Return what a client of either kind takes for the connection."""
        return {
            "url": self.address,
            "model": self.model,
            "timeout": self.timeout,
            "metadata_url": self.metadata_url,
            "tls": self.tls(),
            "token": self.bearer(),
            "headers": self.headers(),
        }

    @contextmanager
    def open_client(
        self, *, version: int | None = None, tokenizer: str | None = None
    ) -> Iterator[QAClient]:
        """Open a client for the block.

        Args:
            version: The version to ask; None is the server's default.
            tokenizer: A tokenizer file, directory or hub id in place of the model's own.

        Yields:
            The client.

        Raises:
            InvalidOptionError: An address, a file or a value is not valid.
            CommandError: The tokenizer cannot be read.
        """
        try:
            client = QAClient(**self.client_arguments(), version=version, tokenizer=tokenizer)
        except TokenizerError as error:  # That of --tokenizer: the model's own is read later.
            raise CommandError(str(error), status=Status.USAGE, detail=error.detail) from error
        with ExitStack() as opened:
            opened.enter_context(client)
            try:
                yield client
            except KeyboardInterrupt:
                opened.pop_all()  # Closing waits for what the server has not answered.
                raise

    def served_versions(self) -> list[ServedVersion]:
        """Return the versions of the model that the server at `address` knows.

        Raises:
            BertQAError: What `bertqa.transport.served_versions` raises.
        """
        with working(f"Asking {self.address}"):
            return served_versions(
                self.address,
                self.model,
                metadata_url=self.metadata_url,
                timeout=self.timeout,
                security=self.security(),
            )

    def open_transport(self) -> Transport:
        """Return an open transport without a client.

        Raises:
            InvalidOptionError: An address, a file or a value is not valid.
        """
        return open_transport(self.address, self._transport_options())

    def open_async_transport(self) -> AsyncTransport:
        """Return the asynchronous twin of it.

        Raises:
            InvalidOptionError: An address, a file or a value is not valid.
        """
        return open_async_transport(self.address, self._transport_options())

    def _transport_options(self) -> TransportOptions:
        return {
            "model": self.model,
            "metadata_url": self.metadata_url,
            "learns": True,
            "security": self.security(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultConnectionOptions(ConnectionOptions):
    """The same, for verbs that always ask a server."""

    url: _Url = DEFAULT_URL


def split_of(to: int | None, split: str | None) -> Split | None:
    """Return the split that --to or --split names, None where neither does.

    Args:
        to: The version that gets all traffic.
        split: Percent of the traffic by version, such as `1=90,2=10`.

    Raises:
        InvalidOptionError: The split cannot be read.
    """
    if to is not None:
        return {to: _ALL}
    return None if split is None else parse_split(split)


def helm_of(release: str, namespace: str | None, chart: Path = DEFAULT_CHART) -> Helm:
    """Return the release; the variable HELM names the program where it is not on PATH.

    Args:
        release: The name of the Helm release.
        namespace: The Kubernetes namespace that it is in; None for that of HELM_NAMESPACE or of the
            kubeconfig's context.
        chart: The folder of the chart.

    Raises:
        CommandError: The extra `deploy` is not installed.
        ClusterError: The configuration of the cluster cannot be read, or contradicts itself.
    """
    try:
        from bertqa_deploy.cluster.access import find_access
        from bertqa_deploy.cluster.helm import Helm
    except ModuleNotFoundError as error:
        raise CommandError(
            "A release needs the extra 'deploy': from a clone of the project, run "
            "pip install '.[deploy]'.",
            detail=str(error),
        ) from error
    access = find_access(namespace)
    return Helm(release, access, chart, program=os.environ.get(HELM_VARIABLE, "helm"))


def require_repository(repository: ModelRepository) -> None:
    """Refuse a model repository that is not there.

    Args:
        repository: The repository.

    Raises:
        CommandError: There is no such directory.
    """
    if not repository.root.is_dir():
        raise CommandError(
            f"There is no model repository {repository.root}. `bert-qa build` makes one."
        )
