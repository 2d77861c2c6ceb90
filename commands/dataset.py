"""`koubo dataset`: footage for training."""

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from commands.terminal import Json, console, progress, show
from engine.errors import KouboError

app = typer.Typer(help="Footage for training.", no_args_is_help=True)


@app.command("prepare")
def dataset_prepare(
    sources: Annotated[list[Path], typer.Argument(help="Videos, or folders of them.")],
    output: Annotated[Path, typer.Option(help="Folder for the clips, manifest.jsonl and report.html.")],
    min_face: Annotated[int, typer.Option(help="Smallest side of the mouth's square, pixels.", min=16)] = 96,
    min_seconds: Annotated[float, typer.Option(help="Shortest clip.", min=0.5)] = 2.0,
    max_seconds: Annotated[float, typer.Option(help="Longest clip.", max=20)] = 10.0,
    max_yaw: Annotated[float, typer.Option(help="Degrees a face may be turned aside.", max=60)] = 35.0,
    min_confidence: Annotated[
        float | None, typer.Option(help="Sync confidence that counts (default: fits the shipped judge).")
    ] = None,
    strict_sync: Annotated[
        bool, typer.Option(help="Drop clips whose sync the judge is not sure of, instead of keeping them.")
    ] = False,
    size: Annotated[int, typer.Option(help="Side of the stored crops, pixels.", min=64, max=1024)] = 256,
    judge: Annotated[Path | None, typer.Option(help="Checkpoint of a sync judge of your own.")] = None,
    sync: Annotated[bool, typer.Option(help="Judge whether sound and mouth go together.")] = True,
    jobs: Annotated[int, typer.Option(help="Sources side by side.", min=1)] = 1,
    shard: Annotated[str, typer.Option(help="Do only part I/N of the sources, for several machines.")] = "",
    ray: Annotated[bool, typer.Option(help="Share the work by Ray Data (extra: cluster).")] = False,
    as_json: Json = False,
) -> None:
    """Make training clips from talking footage (resumable): see docs/dataset.md."""
    from training.preprocess.cluster import run_on_ray
    from training.preprocess.gather import gather
    from training.preprocess.limits import Limits, Settings
    from training.preprocess.pipeline import run, writing
    from training.preprocess.sources import find_sources
    from training.preprocess.sources import shard as part
    from training.preprocess.toolbox import Toolbox, best_embedder

    if max_seconds < 2 * min_seconds:
        raise KouboError("The longest clip must be twice the shortest or more; change --max-seconds.")
    embedder = best_embedder()
    if embedder != "dlib":
        console.print("dlib is not installed: persons are told apart by a simpler measure (docs/dataset.md).")
    limits = Limits(min_face=min_face, min_seconds=min_seconds, max_seconds=max_seconds, max_yaw=max_yaw)
    limits = replace(limits, strict_sync=strict_sync)
    if min_confidence is not None:
        limits = replace(limits, min_confidence=min_confidence)
    settings = Settings(limits, size, _judge_name(judge, sync), embedder)
    videos = find_sources(sources)
    if shard:
        videos = part(videos, *_shard(shard))
    toolbox = Toolbox(embedder, sync, judge)
    with progress("footage", percent=True) as bar:
        if ray:
            run_on_ray(videos, output, settings, toolbox, workers=jobs)
        else:
            run(videos, output, settings, toolbox, jobs=jobs, tell=bar)
    if shard:
        console.print(f"Part {shard} is done; when all are, run once without --shard to gather them.")
        return
    with writing(output):
        summary = gather(output)
    show("Footage", asdict(summary), as_json)
    console.print(str(output / "report.html"), highlight=False)
    if not summary.clips:
        raise KouboError(f"Nothing was kept; {output / 'report.html'} says why for every source.")


def _judge_name(judge: Path | None, sync: bool) -> str:
    """A name that changes with the weights, so that another judge judges again."""
    from training.sync_score import SHIPPED

    file = judge or SHIPPED
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if sync and file.is_file() else "none"


def _shard(text: str) -> tuple[int, int]:
    """I and N of "I/N"."""
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise KouboError(f"{text} is no part of the work; write --shard 1/4 to --shard 4/4.")
    return int(number), int(count)
