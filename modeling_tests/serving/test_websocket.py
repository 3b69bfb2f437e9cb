"""Text in pieces to speech in pieces, over a WebSocket."""

import contextlib
import json

import numpy as np
import pytest
import websockets.sync.client as websockets
from serving_at import running
from websockets.exceptions import ConnectionClosedError


def talk(server, config, pieces=()):
    """All that a session sends: its messages, and its audio."""
    messages, audio = [], b""
    with websockets.connect(server.url.replace("http", "ws") + "/v1/audio/speech/stream") as socket:
        # A session that failed is closed with a code of its own, maybe before all is sent.
        with contextlib.suppress(ConnectionClosedError):
            socket.send(json.dumps({"type": "session.config"} | config))
            for piece in pieces:
                socket.send(json.dumps({"type": "input.text", "text": piece}))
            socket.send(json.dumps({"type": "input.done"}))
        with contextlib.suppress(ConnectionClosedError):
            for message in socket:
                if isinstance(message, bytes):
                    audio += message
                else:
                    messages.append(json.loads(message))
    return messages, audio


def test_pieces_become_sentences_and_speech(server):
    messages, audio = talk(server, {"seed": 1}, ["hello ", "world. ", "hello again"])
    assert [message["type"] for message in messages] == ["audio.start", "audio.done"]
    assert messages[0] == {"type": "audio.start", "format": "pcm", "sample_rate": 24000, "channels": 1}
    assert messages[1]["seconds"] == pytest.approx(len(audio) / 48000) and len(audio) > 0
    again = talk(server, {"seed": 1}, ["hello world. hello", " again"])[1]
    # The chunks that the codec decodes follow from how fast the machine is.
    np.testing.assert_allclose(np.frombuffer(again, "<i2"), np.frombuffer(audio, "<i2"), rtol=0, atol=1)


def test_pauses_are_silent(server):
    audio = np.frombuffer(talk(server, {"seed": 1}, ["[pause 50", "0ms] hello. [pause 1s] wor", "ld"])[1], "<i2")
    first = np.frombuffer(talk(server, {"seed": 1}, ["hello."])[1], "<i2")
    assert not audio[:12000].any()
    np.testing.assert_allclose(audio[12000:][: len(first)], first, atol=2)
    behind = audio[12000 + len(first) :]
    assert not behind[:24000].any() and behind[24000:].any()


@pytest.mark.parametrize(
    "message,config,pieces",
    [
        ("There is no voice 'bert'", {"voice": "bert"}, ["hello"]),
        ("data URI", {"ref_audio": "/etc/passwd"}, ["hello"]),
        ("colour", {"colour": "blue"}, ["hello"]),
        ("more than 4096 characters", {}, ["a" * 4000, "a" * 4000]),
        ("is no pause", {}, ["a [pau", "se soon] b"]),
        ("take 140 s; at most 120 s", {}, ["a [pause 70s]", " b [pause 70", "s] c"]),
        ("othing to say", {}, ["[pause 1s]", " ..."]),
        ("audio_temperature", {"audio_temperature": -1.0}, ["hello"]),
    ],
)
def test_faults_are_said_and_end_the_session(server, message, config, pieces):
    messages, _ = talk(server, config, pieces)
    assert messages[-1]["type"] == "error" and message in messages[-1]["message"]


def test_a_damaged_voice_is_said_and_the_next_session_speaks(server):
    file = server.voices.folder / "cut.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\x10\x00\x00")
    try:
        messages, audio = talk(server, {"voice": "cut"}, ["hello"])
        answer = server.client.post("/v1/audio/speech", json={"input": "hello", "voice": "cut"})
    finally:
        file.unlink()
    assert messages[-1]["type"] == "error" and "cut.safetensors" in messages[-1]["message"] and not audio
    assert answer.status_code == 400 and "cut.safetensors" in answer.json()["error"]["message"]
    assert talk(server, {}, ["hello"])[1]


def test_a_session_has_its_time(speaker):
    with running(speaker, timeout=0.5) as server:
        with websockets.connect(server.url.replace("http", "ws") + "/v1/audio/speech/stream") as socket:
            message = json.loads(socket.recv(timeout=20))
            assert message == {"type": "error", "message": "The session took too long."}
            with pytest.raises(ConnectionClosedError, match="1008"):
                socket.recv(timeout=20)


def test_a_session_that_leaves_ends_its_generation(server):
    with websockets.connect(server.url.replace("http", "ws") + "/v1/audio/speech/stream") as socket:
        socket.send(json.dumps({"type": "session.config"}))
        socket.send(json.dumps({"type": "input.text", "text": "hello world. hello"}))
        socket.recv()
    assert talk(server, {"seed": 1}, ["hello"])[0][-1]["type"] == "audio.done"


def test_more_sessions_than_places_come_again(server):
    url = server.url.replace("http", "ws") + "/v1/audio/speech/stream"
    held = [websockets.connect(url) for _ in range(8)]
    try:
        with websockets.connect(url) as one_more, pytest.raises(ConnectionClosedError, match="1013"):
            one_more.recv()
    finally:
        for socket in held:
            socket.close()
