"""The server as its clients see it."""

import asyncio
import base64
import gc
import io
import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
import soundfile
from serving_at import running
from speakers import SPEAKERS, build_speaker

from transformers_moss_tts import MossAudioTokenizerCache
from transformers_moss_tts.serving import ServerOptions, create_app
from transformers_moss_tts.speech import Voice


TEXT = "hello world"
# Long enough that no guard finds the speech too long.
LONG = "hello world " * 300


def speak(server, **fields):
    return server.client.post("/v1/audio/speech", json={"input": TEXT, "seed": 1, "response_format": "pcm"} | fields)


def wav(seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(np.arange(int(24000 * seconds)) * 0.05), 24000, format="WAV")
    return file.getvalue()


def wait_until(condition, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def decoded(content: bytes) -> np.ndarray:
    with av.open(io.BytesIO(content)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=24000)
        frames = [*container.decode(audio=0), None]
        return np.concatenate([part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)])


def data_uri(content: bytes) -> str:
    return "data:audio/wav;base64," + base64.b64encode(content).decode()


@pytest.mark.parametrize("name", list(SPEAKERS))
def test_requests_at_once_get_what_they_get_alone(golden_folder, name):
    speaker = build_speaker(golden_folder, name)
    speaker.model.generation_config.update(min_new_tokens=8)
    requests = [{"seed": seed, "input": text} for seed in range(3) for text in (TEXT, "a longer text for the batch")]
    requests[1] |= {"stream": True}
    requests[2] |= {"max_new_tokens": 20}
    requests[3] |= {"audio_temperature": 0.9}
    requests[4] |= {"input": "hello [pause 200ms] there [pause 0.3s] world", "stream": True}
    with running(speaker, max_batch_size=4) as server:
        with ThreadPoolExecutor(len(requests)) as pool:
            together = list(pool.map(lambda fields: speak(server, **fields), requests))
        alone = [speak(server, **fields) for fields in requests]
    assert [response.status_code for response in together] == [200] * len(requests)
    assert [response.content for response in together] == [response.content for response in alone]
    assert len({response.content for response in alone}) == len(requests)


@pytest.mark.parametrize("response_format", ["wav", "flac", "mp3", "opus", "aac", "pcm"])
def test_formats_whole_and_streamed(server, response_format, tmp_path):
    expected = np.frombuffer(speak(server).content, "<i2") / 32767
    for fields in ({}, {"stream_format": "audio"}):
        response = speak(server, response_format=response_format, **fields)
        assert response.status_code == 200 and response.headers["content-type"].startswith("audio/")
        if response_format == "pcm":
            audio = np.frombuffer(response.content, "<i2") / 32767
        else:
            audio = decoded(response.content)
        is_exact = response_format in ("wav", "flac", "pcm")
        assert abs(len(audio) - len(expected)) <= (0 if is_exact else 5000)
        if is_exact:
            np.testing.assert_allclose(audio, expected, atol=2e-4)
    assert ("content-length" in response.headers) is False


def test_events(server):
    response = speak(server, stream_format="sse")
    events = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"} and len(events) > 3
    audio = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert audio == speak(server, stream_format="audio").content
    usage = events[-1]["usage"]
    assert events[-1]["type"] == "speech.audio.done" and usage["output_tokens"] == len(audio) // (2 * 1920)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_the_client_of_openai(server):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    assert [model.id for model in client.models.list()] == ["moss-tts"]
    fields = {"model": "moss-tts", "voice": "default", "input": TEXT, "response_format": "pcm"}
    whole = client.audio.speech.create(**fields, extra_body={"seed": 1}).content
    assert whole == speak(server).content
    with client.audio.speech.with_streaming_response.create(
        **fields, stream_format="audio", extra_body={"seed": 1}
    ) as response:
        chunks = list(response.iter_bytes())
    assert len(chunks) > 1 and b"".join(chunks) == speak(server, stream=True).content
    with pytest.raises(openai.BadRequestError, match="There is no voice 'alloy'") as raised:
        client.audio.speech.create(**fields | {"voice": "alloy"})
    assert raised.value.param == "voice"


