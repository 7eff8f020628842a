"""TLS for the server's own port: TLS 1.2 at least, the rest as OpenSSL has it."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from framework.model.errors import Invalid
from gateway.auth.users import read_private

log = logging.getLogger(__name__)


class Certificate:
    """A certificate chain and its key (PEM), read again when they are renewed.

    ``client_ca``: clients must show a certificate that one of these authorities has signed; then
    ``outward`` shows ours to another replica that asks for one. A new connection takes the context as
    it is then; ``problem`` is why it is not that of the files.
    """

    def __init__(self, chain: Path, key: Path, client_ca: Path | None = None) -> None:
        """Raises :class:`Invalid` with the file and what is wrong with it."""
        self._files = (chain, key, client_ca)
        self.problem: str | None = None
        self.context = _context(*self._files)
        self.outward = _outward(*self._files)

    def reload(self) -> None:
        """New connections get what the files hold now; files that are wrong change nothing."""
        self.problem = None
        try:
            self.context, self.outward = _context(*self._files), _outward(*self._files)
        except Invalid as error:
            self.problem = f"{error}; the certificate read before stays in use"
            log.error("%s", self.problem)


def trusting(authorities: Path | None, option: str) -> ssl.SSLContext:
    """Returns what a client of ours believes a server by: these authorities (PEM) and no others, or the
    system's. Raises :class:`Invalid` with the ``option`` that names a file that cannot be used."""
    try:
        return ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"{option} {authorities} cannot be used: {_why(error)}") from None


def _outward(chain: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """Trusts what the system does (and SSL_CERT_FILE), not ``client_ca``: that is for clients."""
    context = ssl.create_default_context()
    if client_ca is not None:
        _load(context, chain, key)
    return context


def _load(context: ssl.SSLContext, chain: Path, key: Path) -> None:
    try:
        context.load_cert_chain(chain, key)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"--tls-cert {chain} and --tls-key {key} cannot be used: {_why(error)}") from None


def _context(chain: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    if b"ENCRYPTED" in read_private(key, "--tls-key"):
        raise Invalid(
            f"--tls-key {key} is encrypted, and a server cannot ask for its password; "
            f"openssl pkey -in {key} takes it off"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, chain, key)
    if client_ca is not None:
        try:
            context.load_verify_locations(cafile=client_ca)
        except (OSError, ssl.SSLError) as error:
            raise Invalid(f"--tls-client-ca {client_ca} cannot be used: {_why(error)}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _why(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return error.strerror or "it cannot be read"
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not that of the certificate"
    return f"not PEM as it should be ({error.reason or 'nothing is in it'})"
