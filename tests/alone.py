"""Checks that need an interpreter of their own."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

_PATIENCE_S = 100


def alone(check: Callable[..., None], *args: Any) -> None:
    """Run a function of a test module in a fresh interpreter; what it raises comes back."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        fresh.submit(check, *args).result(_PATIENCE_S)
