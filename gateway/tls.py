"""TLS for the server's own port."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from framework.model.errors import Invalid

log = logging.getLogger(__name__)


class Certificate:
    """A certificate chain and its key (PEM), read again when they are renewed."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(self.context)

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._chain, self._key, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise Invalid(
                f"--tls-cert {self._chain} and --tls-key {self._key} cannot be used: {reason}"
            ) from None

    def reload(self) -> None:
        """New connections get what the files hold now; files that are wrong change nothing."""
        try:
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._load(self.context)
        except Invalid as error:
            log.error("%s; the certificate read before stays in use", error)


def _no_password() -> str:
    raise ValueError("the key is encrypted; a server cannot ask for its password")
