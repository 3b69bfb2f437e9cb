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
"""`moss-tts batch`: bulk work on Ray."""

from argparse import Namespace
from pathlib import Path

from transformers.utils import logging

from ..bundled_models import bundled_model, find_model
from ..loading.checkpoints import model_fingerprint, read_settings
from ..utils.extras import require


def run(args: Namespace) -> None:
    """
    Reads the lines of a table aloud, or encodes its recordings.

    Raises:
        OSError, ValueError: if the table, the model, the folder or the cluster cannot be used.
        RuntimeError: if a worker failed, or lines have no result; what is finished is written.
    """
    try:
        require("`moss-tts batch`", "ray", "ray")
        require("`moss-tts batch`", "train", "datasets", "auraloss")
    except ImportError as error:
        raise ValueError(str(error)) from error
    import datasets

    from ..batch.cluster import RayCluster
    from ..batch.runs import Encoding, Reading
    from ..training import load_table

    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    model = find_model(args.model or bundled_model())
    if Path(model).is_dir():
        # Workers may stand elsewhere.
        model = str(Path(model).absolute())
    # Before the table, which may be long.
    read_settings(model)
    table = load_table(args.table)
    settings = {"model": Path(model).name, "weights": model_fingerprint(model)}
    work: Encoding | Reading
    if args.encode:
        work = Encoding(table, args.output, model, settings)
    else:
        suffix = f".{args.format or 'wav'}"
        work = Reading(table, args.output, model, suffix, args.seed or 0, args.max_new_tokens, settings)
    with RayCluster(args.address, args.workers, args.threads, args.device) as cluster:
        work.options["device"] = args.device
        outcome = work.run(cluster.map, args.quiet)
    print(f"{args.output}: {outcome.summary}")
    if problems := outcome.problems:
        raise RuntimeError(
            f"{len(problems)} of {len(table)} lines have no result, the first is {problems[0]} All are listed in "
            f"{str(args.output / 'problems.jsonl')!r}, and the same command tries them again."
        )


__all__: list[str] = []
