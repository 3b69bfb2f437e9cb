"""The server as an application of Ray Serve."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from pydantic import ValidationError


pytest.importorskip("ray.serve")

from transformers_moss_tts.serving.ray import RayArguments, app


ROOT = Path(__file__).resolve().parents[2]
TEXTS = ("Hello there.", "Good morning to you.", "The old clock has stopped.")


def test_replicas_by_number_and_by_load():
    deployment = app(RayArguments(num_replicas="2", num_cpus="3"))._bound_deployment
    assert deployment.num_replicas == 2 and deployment.ray_actor_options["num_cpus"] == 3
    # A batch is spoken, and another one waits.
    assert deployment.max_ongoing_requests >= 16
    deployment = app(RayArguments(num_replicas=1, max_replicas=4, max_batch_size=6))._bound_deployment
    scaling = deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (1, 4, 6)


@pytest.mark.parametrize(
    "message,arguments",
    [
        ("colour", {"colour": "blue"}),
        ("num_replicas", {"num_replicas": "0"}),
        ("at least `num_replicas`", {"num_replicas": 3, "max_replicas": 2}),
        ("give `max_replicas` too", {"target_ongoing_requests": 2}),
    ],
)
def test_arguments_are_checked(message, arguments):
    with pytest.raises(ValidationError, match=message):
        RayArguments(**arguments)


def test_a_model_that_is_not_there_is_said_before_replicas_start():
    with pytest.raises(ValueError, match="There is no folder 'nothing'"):
        app(RayArguments(model="nothing"))


def environment_of(process: Path) -> bytes:
    with contextlib.suppress(OSError):
        return (process / "environ").read_bytes()
    return b""


def replicas(folder: Path) -> list[int]:
    """Processes of the replicas that were started for a folder."""
    mark = f"MOSS_TTS_TEST={folder}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"ServeReplica" in (process / "cmdline").read_bytes() and mark in environment_of(process):
                found.append(int(process.name))
    return found


def wait_until(condition, seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


@contextlib.contextmanager
def two_replicas(folder: Path):
    """`serve run` of two replicas; yields the address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    application = {
        "name": "speech",
        "import_path": "transformers_moss_tts.serving.ray:app",
        "args": {"num_replicas": 2, "voices": str(folder / "voices")},
    }
    # JSON is YAML too.
    config = {"http_options": {"host": "127.0.0.1", "port": port}, "applications": [application]}
    (folder / "config.yaml").write_text(json.dumps(config))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "MOSS_TTS_TEST": str(folder)}
    command = [Path(sys.executable).with_name("serve"), "run", folder / "config.yaml"]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"

        def is_ready() -> bool:
            assert server.poll() is None, (folder / "log").read_text()
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"{url}/health").status_code == 200 and len(replicas(folder)) == 2
            return False

        assert wait_until(is_ready, 300), (folder / "log").read_text()
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(120)


@pytest.mark.torture
@pytest.mark.skipif(sys.platform != "linux", reason="The replicas are found in /proc.")
def test_a_replica_that_is_killed_under_load(tmp_path):
    """Requests are answered with the bytes of a single one, or fail so that clients send them again; nothing is cut unsaid."""
    with two_replicas(tmp_path) as url, httpx.Client(base_url=url, timeout=120) as client:

        def speak(number: int):
            fields = {"input": TEXTS[number % 3], "seed": number % 3, "response_format": "pcm"}
            if number % 2:
                fields |= {"stream_format": "audio"}
            try:
                response = client.post("/v1/audio/speech", json=fields)
            except httpx.RemoteProtocolError:
                return None
            return response.content if response.status_code == 200 else response.status_code

        expected = [speak(number) for number in range(6)]
        assert all(isinstance(content, bytes) for content in expected)
        with ThreadPoolExecutor(24) as pool:
            answers = [pool.submit(speak, number) for number in range(60)]
            assert wait_until(lambda: sum(answer.done() for answer in answers) > 5)
            os.kill(replicas(tmp_path)[0], signal.SIGKILL)
            outcomes = [answer.result() for answer in answers]
        failed = [number for number, outcome in enumerate(outcomes) if outcome != expected[number % 6]]
        # Those of the replica that died, which the clients know of.
        assert {outcomes[number] for number in failed} <= {500, 503, None} and 0 < len(failed) < 40
        assert [speak(number) for number in failed] == [expected[number % 6] for number in failed]
        assert wait_until(lambda: len(replicas(tmp_path)) == 2)

        # OpenAI's client sends them again by itself.
        speech = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=8).audio.speech

        def ask(number: int) -> bytes:
            fields = {"model": "moss-tts-tiny", "voice": "default", "input": TEXTS[number % 3]}
            return speech.create(**fields, response_format="pcm", extra_body={"seed": number % 3}).content

        with ThreadPoolExecutor(12) as pool:
            answers = [pool.submit(ask, number) for number in range(24)]
            assert wait_until(lambda: sum(answer.done() for answer in answers) > 2)
            os.kill(replicas(tmp_path)[0], signal.SIGKILL)
            assert [answer.result() for answer in answers] == [expected[[0, 4, 2][number % 3]] for number in range(24)]

        # A stream that breaks off does not look like one that has ended.
        assert wait_until(lambda: len(replicas(tmp_path)) == 2)
        fields = {"input": "Hello there. " * 20, "seed": 1, "response_format": "pcm", "stream_format": "audio"}
        with client.stream("POST", "/v1/audio/speech", json=fields) as response:
            pieces = response.iter_raw()
            next(pieces)
            for process in replicas(tmp_path):
                os.kill(process, signal.SIGKILL)
            with pytest.raises(httpx.RemoteProtocolError):
                list(pieces)
