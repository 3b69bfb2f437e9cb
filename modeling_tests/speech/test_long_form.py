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
"""Long texts and dialogues: what is said, how the voice is kept, and runs that stop."""

import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_models import GOLDEN_TTS, golden_processor, small_codec

from transformers_moss_tts import MossTTSDelayModel
from transformers_moss_tts.audio_io import load_audio, save_audio
from transformers_moss_tts.speech import Guards, Voice, speak_dialogue, speak_long
from transformers_moss_tts.speech.growing_audio import GrowingAudio
from transformers_moss_tts.speech.journal import Journal


RATE = 24000
TEXT = "One two. [pause 1.5s] Three four.\n\nFive six. [pause 100ms] Seven."
STRETCHES = ["One two.", "Three four.", "Five six.", "Seven."]
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")
# The model is random: its audio is what it is, and its length has nothing to do with the text.
OPTIONS = {"guards": None, "progress": False, "generate_kwargs": {"text_temperature": 0.0, "max_new_tokens": 30}}


@pytest.fixture(scope="module")
def model():
    return MossTTSDelayModel.from_pretrained(GOLDEN_TTS).eval()


@pytest.fixture(scope="module")
def processor():
    return golden_processor(small_codec())


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "anna.wav"
    save_audio(np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32), path, RATE)
    return path


@pytest.fixture(scope="module")
def voice(processor, recording):
    return Voice.from_recording(recording, processor, text="hello world")


@pytest.fixture(scope="module")
def whole(model, processor, voice, tmp_path_factory) -> dict[str, np.ndarray]:
    """What a run that nothing stops says, by suffix."""
    folder = tmp_path_factory.mktemp("whole")
    for suffix in SUFFIXES:
        speak_long(model, processor, TEXT, folder / f"a{suffix}", voice=voice, **OPTIONS)
    assert sorted(os.listdir(folder)) == sorted(f"a{suffix}" for suffix in SUFFIXES)
    return {suffix: soundfile.read(folder / f"a{suffix}")[0] for suffix in SUFFIXES} | {
        f"bytes of {suffix}": (folder / f"a{suffix}").read_bytes() for suffix in SUFFIXES
    }


@pytest.fixture
def prompts(model, monkeypatch) -> list[torch.Tensor]:
    """The prompts of the generations."""
    generate, seen = model.generate, []

    def noted(**inputs):
        seen.append(inputs["input_ids"])
        return generate(**inputs)

    monkeypatch.setattr(model, "generate", noted)
    return seen


def test_what_is_said_when(model, processor, voice, tmp_path):
    files = [tmp_path / f"a.{kind}" for kind in ("srt", "vtt", "json")]
    spoken = speak_long(model, processor, TEXT, tmp_path / "a.wav", voice=voice, timings=files, **OPTIONS)
    waveform, rate = soundfile.read(tmp_path / "a.wav")
    assert (spoken.path, spoken.faults, rate) == (tmp_path / "a.wav", [], RATE)
    assert spoken.seconds == pytest.approx(len(waveform) / RATE, abs=1e-3)
    said = json.loads(files[2].read_text(encoding="utf-8"))
    assert [item["sentences"][0]["text"] for item in said["stretches"]] == STRETCHES
    ends = [item["end"] for item in said["stretches"]]
    pauses = [item["start"] - end for item, end in zip(said["stretches"][1:], ends)]
    assert pauses == pytest.approx([1.5, 0.7, 0.1], abs=2e-3)
    for end, pause in zip(ends, pauses):
        assert not waveform[round((end + 0.001) * RATE) : round((end + pause - 0.001) * RATE)].any()
    assert waveform[: round(ends[0] * RATE)].any()
    srt = files[0].read_text(encoding="utf-8").split("\n\n")
    assert (
        srt[0].startswith("1\n00:00:00,000 --> 00:00:0") and srt[0].endswith("\nOne two.") and srt[3].startswith("4\n")
    )
    vtt = files[1].read_text(encoding="utf-8")
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> ") and vtt.count("-->") == 4
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.srt", "a.vtt", "a.wav"]


