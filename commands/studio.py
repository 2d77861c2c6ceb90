"""`koubo studio`: render presenters that talk, for training and as anchors."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.terminal import progress, sounds

if TYPE_CHECKING:
    from training.studio.dataset import Utterance

app = typer.Typer(help="Render presenters that talk, for training and as anchors.", no_args_is_help=True)


@app.command("render")
def studio_render(
    character: Annotated[Path, typer.Option(help="GLB character with visemes.")],
    speech: Annotated[Path, typer.Option(help="English speech, any sound file.")],
    output: Annotated[Path, typer.Option(help="Folder for video.mp4, frames/, idle/, truth.json.")],
    workers: Annotated[int, typer.Option(help="Browsers side by side.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Head motion and blinks.")] = 0,
) -> None:
    """Render a character saying an English recording, with the truth of every picture."""
    from training.studio.shots import render_speech

    with progress("pictures") as bar:
        render_speech(character, speech, output, workers=workers, seed=seed, progress=bar)
    typer.echo(output / "video.mp4")


@app.command("say")
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

    with progress("pictures") as bar:
        render_text(character, text, voice, output, workers=workers, seed=seed, progress=bar)
    typer.echo(output / "video.mp4")


@app.command("anchor")
def studio_anchor(
    character: Annotated[Path, typer.Option(help="GLB character with visemes.")],
    output: Annotated[Path, typer.Option(help="The MP4 to write; its pictures are kept beside it.")],
    seconds: Annotated[float, typer.Option(help="Length of the loop.", min=2, max=60)] = 11.0,
    matte: Annotated[
        bool, typer.Option(help="Its matte instead: white where the character is, for a clear background.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Browsers side by side.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Head motion and blinks.")] = 0,
) -> None:
    """Render a character's idle loop, the anchor of a presenter."""
    from training.studio.shots import render_anchor

    with progress("pictures") as bar:
        render_anchor(
            character, output, seconds=seconds, matte=matte, workers=workers, seed=seed, progress=bar
        )
    typer.echo(output)


@app.command("film")
def studio_film(
    character: Annotated[Path, typer.Option(help="GLB character with visemes.")],
    speech: Annotated[list[Path], typer.Option(help="English speech, any sound file; repeatable.")],
    output: Annotated[Path, typer.Option(help="Folder for video.mp4, frames/, truth.json.")],
    silence: Annotated[float, typer.Option(help="Seconds with a closed mouth at the start.", min=0)] = 4.0,
    workers: Annotated[int, typer.Option(help="Browsers side by side.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Head motion and blinks.")] = 0,
) -> None:
    """Render footage as a streamer would film it: some silence, then recordings (resumable)."""
    from training.studio.film import render_film

    with progress("pictures") as bar:
        render_film(character, speech, output, silence_s=silence, workers=workers, seed=seed, progress=bar)
    typer.echo(output / "video.mp4")


@app.command("dataset")
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
    from training.split import is_held_out_character
    from training.studio.dataset import render_pairs

    corpus = _corpus(speech, held_out)
    for character in sorted(characters.glob("*.glb")):
        if is_held_out_character(character) == held_out:
            with progress(character.stem) as bar:
                render_pairs(character, corpus, output, pairs=pairs, seed=seed, workers=workers, progress=bar)
    typer.echo(output)


@app.command("takes")
def takes(
    characters: Annotated[Path, typer.Option(help="Folder of GLB characters.")],
    speech: Annotated[Path, typer.Option(help="Folder of English recordings.")],
    output: Annotated[Path, typer.Option(help="Folder for the clips.")],
    count: Annotated[int, typer.Option("--takes", help="Clips of each character.", min=1)] = 12,
    frames: Annotated[int, typer.Option(help="Pictures of each clip.", min=5)] = 10,
    only: Annotated[
        list[str] | None, typer.Option(help="Just this character, seen in training or not; repeatable.")
    ] = None,
    presenter: Annotated[bool, typer.Option(help="Show them as their anchor does.")] = False,
    held_out: Annotated[
        bool, typer.Option(help="Characters and speakers that are kept out of training instead.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Browsers side by side.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Which moments, poses and lights.")] = 1,
) -> None:
    """Render clips for training with a discriminator: moments of speech over one idle picture (resumable)."""
    from training.split import is_held_out_character
    from training.studio.takes import render_takes

    corpus = _corpus(speech, held_out)
    for character in sorted(characters.glob("*.glb")):
        wanted = character.stem in only if only else is_held_out_character(character) == held_out
        if wanted:
            with progress(character.stem) as bar:
                render_takes(
                    character, corpus, output, takes=count, frames=frames, seed=seed,
                    presenter=presenter, workers=workers, progress=bar,
                )  # fmt: skip
    typer.echo(output)


@app.command("paint")
def paint(
    checkpoint: Annotated[Path, typer.Option(help="picture.safetensors or later of a training.")],
    pairs: Annotated[Path, typer.Option(help="Folder of rendered pairs (koubo studio dataset).")],
    speech: Annotated[Path, typer.Option(help="Folder of English recordings.")],
    output: Annotated[Path, typer.Option(help="Folder for the clips.")],
    clips: Annotated[int, typer.Option(help="Clips of each character.", min=1)] = 40,
    frames: Annotated[int, typer.Option(help="Pictures of each clip.", min=5)] = 8,
    seed: Annotated[int, typer.Option(help="Which pictures and moments.")] = 3,
) -> None:
    """Paint clips with a trained mouth: many more words for the discriminator than can be rendered."""
    from training.studio.painted import paint_clips

    corpus = _corpus(speech, held_out=False)
    with progress("clips") as bar:
        paint_clips(checkpoint, pairs, corpus, output, clips=clips, frames=frames, seed=seed, progress=bar)
    typer.echo(output)


def _corpus(speech: Path, held_out: bool) -> "list[Utterance]":
    from training.split import is_held_out_speaker
    from training.studio.dataset import read_corpus

    with progress("recordings") as bar:
        return read_corpus([file for file in sounds(speech) if is_held_out_speaker(file) == held_out], bar)
