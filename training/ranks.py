"""Several processes that train together, one thread each, over gloo on this machine.

One thread a process is deliberate: on cores that others use too, OpenMP threads wait for one
another at every operation, ranks only once a step.
"""

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed
import torch.multiprocessing

from training.loop import Rank


def run(count: int, work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(rank, *arguments)` in `count` processes, this one being rank 0.

    When one of them dies the others fail at their next exchange, so none stays behind.
    """
    torch.set_num_threads(1)
    if count == 1:
        work(Rank(), *arguments)
        return
    port = _free_port()
    context = torch.multiprocessing.get_context("spawn")
    others = [
        context.Process(target=_other, args=(Rank(k, count), port, work, *arguments), daemon=True)
        for k in range(1, count)
    ]
    for other in others:
        other.start()
    _join(Rank(0, count), port)
    work(Rank(0, count), *arguments)
    torch.distributed.destroy_process_group()
    for other in others:
        other.join()


def wait() -> None:
    """Wait until all ranks are here."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def _other(rank: Rank, port: int, work: Callable[..., None], *arguments: Any) -> None:
    torch.set_num_threads(1)
    _join(rank, port)
    work(rank, *arguments)
    torch.distributed.destroy_process_group()


def _join(rank: Rank, port: int) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank.index, world_size=rank.count
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