def user_of(processor, text, **fields):
    return processor.build_user_message(text=text, **fields)


def test_the_prompts_of_the_modes(model, processor, voice, prompts, tmp_path):
    said = {}
    for mode in ("clone", "continuation", "anchored"):
        prompts.clear()
        timings = tmp_path / f"{mode}.json"
        speak_long(
            model,
            processor,
            TEXT,
            tmp_path / f"{mode}.wav",
            voice=voice,
            mode=mode,
            timings=timings,
            retries=0,
            **OPTIONS,
        )
        said[mode] = list(prompts)
    clones = [processor(text=text, reference=voice)["input_ids"] for text in STRETCHES]
    assert all(map(torch.equal, said["clone"], clones))
    assert torch.equal(said["anchored"][0], clones[0])
    # The reply begins with what the voice says, then with what was said last; the texts stand in the prompt.
    first = processor(
        [[user_of(processor, "hello world One two."), processor.build_assistant_message([voice])]], mode="continuation"
    )["input_ids"]
    assert said["continuation"][0].shape[1] <= first.shape[1]
    assert torch.equal(said["continuation"][0], first[:, : said["continuation"][0].shape[1]])
    anchored = said["anchored"]
    third = processor([[user_of(processor, "One two. Three four. Five six.", reference=voice)]])["input_ids"]
    start = third.shape[1] - 3
    assert torch.equal(anchored[2][:, :start], third[:, :start]) and anchored[2].shape[1] > third.shape[1]
    last = processor([[user_of(processor, "One two. Five six. Seven.", reference=voice)]])["input_ids"]
    assert torch.equal(anchored[3][:, : last.shape[1] - 3], last[:, :-3])


def test_without_a_voice_the_first_stretch_makes_it(model, processor, prompts, tmp_path):
    speak_long(model, processor, TEXT, tmp_path / "a.wav", mode="clone", **OPTIONS)
    assert torch.equal(prompts[0], processor(text="One two.")["input_ids"])
    codes = [prompt[prompt[:, 0] == processor.model_config.audio_user_slot_token_id] for (prompt,) in prompts[1:]]
    assert len(codes) == 3 and all(len(item) > 3 and torch.equal(item, codes[0]) for item in codes)


