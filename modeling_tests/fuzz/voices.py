"""Voices: their fields, their files with damaged bytes and fields, guards of a generation."""

import dataclasses
import json
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.speech import Guards, Voice

from .audio import damaged, wave
from .configurations import changed, places_in
from .outcomes import Case
from .prompts import processor
from .values import JSON_VALUES, anything, is_number, json_values, show


_NAMES = ("voice", "recording", "codes", "audio", "samples", "sampling rate", "text", "seconds", "silen", "a.wav")
_FIELDS = [field.name for field in dataclasses.fields(Voice)]
_BOUNDS = [field.name for field in dataclasses.fields(Guards)]


@cache
def voice() -> Voice:
    return Voice.from_recording((wave(2.0), 16000), processor(), text="Hello.")


@cache
def file_of_voice() -> bytes:
    voice().save("voice.safetensors")
    content = Path("voice.safetensors").read_bytes()
    Path("voice.safetensors").unlink()
    return content


@st.composite
def _made(draw) -> Case:
    name, value = draw(st.sampled_from(_FIELDS)), draw(st.one_of(anything, st.lists(anything, max_size=2).map(tuple)))
    return Case(
        f"Voice({name}={show(value)})",
        lambda: repr(dataclasses.replace(voice(), **{name: value})),
        (name, name.removesuffix("s"), *_NAMES),
    )


@st.composite
def _recorded(draw) -> Case:
    content = draw(damaged())[1]
    recording = draw(st.one_of(st.just(content), st.just("a.wav"), anything))
    text = draw(st.one_of(st.none(), st.just("Hello."), anything))

    def call():
        save_audio(wave(2.0), "a.wav", 16000)
        made = Voice.from_recording(recording, processor(), text=text)
        return processor()(text="Hi.", reference=made)["input_ids"].shape

    return Case(f"Voice.from_recording({show(recording)}, text={show(text)})", call, (*_NAMES, "url", "scheme"))


@st.composite
def _loaded(draw) -> Case:
    content = bytearray(file_of_voice())
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    how = draw(st.sampled_from(["bytes", "cut", "field", "field", "field", "length"]))
    if how == "bytes":
        for _ in range(draw(st.integers(1, 4))):
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    elif how == "cut":
        del content[draw(st.integers(0, len(content))) :]
    elif how == "length":
        content[:8] = draw(st.sampled_from([0, 1, 2**31, 2**63])).to_bytes(8, "little")
    else:
        fields = json.loads(header["__metadata__"]["voice"])
        path, value = (
            draw(st.sampled_from(places_in(fields))),
            draw(st.one_of(st.sampled_from(JSON_VALUES), json_values)),
        )
        header["__metadata__"]["voice"] = json.dumps(changed(fields, path, value))
        text = json.dumps(header).encode()
        content = bytearray(len(text).to_bytes(8, "little") + text + content[8 + length :])

    def call():
        Path("voice.safetensors").write_bytes(content)
        loaded = Voice.load("voice.safetensors")
        return processor()(text="Hi.", reference=loaded)["input_ids"].shape

    return Case(f"Voice.load {how} {bytes(content[8:300])!r}", call, _NAMES)


@st.composite
def _guards(draw) -> Case:
    name, value = draw(st.sampled_from(_BOUNDS)), draw(anything)
    nonsense = value is not None and not is_number(value, 1e-320)
    return Case(f"Guards({name}={show(value)})", lambda: Guards(**{name: value}), (name,), None, nonsense)


cases = st.one_of(_made(), _recorded(), _loaded(), _loaded(), _guards())
