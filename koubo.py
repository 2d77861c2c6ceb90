"""The `koubo` command. Each command imports its room of the house only when it runs."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine.errors import KouboError

app = typer.Typer(help="A presenter on screen says what you say or type.", no_args_is_help=True)
avatar_app = typer.Typer(help="Presenters on this machine.", no_args_is_help=True)
studio_app = typer.Typer(
    help="Render presenters that talk, for training and as anchors.", no_args_is_help=True
)
train_app = typer.Typer(help="Train a mouth.", no_args_is_help=True)
evaluate_app = typer.Typer(help="Measure what was generated.", no_args_is_help=True)
bench_app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
for name, group in (
    ("avatar", avatar_app),
    ("studio", studio_app),
    ("train", train_app),
    ("evaluate", evaluate_app),
    ("bench", bench_app),
):
    app.add_typer(group, name=name)

console = Console(stderr=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Runs the command line; a user's error is one sentence and exit code 1."""
    try:
        app()
    except KouboError as error:
        console.print(f"[bold red]koubo:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8080,
) -> None:
    """Serve presenters to browsers: console at /, player at /player."""
    from streaming.server import serve as run

    run(host, port)


@app.command()
def render(
    avatar: Annotated[str, typer.Option(help="Name or folder of a presenter.")],
    audio: Annotated[Path, typer.Option(help="Any sound file.")],
    output: Annotated[Path, typer.Option(help="The MP4 to write.")],
) -> None:
    """Write a video of a presenter saying a sound file."""
    from engine.anchor.package import Avatar, find_avatar
    from engine.mouth.openvino_runtime import OpenVinoMouth
    from engine.render import render as run

    package = Avatar.load(find_avatar(avatar))
    with _progress("pictures") as progress:
        run(package, audio, output, mouth=OpenVinoMouth(package.mouth), progress=progress)
    typer.echo(output)


@avatar_app.command("list")
def avatar_list(as_json: Json = False) -> None:
    """Names of the presenters on this machine."""
    from engine.anchor.package import list_avatars

    names = list_avatars()
    typer.echo(json.dumps(names) if as_json else "\n".join(names))


@avatar_app.command("prepare")
def avatar_prepare(
    video: Annotated[Path, typer.Argument(help="A video of one person, mouth closed.")],
    name: Annotated[str, typer.Option(help="Name of the new presenter.")],
    output: Annotated[Path, typer.Option(help="Folder that will hold the package.")],
    mouth: Annotated[
        Path | None, typer.Option(help="Folder of the mouth (default: the shipped one).")
    ] = None,
    title: Annotated[str, typer.Option(help="Name to show.")] = "",
    title_zh: Annotated[str, typer.Option(help="Name to show in Chinese.")] = "",
    loop: Annotated[str, typer.Option(help="forward (the video loops by itself) or pingpong.")] = "pingpong",
    licence: Annotated[str, typer.Option(help="Licence of the picture.")] = "all rights reserved",
    consent: Annotated[str, typer.Option(help="Who consented to what.")] = "",
    credits: Annotated[str, typer.Option(help="Who made it.")] = "",
) -> None:
    """Make a presenter's package from an anchor video."""
    from engine.anchor.mediapipe_tracker import MediaPipeTracker
    from engine.anchor.prepare import AvatarFacts, prepare

    if loop not in ("forward", "pingpong"):
        raise KouboError(f"There is no loop called {loop}; choose forward or pingpong.")
    facts = AvatarFacts({"en": title or name, "zh": title_zh or title or name}, licence, consent, credits)
    with _progress("pictures") as progress, MediaPipeTracker() as tracker:
        folder = prepare(
            video, name, output, mouth or shipped_mouth("lite192"), tracker,
            loop="forward" if loop == "forward" else "pingpong", facts=facts,
            progress=lambda done: progress(done, 0),
        )  # fmt: skip
    typer.echo(folder)


@studio_app.command("render")
def studio_render(
    character: Annotated[Path, typer.Option(help="GLB character with visemes.")],
    speech: Annotated[Path, typer.Option(help="English speech, any sound file.")],
    output: Annotated[Path, typer.Option(help="Folder for video.mp4, frames/, idle/, truth.json.")],
    workers: Annotated[int, typer.Option(help="Browsers side by side.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Head motion and blinks.")] = 0,
) -> None:
    """Render a character saying an English recording, with the truth of every picture."""
    from training.studio.shots import render_speech

    with _progress("pictures") as progress:
        render_speech(character, speech, output, workers=workers, seed=seed, progress=progress)
    typer.echo(output / "video.mp4")


