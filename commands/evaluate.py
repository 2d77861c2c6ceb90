"""`koubo evaluate`: measure what was generated."""

from pathlib import Path
from typing import Annotated

import typer

from commands.terminal import Json, progress, show, sounds

app = typer.Typer(help="Measure what was generated.", no_args_is_help=True)


@app.command("mouth")
def evaluate_mouth(
    generated: Annotated[Path, typer.Option(help="The video to judge.")],
    reference: Annotated[Path, typer.Option(help="The true video of the same speech.")],
    as_json: Json = False,
) -> None:
    """Compare the lips of two videos of the same speech."""
    from engine.anchor.mediapipe_tracker import MediaPipeTracker
    from engine.evaluate import compare

    show("Mouth", compare(generated, reference, MediaPipeTracker).as_json(), as_json)


@app.command("voice")
def evaluate_voice(
    video: Annotated[Path, typer.Option(help="A talking video, from koubo render for example.")],
    as_json: Json = False,
) -> None:
    """How the lips of a video go with its own sound, where no true video exists."""
    from dataclasses import asdict

    from engine.anchor.mediapipe_tracker import MediaPipeTracker
    from engine.evaluate import follow_voice

    show("Voice", asdict(follow_voice(video, MediaPipeTracker)), as_json)


@app.command("pairs")
def evaluate_pairs(
    checkpoint: Annotated[Path, typer.Option(help="picture.safetensors or joint.safetensors of a training.")],
    data: Annotated[Path, typer.Option(help="Folder of rendered pairs, best of characters kept out.")],
    as_json: Json = False,
) -> None:
    """Judge the picture side alone: pairs painted from their true codes."""
    from dataclasses import asdict

    from training.evaluate_pairs import judge_pairs

    show("Pairs", asdict(judge_pairs(checkpoint, data)), as_json)


@app.command("presenter")
def evaluate_presenter(
    avatar: Annotated[str, typer.Option(help="Name or folder of a presenter rendered by the studio.")],
    character: Annotated[Path, typer.Option(help="The GLB character that it shows.")],
    speech: Annotated[Path, typer.Option(help="Folder of English recordings; held-out speakers are used.")],
    output: Annotated[Path, typer.Option(help="Folder for true and live videos, report.json, sheet.jpg.")],
    seed: Annotated[int, typer.Option(help="Seed of the presenter's anchor.")] = 0,
    speakers: Annotated[int, typer.Option(help="How many held-out speakers.", min=2)] = 5,
    seconds: Annotated[float, typer.Option(help="Length of each recording.")] = 3.2,
    workers: Annotated[int, typer.Option(help="Browsers side by side.", min=1)] = 2,
    as_json: Json = False,
) -> None:
    """Judge a presenter's mouth on unseen speakers against the studio's true pictures."""
    from engine.anchor.package import Avatar, find_avatar
    from engine.mouth.openvino_runtime import OpenVinoMouth
    from training.evaluate import judge
    from training.split import is_held_out_speaker

    package = Avatar.load(find_avatar(avatar))
    files = [file for file in sounds(speech) if is_held_out_speaker(file)][:speakers]
    with progress("true pictures") as bar:
        verdict = judge(
            package, character, files, output, mouth=OpenVinoMouth(package.mouth),
            seed=seed, seconds=seconds, workers=workers, progress=bar,
        )  # fmt: skip
    show(package.name, verdict.summary(), as_json)
