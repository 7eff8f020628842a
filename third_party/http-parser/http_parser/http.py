"""``HttpParser``: an incremental parser of one HTTP response, with http-parser's method names."""

from __future__ import annotations

import httptools


class HttpParser:
    """Parses one HTTP response as its bytes arrive.

    Only what pymesos calls is here. Body bytes are kept until :meth:`recv_body` takes them.
    """

    def __init__(self, kind: int = 1) -> None:
        del kind  # pymesos only ever parses responses
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._headers_complete = False
        self._message_complete = False
        self._errno = 0

    # Callbacks of httptools.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1")] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._headers_complete = True

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._message_complete = True

    # The interface of http_parser.http.HttpParser.

    def execute(self, data: bytes, length: int) -> int:
        """Feeds ``data[:length]``; returns the bytes consumed, fewer than ``length`` on an error."""
        try:
            self._parser.feed_data(data[:length])
        except httptools.HttpParserError:
            self._errno = 1
            return 0
        return length

    def get_errno(self) -> int:
        return self._errno

    def is_headers_complete(self) -> bool:
        return self._headers_complete

    def is_message_complete(self) -> bool:
        return self._message_complete

    def is_partial_body(self) -> bool:
        return bool(self._body)

    def is_chunked(self) -> bool:
        encoding = next((v for k, v in self._headers.items() if k.lower() == "transfer-encoding"), "")
        return "chunked" in encoding.lower()

    def get_status_code(self) -> int:
        return int(self._parser.get_status_code()) if self._headers_complete else 0

    def get_headers(self) -> dict[str, str]:
        return dict(self._headers)

    def recv_body(self) -> bytes:
        """Returns, once, the body bytes that arrived since the last call."""
        body, self._body = b"".join(self._body), []
        return body