@studio_app.command("say")
def studio_say(
    character: Annotated[Path, typer.Option(help="GLB character with visemes.")],
    text: Annotated[str, typer.Option(help="What to say.")],
    output: Annotated[Path, typer.Option(help="Folder for video.mp4, frames/, idle/, truth.json.")],
    voice: Annotated[str, typer.Option(help="espeak-ng voice, such as en-us or cmn.")] = "en-us",
    workers: Annotated[int, typer.Option(help="Browsers side by side.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Head motion and blinks.")] = 0,
) -> None:
    """Render a character saying a text in any language of espeak-ng."""
    from training.studio.shots import render_text

    with _progress("pictures") as progress:
        render_text(character, text, voice, output, workers=workers, seed=seed, progress=progress)
    typer.echo(output / "video.mp4")


@studio_app.command("anchor")
def studio_anchor(
    character: Annotated[Path, typer.Option(help="GLB character with visemes.")],
    output: Annotated[Path, typer.Option(help="The MP4 to write; its pictures are kept beside it.")],
    seconds: Annotated[float, typer.Option(help="Length of the loop.", min=2, max=60)] = 11.0,
    workers: Annotated[int, typer.Option(help="Browsers side by side.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Head motion and blinks.")] = 0,
) -> None:
    """Render a character's idle loop, the anchor of a presenter."""
    from training.studio.shots import render_anchor

    with _progress("pictures") as progress:
        render_anchor(character, output, seconds=seconds, workers=workers, seed=seed, progress=progress)
    typer.echo(output)


@studio_app.command("dataset")
def studio_dataset(
    characters: Annotated[Path, typer.Option(help="Folder of GLB characters.")],
    speech: Annotated[Path, typer.Option(help="Folder of English recordings.")],
    output: Annotated[Path, typer.Option(help="Folder for the pairs.")],
    pairs: Annotated[int, typer.Option(help="Pairs of pictures for each character.", min=2)] = 140,
    held_out: Annotated[bool, typer.Option(help="Render who is kept out of training instead.")] = False,
    workers: Annotated[int, typer.Option(help="Browsers side by side.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Which moments, poses and lights.")] = 1,
) -> None:
    """Render the training set: idle and speaking pictures at the same pose (resumable)."""
    from training.split import is_held_out_character, is_held_out_speaker
    from training.studio.dataset import read_corpus, render_pairs

    with _progress("recordings") as progress:
        files = [file for file in _sounds(speech) if is_held_out_speaker(file) == held_out]
        corpus = read_corpus(files, progress)
    for character in sorted(characters.glob("*.glb")):
        if is_held_out_character(character) == held_out:
            with _progress(character.stem) as progress:
                render_pairs(
                    character, corpus, output, pairs=pairs, seed=seed, workers=workers, progress=progress
                )
    typer.echo(output)


