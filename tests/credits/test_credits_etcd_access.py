"""An etcd that is not open to all: TLS, a user, and a password that is in a file and nowhere else."""

from __future__ import annotations

import datetime
import ipaddress
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("httpx", reason="no etcd witness without httpx: pip install 'shivya[credits]'")

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from etcd_cluster import _held_port
from ledger_people import Book

from shivya_daemon.ledgers.credits.etcd_gateway import Gateway, Login, Patience
from shivya_daemon.ledgers.credits.etcd_witness import EtcdLog
from shivya_daemon.ledgers.credits.log_witness import on_this_machine
from shivya_daemon.ledgers.credits.witness import Unavailable
from shivya_daemon.purse.etcd_access import gateway
from shivya_daemon.settings import CreditSettings, SettingsError

URL = "https://one:2379"
LOGIN = Login("shivya", "open sesame")


class Guarded(httpx.BaseTransport):
    """Answers who has a token that is still good."""

    def __init__(self) -> None:
        self.good, self.logins = 0, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.read())
        if request.url.path == "/v3/auth/authenticate":
            if body != {"name": LOGIN.user, "password": LOGIN.password}:
                return httpx.Response(400, json={"error": "invalid user ID or password"})
            self.logins += 1
            self.good += 1
            return httpx.Response(200, json={"token": f"t{self.good}"})
        if "authorization" not in request.headers:
            return httpx.Response(400, json={"error": "etcdserver: user name is empty", "code": 3})
        if request.headers["authorization"] != f"t{self.good}":
            return httpx.Response(401, json={"error": "etcdserver: invalid auth token", "code": 16})
        return httpx.Response(200, json={"kvs": []})


def test_it_logs_in_when_asked_and_again_when_its_token_has_expired() -> None:
    etcd = Guarded()
    client = Gateway([URL], transport=etcd, login=LOGIN)
    assert client.ask("kv/range", {}) == client.ask("kv/range", {}) == {"kvs": []}
    assert etcd.logins == 1
    etcd.good += 1
    client.ask("kv/range", {})
    assert etcd.logins == 2


def test_a_wrong_password_is_said_and_never_shown() -> None:
    wrong = Login("shivya", "guess")
    with pytest.raises(Unavailable, match="invalid user ID or password") as caught:
        Gateway([URL], transport=Guarded(), login=wrong).ask("kv/range", {})
    assert "guess" not in str(caught.value) and "guess" not in repr(wrong)
    with pytest.raises(Unavailable, match="user name is empty"):
        Gateway([URL], transport=Guarded()).ask("kv/range", {})


def test_what_the_settings_name_must_be_usable(tmp_path: Path) -> None:
    password = tmp_path / "password"
    settings = CreditSettings(etcd=(URL,), etcd_user="shivya", etcd_password_file=password)
    with pytest.raises(Unavailable, match=r"credits\.etcd_password_file"):
        gateway(settings, [URL])
    password.write_text("open sesame\n")
    password.chmod(0o644)
    with pytest.raises(Unavailable, match="chmod 600"):
        gateway(settings, [URL])
    password.chmod(0o600)
    gateway(settings, [URL]).close()
    password.write_text("")
    with pytest.raises(Unavailable, match="no password in its first line"):
        gateway(settings, [URL])
    with pytest.raises(Unavailable, match="certificates"):
        gateway(CreditSettings(etcd=(URL,), etcd_ca=tmp_path / "none.pem"), [URL])
    with pytest.raises(SettingsError, match="go together"):
        CreditSettings(etcd=(URL,), etcd_user="shivya").check()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[CreditSettings]:
    """A real etcd behind TLS and a password."""
    if shutil.which("etcd") is None:
        pytest.skip("no etcd here: apt-get install etcd-server")
    certificate(tmp_path)
    password = tmp_path / "password"
    password.write_text(LOGIN.password)
    password.chmod(0o600)
    held = [_held_port(), _held_port()]
    client, peer = (f"127.0.0.1:{port.getsockname()[1]}" for port in held)
    command = [
        "etcd", "--name", "m0", "--data-dir", str(tmp_path / "data"), "--log-level", "error",
        "--listen-client-urls", f"https://{client}", "--advertise-client-urls", f"https://{client}",
        "--cert-file", str(tmp_path / "cert.pem"), "--key-file", str(tmp_path / "key.pem"),
        "--listen-peer-urls", f"http://{peer}", "--initial-advertise-peer-urls", f"http://{peer}",
        "--initial-cluster", f"m0=http://{peer}",
    ]  # fmt: skip
    settings = CreditSettings(
        etcd=(f"https://{client}",),
        etcd_ca=tmp_path / "cert.pem",
        etcd_user="root",
        etcd_password_file=password,
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        admin = gateway(CreditSettings(etcd=settings.etcd, etcd_ca=settings.etcd_ca), settings.etcd, 60.0)
        admin.ask("maintenance/status", {})
        admin.ask("auth/user/add", {"name": "root", "password": LOGIN.password})
        admin.ask("auth/role/add", {"name": "root"})
        admin.ask("auth/user/grant", {"user": "root", "role": "root"})
        admin.ask("auth/enable", {})
        admin.close()
        yield settings
    finally:
        process.kill()
        process.wait()
        for port in held:
            port.close()


@pytest.mark.processes
def test_a_ledger_in_an_etcd_that_is_locked(locked: CreditSettings, book: Book) -> None:
    with pytest.raises(Unavailable):
        Gateway(locked.etcd, patience=Patience(deadline=0.5)).ask("kv/range", {"key": "AA=="})
    log = EtcdLog(gateway(locked, locked.etcd, 60.0))
    log.create(book.state)
    witness = on_this_machine(log)
    assert witness.read().minted == book.state.minted
    witness.close()


def certificate(folder: Path) -> None:
    """Write a certificate for 127.0.0.1, which is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "etcd of a test")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
