"""FSDP: processes that finish at different times keep each other company (`synced_gpus`)."""

import os
import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from tiny_models import tiny_prompts, tiny_tts
from torch.distributed.fsdp import fully_shard


NEW_TOKENS = (5, 30)


def generate_sharded(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        model = tiny_tts()
        mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
        for layer in model.language_model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        prompt = tiny_prompts(model.config, 9, 6, seed=rank)
        sequences = model.generate(**prompt, max_new_tokens=NEW_TOKENS[rank], do_sample=False, synced_gpus=True)
        torch.save(sequences, os.path.join(folder, f"{rank}.pt"))
        dist.barrier()
    finally:
        dist.destroy_process_group()


def test_sharded_processes_of_different_length(tmp_path):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    multiprocessing.spawn(generate_sharded, args=(port, str(tmp_path)), nprocs=2)
    model = tiny_tts()
    for rank, length in enumerate(NEW_TOKENS):
        expected = model.generate(
            **tiny_prompts(model.config, 9, 6, seed=rank), max_new_tokens=length, do_sample=False
        )
        assert torch.equal(torch.load(tmp_path / f"{rank}.pt"), expected)
