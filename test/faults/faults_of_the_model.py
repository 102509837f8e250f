"""Faults of the model: what it says, how its server behaves, and weights that cannot be loaded."""

from __future__ import annotations

import json
import math
import shutil
import struct
import time
from pathlib import Path

import psutil
from fault_server import free_port
from fault_table import HARMLESS, Outcome, fault

import roboref_node
from roboref_node.pointing.registry import load_pointer
from roboref_node.status import Refused

ANSWER_GROUP, SERVER_GROUP, WEIGHTS_GROUP = "Answers of the model", "Model server", "Weights"
READ_S, TOTAL_S, SLACK_S = 0.5, 1.0, 0.5
"""Time limits of the bench's server configuration, and what may come on top until the loss is told."""

for name, what, text, status, sentence in (
    ("garbage", "Garbage", "I am afraid I can't do that, Dave.", "UNPARSEABLE", r"."),
    ("empty", "An empty answer", "", "UNPARSEABLE", r"."),
    ("nan", "A point that is not a number", "[(nan, 0.5)]", "UNPARSEABLE", r"."),
    ("infinite", "A point at infinity", "[(1e999, 0.5)]", "UNPARSEABLE", r"'1e999' is not a plain number"),
    ("outside", "A point out of the image", "[(7.5, 0.5)]", "OUT_OF_IMAGE", r"7\.5|1[12]\d\d"),
    ("pixels", "Pixels instead of fractions", "[(80, 54)]", "OUT_OF_IMAGE", r"80|54"),
    ("thousands", "Thousands of points", "[" + ", ".join("(0.5, 0.5)" for _ in range(5000)) + "]", "UNPARSEABLE", r"\d+"),
    ("far-apart", "Two points far apart", "[(0.2, 0.2), (0.8, 0.8)]", "AMBIGUOUS",
         r"2 places 0\.\d\d m apart \(limit pipeline.ambiguous_m = 0\.08 m\)"),
    ("code", "Code instead of a point", "__import__('os').system('echo no')", "UNPARSEABLE", r"."),
    ("long", "An answer of 40 kB", "the box is over there " * 2000, "UNPARSEABLE", r"\d+"),
):  # fmt: skip

    def _says(text=text):
        def inject(bench):
            bench.server.text = text
            return bench.ask

        return inject

    fault(
        ANSWER_GROUP, f"answer-{name}", what=what, injection=f"the server answers {text[:28]!r}{'...' if len(text) > 28 else ''}",
        status=status, sentence=sentence,
    )(_says())  # fmt: skip


@fault(
    SERVER_GROUP, "server-down",
    what="The server is down", injection="its socket is closed",
    status="MODEL_UNAVAILABLE", sentence=r"cannot be reached after 2 attempts \(`retries`\)", within_s=TOTAL_S + SLACK_S,
    recovery="the first question after its start",
)  # fmt: skip
def _(bench):
    bench.server.stop()
    return bench.ask


def _behaves(name):
    def inject(bench):
        bench.server.behave = getattr(bench.server, name)
        return bench.ask

    return inject


def _slow(bench):
    server = bench.server

    def late(connection):
        time.sleep(0.3 * READ_S)
        server.answer(connection)

    server.behave = late
    return bench.ask


fault(
    SERVER_GROUP, "server-slow", what="The server is slow", injection=f"it answers after {0.3 * READ_S:g} s",
    status=HARMLESS, sentence="the red box: pixel", within_s=READ_S + SLACK_S, recovery="none needed: within read_timeout_s",
)(_slow)  # fmt: skip
fault(
    SERVER_GROUP, "server-silent", what="The server is silent", injection="it takes the question and says nothing",
    status="MODEL_TIMEOUT", sentence=r"was silent for 0\.5 s \(`read_timeout_s`\)", within_s=READ_S + SLACK_S,
)(_behaves("hang"))  # fmt: skip
fault(
    SERVER_GROUP, "server-drips", what="The server drips", injection="a byte each 0.1 s",
    status="MODEL_TIMEOUT", sentence=r"within 1 s \(`total_timeout_s`\)", within_s=TOTAL_S + SLACK_S,
)(_behaves("drip"))  # fmt: skip
fault(
    SERVER_GROUP, "server-endless", what="The server sends without end", injection="a body that never ends",
    status="UNPARSEABLE", sentence=r"longer than 65536 bytes \(`max_response_bytes`\)", within_s=TOTAL_S + SLACK_S,
)(_behaves("endless"))  # fmt: skip

