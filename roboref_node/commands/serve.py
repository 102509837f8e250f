"""``roboref serve``: a local model over HTTP, for several robots or for machines without a GPU."""

from __future__ import annotations

import argparse
import os
import secrets
import sys

from roboref_node.termination import Termination

TOKEN_ENV = "ROBOREF_TOKEN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Serve a local model over HTTP: RoboRefer's POST /query, OpenAI's POST /v1/chat/completions and GET /v1/models, GET /health, "
        f"GET /metrics. Clients send the bearer token of the environment variable {TOKEN_ENV}; when not set, one is made up and printed."
    )
    parser.add_argument("--model", default="nano", help="name in config/models, or a YAML file; its backend must be local (default: nano)")
    parser.add_argument("--folder", default=None, help="model folder instead of the one in the model file")
    parser.add_argument(
        "--depth-model", metavar="FOLDER", help="Depth-Anything model for clients that want depth used and send none, as RoboRefer's own do"
    )
    parser.add_argument("--device", default=None, help="device instead of the one in the model file, e.g. cuda:1")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=25547, help="port, 0 = any free one (default: %(default)s, RoboRefer's)")
    parser.add_argument("--no-token", action="store_true", help="ask no token of clients; on the loopback address only")
    parser.add_argument("--max-batch", type=int, default=8, help="most questions answered at once (default: %(default)s)")
    parser.add_argument("--max-queue", type=int, default=64, help="most questions waiting (default: %(default)s)")
    parser.add_argument("--max-per-client", type=int, default=16, help="most questions waiting per client (default: %(default)s)")
    parser.add_argument("--max-connections", type=int, default=64, help="most open connections (default: %(default)s)")
    parser.add_argument("--max-body-bytes", type=int, default=32 << 20, help="longest request (default: %(default)s)")
    parser.add_argument("--max-pixels", type=int, default=4096 * 3072, help="largest picture (default: %(default)s)")
    parser.add_argument("--answer-timeout", type=float, default=60.0, metavar="S", help="longest time for an answer (default: %(default)s)")
    parser.add_argument("--grace", type=float, default=10.0, metavar="S", help="time to finish on SIGTERM or Ctrl-C (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Load the model and serve until SIGINT or SIGTERM; the process ends here, unless there was nothing to serve."""
    from roboref_node.pointing.local_settings import LocalModelSettings, check_weights
    from roboref_node.pointing.registry import build_settings, read_model_file
    from roboref_node.serving.question import ImageLimits
    from roboref_node.serving.server import ModelServer, ServeSettings, serve_until
    from roboref_node.status import Refused, Status

    try:
        token, is_new = _token(args.no_token)
        overrides = {
            key: value
            for key, value in (("folder", args.folder), ("device", args.device), ("depth_model", args.depth_model))
            if value is not None
        }
        name, raw = read_model_file(args.model, overrides)
        if raw.pop("backend", None) != "local":
            raise Refused(Status.BAD_REQUEST, f"model {name} is not local: only models with `backend: local` can be served.")
        model_settings = build_settings(LocalModelSettings, raw, name)
        settings = ServeSettings(
            host=args.host,
            port=args.port,
            token=token,
            model=name,
            images=ImageLimits(max_pixels=args.max_pixels),
            new_tokens=model_settings.max_new_tokens,
            max_body_bytes=args.max_body_bytes,
            max_connections=args.max_connections,
            max_queue=args.max_queue,
            max_per_client=args.max_per_client,
            max_batch=args.max_batch,
            answer_timeout_s=args.answer_timeout,
            grace_s=args.grace,
        )
        settings.check_address()  # a port in use should not cost the minute in which the model loads
        check_weights(model_settings.path, model_settings.fetch)
        from roboref_node.pointing.local_model import LocalModel  # brings torch
        from roboref_node.serving.model_backend import ModelBackend

        model = LocalModel(model_settings)
        model.expect_batches(args.max_batch)
        backend = ModelBackend(model)
        server = ModelServer(settings, backend.answer_batch, backend.interrupt)
    except Refused as refusal:
        print(f"roboref serve: {refusal.sentence}", file=sys.stderr)
        return 2
    termination = Termination()
    print(f"serving {name} on {server.url} (POST /query, POST /v1/chat/completions, GET /health, GET /metrics)", flush=True)
    if is_new:
        print(f"token for clients, this time only: {TOKEN_ENV}={token}", flush=True)
    serve_until(server, termination.wait)
    print("stopped", flush=True)
    # Taking the interpreter down with torch in it lasts a second, several on a busy machine; in the middle of a pass torch would abort it.
    os._exit(0)


def _token(no_token: bool) -> tuple[str, bool]:
    """The token, and whether it was made up here; empty when none is wanted."""
    if no_token:
        return "", False
    token = os.environ.get(TOKEN_ENV, "").strip()
    return (token, False) if token else (secrets.token_urlsafe(24), True)
