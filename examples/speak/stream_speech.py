"""
Writes speech to a file while it is generated, and says when the first of it was there.

    python examples/speak/stream_speech.py "Hello there." --model OpenMOSS-Team/MOSS-TTS --output streamed.wav
"""

import argparse
import time
from pathlib import Path
from threading import Thread

import soundfile
import torch
from transformers import AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts import MossTTSFrameStreamer, bundled_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo/streamed.wav"))
    args = parser.parse_args()

    name = args.model or bundled_model()
    processor = AutoProcessor.from_pretrained(name)
    model = AutoModelForTextToWaveform.from_pretrained(name, device_map="auto")
    codec = processor.audio_tokenizer
    inputs = processor(text=args.text).to(model.device)
    streamer = MossTTSFrameStreamer(model.config)
    start, first = time.perf_counter(), None
    Thread(target=model.generate, kwargs={**inputs, "seed": args.seed, "streamer": streamer}).start()
    cache = codec.init_cache("decoder")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    shape = {"samplerate": codec.config.sampling_rate, "channels": codec.config.num_channels}
    with soundfile.SoundFile(args.output, "w", **shape) as file, torch.inference_mode():
        for codes in streamer:  # (1, codebooks): 80 ms
            decoded = codec.decode(codes.T.to(codec.device), cache=cache)
            file.write(decoded.audio[0].T.cpu().numpy())
            first = first or time.perf_counter() - start
        seconds = file.frames / file.samplerate
    took = time.perf_counter() - start
    if first is None:
        raise SystemExit("The model ended before the first frame.")
    print(f"wrote {args.output}: {seconds:.2f} s in {took:.2f} s, the first 80 ms after {first:.2f} s")


if __name__ == "__main__":
    main()
