"""The audit of pinned packages against a real server that speaks OSV's protocol, and what it does without one."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def database():
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            queries = json.loads(self.rfile.read(int(self.headers["content-length"])))["queries"]
            asked.extend(queries)
            bad = ("pillow", "9.0.0")
            results = [{"vulns": [{"id": "PYSEC-2022-10"}]} if (q["package"]["name"], q["version"]) == bad else {} for q in queries]
            body = json.dumps({"results": results}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/querybatch", asked
    server.shutdown()
    server.server_close()


def audit(tmp_path, url, *arguments):
    lock = tmp_path / "lock.txt"
    lock.write_text("# pins\npillow==9.0.0\ntorch[extra]==2.13.0+cpu  # local build\n")
    command = [sys.executable, str(ROOT / "setup_tools" / "audit_packages.py"), "--lock", str(lock), "--url", url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_known_vulnerability_is_named_and_can_be_accepted(tmp_path, database):
    url, asked = database
    done = audit(tmp_path, url)
    assert done.returncode == 1 and "pillow 9.0.0 has PYSEC-2022-10" in done.stdout, done
    assert {q["package"]["name"]: q["version"] for q in asked} == {"pillow": "9.0.0", "torch": "2.13.0"}
    (tmp_path / "accepted.txt").write_text("PYSEC-2022-10  # that format is never read\n")
    done = audit(tmp_path, url, "--accepted", str(tmp_path / "accepted.txt"))
    assert done.returncode == 0 and "2 packages looked up, nothing found" in done.stdout, done


def test_without_a_network_it_says_that_it_was_skipped(tmp_path, database):
    url, _ = database
    closed = url.replace(url.split(":")[2].split("/")[0], "1")
    done = audit(tmp_path, closed)
    assert done.returncode == 0 and "SKIPPED" in done.stdout, done
    assert audit(tmp_path, closed, "--must-ask").returncode == 1


def test_nothing_in_the_repository_runs_code_when_it_is_loaded():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    assert not [name for name in names if name.endswith((".pkl", ".pt", ".pth", ".bin", ".ckpt"))]
