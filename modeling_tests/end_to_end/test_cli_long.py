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
"""Long texts and dialogues of the command."""

import numpy as np
import pytest
import soundfile
from tiny_models import GOLDEN_TTS, golden_processor, small_codec

from transformers_moss_tts import MossTTSDelayModel, cli
from transformers_moss_tts.audio_io import save_audio


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A generator of random weights, texts and recordings, in the present folder."""
    monkeypatch.chdir(tmp_path)
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    model.generation_config.update(max_new_tokens=30, text_temperature=0.0)
    model.save_pretrained("model")
    codec = small_codec()
    codec.save_pretrained("model/codec")
    golden_processor(codec, codec_path="codec").save_pretrained("model")
    for name in ("anna", "ben"):
        save_audio(np.random.default_rng(len(name)).normal(0, 0.1, 24000).astype(np.float32), f"{name}.wav", 24000)
    (tmp_path / "story.txt").write_text("One two. [pause 1s] Three four.\n\nFive.")
    (tmp_path / "play.txt").write_text("Anna: One two.\nBen: Three.\n")
    return tmp_path


COMMON = ["--model", "model", "--quiet", "--allow-cut"]


def test_a_text_with_pauses_is_said_piece_by_piece(folder, capsys):
    arguments = ["--text-file", "story.txt", "--reference", "anna.wav", *COMMON]
    assert cli.main([*arguments, "-o", "new/story.flac", "--timings", "new/story.srt", "--timings", "story.json"]) == 0
    assert "new/story.flac: " in capsys.readouterr().out
    assert soundfile.info("new/story.flac").duration > 1.7
    assert (folder / "new" / "story.srt").read_text().count("-->") == 3
    assert cli.main([*arguments, "-o", "again.flac", "--mode", "clone", "--seed", "0"]) == 0
    np.testing.assert_array_equal(soundfile.read("again.flac")[0], soundfile.read("new/story.flac")[0])


def test_a_length_is_asked_for_with_the_pauses(folder):
    arguments = ["One. [pause 1s] Two. [pause 500ms]", "--duration", "3", *COMMON]
    assert (
        cli.main([*arguments, "-o", "short.wav"]) == 0 and cli.main([*arguments, "--stream", "-o", "stream.wav"]) == 0
    )
    for name in ("short.wav", "stream.wav"):
        audio, rate = soundfile.read(name)
        assert len(audio) > 1.5 * rate and not audio[-rate // 2 :].any()


def test_a_script_has_a_voice_for_each_speaker(folder, capsys):
    arguments = ["--script", "play.txt", "-o", "play.wav", "--timings", "play.vtt", *COMMON]
    assert cli.main([*arguments, "--reference", "anna.wav"]) == 2
    assert "Nobody gave a voice for 'Ben' of the script" in capsys.readouterr().err
    assert not (folder / "play.wav").exists()
    assert cli.main([*arguments, "--reference", "anna.wav", "--reference", "ben.wav"]) == 0
    assert "<v Ben>Three." in (folder / "play.vtt").read_text()


def test_what_is_not_right_is_said(folder, capsys):
    arguments = ["--text-file", "story.txt", "-o", "story.wav", "--model", "model", "--quiet"]
    assert cli.main([*arguments, "--max-new-tokens", "12"]) == 1
    error = capsys.readouterr().err
    assert "pieces of the text in 'story.wav' are not right in any take" in error and "--allow-cut" in error
    assert soundfile.info("story.wav").duration > 1.7


MISTAKES = {
    "missing script": (["--script", "missing.txt"], "`--script` is missing"),
    "script without speakers": (["--script", "story.txt", "--reference", "anna.wav"], "does not say who says"),
    "duration of a script": (["--script", "play.txt", "--duration", "2"], "`--duration` is of a short text"),
    "mode of a script": (["--script", "play.txt", "--mode", "clone"], "leave it out for a script"),
    "mode of two voices": (["Hi.", "--mode", "clone", *["--reference", "anna.wav"] * 2], "`--mode` is of one voice"),
    "timings of no kind": (["Hi.", "--timings", "a.txt"], "`--timings` must end with one of .srt, .vtt, .json"),
    "only marks": (["... [pause 1s]"], "no letter and no digit"),
    "a pause longer than all": (["Hi. [pause 3s] Ho.", "--duration", "2"], "2 s are asked for, and the pauses"),
    "a pause that is none": (["Hi. [pause soon]"], "is no pause"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(folder, capsys, name):
    arguments, message = MISTAKES[name]
    before = sorted(folder.rglob("*"))
    assert cli.main([*arguments, "-o", "out.wav", *COMMON]) == 2
    error = capsys.readouterr().err
    assert error.startswith("moss-tts: ") and message in error and error.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