@pytest.mark.parametrize(
    "status,param,message,fields",
    [
        (400, "input", "nothing to say", {"input": "  "}),
        (400, "input", "at most 4096", {"input": "a" * 4097}),
        (400, "input", "string", {"input": 3}),
        (400, None, "nothing to say", {"input": "... !"}),
        (400, None, "nothing to say", {"input": "[pause 1s]"}),
        (400, "input", "is no pause", {"input": "a [pause] b"}),
        (400, "input", "at most 600 s", {"input": "a [pause 999s] b"}),
        (400, "input", "take 130 s; at most 120 s", {"input": "a [pause 70s] b [pause 60s] c"}),
        (400, "ref_text", "without pauses", {"ref_audio": data_uri(wav()), "ref_text": "a [pause 1s] b"}),
        (404, "model", "There is no model 'tts-1'", {"model": "tts-1"}),
        (400, "voice", "There is no voice '../x'", {"voice": "../x"}),
        (400, "speed", "greater than or equal to 0.25", {"speed": 0.1}),
        (400, "seed", "integer", {"seed": "one"}),
        (400, "seed", "greater", {"seed": -1}),
        (400, "colour", "not permitted", {"colour": "blue"}),
        (400, "response_format", "'mp3'", {"response_format": "xyz"}),
        (400, "max_new_tokens", "at most 1500", {"max_new_tokens": 9999}),
        (400, "ref_audio", "data URI", {"ref_audio": "/etc/passwd"}),
        (400, "ref_audio", "loads no URLs", {"ref_audio": "http://127.0.0.1/a.wav"}),
        (400, "ref_text", "send both", {"ref_text": "words"}),
        (400, "task_type", "clones a voice", {"task_type": "Base"}),
        (400, "task_type", "instructions", {"task_type": "VoiceDesign"}),
        (400, None, "audio_temperature", {"audio_temperature": -1.0}),
        (400, None, "audio", {"ref_audio": data_uri(b"no audio at all")}),
        (400, None, "base64", {"ref_audio": "data:audio/wav;base64,%%%"}),
    ],
)
def test_errors_have_the_shape_of_openai(server, status, param, message, fields):
    response = speak(server, **fields)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param)
    assert message in error["message"]
    assert error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")


def test_a_body_that_is_no_json(server):
    response = server.client.post("/v1/audio/speech", content=b"{", headers={"Content-Type": "application/json"})
    assert response.status_code == 400 and "JSON" in response.json()["error"]["message"]


@pytest.mark.parametrize("fields", [{}, {"stream_format": "sse"}, {"stream": True}])
def test_pauses_are_silent(server, fields):
    response = speak(server, input="[pause 500ms] hello [pause 1.5s] world", **fields)
    content = response.content
    if fields.get("stream_format"):
        events = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]
        content = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
        num_samples = len(content) // 2 - 2 * 24000
        assert events[-1]["usage"]["output_tokens"] * 1920 == num_samples
    audio = np.frombuffer(content, "<i2")
    first = np.frombuffer(speak(server, input="hello").content, "<i2")
    assert not audio[:12000].any()
    np.testing.assert_allclose(audio[12000:][: len(first)], first, atol=2)
    behind = audio[12000 + len(first) :]
    assert not behind[:36000].any() and behind[36000:].any()


def test_references(server):
    cloned = speak(server, ref_audio=data_uri(wav()))
    assert cloned.status_code == 200 and cloned.content != speak(server).content
    gone_on = speak(server, ref_audio=data_uri(wav()), ref_text="hello")
    assert gone_on.status_code == 200 and gone_on.content not in (cloned.content, b"")


def test_a_dialogue_has_the_voices_of_its_speakers(golden_folder, tmp_path):
    speaker = build_speaker(golden_folder, "local v1.5")
    with running(speaker, voices=tmp_path) as server:
        server.voices.add("anna", Voice.from_recording(wav(), speaker.processor))
        script = {"input": "[S1] hello [S2] world"}
        first = speak(server, **script, voices={"S1": "anna", "S2": data_uri(wav(1.5))})
        again = speak(server, **script, voices={"S1": data_uri(wav()), "S2": data_uri(wav(1.5))})
        other = speak(server, **script, voices={"S1": data_uri(wav(1.5)), "S2": "anna"})
        assert first.status_code == other.status_code == 200
        assert first.content == again.content != other.content
        assert speak(server, **script, voices={"S1": "anna"}, voice="anna").json()["error"]["param"] == "voices"


