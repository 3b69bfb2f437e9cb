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
"""
Load on `moss-tts serve`: many clients at once, memory over many requests, and clients, workers and disks that fail.

Run: python examples/benchmarks/benchmark_server.py --output load.json

The server is a process of its own, its clients are in this one. A full disk needs the right to mount, and a killed worker the
packages of the extra `ray`; without them these rows are left out.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import soundfile


TEXTS = ("Hello there, and good morning.", "The old clock has stopped.", "How are you today?", "It was a dark night.")
LONG = "The old clock on the wall has not told the time for years. " * 30
BYTES_A_SECOND = 2 * 24000
Answer = tuple[bytes | int, float, float]


def body(number: int, **fields) -> dict:
    text = TEXTS[number % len(TEXTS)]
    return {"input": text, "seed": number, "response_format": "pcm", "stream_format": "audio"} | fields


async def ask(client: httpx.AsyncClient, number: int, **fields) -> Answer:
    """What came, the audio or a status, and the seconds to its first byte and to its last."""
    start = time.perf_counter()
    first, pieces = 0.0, []
    try:
        async with client.stream("POST", "/v1/audio/speech", json=body(number, **fields)) as response:
            async for piece in response.aiter_raw():
                first = first or time.perf_counter() - start
                pieces.append(piece)
            content = b"".join(pieces) if response.status_code == 200 else response.status_code
    except httpx.RemoteProtocolError:
        content = 0
    return content, first, time.perf_counter() - start


def client_of(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=300, limits=httpx.Limits(max_connections=None))


async def ask_all(url: str, numbers: list[int], at_once: int, **fields) -> tuple[list[Answer], float]:
    """Answers, and the seconds that all took."""
    places = asyncio.Semaphore(at_once)
    async with client_of(url) as client:

        async def ask_in_turn(number: int) -> Answer:
            async with places:
                return await ask(client, number, **fields)

        start = time.perf_counter()
        answers = await asyncio.gather(*map(ask_in_turn, numbers))
        return list(answers), time.perf_counter() - start


def seconds_of(answers: list[Answer]) -> float:
    return sum(len(content) for content, _, _ in answers if isinstance(content, bytes)) / BYTES_A_SECOND


def percentiles(values: list[float]) -> list[float]:
    return [round(float(np.percentile(values, share)), 2) for share in (50, 95)]


def memory_of(process: int) -> float:
    """Memory of a process, in MB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[1]) / 1024


@contextlib.contextmanager
def serving(model: str, voices: Path) -> Iterator[tuple[str, int]]:
    """Address and process of a server."""
    command = [sys.executable, "-m", "moss_tts_command", "serve", "--model", model, "--port", "0", "--voices", voices]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield re.search(r"http://[\d.:]+", server.stdout.readline())[0], server.pid
    finally:
        server.terminate()
        server.wait()


def measure_clients(url: str, count: int) -> dict:
    """As many clients as `count` at once, beside the same requests one at a time."""
    numbers = list(range(count))
    asyncio.run(ask_all(url, numbers[:2], 1))
    alone, time_alone = asyncio.run(ask_all(url, numbers, 1))
    together, time_together = asyncio.run(ask_all(url, numbers, count))
    return {
        "clients": count,
        "equal to the single run": sum(a[0] == b[0] for a, b in zip(alone, together)),
        "lost": sum(not isinstance(content, bytes) for content, _, _ in together),
        "first audio, p50 and p95 in s": percentiles([first for _, first, _ in together]),
        "whole, p50 and p95 in s": percentiles([whole for _, _, whole in together]),
        "one at a time: first audio, p50 and p95 in s": percentiles([first for _, first, _ in alone]),
        "one at a time: whole, p50 and p95 in s": percentiles([whole for _, _, whole in alone]),
        "seconds of audio a second": round(seconds_of(together) / time_together, 2),
        "one at a time: seconds of audio a second": round(seconds_of(alone) / time_alone, 2),
    }


