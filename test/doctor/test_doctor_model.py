"""Each test breaks one thing of a model, its weights or its server; the doctor must name that thing, and nothing when nothing is broken."""

import hashlib
import json
import os
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import planted_machine as planted
import pytest
from planted_machine import only

from roboref_node.doctor import Level
from roboref_node.doctor.host import Host
from roboref_node.doctor.weights import check_model

HERE = Host()


@pytest.fixture
def model(tmp_path):
    file = planted.model_folder(tmp_path / "copy")
    return file, tmp_path / "copy"


def test_a_model_that_does_not_exist_is_named_with_those_that_do():
    found = only(check_model(HERE, "nanno"), "model")
    assert "'nanno'" in found.what and "nano" in found.what


def test_an_empty_model_folder_is_named_with_the_command_that_fills_it(model):
    file, folder = model
    shutil.rmtree(folder)
    found = only(check_model(HERE, str(file)), "model_folder")
    assert str(folder) in found.what and "fetch-the-weights" in found.what


def test_truncated_weights_are_named(model):
    file, folder = model
    os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size - 1000)
    found = only(check_model(HERE, str(file)), "model_files")
    assert "model.safetensors" in found.what and found.fix == "fetch-the-weights"


def test_a_pointer_of_git_lfs_in_the_place_of_weights_is_named(model):
    file, folder = model
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "Git LFS pointer" in only(check_model(HERE, str(file)), "model_files").what


def test_a_missing_shard_is_named(model):
    file, folder = model
    planted.split_into_shards(folder)
    whole = check_model(HERE, str(file))
    assert all(f.level is Level.OK for f in whole), whole
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors" in only(check_model(HERE, str(file)), "model_files").what


@pytest.mark.parametrize("kind", ["list", "download"])
def test_weights_that_are_not_the_expected_ones_are_named(model, kind):
    file, folder = model
    weights = folder / "model.safetensors"
    right = hashlib.sha256(weights.read_bytes()).hexdigest()
    notes = folder / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    if kind == "list":
        (folder / "SHA256SUMS").write_text(f"{right}  model.safetensors\n")
    else:
        (notes / "model.safetensors.metadata").write_text(f"0123abcd\n{right}\n1760000000.0\n")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    found = only(check_model(HERE, str(file)), "model_hash")
    assert right[:16] in found.what and str(weights) in found.fix


def test_a_model_that_does_not_fit_into_memory_is_named_with_both_numbers(model):
    file, folder = model
    planted.enlarge(folder, 4_000_000_000)
    found = only(check_model(HERE, str(file)), "model_memory")
    assert "GB are free" in found.what and "needs" in found.what and "int8" in found.fix


def test_weights_that_cannot_be_quantized_here_are_named(model):
    file, _ = model
    file.write_text(file.read_text() + "quantize: int4\n")  # needs torchao, and where that is installed a GPU
    found = only(check_model(HERE, str(file)), "model_memory")
    assert found.what.startswith("quantize int4 needs") and "roboref[quantize]" in found.fix


def test_a_gpu_that_is_not_there_is_named(model):
    file, _ = model
    file.write_text(file.read_text().replace("device: cpu", "device: cuda:99"))  # nobody has a hundred
    found = only(check_model(HERE, str(file)), "gpu")
    assert "cuda:99, and torch sees" in found.what and "device: c" in found.fix, found


