"""The examples as their README lines start them, with tiny models."""

import json
import re
import runpy
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import soundfile
import torch
from peft import PeftModel
from tiny_models import GOLDEN_TTS, small_codec, small_stereo_codec
from transformers import AutoModel, AutoModelForTextToWaveform, AutoTokenizer, GenerationConfig, pipeline

from transformers_moss_tts import MossTTSLocalModel, MossTTSLocalProcessor
from transformers_moss_tts.loading.remote_code import RemoteCodeMixin
from transformers_moss_tts.speech import Voice
from transformers_moss_tts.speech.journal import Journal


EXAMPLES = Path(__file__).parents[2] / "examples"
VOICE = str(EXAMPLES / "assets" / "reference.ogg")


def save_delay(folder: Path) -> None:
    runpy.run_path(str(EXAMPLES / "benchmarks" / "random_checkpoint.py"))["build_random_checkpoint"](folder)
    generation_config = GenerationConfig.from_pretrained(folder)
    generation_config.max_new_tokens = 60
    generation_config.save_pretrained(folder)


def save_local(folder: Path) -> None:
    golden = GOLDEN_TTS.parent / "moss_tts_local_v1_5"
    model = MossTTSLocalModel.from_pretrained(golden)
    model.generation_config.update(max_new_tokens=20, text_temperature=0.0)
    with torch.no_grad():
        # As good to end as to go on, and the first is taken.
        model.local_text_lm_head.weight.zero_()
    model.save_pretrained(folder)
    codec = small_stereo_codec()
    codec.save_pretrained(folder / "codec")
    tokenizer = AutoTokenizer.from_pretrained(golden)
    MossTTSLocalProcessor(
        tokenizer, audio_tokenizer=codec, model_config=model.config, codec_path="codec"
    ).save_pretrained(folder)


