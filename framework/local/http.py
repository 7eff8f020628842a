"""What every HTTP answer of master and agents has in common: Mesos's headers and error texts."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from tornado.web import HTTPError, RequestHandler

TEXT = "text/plain; charset=utf-8"
_JSON_TYPE = "application/json"


class Answer(Exception):
    """Ends a request with this status and text."""

    def __init__(self, status: int, text: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = headers or {}


class MesosHandler(RequestHandler):
    """A handler whose answers carry Date and what they set themselves, nothing more."""

    allow: tuple[str, ...] = ("GET",)

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.clear_header("Content-Type")

    def compute_etag(self) -> None:
        return None

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_default_headers()
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, Answer):
            self.set_status(error.status)
            for name, value in error.headers.items():
                self.set_header(name, value)
            if error.status >= 400:
                self.set_header("Content-Type", TEXT)
            self.finish(error.text)
            return
        self.set_header("Content-Type", TEXT)
        if status_code == 405:
            allowed = ", ".join(f"'{m}'" for m in self.allow)
            self.set_header("Allow", ", ".join(self.allow))
            text = "405 Method Not Allowed. Expecting one of "
            text += f"{{ {allowed} }}, but received '{self.request.method}'."
        else:
            text = f"{status_code} {self._reason}."
        self.finish(text)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, Answer | HTTPError):
            super().log_exception(typ, value, tb)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, Answer):
            status_code = error.status
        super().send_error(status_code, **kwargs)

    def reply_json(self, value: Any) -> None:
        """Answers 200 with JSON, or with JavaScript if ``?jsonp=`` asks for it."""
        body = msgspec.json.encode(value)
        callback = self.get_query_argument("jsonp", "")
        if callback:
            if not re.fullmatch(r"[A-Za-z_$][\w$.]{0,100}", callback):
                raise Answer(400, "Invalid jsonp callback")
            self.set_header("Content-Type", "text/javascript")
            self.finish(callback.encode() + b"(" + body + b")")
        else:
            self.set_header("Content-Type", _JSON_TYPE)
            self.finish(body)

    def require_json(self) -> None:
        """Raises 415 unless the body is declared as exactly ``application/json`` (17)."""
        if self.request.headers.get("Content-Type") != _JSON_TYPE:
            raise Answer(415, "Expecting 'Content-Type' of application/json or application/x-protobuf")

    def require_accept_json(self) -> None:
        """Raises 406 unless the peer takes JSON (17)."""
        accepted = [
            a.split(";")[0].strip() for a in self.request.headers.get("Accept", "*/*").split(",")
        ]
        if not {"*/*", "application/*", _JSON_TYPE} & set(accepted):
            raise Answer(
                406, "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'"
            )


class NotFound(MesosHandler):
    """Whatever no route matches."""

    def prepare(self) -> None:
        raise HTTPError(404)
