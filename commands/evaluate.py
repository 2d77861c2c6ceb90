"""`koubo evaluate`: measure what was generated."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.terminal import Bar, Json, progress, show, sounds
from engine.errors import KouboError

if TYPE_CHECKING:
    from training.evaluate import Recording

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


@app.command("sync")
def evaluate_sync(
    what: Annotated[list[Path], typer.Argument(help="Talking videos, or folders of clips.")],
    discriminator: Annotated[
        Path | None, typer.Option(help="discriminator.safetensors of `koubo train sync` (default: shipped).")
    ] = None,
    as_json: Json = False,
) -> None:
    """How far sound and mouth of a video are apart; on clips, how well offsets made on purpose are found."""
    from dataclasses import asdict

    from engine.anchor.mediapipe_tracker import MediaPipeTracker
    from training.clip_data import read_clips
    from training.evaluate_sync import judge_offsets, judge_video
    from training.sync_score import shipped_judge

    judge = shipped_judge(discriminator)
    found = {}
    for path in what:
        if path.is_dir():
            with progress(path.name) as bar:
                found[str(path)] = asdict(judge_offsets(judge, read_clips([path]), progress=bar))
        else:
            with MediaPipeTracker() as tracker:
                found[str(path)] = asdict(judge_video(judge, path, tracker))
    show("Sync", found, as_json)


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


@app.command("switches")
def evaluate_switches(
    avatar: Annotated[str, typer.Option(help="Name or folder of a presenter of several clips.")],
    speech: Annotated[Path, typer.Option(help="Any sound file of speech.")],
    as_json: Json = False,
) -> None:
    """How a presenter's clips follow each other while it speaks: jumps, sharpness, time."""
    from dataclasses import asdict

    from engine.anchor.package import Avatar, find_avatar
    from engine.evaluate.switches import judge_switches
    from engine.mouth.openvino_runtime import OpenVinoMouth
    from engine.speech.audio import load_speech

    package = Avatar.load(find_avatar(avatar))
    if len(package.card.clips) < 2:
        raise KouboError(f"{package.name} has only its idle clip; add one with koubo avatar add-clip.")
    mouth = OpenVinoMouth(package.mouth, threads=1)
    show(package.name, asdict(judge_switches(package, mouth, load_speech(speech))), as_json)


@app.command("seam")
def evaluate_seam(
    avatar: Annotated[str, typer.Option(help="Name or folder of an avatar.")],
    speech: Annotated[list[Path], typer.Option(help="A recording; may be given again.")],
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet to this JPEG or PNG.")] = None,
    seconds: Annotated[float, typer.Option(help="How much of each recording.", min=1)] = 4.0,
    as_json: Json = False,
) -> None:
    """How well an avatar's speaking mouth sits in its untouched pictures; no true video is needed."""
    from dataclasses import asdict

    from engine.anchor.package import Avatar, find_avatar
    from engine.anchor.page import write_page
    from engine.evaluate.paste_back import score_paste
    from engine.mouth.openvino_runtime import OpenVinoMouth

    package = Avatar.load(find_avatar(avatar))
    with progress(package.name) as bar:
        score, picture = score_paste(
            package, speech, OpenVinoMouth(package.mouth), seconds=seconds, progress=bar
        )
    if sheet is not None:
        write_page(sheet, picture)
    show(f"Seam of {package.name}", {key: round(value, 3) for key, value in asdict(score).items()}, as_json)