def test_a_server_that_does_not_run_and_a_token_that_is_not_set_are_named(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = tmp_path / "server.yaml"
    file.write_text(f"backend: roborefer_server\nhttp:\n  url: http://127.0.0.1:{port}\n")
    assert f"127.0.0.1:{port}: Connection refused" in only(check_model(HERE, str(file)), "model_server").what
    file.write_text(file.read_text() + "  token_env: ROBOREF_ABSENT_TOKEN\n")
    assert "ROBOREF_ABSENT_TOKEN" in only(check_model(HERE, str(file)), "model_token").what


class Answering:
    """A real HTTP server that says the same to every GET below a path, and 404 elsewhere.

    Args:
        code: Status.
        body: Bytes of the answer.
        token: Answered with 401 without it.
        path: Where it answers.
    """

    def __init__(self, code, body, token="", path=""):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                right = not token or self.headers["authorization"] == f"Bearer {token}"
                self.send_response(401 if not right else code if self.path.startswith(path) else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def server_file(folder, url, backend, token_env="", model="wanted"):
    file = folder / "server.yaml"
    more = f"model: '{model}'\ndialect: qwen3_vl\n" if backend == "openai" else ""
    file.write_text(f"backend: {backend}\n{more}http:\n  url: {url}\n  token_env: '{token_env}'\n")
    return str(file)


LIST = json.dumps({"data": [{"id": "org/wanted"}, {"id": "other"}]}).encode()


@pytest.mark.parametrize(
    ("backend", "code", "body", "id", "level", "words"),
    [
        ("openai", 200, LIST.replace(b"wanted", b"another"), "model_server", Level.ERROR, "no model 'wanted'; it has org/another, other"),
        ("openai", 200, b"<html>It works!</html>", "model_server", Level.ERROR, "is not JSON"),
        ("openai", 500, b"<h1>CUDA error</h1>", "model_server", Level.ERROR, "answers 500: 'CUDA error'"),
        ("roborefer_server", 200, b"<html>It works!</html>", "model_server", Level.WARNING, "is not JSON"),
        ("roborefer_server", 502, b"later", "model_server", Level.ERROR, "answers 502"),
    ],
)
def test_a_server_that_is_not_the_one_that_is_meant_is_named(tmp_path, backend, code, body, id, level, words):
    with Answering(code, body) as server:
        assert words in only(check_model(HERE, server_file(tmp_path, server.url, backend)), id, level).what


@pytest.mark.parametrize(("backend", "code", "body"), [("openai", 200, LIST), ("roborefer_server", 404, b"none"), ("openai", 404, b"")])
def test_a_server_that_answers_is_no_finding(tmp_path, backend, code, body):
    with Answering(code, body) as server:
        found = check_model(HERE, server_file(tmp_path, server.url, backend))
        assert {f.id for f in found} == {"model_server", "model"} and all(f.level is Level.OK for f in found), found


def test_an_address_without_its_v1_is_named_with_the_right_one(tmp_path):
    """`roboref serve` prints its address without it, and the list of models is at neither place of the wrong one."""
    with Answering(200, LIST, path="/v1/") as server:
        found = only(check_model(HERE, server_file(tmp_path, server.url, "openai")), "model_server")
        assert f"answers below /v1, and http.url is {server.url}" in found.what and f"url: {server.url}/v1" in found.fix
        assert all(f.level is Level.OK for f in check_model(HERE, server_file(tmp_path, f"{server.url}/v1", "openai")))


def test_a_file_may_leave_the_model_to_a_server_that_has_one(tmp_path):
    with Answering(200, json.dumps({"data": [{"id": "nano"}]}).encode()) as server:
        found = check_model(HERE, server_file(tmp_path, server.url, "openai", model=""))
        assert all(f.level is Level.OK for f in found), found
    with Answering(200, LIST) as server:
        found = only(check_model(HERE, server_file(tmp_path, server.url, "openai", model="")), "model_server")
        assert "several models, and the file names none: org/wanted, other" in found.what


def test_a_wrong_token_is_named_with_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOREF_TEST_TOKEN", "wrong")
    with Answering(200, LIST, token="right") as server:
        found = only(check_model(Host(), server_file(tmp_path, server.url, "openai", "ROBOREF_TEST_TOKEN")), "model_token")
        assert "401 to the token in ROBOREF_TEST_TOKEN" in found.what and "ROBOREF_TEST_TOKEN" in found.fix


def test_something_that_speaks_no_http_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet():
            for _ in range(2):  # the first connection only looks whether somebody listens
                connection, _ = listening.accept()
                with connection:
                    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        file = server_file(tmp_path, f"http://127.0.0.1:{listening.getsockname()[1]}", "roborefer_server")
        assert "breaks off its answers" in only(check_model(HERE, file), "model_server").what
        thread.join(5.0)


# ---- the shipped one ---------------------------------------------------------------------------------------------------------------


def test_the_shipped_model_is_healthy_and_its_list_of_hashes_is_current():
    found = check_model(HERE, "nano")
    assert all(f.level is Level.OK for f in found) and {f.id for f in found} >= {"model", "model_memory", "model_hash"}, found
    listed = {line.split()[1] for line in (planted.NANO / "SHA256SUMS").read_text().splitlines()}
    assert listed == {f.name for f in planted.NANO.iterdir()} - {"SHA256SUMS"}, "write it anew as docs/doctor.md says"


@pytest.mark.parametrize(
    ("name", "change"),
    [("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1])), ("tokenizer.json", lambda data: data + b"\n")],
)
def test_a_shipped_file_that_was_changed_is_named(tmp_path, name, change):
    file = planted.model_folder(tmp_path / "copy", with_sums=True)
    changed = tmp_path / "copy" / name
    changed.write_bytes(change(changed.read_bytes()))
    assert str(changed) in only(check_model(HERE, str(file)), "model_hash").what
