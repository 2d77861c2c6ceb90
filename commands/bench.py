"""`koubo bench`: measure speed on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from commands.terminal import Json, shipped_mouth, show

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)


@app.command("mouth")
def bench_mouth(
    model: Annotated[str, typer.Option(help="A shipped mouth, or the folder of one.")] = "lite192",
    frames: Annotated[int, typer.Option(help="Pictures to time.", min=10)] = 300,
    as_json: Json = False,
) -> None:
    """Milliseconds for each picture of a mouth's live half."""
    from engine.mouth.openvino_runtime import OpenVinoMouth
    from trt_build.bench import bench_mouth as run

    folder = Path(model) if Path(model).is_dir() else shipped_mouth(model)
    show("Mouth", run(OpenVinoMouth(folder), folder, frames=frames), as_json)


@app.command("live")
def bench_live(
    sessions: Annotated[int, typer.Option(help="Sessions at once.", min=1)] = 2,
    seconds: Annotated[float, typer.Option(help="How long to measure.", min=2)] = 20.0,
    as_json: Json = False,
) -> None:
    """Delay and punctuality of live sessions over real WebRTC connections."""
    from streaming.bench import bench_live as run

    show("Live", run(sessions, seconds), as_json)