def test_private_addresses_are_refused_where_urls_are_allowed(speaker):
    with running(speaker, allow_reference_urls=True) as server:
        response = speak(server, ref_audio=f"{server.url}/health")
    assert response.status_code == 400 and "could not be downloaded" in response.json()["error"]["message"]


def test_voices_are_kept_listed_used_and_deleted(server, speaker):
    def add(name, content=wav(), consent="Mine."):
        data = {"name": name, "consent": consent}
        return server.client.post("/v1/audio/voices", data=data, files={"audio_sample": ("a.wav", content)})

    assert add("anna").status_code == 200
    assert server.client.get("/v1/audio/voices").json()["voices"] == ["default", "anna"]
    expected = speak(server, ref_audio=data_uri(wav())).content
    assert speak(server, voice="anna").content == expected
    assert speak(server, voice={"id": "anna"}).content == expected
    for response, message in (
        (add("anna"), "already"),
        (add("../anna"), "letters, digits"),
        (add("default"), "letters, digits"),
        (add("bert", b"noise"), "audio"),
        (add("bert", wav(0.1)), "0.5 s"),
    ):
        assert response.status_code == 400 and message in response.json()["error"]["message"]
    assert server.client.delete("/v1/audio/voices/anna").json()["deleted"]
    assert server.client.delete("/v1/audio/voices/anna").status_code == 404
    assert server.client.delete("/v1/audio/voices/..%2Fanna").status_code == 404
    assert server.client.get("/v1/audio/voices").json()["voices"] == ["default"]


def test_a_voice_of_another_codec_is_refused(server, golden_folder):
    stereo = build_speaker(golden_folder, "local v1.5")
    voice = Voice.from_recording(wav(), stereo.processor, name="other")
    server.voices.add("other", voice)
    response = speak(server, voice="other")
    assert response.status_code == 400 and "codec" in response.json()["error"]["message"]
    server.voices.delete("other")


def test_a_full_queue_and_clients_that_leave(speaker):
    """What is cut off has its place free at the next step, spoken or waiting."""
    with running(speaker, max_batch_size=1, max_waiting=1) as server:
        speaker.model.generation_config.update(min_new_tokens=1500)
        body = {"input": LONG, "stream": True, "response_format": "pcm", "seed": 1}
        try:
            with server.client.stream("POST", "/v1/audio/speech", json=body) as first:
                chunks = first.iter_raw()
                next(chunks)
                waiting = threading.Thread(target=speak, args=(server,), kwargs={"max_new_tokens": 2})
                waiting.start()
                assert wait_until(lambda: server.engine.num_waiting == 1)
                refused = speak(server)
                assert refused.status_code == 429 and int(refused.headers["Retry-After"]) >= 1
                assert refused.json()["error"]["code"] == "rate_limit_exceeded"
            assert wait_until(lambda: server.engine.num_speaking + server.engine.num_waiting == 0)
            waiting.join()
        finally:
            speaker.model.generation_config.update(min_new_tokens=15)
        assert 'finish_reason="cancelled"' in server.client.get("/metrics").text


def test_what_takes_too_long(speaker):
    speaker.model.generation_config.update(min_new_tokens=1500)
    try:
        with running(speaker, timeout=0.5) as server:
            response = speak(server, input=LONG)
            assert response.status_code == 504 and response.json()["error"]["type"] == "server_error"
            assert wait_until(lambda: server.engine.num_speaking == 0)
    finally:
        speaker.model.generation_config.update(min_new_tokens=15)


def test_a_client_that_does_not_read_is_left(speaker):
    """As the server sees it: what is sent does not go out."""
    body = json.dumps({"input": LONG, "stream": True}).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/audio/speech",
        "raw_path": b"/v1/audio/speech",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"host", b"a"), (b"content-type", b"application/json")],
    }
    app = create_app(speaker.model, speaker.processor, ServerOptions(idle_timeout=0.2))
    sent = []

    async def call():
        messages = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": body, "more_body": False})

        async def send(message):
            sent.append(message)
            if len(sent) > 2:
                await asyncio.Event().wait()

        await app(scope, messages.get, send)

    engine = app.state.server.engine
    asyncio.run(call())
    assert len(sent) == 3 and sent[0]["status"] == 200
    assert wait_until(lambda: engine.num_speaking == 0)
    engine.close()