@app.command("report")
def evaluate_report(
    output: Annotated[Path, typer.Option(help="Folder for index.html, report.json, videos and pictures.")],
    avatar: Annotated[str, typer.Option(help="Name or folder of a presenter rendered by the studio.")] = "",
    character: Annotated[Path | None, typer.Option(help="The GLB character that it shows.")] = None,
    speech: Annotated[
        Path | None, typer.Option(help="Folder of English recordings; held-out speakers are used.")
    ] = None,
    mouth: Annotated[Path | None, typer.Option(help="Folder of another exported mouth to judge.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the presenter's anchor.")] = 0,
    speakers: Annotated[int, typer.Option(help="How many held-out speakers.", min=2)] = 5,
    seconds: Annotated[float, typer.Option(help="Length of each recording.", min=1)] = 3.2,
    workers: Annotated[int, typer.Option(help="Browsers side by side.", min=1)] = 2,
    truth: Annotated[list[Path] | None, typer.Option(help="A true video; may be given again.")] = None,
    generated: Annotated[list[Path] | None, typer.Option(help="The generated one of each truth.")] = None,
    anchor: Annotated[list[Path] | None, typer.Option(help="The untouched one of each truth.")] = None,
    sync: Annotated[Path | None, typer.Option(help="Checkpoint of another sync discriminator.")] = None,
    as_json: Json = False,
) -> None:
    """All seven measures of truth, generated and untouched anchor, as a page to look at and as JSON.

    Of a presenter (--avatar, --character, --speech, --seed) or of videos (--truth, --generated, --anchor).
    """
    from engine.anchor.mediapipe_tracker import MediaPipeTracker
    from training.evaluate import paired
    from training.report import PAGE, judge_or_reason, report

    judge = judge_or_reason(sync)
    silence = None
    with progress("report") as bar:
        if truth or generated or anchor:
            if avatar or character or speech or mouth:
                raise KouboError("Give either a presenter (--avatar) or videos (--truth, --generated).")
            recordings = paired(truth or [], generated or [], anchor or [])
            title = ", ".join(one.name for one in recordings)
        elif avatar and character and speech:
            title, recordings, silence = _presented(
                avatar, character, speech, output, mouth, seed, speakers, seconds, workers, bar
            )
        else:
            raise KouboError(
                "Give --avatar with --character and --speech, or --truth with --generated; see --help."
            )
        found = report(
            title, recordings, output, MediaPipeTracker, judge, silence=silence, tell=_telling(bar)
        )
    show(title, found.summary(), as_json)
    typer.echo(output / PAGE, err=True)


def _telling(bar: Bar) -> Callable[[str, int, int], None]:
    """Shows (step, done, total) on the bar."""

    def tell(step: str, done: int, total: int) -> None:
        bar.describe(step)
        bar(done, total)

    return tell


def _presented(
    avatar: str,
    character: Path,
    speech: Path,
    output: Path,
    mouth: Path | None,
    seed: int,
    speakers: int,
    seconds: float,
    workers: int,
    bar: Bar,
) -> tuple[str, "list[Recording]", tuple[float, float]]:
    """Title, recordings and silence of a presenter."""
    from engine.anchor.mediapipe_tracker import MediaPipeTracker
    from engine.anchor.package import Avatar, find_avatar
    from engine.mouth.openvino_runtime import OpenVinoMouth
    from training.evaluate import present, silence
    from training.split import is_held_out_speaker

    package = Avatar.load(find_avatar(avatar))
    runtime = OpenVinoMouth(mouth or package.mouth)
    if runtime.size != package.crop_size:
        raise KouboError(
            f"This mouth draws {runtime.size} px but {package.name} has crops of {package.crop_size} px; "
            "prepare the presenter for it."
        )
    files = [file for file in sounds(speech) if is_held_out_speaker(file)][:speakers]
    bar.describe("true pictures")
    recordings = present(
        package, character, files, output, mouth=runtime,
        seed=seed, seconds=seconds, workers=workers, progress=bar,
    )  # fmt: skip
    title = package.card.title.get("en", package.name)
    return title, recordings, silence(package, output, runtime, MediaPipeTracker)


@app.command("check")
def evaluate_check(
    video: Annotated[Path, typer.Option(help="A video of one talking face.")],
    output: Annotated[Path, typer.Option(help="Folder for the spoilt copies.")],
    seconds: Annotated[float, typer.Option(help="How much of the video.", min=1)] = 4.0,
    as_json: Json = False,
) -> None:
    """Check the measures themselves: copies spoilt in known ways must score as spoilt."""
    from dataclasses import asdict

    from engine.anchor.mediapipe_tracker import MediaPipeTracker
    from training.evaluate_check import check

    with progress("copies") as bar:
        rows = check(video, output, MediaPipeTracker, seconds=seconds, progress=bar)
    show(
        video.name,
        {name: {key: round(value, 3) for key, value in asdict(row).items()} for name, row in rows.items()},
        as_json,
    )
