"""`koubo avatar train`: the mouth of an avatar, adapted to its person."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.terminal import Json, output_folder, progress, say, show, told
from engine.errors import KouboError

if TYPE_CHECKING:
    from training.personal_course import Outcome, Tell


def train(
    name: Annotated[str, typer.Argument(help="Name or folder of the presenter.")],
    footage: Annotated[
        list[Path] | None,
        typer.Option(
            help="Video of the person talking; repeatable (default: what the avatar was made from)."
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Minutes of computing (default: 20 on a GPU, 480 on a processor).", min=0),
    ] = None,
    steps: Annotated[int, typer.Option(help="Or steps, for the same weights again.", min=0)] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints and the report (default: in the cache).")
    ] = None,
    same_person: Annotated[
        bool, typer.Option(help="The footage shows this person, whatever the face looks like.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    as_json: Json = False,
) -> None:
    """Adapt a presenter's mouth to the person, from their own speech (resumable).

    Trains on the first part of the footage and judges both mouths on the last; the old one is replaced only
    by a better one. The report and pictures of before and after lie in the output folder.
    """
    from engine.anchor.footage import footage_of
    from engine.anchor.package import avatar_roots, find_avatar

    folder = find_avatar(name)
    if avatar_roots()[0] in folder.resolve().parents:
        raise KouboError(f"{folder.name} comes with Koubo and stays as it is; train an avatar of your own.")
    videos = footage or [video for video in [footage_of(folder)] if video is not None]
    if not videos:
        raise KouboError(
            f"It is not known which video {folder.name} was made from; give one of the person talking with "
            "--footage."
        )
    if gone := next((video for video in videos if not video.is_file()), None):
        raise KouboError(f"There is no video at {gone}; give another one with --footage.")
    work = output_folder(output) if output else None
    with progress("", percent=True) as bar:
        outcome = _course(folder, videos, minutes, steps, work, same_person, seed, told(bar))
    _tell(folder.name, outcome, as_json)


def _course(
    folder: Path,
    videos: list[Path],
    minutes: float | None,
    steps: int,
    work: Path | None,
    same_person: bool,
    seed: int,
    tell: "Tell",
) -> "Outcome":
    from engine.anchor.mediapipe_tracker import MediaPipeTracker
    from engine.mouth.openvino_runtime import OpenVinoMouth
    from training.personal import default_minutes
    from training.personal_course import Order, Tools, run_course, work_folder
    from training.preprocess.persons import make_embedder
    from training.preprocess.toolbox import best_embedder
    from training.sync_score import shipped_judge
    from trt_build.export import export

    def write(checkpoint: Path, target: Path, trained: dict[str, Any]) -> None:
        export(checkpoint, target, trained)

    tools = Tools(MediaPipeTracker, shipped_judge(), make_embedder(best_embedder()), OpenVinoMouth, write)
    order = Order(
        folder, videos, work or work_folder(folder), default_minutes() if minutes is None else minutes,
        steps, seed, same_person,
    )  # fmt: skip
    return run_course(order, tools, tell, say)


def _tell(name: str, outcome: "Outcome", as_json: bool) -> None:
    before, after = outcome.before.rounded(), outcome.after.rounded()
    figures = {key: {"before": before[key], "after": after[key]} for key in before}
    decision = outcome.decision
    if as_json:
        show(name, {**figures, "accepted": decision.better, "why": decision.why}, as_json)
        return
    show(name, figures, as_json)
    if decision.better:
        say(f"{name} has the new mouth: {decision.why}.")
    else:
        say(f"{name} keeps the mouth it had: of the new one, {decision.why}.")
    say(f"Pictures and measures: {outcome.report}")