def measure_memory(url: str, process: int, count: int) -> dict:
    """Memory of the server over many short requests, a tenth after the other."""
    points = []
    for part in range(10):
        numbers = list(range(part * count // 10, (part + 1) * count // 10))
        answers, _ = asyncio.run(ask_all(url, numbers, 50, max_new_tokens=8))
        assert all(isinstance(content, bytes) for content, _, _ in answers)
        points.append(round(memory_of(process)))
    return {"requests": count, "MB after each tenth": points}


async def _beside(url: str, disturb, count: int = 24) -> tuple[object, list[Answer]]:
    """Eight clients at once, alone and while another one disturbs; what the other one got, and their answers."""
    disturbing = asyncio.create_task(disturb())
    await asyncio.sleep(0.5)
    answers, _ = await ask_all(url, list(range(count)), 8)
    return await disturbing, answers


def measure_disturbed(url: str, process: int, expected: list[Answer], disturb) -> dict:
    got, answers = asyncio.run(_beside(url, disturb))
    return {
        "the client got": got,
        "others equal to the single run": f"{sum(a[0] == b[0] for a, b in zip(answers, expected))} of {len(answers)}",
        "whole of the others, p50 and p95 in s": percentiles([whole for _, _, whole in answers]),
        "MB": round(memory_of(process)),
    }


def slow_reader(url: str):
    """A client that reads 64 kB a second, a little more than the audio has."""

    async def read() -> str:
        async with client_of(url) as client:
            pieces = []
            request = client.build_request("POST", "/v1/audio/speech", json=body(0, input=LONG[:600]))
            response = await client.send(request, stream=True)
            async for piece in response.aiter_raw(16384):
                pieces.append(piece)
                await asyncio.sleep(0.25)
            await response.aclose()
            whole, _, _ = await ask(client, 0, input=LONG[:600])
        return f"{len(whole) / BYTES_A_SECOND:.1f} s of audio, {'equal' if b''.join(pieces) == whole else 'NOT equal'}"

    return read


def hanging_clients(url: str, count: int = 20):
    """Clients that send half of a request, and then nothing."""

    async def hang() -> str:
        host, port = url.removeprefix("http://").split(":")
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(count)]
        start = time.perf_counter()
        for _, writer in opened:
            writer.write(b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
        statuses = [(await reader.readline()).decode().split(" ")[1] for reader, _ in opened]
        took = time.perf_counter() - start
        for _, writer in opened:
            writer.close()
        return f"{statuses.count('408')} of {count} were answered 408 after {took:.0f} s"

    return hang


def measure_full_disk(model: str) -> dict | None:
    """A server whose folder of voices is full."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
        if subprocess.run(["mount", *options], capture_output=True).returncode:
            return None
        try:
            with serving(model, Path(folder)) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
                recording = io.BytesIO()
                soundfile.write(recording, 0.3 * np.sin(np.arange(48000) * 0.05), 24000, format="WAV")
                statuses = []
                while not statuses or statuses[-1] == 200:
                    data = {"name": f"voice{len(statuses)}", "consent": "Mine."}
                    files = {"audio_sample": ("a.wav", recording.getvalue())}
                    statuses.append(client.post("/v1/audio/voices", data=data, files=files).status_code)
                kept = client.get("/v1/audio/voices").json()["voices"][1:]
                speaks = [client.post("/v1/audio/speech", json=body(0, voice=name)).status_code for name in kept]
                return {
                    "voices kept": len(kept),
                    "status of the next one": statuses[-1],
                    "half-written files": len(os.listdir(folder)) - len(kept),
                    "speech with the kept ones": speaks,
                }
        finally:
            subprocess.run(["umount", folder], check=True)


def replicas(mark: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_replica = b"ServeReplica" in (process / "cmdline").read_bytes()
            if is_replica and mark.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


async def _load_and_kill(url: str, mark: str, count: int) -> list[Answer]:
    loading = asyncio.create_task(ask_all(url, list(range(count)), 32))
    await asyncio.sleep(4)
    os.kill(replicas(mark)[0], signal.SIGKILL)
    return (await loading)[0]


def measure_killed_worker(model: str, count: int = 64) -> dict | None:
    """Two replicas on Ray, one of which is killed under load."""
    if importlib.util.find_spec("ray") is None:
        return None
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        url, mark = f"http://127.0.0.1:{free.getsockname()[1]}", f"BENCHMARK={folder}"
        free.close()
        application = {
            "name": "speech",
            "import_path": "transformers_moss_tts.serving.ray:app",
            "args": {"model": model, "num_replicas": 2},
        }
        config = {"http_options": {"port": int(url.rsplit(":", 1)[1])}, "applications": [application]}
        Path(folder, "config.yaml").write_text(json.dumps(config))
        command = [Path(sys.executable).with_name("serve"), "run", Path(folder, "config.yaml")]
        environment = os.environ | {"BENCHMARK": folder}
        server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while len(replicas(mark)) < 2 or not is_well(url):
                time.sleep(0.5)
            alone, _ = asyncio.run(ask_all(url, list(range(count)), 2))
            answers = asyncio.run(_load_and_kill(url, mark, count))
            start = time.perf_counter()
            lost = [number for number, answer in enumerate(answers) if not isinstance(answer[0], bytes)]
            again, _ = asyncio.run(ask_all(url, lost, 8))
            answered = dict(enumerate(answers)) | dict(zip(lost, again))
            while len(replicas(mark)) < 2:
                time.sleep(0.5)
            return {
                "requests": count,
                "equal to the single run at once": sum(a[0] == b[0] for a, b in zip(answers, alone)),
                "answered with an error": sorted(str(answers[number][0]) for number in lost),
                "equal when sent again": sum(answered[number][0] == alone[number][0] for number in range(count)),
                "seconds to two replicas again": round(time.perf_counter() - start, 1),
            }
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


def is_well(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health").status_code == 200
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="moss-tts-tiny", help="folder, Hub id or name of a bundled generator")
    parser.add_argument("--clients", type=int, default=100, help="clients at once")
    parser.add_argument("--requests", type=int, default=2000, help="requests over which the memory is watched")
    parser.add_argument("--output", type=Path, help="JSON file of the figures")
    args = parser.parse_args()
    figures: dict[str, dict | None] = {}

    def note(name: str, values: dict | None) -> None:
        figures[name] = values
        print(f"{name}: {json.dumps(values)}", flush=True)

    with tempfile.TemporaryDirectory() as folder, serving(args.model, Path(folder)) as (url, process):
        note("clients", measure_clients(url, args.clients))
        note("memory", measure_memory(url, process, args.requests))
        expected, _ = asyncio.run(ask_all(url, list(range(24)), 1))

        async def nothing() -> str:
            return "none"

        for name, disturb in (
            ("nobody else", nothing),
            ("slow reader", slow_reader(url)),
            ("hanging clients", hanging_clients(url)),
        ):
            note(name, measure_disturbed(url, process, expected, disturb))
    note("full disk", measure_full_disk(args.model))
    note("killed worker", measure_killed_worker(args.model))
    if args.output is not None:
        args.output.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
