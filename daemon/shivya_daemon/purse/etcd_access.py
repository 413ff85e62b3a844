"""How to reach an etcd that is not open to all: by TLS, with a certificate, with a password from a file."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from shivya_daemon.keyfile import KeyFileError, read_password
from shivya_daemon.ledgers.credits.witness import Unavailable
from shivya_daemon.settings import CreditSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shivya_daemon.ledgers.credits.etcd_gateway import Gateway


def gateway(settings: CreditSettings, endpoints: Sequence[str], deadline: float = 15.0) -> Gateway:
    """Return a client of the members at `endpoints`; raises `Unavailable` for bad settings."""
    try:
        from shivya_daemon.ledgers.credits.etcd_gateway import Gateway, Login, Patience
    except ModuleNotFoundError:
        raise Unavailable("etcd needs the package httpx: pip install 'shivya[credits]'") from None
    login = None
    try:
        if settings.etcd_user is not None and settings.etcd_password_file is not None:
            login = Login(settings.etcd_user, read_password(settings.etcd_password_file))
    except (FileNotFoundError, KeyFileError) as error:
        raise Unavailable(f"credits.etcd_password_file: {error}") from None
    return Gateway(endpoints, patience=Patience(deadline=deadline), tls=_tls(settings), login=login)


def _tls(settings: CreditSettings) -> ssl.SSLContext | None:
    if settings.etcd_ca is None and settings.etcd_cert is None:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.etcd_ca)
        if settings.etcd_cert is not None:
            context.load_cert_chain(settings.etcd_cert, settings.etcd_key)
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(f"the certificates of etcd cannot be used: {error}") from None
    return context
