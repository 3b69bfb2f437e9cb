# Copyright 2026 The transformers-moss-tts team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""`moss-tts serve`: a server of OpenAI's speech protocol."""

import os
import socket
from argparse import Namespace

from transformers.utils import logging

from ..bundled_models import bundled_model
from ..loading.checkpoints import load_generator
from ..utils.devices import use_threads


def run(args: Namespace) -> None:
    """
    Loads a generator and serves it until it is interrupted.

    Raises:
        OSError, ValueError: if the model cannot be used, or the address is taken.
        ImportError: if the extra `serve` is not installed.
    """
    try:
        import uvicorn

        from ..serving import ServerOptions, create_app
    except ImportError as error:
        raise ValueError(
            f"The server needs the extra `serve`, and {error.name} is missing: pip install 'transformers-moss-tts[serve]'."
        ) from error
    api_key = args.api_key or os.environ.get("MOSS_TTS_API_KEY")
    try:
        listening = socket.create_server((args.host, args.port), family=_family(args.host))
    except OSError as error:
        raise ValueError(f"No server can listen on {args.host}:{args.port}: {error.strerror}.") from error
    logging.disable_progress_bar()
    name = args.model or bundled_model()
    model, processor = load_generator(name, args.device)
    use_threads(model, args.threads)
    # Cut speech is in the answer of the request.
    logging.set_verbosity_error()
    options = ServerOptions(
        model_name=args.model_name or str(name).rstrip("/").rsplit("/", 1)[-1],
        voices=args.voices,
        api_key=api_key,
        allow_reference_urls=args.allow_reference_urls,
        max_batch_size=args.max_batch_size,
        max_waiting=args.max_waiting,
        allowed_hosts=(args.host, "localhost") if args.host.startswith("127.") or args.host == "localhost" else ("*",),
    )
    app = create_app(model, processor, options)
    port = listening.getsockname()[1]
    print(f"{options.model_name} on http://{args.host}:{port}/v1/audio/speech", flush=True)
    with listening:
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
