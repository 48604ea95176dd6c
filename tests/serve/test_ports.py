from __future__ import annotations

import socket

import pytest

from bertqa_serve.errors import PortInUseError
from bertqa_serve.ports import free_ports, require_free, wait_until_released
from tests.support.ports import free_port


def test_the_ports_are_free_and_as_far_apart_as_clients_expect() -> None:
    grpc_port, rest_port = free_ports()

    assert grpc_port - rest_port == 1000
    for port in (grpc_port, rest_port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


def test_a_pair_is_passed_over_where_one_of_it_is_taken() -> None:
    grpc_port, rest_port = free_ports()

    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", rest_port))
        server.listen()
        assert free_ports()[0] > grpc_port


def test_what_lingers_on_the_port_of_an_earlier_server_is_said_and_waited_for() -> None:
    said: list[str] = []
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()  # Who closes first has it in the system for a minute.
    require_free("127.0.0.1", port)

    wait_until_released("127.0.0.1", port, log=said.append, stopped=lambda: True)

    (line,) = said
    assert f"port {port}" in line
    assert "125 seconds" in line


def test_a_port_that_nothing_holds_is_taken_without_a_word() -> None:
    said: list[str] = []
    wait_until_released("127.0.0.1", free_port(), log=said.append, stopped=lambda: False)
    assert not said


def test_an_address_of_no_machine_is_named_with_its_option() -> None:
    for host in ("192.0.2.1", "nowhere.invalid"):
        with pytest.raises(
            PortInUseError, match=f"on {host} .* address of this machine with --host"
        ):
            require_free(host, 9000)
