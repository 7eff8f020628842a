"""Our stand-in for http-parser, as pymesos uses it: bytes may arrive cut anywhere."""

from __future__ import annotations

import itertools

from http_parser.http import HttpParser
from hypothesis import given
from hypothesis import strategies as st

RESPONSE = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nMesos-Stream-Id: abc\r\n"
    b"Content-Type: application/json\r\n\r\n"
    b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
)


@given(st.lists(st.integers(1, len(RESPONSE) - 1), max_size=8))
def test_a_response_is_the_same_however_its_bytes_arrive(cuts: list[int]) -> None:
    parser = HttpParser()
    body = b""
    edges = [0, *sorted(set(cuts)), len(RESPONSE)]
    for start, end in itertools.pairwise(edges):
        piece = RESPONSE[start:end]
        assert parser.execute(piece, len(piece)) == len(piece)
        if parser.is_partial_body():
            body += parser.recv_body()
    assert body == b"hello world"
    assert parser.get_status_code() == 200
    assert parser.is_chunked()
    assert parser.is_message_complete()
    assert parser.get_headers()["Mesos-Stream-Id"] == "abc"


def test_what_is_not_http_is_an_error_not_an_exception() -> None:
    parser = HttpParser()
    assert parser.execute(b"SSH-2.0-OpenSSH\r\n\r\n", 19) == 0
    assert parser.get_errno()
    assert not parser.is_headers_complete()
    assert parser.get_status_code() == 0