def test_requests_that_are_too_large_or_never_end(speaker):
    with running(speaker, max_request_bytes=1000, idle_timeout=0.5) as server:
        assert speak(server, ref_audio=data_uri(wav())).status_code == 413
        pieces = (b"x" * 600 for _ in range(4))
        response = server.client.post("/v1/audio/speech", content=pieces, headers={"Content-Type": "application/json"})
        assert response.status_code == 413
        with socket.socket() as client:
            client.connect(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
            client.sendall(b"POST /v1/audio/speech HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")
            assert b" 408 " in client.recv(100)


def test_the_key(speaker):
    with running(speaker, api_key="secret") as server:
        assert server.client.get("/health").json() == {"status": "ok"}
        assert server.client.get("/").status_code == 200
        for path in ("/v1/models", "/v1/audio/voices", "/metrics"):
            assert server.client.get(path).status_code == 401
        assert speak(server).json()["error"]["type"] == "authentication_error"
        for key, status in (("wrong", 401), ("secret", 200)):
            assert server.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == status


def test_pages_of_others_may_not_speak(speaker):
    with running(speaker, allowed_hosts=("127.0.0.1",)) as server:
        assert server.client.get("/v1/models", headers={"Origin": "http://evil.example"}).status_code == 403
        assert server.client.get("/v1/models", headers={"Origin": server.url}).status_code == 200
        assert server.client.get("/v1/models", headers={"Host": "evil.example"}).status_code == 400


def test_a_generation_that_fails_leaves_the_server_well(server, speaker, monkeypatch, caplog):
    generate, calls = speaker.model.generate, []

    def fail_for_two(**inputs):
        calls.append(len(inputs["input_ids"]))
        if 7 in inputs["seed"]:
            raise MemoryError(f"no memory for {TEXT}")
        return generate(**inputs)

    monkeypatch.setattr(speaker.model, "generate", fail_for_two)
    transformers_log = logging.getLogger("transformers")
    monkeypatch.setattr(transformers_log, "propagate", True)
    with ThreadPoolExecutor(3) as pool:
        responses = list(pool.map(lambda seed: speak(server, seed=seed), (6, 7, 8)))
    assert [response.status_code for response in responses] == [200, 500, 200]
    assert responses[1].json()["error"]["type"] == "server_error"
    assert TEXT not in caplog.text and TEXT not in responses[1].text
    monkeypatch.undo()
    assert speak(server, seed=7).status_code == 200


def test_what_is_spoken_leaves_nothing_in_memory(server):
    """The state of a codec is large: it goes with its utterance and does not wait for the garbage collector."""

    def states() -> int:
        return sum(isinstance(item, MossAudioTokenizerCache) for item in gc.get_objects())

    gc.collect()
    before = states()
    gc.disable()
    try:
        assert all(speak(server, seed=seed, stream=True).status_code == 200 for seed in range(3))
        assert wait_until(lambda: states() <= before)
    finally:
        gc.enable()


def test_health_and_metrics(server):
    speak(server)
    text = server.client.get("/metrics").text
    assert 'moss_tts_utterances_total{finish_reason="' in text and "moss_tts_waiting 0.0" in text
    assert server.client.get("/v1/models/moss-tts").json()["id"] == "moss-tts"
    assert server.client.get("/v1/models/other").status_code == 404


def test_a_server_that_closes_ends_its_requests(speaker):
    speaker.model.generation_config.update(min_new_tokens=1500)
    try:
        with running(speaker) as server:
            results = []
            thread = threading.Thread(target=lambda: results.append(speak(server, input=LONG).status_code))
            thread.start()
            assert wait_until(lambda: server.engine.num_speaking == 1)
            server.engine.close()
            thread.join(20)
            assert results == [500] and server.client.get("/health").status_code == 503
            assert speak(server).status_code == 500
    finally:
        speaker.model.generation_config.update(min_new_tokens=15)