@pytest.fixture(scope="module", params=[save_delay, save_local], ids=["delay", "local"])
def generator(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("generator")
    request.param(folder)
    return folder


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)

    def run(script: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        # As Python does for a script.
        monkeypatch.syspath_prepend((EXAMPLES / script).parent)
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        # What examples show is copied for years.
        old = [warning for warning in given if issubclass(warning.category, DeprecationWarning | FutureWarning)]
        assert not [str(warning.message) for warning in old if Path(warning.filename).is_relative_to(EXAMPLES)]
        printed = capsys.readouterr()
        assert "deprecated" not in printed.err
        return printed.out

    return run


def check_recording(path: Path, generator: Path, said: str) -> None:
    recording = soundfile.info(path)
    is_stereo = "local" in (generator / "config.json").read_text()
    assert (recording.samplerate, recording.channels) == ((48000, 2) if is_stereo else (24000, 1))
    (seconds,) = re.findall(r"(\d+\.\d\d) s", said)[:1]
    assert recording.duration == pytest.approx(float(seconds), abs=0.01) and recording.duration > 0


@pytest.mark.parametrize(
    "script,arguments",
    [
        ("speak/synthesize.py", ["hello world", "--seconds", 1]),
        ("clone/clone_voice.py", [VOICE, "hello world", "--language", "English"]),
        ("clone/continue_recording.py", [VOICE, "hello", "world"]),
        ("clone/dialogue.py", ["[S1] hello [S2] world", "--voices", VOICE, VOICE]),
        ("clone/dialogue.py", ["[S1] hello [S2] world", "--voices", VOICE, VOICE, "--words", "one", "two"]),
        ("speak/stream_speech.py", ["hello world"]),
    ],
)
def test_one_recording(run, generator, tmp_path, script, arguments):
    said = run(script, *arguments, "--model", generator, "--output", tmp_path / "new" / "speech.wav")
    check_recording(tmp_path / "new" / "speech.wav", generator, said)


def test_a_long_text_is_spoken_in_the_voice_of_its_beginning(run, generator, tmp_path):
    (tmp_path / "story.txt").write_text("hello world\n\nhello\n\n\nworld\n", encoding="utf-8")
    said = run("speak/long_text.py", tmp_path / "story.txt", "--model", generator, "--output", tmp_path / "story.wav")
    check_recording(tmp_path / "story.wav", generator, said)
    assert soundfile.info(tmp_path / "story.wav").duration > 1.5
    assert (tmp_path / "story.srt").read_text().count("-->") == 3


def test_the_memory_of_a_long_speech_is_drawn(run, tmp_path):
    said = run("benchmarks/long_speech.py", "--minutes", 0.1, "--output", tmp_path / "long")
    assert re.search(r"[\d.]+ MB after the first stretch, [\d.]+ MB after [\d.]+ minutes", said)
    assert {"memory.png", "memory.jsonl", "speech.mp3"} == {path.name for path in (tmp_path / "long").iterdir()}
    # What it measures with ends with it: the note would be written to a closed file.
    assert Journal.append.__qualname__ == "Journal.append"


def test_the_documented_memory_is_that_of_the_shapes(run):
    rows = [line.split("|")[1:-1] for line in run("benchmarks/memory.py").splitlines()[2:]]
    documented = (EXAMPLES.parent / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    assert [row[0].strip() for row in rows][-1] == "MOSS-TTS-Nano" and len(rows) == 4
    for _, *figures in rows:
        assert "|".join(figures) in documented


def test_small_weights_are_measured(run, generator):
    pytest.importorskip("torchao")
    options = ["--model", generator, "--modes", "bfloat16", "torchao-int8", "--steps", 4, "--rounds", 1]
    rows = [line.split() for line in run("benchmarks/small_weights.py", *options).splitlines()]
    sizes = {row[0]: float(row[1]) for row in rows if row[0] in ("float32", "bfloat16", "torchao-int8")}
    assert sizes["torchao-int8"] < sizes["float32"] and sizes["bfloat16"] < sizes["float32"]
    assert [row[6:8] for row in rows if row[0] == "float32"] == [["100.0", "%"]]


def test_a_voice_is_kept_and_used(run, generator, tmp_path):
    options = ["hello world", "--model", generator]
    kept = tmp_path / "anna.safetensors"
    run(
        "clone/clone_voice.py", VOICE, *options, "--keep", kept, "--consent", "Agreed.", "--output", tmp_path / "a.wav"
    )
    run("clone/clone_voice.py", kept, *options, "--output", tmp_path / "b.wav")
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert Voice.load(kept).consent == "Agreed."


def test_durations(run, generator, tmp_path):
    said = run("speak/control_duration.py", "hello", "--seconds", 1, 2.5, "--model", generator, "--output", tmp_path)
    assert re.findall(r"asked for (\S+) s", said) == ["1.00", "2.50"]
    for line, name in zip(said.splitlines(), ("1s.wav", "2.5s.wav")):
        check_recording(tmp_path / name, generator, line.split("got")[1])


@pytest.fixture
def recordings(tmp_path) -> Path:
    """Half seconds of speech with their texts: of a speaker, of another language, and of nobody."""
    voice, rate = soundfile.read(VOICE)
    folder = tmp_path / "recordings"
    folder.mkdir()
    columns = (
        {"speaker": "anna", "language": "English"},
        {"speaker": "anna", "language": "German"},
        {"speaker": None},
    )
    lines = []
    for number in range(6):
        start = number * rate // 4
        soundfile.write(folder / f"{number}.wav", voice[start : start + rate // 2], rate)
        lines.append(json.dumps({"audio": f"{number}.wav", "text": f"Number {number}."} | columns[number % 3]))
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_a_speaker_is_learned(run, generator, recordings, tmp_path):
    arguments = [recordings, "--model", generator, "--output", tmp_path / "run", "--batch-size", 2]
    assert "trainable params" in run("finetune/lora_speaker.py", *arguments, "--steps", 1)
    run("finetune/lora_speaker.py", *arguments, "--steps", 2)
    state = json.loads((tmp_path / "run" / "checkpoint-2" / "trainer_state.json").read_text())
    assert sum("eval_loss_codebook_1" in entry for entry in state["log_history"]) == 2
    model = AutoModelForTextToWaveform.from_pretrained(generator)
    model = PeftModel.from_pretrained(model, tmp_path / "run" / "adapter")
    assert any(parameter.any() for name, parameter in model.named_parameters() if "lora_B" in name)


def test_all_weights_are_fine_tuned(run, generator, recordings, tmp_path):
    codec = tmp_path / "codec"
    shutil.copytree(generator / "codec", codec)
    arguments = ["--model", generator, "--codec", codec, "--output", tmp_path / "run", "--steps", 2, "--batch-size", 4]
    run("finetune/full_finetune.py", recordings, *arguments, "--learning-rate", 1e-3)
    before, after = (
        AutoModelForTextToWaveform.from_pretrained(folder).state_dict()
        for folder in (generator, tmp_path / "run" / "model")
    )
    assert all(not torch.equal(before[name], after[name]) for name in before if "q_proj" in name)
    speech = pipeline("text-to-speech", model=str(tmp_path / "run" / "model"))("hello")
    assert speech["audio"].size


def test_a_codec_is_trained(run, recordings, tmp_path):
    codec = small_codec()
    codec.save_pretrained(tmp_path / "codec")
    arguments = ["--model", tmp_path / "codec", "--output", tmp_path / "run", "--steps", 2, "--batch-size", 1]
    run("finetune/train_codec.py", recordings, *arguments, "--decoder-only")
    trained = AutoModel.from_pretrained(tmp_path / "run" / "model").state_dict()
    changed = {name for name, tensor in codec.state_dict().items() if not torch.equal(tensor, trained[name])}
    assert changed and all(name.startswith(("decoder.", "quantizer.output_proj.")) for name in changed)
    assert list((tmp_path / "run" / "samples").rglob("*.png"))


def test_a_model_is_evaluated(run, generator, tmp_path):
    (tmp_path / "sentences.txt").write_text("hello world\nhello again\nand again\n", encoding="utf-8")
    printed = run(
        "share/evaluate_model.py",
        tmp_path / "sentences.txt",
        VOICE,
        "--model",
        generator,
        "--output",
        tmp_path / "out",
    )
    assert "wer " in printed and "sim " in printed
    assert (tmp_path / "out" / "report.md").is_file() and list((tmp_path / "out" / "audio").rglob("*.wav"))


def test_a_card_is_rendered(run, tmp_path):
    golden = GOLDEN_TTS.parent / "moss_audio_tokenizer"
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(golden / name, tmp_path / name)
    facts = {"name": "codec", "summary": "A codec.", "license": "mit", "language": "en", "limits": "Noise."}
    facts |= {"training_data": "none.", "training_procedure": "None."}
    (tmp_path / "facts.yaml").write_text("".join(f"{name}: {value}\n" for name, value in facts.items()))
    assert "README.md" in run("share/render_model_card.py", tmp_path / "facts.yaml", tmp_path)
    assert "A codec." in (tmp_path / "README.md").read_text(encoding="utf-8")


SCRIPTS = sorted(
    path for folder in ("speak", "clone", "finetune", "share") for path in (EXAMPLES / folder).glob("*.py")
)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_examples_are_listed_and_short_and_stand_alone(path):
    script = path.read_text(encoding="utf-8")
    assert f"python examples/{path.parent.name}/{path.name}" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert len(script.splitlines()) <= 60
    imported = re.findall(r"^\s*(?:from|import) ([\w.]+)", script, re.MULTILINE)
    assert not set(imported) & {other.stem for other in SCRIPTS}


def test_upload(run, local_hub, tmp_path, monkeypatch):
    monkeypatch.setattr(RemoteCodeMixin, "_saves_module", False)
    save_delay(tmp_path / "model")
    facts = {"name": "voice", "summary": "A voice.", "license": "mit", "language": "en", "limits": "Noise."}
    facts |= {"training_data": "none.", "training_procedure": "None."}
    (tmp_path / "facts.yaml").write_text("".join(f"{name}: {value}\n" for name, value in facts.items()))
    listed = run("share/upload.py", tmp_path / "model", tmp_path / "facts.yaml", "me/voice", "--dry-run")
    assert "README.md" in listed and local_hub.repositories == {}
    printed = run("share/upload.py", tmp_path / "model", tmp_path / "facts.yaml", "me/voice", "--private")
    assert printed.splitlines()[-1].startswith(f"{local_hub.url}/me/voice/commit/")
    uploaded = local_hub.files("me/voice")
    assert local_hub.repositories["me/voice"].private
    assert {"README.md", "moss_tts_plugin.py", "model.safetensors", "codec/model.safetensors"} <= uploaded.keys()
    assert b'"me/voice"' in uploaded["README.md"] and b"moss_tts_plugin" in uploaded["processor_config.json"]
