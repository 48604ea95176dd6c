from __future__ import annotations

import socket

from bertqa_serve.ports import free_ports


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