@train_app.command("generator")
def train_generator(
    data: Annotated[Path, typer.Option(help="Folder of rendered pairs (koubo studio dataset).")],
    speech: Annotated[Path, typer.Option(help="Folder of English recordings.")],
    output: Annotated[
        Path, typer.Option(help="Folder for checkpoints and curves; an old run there resumes.")
    ],
    preset: Annotated[str, typer.Option(help="Size of the network.")] = "lite192",
    ear_minutes: Annotated[float, typer.Option(help="Step B: minutes for the ear.", min=0)] = 14.0,
    picture_minutes: Annotated[float, typer.Option(help="Step A: minutes for the picture.", min=0)] = 45.0,
    joint_minutes: Annotated[float, typer.Option(help="Step C: minutes for both together.", min=0)] = 10.0,
    emphasise: Annotated[list[str] | None, typer.Option(help="A character to draw more often.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Train a lip generator by the three-step curriculum."""
    from training.curriculum import Minutes, train

    minutes = Minutes(ear_minutes, picture_minutes, joint_minutes)
    with _progress("", percent=True) as progress:
        checkpoint = train(
            preset, data, _sounds(speech), output, minutes,
            emphasise=emphasise or (), seed=seed, tell=_told(progress),
        )  # fmt: skip
    typer.echo(checkpoint)


@app.command("export")
def export(
    checkpoint: Annotated[Path, typer.Option(help="joint.safetensors of a training.")],
    output: Annotated[Path, typer.Option(help="Folder for the two ONNX files and model.json.")],
) -> None:
    """Turn a trained mouth into the files that the engine runs."""
    from trt_build.export import export as run

    typer.echo(run(checkpoint, output))


@evaluate_app.command("mouth")
def evaluate_mouth(
    generated: Annotated[Path, typer.Option(help="The video to judge.")],
    reference: Annotated[Path, typer.Option(help="The true video of the same speech.")],
    as_json: Json = False,
) -> None:
    """Compare the lips of two videos of the same speech."""
    from engine.anchor.mediapipe_tracker import MediaPipeTracker
    from engine.evaluate import compare

    _show("Mouth", compare(generated, reference, MediaPipeTracker).as_json(), as_json)


@evaluate_app.command("voice")
def evaluate_voice(
    video: Annotated[Path, typer.Option(help="A talking video, from koubo render for example.")],
    as_json: Json = False,
) -> None:
    """How the lips of a video go with its own sound, where no true video exists."""
    from dataclasses import asdict

    from engine.anchor.mediapipe_tracker import MediaPipeTracker
    from engine.evaluate import follow_voice

    _show("Voice", asdict(follow_voice(video, MediaPipeTracker)), as_json)


@evaluate_app.command("pairs")
def evaluate_pairs(
    checkpoint: Annotated[Path, typer.Option(help="picture.safetensors or joint.safetensors of a training.")],
    data: Annotated[Path, typer.Option(help="Folder of rendered pairs, best of characters kept out.")],
    as_json: Json = False,
) -> None:
    """Judge the picture side alone: pairs painted from their true codes."""
    from dataclasses import asdict

    from training.evaluate_pairs import judge_pairs

    _show("Pairs", asdict(judge_pairs(checkpoint, data)), as_json)


@evaluate_app.command("presenter")
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
    files = [file for file in _sounds(speech) if is_held_out_speaker(file)][:speakers]
    with _progress("true pictures") as progress:
        verdict = judge(
            package, character, files, output, mouth=OpenVinoMouth(package.mouth),
            seed=seed, seconds=seconds, workers=workers, progress=progress,
        )  # fmt: skip
    _show(package.name, verdict.summary(), as_json)


@bench_app.command("mouth")
def bench_mouth(
    model: Annotated[str, typer.Option(help="A shipped mouth, or the folder of one.")] = "lite192",
    frames: Annotated[int, typer.Option(help="Pictures to time.", min=10)] = 300,
    as_json: Json = False,
) -> None:
    """Milliseconds for each picture of a mouth's live half."""
    from engine.mouth.openvino_runtime import OpenVinoMouth
    from trt_build.bench import bench_mouth as run

    folder = Path(model) if Path(model).is_dir() else shipped_mouth(model)
    _show("Mouth", run(OpenVinoMouth(folder), folder, frames=frames), as_json)


@bench_app.command("live")
def bench_live(
    sessions: Annotated[int, typer.Option(help="Sessions at once.", min=1)] = 2,
    seconds: Annotated[float, typer.Option(help="How long to measure.", min=2)] = 20.0,
    as_json: Json = False,
) -> None:
    """Delay and punctuality of live sessions over real WebRTC connections."""
    from streaming.bench import bench_live as run

    _show("Live", run(sessions, seconds), as_json)


def shipped_mouth(model: str) -> Path:
    """Folder of a mouth that comes with Koubo."""
    from engine.anchor.package import avatar_roots

    mouths: Path = avatar_roots()[0] / "mouths"
    folder = mouths / model
    if not (folder / "model.json").is_file():
        known = ", ".join(sorted(path.name for path in mouths.glob("*"))) or "none"
        raise KouboError(f"There is no mouth called {model}; shipped: {known}.")
    return folder


def _sounds(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise KouboError(f"There is no folder {folder}; give a folder of sound files.")
    files = sorted(
        f for f in folder.iterdir() if f.suffix.lower() in {".flac", ".wav", ".mp3", ".ogg", ".m4a"}
    )
    if not files:
        raise KouboError(f"{folder} holds no sound files (FLAC, WAV, MP3, OGG or M4A).")
    return files


class _Bar:
    """A progress bar that is told (done, total) and, where wanted, what is being done."""

    def __init__(self, bar: Progress, what: str) -> None:
        self._bar = bar
        self._task = bar.add_task(what, total=None)

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total or None)

    def describe(self, what: str) -> None:
        """Names what is being done now."""
        self._bar.update(self._task, description=what)


@contextmanager
def _progress(what: str, *, percent: bool = False) -> Iterator[_Bar]:
    count = TextColumn("{task.percentage:>3.0f} %") if percent else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        yield _Bar(bar, what)


def _told(bar: _Bar) -> Callable[[str, float, dict[str, float]], None]:
    def tell(step: str, share: float, figures: dict[str, float]) -> None:
        text = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        bar.describe(f"{step}  {text}")
        bar(round(1000 * share), 1000)

    return tell


def _show(title: str, figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(figures))
        return
    table = Table(title=title, show_header=False)
    for key, value in figures.items():
        shown = "  ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(key, shown)
    Console().print(table)


if __name__ == "__main__":
    main()
