"""The same job by Ray Data: sources go to the workers of a cluster that shares the folders."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import KouboError, MissingToolError
from training.preprocess.limits import Settings
from training.preprocess.pipeline import MakeTools, Worker, waiting
from training.preprocess.sources import Source


class _RayWorker:
    """Rows in, rows out, as Ray Data wants them. Errors travel as text, to arrive as one sentence."""

    def __init__(self, output: Path, settings: Settings, make_tools: MakeTools) -> None:
        self._worker = Worker(output, settings, make_tools)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Does the source of one row."""
        twin = os.fsdecode(row["duplicate_of"])
        source = Source(row["id"], Path(os.fsdecode(row["path"])), Path(twin) if twin else None)
        try:
            return {"id": self._worker(source), "error": ""}
        except KouboError as error:
            return {"id": source.id, "error": str(error)}


def run_on_ray(
    sources: Sequence[Source], output: Path, settings: Settings, make_tools: MakeTools, *, workers: int = 2
) -> int:
    """Does the sources that are not finished yet and returns their number.

    Joins the cluster that RAY_ADDRESS names, else starts a local one. `output` and the sources must be seen
    under the same paths by every machine. Raises MissingToolError without Ray, KouboError as
    `pipeline.run` does.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingToolError(
            "Sharing a job among machines needs Ray; run `pip install 'koubo[cluster]'`."
        ) from error
    output, todo = output.resolve(), waiting(sources, output, settings)
    if not todo:
        return 0
    items = [
        {
            "id": source.id,
            "path": os.fsencode(source.path),
            "duplicate_of": os.fsencode(source.duplicate_of) if source.duplicate_of else b"",
        }
        for source in todo
    ]
    worker: Any = _RayWorker  # Ray makes one for each actor from the constructor's arguments
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    try:
        done = ray.data.from_items(items, override_num_blocks=len(items)).map(
            worker,
            fn_constructor_args=(output, settings, make_tools),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(todo))),
            num_cpus=1,
        )
        failed = [row["error"] for row in done.take_all() if row["error"]]
    finally:
        if started:
            ray.shutdown()
    if failed:
        raise KouboError(failed[0])
    return len(todo)
