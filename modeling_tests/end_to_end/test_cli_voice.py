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
"""The subcommand `voice`, and voices as references of the command."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from transformers_moss_tts import cli
from transformers_moss_tts.audio_io import load_audio, save_audio
from transformers_moss_tts.speech import Voice


RECORDING = Path(__file__).parents[2] / "examples" / "assets" / "reference.ogg"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # With noise for a voice speech may go on and on.
    recording = load_audio(RECORDING, 24000)
    for number, name in enumerate(("anna", "ben")):
        save_audio(recording[24000 * number :][:24000], tmp_path / f"{name}.wav", 24000)
    (tmp_path / "silence.wav").write_bytes((tmp_path / "anna.wav").read_bytes()[:44])
    return tmp_path


def test_voices_are_kept_listed_shown_and_used(folder, capsys):
    texts = ["--text", "Hello.", "--text", "There."]
    options = [
        "--language",
        "English",
        "--setting",
        "audio_temperature=0",
        "--licence",
        "CC0",
        "--consent",
        "Anna agrees.",
    ]
    assert cli.main(["voice", "create", "anna.wav", "ben.wav", *texts, "-o", "voices/anna.safetensors", *options]) == 0
    assert cli.main(["voice", "create", "ben.wav", "-o", "voices/ben.safetensors", "--name", "Ben"]) == 0
    assert "It says nothing of consent" in capsys.readouterr().out
    (folder / "voices" / "cut.safetensors").write_bytes((folder / "voices" / "ben.safetensors").read_bytes()[:-9])
    assert cli.main(["voice", "list", "voices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("anna.safetensors: anna, 2 recordings of 1.9 s, English, with text, codec ")
    assert lines[1].startswith("ben.safetensors: Ben, 1 recording of 1.0 s") and "cut.safetensors: cannot" in lines[2]
    assert cli.main(["voice", "show", "voices/anna.safetensors"]) == 0
    shown = capsys.readouterr().out
    for said in (
        "recording 2: 0.96 s",
        "There.",
        "licence: CC0",
        "consent: Anna agrees.",
        "settings: audio_temperature=0",
    ):
        assert said in shown
    voice = Voice.load("voices/anna.safetensors")
    assert voice.texts == ("Hello.", "There.") and voice.settings == {"audio_temperature": 0}
    spoken = {}
    for name, reference in {"kept": "voices/anna.safetensors", "plain": "anna.wav"}.items():
        # The voice is sampled greedily, so that the seed has no effect.
        for seed in ("1", "2"):
            target = folder / f"{name}{seed}.wav"
            common = ["-o", str(target), "--reference", reference, "--seed", seed, "--quiet"]
            assert cli.main(["Hi there.", *common]) == 0
            spoken[name, seed] = soundfile.read(target)[0]
    np.testing.assert_array_equal(spoken["kept", "1"], spoken["kept", "2"])
    first, second = spoken["plain", "1"], spoken["plain", "2"]
    assert len(first) != len(second) or not np.array_equal(first, second)


MISTAKES = {
    "missing recording": (["create", "missing.wav", "-o", "a.safetensors"], "missing.wav"),
    "empty recording": (["create", "silence.wav", "-o", "a.safetensors"], "no samples"),
    "another suffix": (["create", "anna.wav", "-o", "a.wav"], "must end with .safetensors"),
    "texts for some": (["create", "anna.wav", "ben.wav", "--text", "Hi.", "-o", "a.safetensors"], "each of the 2"),
    "unknown setting": (["create", "anna.wav", "-o", "a.safetensors", "--setting", "speed=2"], "got 'speed'"),
    "missing folder": (["list", "missing"], "no folder 'missing'"),
    "missing voice": (["show", "missing.safetensors"], "missing.safetensors"),
    "recording as a voice": (["show", "anna.wav"], "is no voice"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(folder, capsys, name):
    arguments, message = MISTAKES[name]
    before = sorted(folder.rglob("*"))
    assert cli.main(["voice", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("moss-tts: ") and message in error and error.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_a_foreign_voice_is_refused_before_the_model_is_loaded(folder, capsys):
    (folder / "bad.safetensors").write_bytes(b"x" * 100)
    assert cli.main(["Hi.", "-o", "a.wav", "--reference", "bad.safetensors", "--model", "moss-tts-tiny"]) == 2
    assert "bad.safetensors' is no voice" in capsys.readouterr().err
