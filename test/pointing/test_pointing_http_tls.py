"""TLS is verified: a server that nobody vouches for gets neither the picture nor the token."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from roboref_node.pointing.http import HttpClient
from roboref_node.pointing.http_settings import HttpSettings
from roboref_node.status import Refused, Status


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-keyout", key, "-out", cert]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def server(serve, certificate):
    server = serve(lambda exchange: exchange.send_json({"result": 1}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    plain_accept = server.get_request

    def accept():
        connection, address = plain_accept()
        connection.settimeout(5)
        return context.wrap_socket(connection, server_side=True), address  # an ssl.SSLError is an OSError: the connection is dropped

    server.get_request = accept
    return server


def ask(server, **settings) -> dict:
    url = server.url.replace("http:", "https:")
    http = HttpClient(HttpSettings(url, retries=0, token_env="ROBOREF_TEST_TOKEN", **settings))
    try:
        return http.post_json("/query", {"text": "?"})
    finally:
        http.close()


def test_an_unknown_certificate_is_refused_before_anything_is_sent(server, monkeypatch) -> None:
    monkeypatch.setenv("ROBOREF_TEST_TOKEN", "secret")
    with pytest.raises(Refused) as refusal:
        ask(server)
    assert refusal.value.status is Status.MODEL_UNAVAILABLE
    assert "certificate" in refusal.value.sentence.lower()
    assert server.exchanges == []


def test_a_declared_authority_is_trusted(server, certificate, monkeypatch) -> None:
    monkeypatch.setenv("ROBOREF_TEST_TOKEN", "secret")
    assert ask(server, ca_file=str(certificate[0])) == {"result": 1}


def test_an_authority_file_that_is_not_there_is_said(server, monkeypatch) -> None:
    monkeypatch.setenv("ROBOREF_TEST_TOKEN", "secret")
    with pytest.raises(Refused) as refusal:
        ask(server, ca_file="/nonexistent.pem")
    assert refusal.value.status is Status.BAD_REQUEST and "ca_file" in refusal.value.sentence