@pytest.mark.parametrize("moment,suffix", [("after", ".mp3"), *(("before", suffix) for suffix in SUFFIXES)])
def test_a_run_that_stopped_goes_on(model, processor, voice, whole, tmp_path, monkeypatch, suffix, moment):
    """It stops between the audio of the third stretch and its line in the state, or behind it."""
    path, append = tmp_path / f"a{suffix}", Journal.append

    def stop(journal, record):
        if moment == "after":
            append(journal, record)
        if len(journal.records) == 2 + (moment == "after"):
            raise KeyboardInterrupt
        if moment == "before":
            append(journal, record)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", stop)
        with pytest.raises(KeyboardInterrupt):
            speak_long(model, processor, TEXT, path, voice=voice, **OPTIONS)
    assert len(load_audio(path, RATE)) > RATE
    speak_long(model, processor, TEXT, path, voice=voice, **OPTIONS)
    assert path.read_bytes() == whole[f"bytes of {suffix}"]
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_speech_may_begin_with_a_pause(model, processor, voice, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    speech = speak_long(model, processor, "[pause 0.5s] One two.", path, voice=voice, **OPTIONS)
    audio = load_audio(path, RATE)
    assert len(audio) == pytest.approx(speech.seconds * RATE, abs=0.1 * RATE)
    assert np.abs(audio[: round(0.45 * RATE)]).max() < 0.01 < np.abs(audio).max()


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from tiny_models import GOLDEN_TTS, golden_processor, small_codec
from transformers_moss_tts import MossTTSDelayModel
from transformers_moss_tts.speech import Voice, speak_long
from transformers_moss_tts.speech.journal import Journal
append = Journal.append
def killed(journal, record):
    append(journal, record)
    if len(journal.records) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Journal.append = killed
options = {"guards": None, "progress": False, "generate_kwargs": {"text_temperature": 0.0, "max_new_tokens": 30}}
model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS).eval()
speak_long(model, golden_processor(small_codec()), sys.argv[2], sys.argv[3], voice=Voice.load(sys.argv[4]), **options)
"""


def test_a_run_that_was_killed_goes_on(model, processor, voice, whole, tmp_path):
    voice.save(tmp_path / "anna.safetensors")
    path = tmp_path / "a.wav"
    arguments = [str(Path(__file__).parents[1]), TEXT, str(path), str(tmp_path / "anna.safetensors")]
    ran = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, timeout=300)
    assert ran.returncode == -9, ran.stderr[-2000:]
    part = soundfile.read(path)[0]
    assert 0 < len(part) < len(whole[".wav"]) and np.array_equal(part, whole[".wav"][: len(part)])
    # The last line of the state was cut by the kill: it counts as not there.
    with open(f"{path}.state.jsonl", "ab") as state:
        state.write(b'{"start": 12')
    speak_long(model, processor, TEXT, path, voice=voice, **OPTIONS)
    np.testing.assert_array_equal(soundfile.read(path)[0], whole[".wav"])


def test_two_runs_do_not_write_one_file(model, processor, voice, tmp_path):
    path = tmp_path / "a.wav"
    held = "import sys, pathlib\nfrom transformers_moss_tts.speech.journal import writing_alone\n" + (
        "with writing_alone(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", held, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="Another run is writing"):
            speak_long(model, processor, "One.", path, voice=voice, **OPTIONS)
        assert not path.exists()
        other.kill()
    # What a run that was killed leaves is no lock.
    assert Path(f"{path}.lock").exists()
    speak_long(model, processor, "One.", path, voice=voice, **OPTIONS)
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def options_given(model, monkeypatch):
    """What `generate` is called with."""
    given, generate = [], model.generate
    monkeypatch.setattr(model, "generate", lambda **options: given.append(options) or generate(**options))
    return given


@pytest.mark.parametrize("variant", [None, "MOSS-TTSD-v1.0"])
def test_a_dialogue_takes_what_its_voices_agree_on(model, voice, prompts, options_given, tmp_path, variant):
    processor = golden_processor(small_codec(), **({} if variant is None else {"variant": variant}))
    kept = [
        dataclasses.replace(voice, language="English", settings={"temperature": 0.5, "top_p": top_p})
        for top_p in (0.8, 0.9)
    ]
    script = "[S1] One two. [S2] Three four."
    options = OPTIONS | {"generate_kwargs": OPTIONS["generate_kwargs"] | {"audio_top_k": 7}}
    speak_dialogue(model, processor, script, kept, tmp_path / "a.wav", **options)
    assert all(options["audio_temperature"] == 0.5 and options["audio_top_k"] == 7 for options in options_given)
    top_p = [options.get("audio_top_p") for options in options_given]
    assert top_p == ([0.8, 0.9] if variant is None else [None])
    if variant is None:
        expected = processor(text="One two.", reference=kept[0].codes[0], language="English")
    else:
        pairs = [(item.codes[0], item.text) for item in kept]
        expected = processor(script=script, voices=pairs, language="English")
    assert torch.equal(prompts[0], expected["input_ids"])


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
def test_a_full_disk_leaves_what_was_said(model, processor, voice, whole, tmp_path, suffix):
    """A file that may grow no further gives the errors of a full disk."""
    path = tmp_path / f"a{suffix}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (130_000, hard))
    try:
        with pytest.raises(OSError, match=f"a{suffix}"):
            speak_long(model, processor, TEXT, path, voice=voice, **OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    part = soundfile.read(path)[0]
    assert RATE // 4 < len(part) < len(whole[suffix])
    if suffix != ".mp3":
        np.testing.assert_array_equal(part, whole[suffix][: len(part)])
    speak_long(model, processor, TEXT, path, voice=voice, **OPTIONS)
    np.testing.assert_array_equal(soundfile.read(path)[0], whole[suffix])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rate,num_channels", [(24000, 1), (48000, 2)])
def test_a_file_that_still_grows_is_read_to_its_end(tmp_path, suffix, rate, num_channels):
    """Also where quiet and loud seconds take different numbers of bytes, and after a few samples alone."""
    growing = GrowingAudio(tmp_path / f"a{suffix}", rate, num_channels)
    noise = np.random.default_rng(0).standard_normal((num_channels, rate)).astype(np.float32)
    growing.append(noise[:, :5])
    for number in range(20):
        growing.append(noise * (0.1 if number % 2 else 1e-4))
    shutil.copy(growing.path, tmp_path / f"killed{suffix}")
    growing.finish()
    # What encoders hold back is half a second at most.
    assert 19.4 < len(soundfile.read(tmp_path / f"killed{suffix}")[0]) / rate <= 20.001
    assert len(soundfile.read(growing.path)[0]) == 20 * rate + 5


@pytest.fixture
def begun(model, processor, voice, tmp_path, monkeypatch):
    """A run that stopped after two stretches."""
    append = Journal.append

    def stop(journal, record):
        append(journal, record)
        if len(journal.records) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Journal, "append", stop)
        speak_long(model, processor, TEXT, tmp_path / "a.wav", voice=voice, **OPTIONS)
    return tmp_path / "a.wav"


def lines_of(path: Path) -> list[str]:
    return Path(f"{path}.state.jsonl").read_text().splitlines()


BAD_STATES = {
    "foreign": (lambda lines: ['{"a": 1}', *lines[1:]], "line 1 is not that of such a state"),
    "no JSON": (lambda lines: [lines[0], "{", lines[2]], "line 2 is damaged"),
    "of a newer version": (lambda lines: [lines[0].replace('"version": 1', '"version": 2'), *lines[1:]], "version 2"),
    "another field": (lambda lines: [lines[0], lines[1].replace('"take"', '"took"'), lines[2]], "line 2 is damaged"),
    "a text for a number": (lambda lines: [lines[0], lines[1].replace('"take": 0', '"take": "0"')], "`take` is '0'"),
    "a flag for a number": (
        lambda lines: [lines[0], lines[1].replace('"take": 0', '"take": false')],
        "`take` is False",
    ),
    "no number": (lambda lines: [lines[0], lines[1].replace('"take": 0', '"take": NaN')], "line 2 is damaged"),
    "cues of no kind": (lambda lines: [lines[0], lines[1].replace('"cues": [[', '"cues": [["x", ')], "`cues` is"),
    "too many brackets": (lambda lines: ["[" * 100_000, *lines[1:]], "line 1 is damaged"),
    "times that go back": (lambda lines: [lines[0], lines[2], lines[1]], "line 3 is damaged: its times"),
    "codes of another": (lambda lines: [*lines[:-1], lines[-1].replace('"codes": "8:', '"codes": "7:')], "damaged"),
    "of another text": (
        lambda lines: [lines[0].replace('"digest": "', '"digest": "0'), *lines[1:]],
        "of another text",
    ),
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_bad_states(model, processor, voice, begun, name):
    change, message = BAD_STATES[name]
    before = begun.read_bytes()
    Path(f"{begun}.state.jsonl").write_text("\n".join(change(lines_of(begun))) + "\n")
    with pytest.raises(ValueError, match=rf"{message}.*restart"):
        speak_long(model, processor, TEXT, begun, voice=voice, **OPTIONS)
    assert begun.read_bytes() == before


def test_audio_that_was_cut_since_is_not_gone_on_from(model, processor, voice, whole, begun):
    begun.write_bytes(begun.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"was cut since.*restart=True"):
        speak_long(model, processor, TEXT, begun, voice=voice, **OPTIONS)
    speak_long(model, processor, TEXT, begun, voice=voice, restart=True, **OPTIONS)
    np.testing.assert_array_equal(soundfile.read(begun)[0], whole[".wav"])


def test_guards_act_and_are_named(model, processor, voice, prompts, tmp_path):
    options = OPTIONS | {"guards": Guards(silence=None, repetition=None, shortest=50.0, longest=None)}
    spoken = speak_long(model, processor, TEXT, tmp_path / "a.wav", voice=voice, retries=1, mode="clone", **options)
    assert spoken.faults and all(text in STRETCHES for text, _ in spoken.faults)
    assert {fault for _, fault in spoken.faults} <= {"shortest", "limit", "empty"} and len(prompts) > 4


class ListedEncoder:
    """An encoder whose embeddings have the listed cosines to the first axis."""

    def __init__(self, *cosines: float):
        self.cosines = list(cosines)

    def embed(self, waveform):
        cosine = self.cosines.pop(0)
        return np.array([cosine, (1 - cosine**2) ** 0.5])


def test_a_voice_that_drifts_is_not_gone_on_from(model, processor, voice, tmp_path, monkeypatch):
    # The random model says little.
    monkeypatch.setattr("transformers_moss_tts.speech.reader._SHORTEST", 0.0)
    # The first one is the voice that was given.
    encoder = ListedEncoder(1.0, 0.9, 0.88, 0.5, 0.9)
    options = {"voice": voice, "mode": "anchored", "speaker_encoder": encoder, "timings": tmp_path / "a.json"}
    speak_long(model, processor, TEXT, tmp_path / "a.wav", **OPTIONS | options)
    stretches = json.loads((tmp_path / "a.json").read_text())["stretches"]
    assert [round(item["similarity"], 2) for item in stretches] == [0.9, 0.88, 0.5, 0.9]
    assert [item["is_anchor"] for item in stretches] == [True, False, False, True]


def test_the_likest_take_is_kept(model, processor, voice, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers_moss_tts.speech.reader._SHORTEST", 0.0)
    encoder = ListedEncoder(1.0, 0.5, 0.9, 0.7)
    options = {"voice": voice, "mode": "clone", "speaker_encoder": encoder, "timings": tmp_path / "a.json"}
    speak_long(model, processor, "One two.", tmp_path / "a.wav", best_of=3, retries=0, **OPTIONS | options)
    (stretch,) = json.loads((tmp_path / "a.json").read_text())["stretches"]
    assert (stretch["take"], round(stretch["similarity"], 2)) == (1, 0.9) and encoder.cosines == []


def test_every_architecture_speaks_long_in_a_kept_voice(speaker, tmp_path):
    model, processor = speaker.model, speaker.processor
    config = processor.audio_tokenizer.config
    noise = np.random.default_rng(0).normal(0, 0.1, (config.num_channels, config.sampling_rate)).astype(np.float32)
    Voice.from_recording((noise, config.sampling_rate), processor, text="hello").save(tmp_path / "anna.safetensors")
    # Some of the random models say nothing behind a beginning: then the reference alone is tried.
    options = {
        "voice": tmp_path / "anna.safetensors",
        "guards": None,
        "progress": False,
        "retries": 1,
        "mode": "anchored",
    }
    limit = {"max_new_tokens": 22, "min_new_tokens": 15}
    speak_long(model, processor, "One two. [pause 1s] Three.", tmp_path / "a.wav", generate_kwargs=limit, **options)
    waveform, rate = soundfile.read(tmp_path / "a.wav", always_2d=True)
    assert (rate, waveform.shape[1]) == (config.sampling_rate, config.num_channels)
    assert rate < len(waveform) < 6 * rate and waveform.any()


def test_progress_says_how_long_it_takes(model, processor, tmp_path, capsys):
    speak_long(model, processor, "One. Two.", tmp_path / "a.wav", **OPTIONS | {"progress": True})
    shown = capsys.readouterr().err
    assert "speaking: 100%" in shown and "9/9 [" in shown and "characters/s" in shown


def test_a_dialogue_turn_by_turn(model, processor, recording, voice, prompts, tmp_path):
    script = "Anna: One two.\nBen: Three four. [pause 1s] Five.\n"
    voices = {"Anna": voice, "Ben": (recording, "hello")}
    timings = tmp_path / "a.vtt"
    speak_dialogue(model, processor, script, voices, tmp_path / "a.wav", timings=timings, **OPTIONS)
    texts = ["One two.", "Three four.", "Five."]
    expected = [processor(text=text, reference=recording)["input_ids"] for text in texts]
    assert all(map(torch.equal, prompts, expected)) and len(prompts) == 3
    assert "<v Anna>One two." in timings.read_text() and "<v Ben>Five." in timings.read_text()


def test_a_dialogue_of_ttsd_clones_and_continues(model, voice, prompts, tmp_path):
    processor = golden_processor(small_codec(), variant="MOSS-TTSD-v1.0")
    script = "[S1] One two. [S2] Three four. [S1] Five."
    speak_dialogue(model, processor, script, [voice, voice], tmp_path / "a.wav", **OPTIONS)
    pair = (voice.codes[0], "hello world")
    (prompt,) = prompts
    assert torch.equal(prompt, processor(script=script, voices=[pair, pair])["input_ids"])
    prompts.clear()
    voices = {"Anna": voice.codes[0], "Ben": voice}
    names = script.replace("[S1]", "\nAnna:").replace("[S2]", "\nBen:")
    speak_dialogue(model, processor, names, voices, tmp_path / "b.wav", stretch_seconds=1.0, **OPTIONS)
    assert len(prompts) > 1
    assert torch.equal(prompts[0], processor(script="[S1] One two.", voices=[voice.codes[0]])["input_ids"])


BAD_CALLS = {
    "only marks": ({"text": "...!"}, "no letter and no digit"),
    "unknown mode": ({"mode": "drift"}, "must be one of clone, continuation, anchored"),
    "unknown suffix": ({"output": "a.xyz"}, "use one of the suffixes"),
    "missing folder": ({"output": "missing/a.wav"}, "does not exist"),
    "a folder as output": ({"output": "folder.wav"}, "no file that can be written"),
    "a timing of no kind": ({"timings": "a.txt"}, "written as .srt, .vtt, .json"),
    "the text as output": ({"text": Path("a.json"), "timings": "a.json"}, "would be lost"),
    "the voice as output": ({"voice": "anna.wav", "output": "anna.wav"}, "would be lost"),
    "two of one name": ({"timings": ["b.srt", "b.srt"]}, "the same name"),
    "a voice that is missing": ({"voice": "missing.safetensors"}, "no voice 'missing.safetensors'"),
    "a stretch of no time": ({"stretch_seconds": 0}, "`stretch_seconds` must be 1 to 600"),
    "a pause below 0": ({"sentence_pause": -1}, "`sentence_pause` must be 0 to 600"),
    "takes without an encoder": ({"best_of": 2}, "needs a `speaker_encoder`"),
    "too many takes": ({"retries": 100}, "`retries` must be a whole number from 0 to 16"),
    "a seed twice": ({"generate_kwargs": {"seed": 1}}, "pass `seed` beside it"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls(model, processor, recording, tmp_path, monkeypatch, name):
    arguments, message = BAD_CALLS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "a.json").write_text("Hello.")
    (tmp_path / "anna.wav").write_bytes(recording.read_bytes())
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    arguments = {"text": "Hello.", "output": "a.wav"} | OPTIONS | arguments
    with pytest.raises(ValueError, match=message):
        speak_long(model, processor, **arguments)
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_voice_of_another_codec_is_refused(model, processor, recording, tmp_path):
    other = Voice.from_recording(recording, golden_processor(small_codec(seed=1)))
    with pytest.raises(ValueError, match="is of the codec"):
        speak_long(model, processor, "Hello.", tmp_path / "a.wav", voice=other)
    with pytest.raises(ValueError, match="Nobody gave a voice for 'Ben'"):
        speak_dialogue(model, processor, "Anna: a\nBen: b", {"Anna": recording}, tmp_path / "a.wav")
    with pytest.raises(ValueError, match="needs a codec"):
        speak_long(model, golden_processor(), "Hello.", tmp_path / "a.wav")
    assert not list(tmp_path.iterdir())
