"""Several processes that train one network (torchrun): gradients averaged, rank 0 keeps the books."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn


def device() -> torch.device:
    """This process's GPU, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device("cpu")


@contextmanager
def joined() -> Iterator[None]:
    """Joins the group that torchrun started, if it did; leaves it at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """Number of this process, 0 when there is only one."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces every gradient by its mean over the processes; one message for all of them."""
    if count() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    at = 0
    for gradient in gradients:
        part = flat[at : at + gradient.numel()] / count()
        gradient.copy_(part.view_as(gradient))
        at += gradient.numel()


def same_start(networks: Mapping[str, nn.Module]) -> None:
    """Gives every process the weights of rank 0."""
    if count() == 1:
        return
    for network in networks.values():
        for tensor in network.state_dict().values():
            distributed.broadcast(tensor, 0)


def agreed(value: float) -> float:
    """Rank 0's value, for decisions that all must take alike."""
    if count() == 1:
        return value
    message: Tensor = torch.tensor([value], dtype=torch.float64, device=device())
    distributed.broadcast(message, 0)
    return float(message.item())
