"""A server with a generator of random weights, on a port of this machine."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import uvicorn

from transformers_moss_tts.serving import ServerOptions, create_app


@contextmanager
def running(speaker: SimpleNamespace, **options) -> Iterator[SimpleNamespace]:
    """A server, with a client of it."""
    limits = speaker.processor.audio_limits
    app = create_app(speaker.model, speaker.processor, ServerOptions(**options))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            yield SimpleNamespace(
                url=url, client=client, engine=app.state.server.engine, voices=app.state.server.voices
            )
    finally:
        server.should_exit = True
        thread.join()
        speaker.processor.audio_limits = limits
