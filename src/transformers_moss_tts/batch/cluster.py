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
"""Workers on a cluster of Ray or on this machine."""

import logging
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext


# How often a block is tried whose worker dies.
_MOST_TRIES = 4


class RayCluster:
    """
    A cluster of Ray, or this machine, while it is used.

    Args:
        address (`str`, *optional*): address of the cluster; this machine alone without one.
        num_workers (`int`, *optional*): number of workers; one for each GPU by default, and at least one.
        num_threads (`int`, *optional*): processors of a worker; by default what this machine has for each, and one on a cluster.
        device (`str`, *optional*): `"cpu"` or `"cuda"`; the fastest there is by default.

    Raises:
        ValueError: if the cluster cannot be reached, or has not what so many workers need.
        RuntimeError: if Ray does not start on this machine.
    """

    def __init__(self, address: str | None, num_workers: int | None, num_threads: int | None, device: str | None):
        self.address, self.num_workers, self.num_threads, self.device = address, num_workers, num_threads, device
        self.num_gpus = 0.0

    def __enter__(self) -> "RayCluster":
        where: dict[str, Any] = {"include_dashboard": False} if self.address is None else {"address": self.address}
        try:
            # Without an address Ray would take any cluster that runs here.
            ray.init(**{"address": "local"} | where, log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            # Ray raises what it likes.
            reason = str(error).strip().splitlines()[0]
            if self.address is None:
                raise RuntimeError(f"Ray does not start here: {reason}") from error
            raise ValueError(f"No cluster of Ray answers at {self.address!r}: {reason}") from error
        try:
            self._share(ray.cluster_resources())
        except BaseException:
            ray.shutdown()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        ray.shutdown()

    def _share(self, resources: dict[str, float]) -> None:
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        if self.device == "cuda" and gpus == 0:
            raise ValueError("There is no GPU for `--device cuda`: leave it out, or give an `--address` of a cluster.")
        self.num_gpus = float(gpus > 0 and self.device != "cpu")
        self.num_workers = self.num_workers or (gpus if self.num_gpus else 1)
        self.num_threads = self.num_threads or (1 if self.address else max(1, cpus // self.num_workers))
        if self.num_workers * self.num_threads > cpus or (self.num_gpus and self.num_workers > gpus):
            raise ValueError(
                f"{self.num_workers} workers of {self.num_threads} threads need more than the {cpus} CPUs and {gpus} GPUs that are "
                "there: give fewer `--workers` or `--threads`."
            )

    def map(self, blocks: Iterable[pa.Table], worker: type, options: dict[str, Any]) -> Iterator[pa.Table]:
        """
        Results of blocks, in the order in which they come.

        Args:
            blocks (`Iterable[pa.Table]`): what the workers do one after the other.
            worker (`type`): class whose objects take a block and return its results.
            options (`dict`): arguments of the class.

        Raises:
            RuntimeError: if a worker fails, or dies again and again.
        """
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        DataContext.get_current().enable_progress_bars = False
        with warnings.catch_warnings():
            # Ray 2.60 has no other way to bound the tries, and says that 2.64 will have one.
            warnings.simplefilter("ignore")
            results = ray.data.from_arrow(list(blocks)).map_batches(
                worker,
                fn_constructor_kwargs=options,
                batch_size=None,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(size=self.num_workers),
                num_cpus=self.num_threads,
                num_gpus=self.num_gpus,
                # Without a bound a line that takes its worker down would do so for ever.
                ray_remote_args_fn=lambda: {"max_task_retries": _MOST_TRIES - 1},
            )
        try:
            yield from results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        except ray.exceptions.RayError as error:
            lines = str(getattr(error, "cause", None) or error).strip().splitlines()
            raise RuntimeError(
                f"A worker failed: {lines[-1]} What is finished is kept, and the same command goes on from it."
            ) from error


__all__ = ["RayCluster"]
