"""
Speaks a text in the voice of a recording, and keeps the voice in a file that goes wherever a recording goes.

    python examples/clone/clone_voice.py voice.wav "Hello there." --keep anna.safetensors --output cloned.wav
    python examples/clone/clone_voice.py anna.safetensors "Hello again." --model OpenMOSS-Team/MOSS-TTS

The consent of the person matters whose voice it is.
"""

import argparse
from pathlib import Path

from transformers import AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts import bundled_model
from transformers_moss_tts.speech import Voice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voice", help="recording of the voice, file or URL, up to 30 seconds; or the file of a voice")
    parser.add_argument("text")
    parser.add_argument("--keep", type=Path, help="file of the voice that is kept")
    parser.add_argument("--consent", help="note on whose voice it is and that they agree, for the file")
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--language", help='for example "English"')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo/cloned.wav"))
    args = parser.parse_args()

    name = args.model or bundled_model()
    processor = AutoProcessor.from_pretrained(name)
    model = AutoModelForTextToWaveform.from_pretrained(name, device_map="auto")
    if args.keep:
        Voice.from_recording(args.voice, processor, language=args.language, consent=args.consent).save(args.keep)
    inputs = processor(text=args.text, reference=args.keep or args.voice, language=args.language).to(model.device)
    outputs = model.generate(**inputs, seed=args.seed, return_dict_in_generate=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    processor.save_audio(processor.decode(outputs)[0], args.output)
    print(f"wrote {args.output}: {len(outputs.audio_codes[0]) / processor.frame_rate:.2f} s")


if __name__ == "__main__":
    main()