for name, what, http, body, headers, status, sentence in (
    ("error-page", "500 with a page of HTML",
         "500 Internal Server Error", b"<html><h1>CUDA out of memory</h1></html>", ("content-type: text/html",),
     "MODEL_UNAVAILABLE", r"answers 500: 'CUDA out of memory'"),
    ("busy", "503 again and again", "503 Service Unavailable", b"later", (), "MODEL_UNAVAILABLE", r"answers 503: 'later'"),
    ("locked", "401", "401 Unauthorized", b"", (), "MODEL_UNAVAILABLE", r"answers 401 to no token \(`token_env` is empty\)"),
    ("redirect", "A redirect", "307 Temporary Redirect", b"", (f"location: http://127.0.0.1:{free_port()}/query",),
     "MODEL_UNAVAILABLE", r"redirects, which is not followed: set `url`"),
    ("no-json", "An answer that is not JSON", "200 OK", b"[(0.5, 0.5)", (), "UNPARSEABLE", r"is not JSON"),
    ("wrong-json", "JSON of another kind", "200 OK", json.dumps({"points": [[1, 2]]}).encode(), (), "UNPARSEABLE", r"without `result: 1`"),
    ("list", "JSON that is a list", "200 OK", b"[[0.5, 0.5]]", (), "UNPARSEABLE", r"is not a JSON object"),
    ("deep", "JSON nested 50 000 deep", "200 OK", b"[" * 50_000, (), "UNPARSEABLE", r"is not JSON"),
    ("compressed", "A compressed answer that was not asked for", "200 OK", b"\x1f\x8b" + b"\0" * 50, ("content-encoding: gzip",),
     "UNPARSEABLE", r"is compressed although that was not asked for"),
):  # fmt: skip

    def _sends(http=http, body=body, headers=headers):
        def inject(bench):
            bench.server.behave = lambda connection: bench.server.send(connection, http, body, *headers)
            return bench.ask

        return inject

    fault(
        SERVER_GROUP, f"server-{name}", what=what, injection=f"'{http}', {len(body)} bytes", status=status, sentence=sentence,
        within_s=TOTAL_S + SLACK_S,
    )(_sends())  # fmt: skip


@fault(
    SERVER_GROUP, "server-hangs-up",
    what="The server hangs up in the middle", injection="half of the announced body, then the end of the connection",
    status="MODEL_UNAVAILABLE", sentence=r"after 2 attempts \(`retries`\)", within_s=TOTAL_S + SLACK_S,
)  # fmt: skip
def _(bench):
    bench.server.behave = lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    return bench.ask


@fault(
    SERVER_GROUP, "server-slow-start",
    what="The server starts late", injection="503 to the first attempt, then an answer",
    status=HARMLESS, sentence="the red box: pixel", recovery="none needed: a question is repeated (`retries`)", within_s=TOTAL_S + SLACK_S,
)  # fmt: skip
def _(bench):
    server = bench.server

    def sometimes(connection):
        if server.asked % 2:
            server.send(connection, "503 Service Unavailable", b"starting")
        else:
            server.answer(connection)

    server.asked = 0
    server.behave = sometimes
    return bench.ask


# ---- weights ---------------------------------------------------------------------------------------------------------------------

NANO = Path(roboref_node.__file__).parent / "model" / "weights" / "nano"


def loaded(folder):
    """What loading the model in `folder` comes to; nothing of it is kept."""
    configuration = folder.with_suffix(".yaml")
    configuration.write_text(f"backend: local\nfolder: {folder}\ndevice: cpu\nfetch: git lfs pull\n")
    started = time.monotonic()
    try:
        load_pointer(configuration)
    except Refused as refused:
        return Outcome(refused.status.value, refused.sentence.replace(str(folder), "FOLDER"))
    return Outcome("OK", f"loaded in {time.monotonic() - started:.1f} s")


def _weights(name, spoil):
    def inject(bench):
        folder = bench.folder / f"weights_{name}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(NANO, folder)
        spoil(folder)
        return lambda: loaded(folder)

    return inject


def _cut(folder):
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])


def _noise(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(b"\xff" * 1000)


def _huge(folder):
    """A vocabulary that alone needs more than there is: a sparse file of nothing, which loading must refuse before it reads it."""
    words = int(1.2 * psutil.virtual_memory().available / (4 * 192))
    configuration = json.loads((folder / "config.json").read_text())
    configuration["text_config"]["vocab_size"] = words
    (folder / "config.json").write_text(json.dumps(configuration))
    file = folder / "model.safetensors"
    with file.open("rb") as source:
        header = json.loads(source.read(struct.unpack("<Q", source.read(8))[0]))
    end = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        if name in ("llm.lm_head.weight", "llm.model.embed_tokens.weight"):
            tensor["shape"][0] = words
        size = 2 * math.prod(tensor["shape"])  # all of it is F16
        tensor["data_offsets"] = [end, end + size]
        end += size
    text = json.dumps(header).encode()
    with file.open("wb") as sink:
        sink.write(struct.pack("<Q", len(text)) + text)
        sink.truncate(8 + len(text) + end)


for name, what, injection, spoil, sentence in (
    ("missing", "There are no weights", "the folder holds no *.safetensors", lambda folder: (folder / "model.safetensors").unlink(),
     r"There are no weights \(\*\.safetensors\) in FOLDER"),
    ("truncated", "Half a download", "the second half of the weights file is missing", _cut, r"model\.safetensors"),
    ("noise", "The weights file is something else", "1000 bytes of 0xff", _noise, r"model\.safetensors"),
    ("no-tokenizer", "The tokenizer is missing", "tokenizer.json is missing", lambda folder: (folder / "tokenizer.json").unlink(),
         r"tokenizer"),
    ("no-config", "The configuration is missing", "config.json is missing", lambda folder: (folder / "config.json").unlink(),
         r"config\.json"),
    ("bad-config", "The configuration is not JSON", "config.json holds '{'", lambda folder: (folder / "config.json").write_text("{"),
         r"config\.json"),
    ("too-large", "A model that does not fit into memory",
         "a vocabulary that alone needs 1.2 times the free memory, in a sparse file", _huge,
     r"needs \d+\.\d+ GB .* on cpu, and \d+\.\d+ GB are free|unable to mmap \d+ bytes"),
):  # fmt: skip
    fault(
        WEIGHTS_GROUP, f"weights-{name}", what=what, injection=injection, status="MODEL_UNAVAILABLE", sentence=sentence, within_s=60.0,
        recovery="loading the whole folder",
    )(_weights(name, spoil))  # fmt: skip
