"""`koubo train`: train a mouth and the discriminator that watches it."""

from pathlib import Path
from typing import Annotated

import typer

from commands.terminal import console, output_folder, progress, sounds, told
from engine.errors import KouboError

app = typer.Typer(help="Train a mouth and the discriminator that watches it.", no_args_is_help=True)

Data = Annotated[
    list[Path],
    typer.Option(help="Folder of clips or pairs; repeatable, and named twice it counts twice."),
]
Output = Annotated[Path, typer.Option(help="Folder for checkpoints and curves; an old run there goes on.")]
PresetName = Annotated[str, typer.Option(help="Size of the networks; training/presets has them.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]


@app.command("sync")
def train_sync(
    data: Data,
    output: Output,
    preset: PresetName = "seed96",
    steps: Annotated[int, typer.Option(help="Steps; the same steps give the same weights.", min=0)] = 0,
    minutes: Annotated[float, typer.Option(help="Or minutes of computing.", min=0)] = 30.0,
    batch: Annotated[int, typer.Option(help="Windows of five pictures a step.", min=2)] = 32,
    seed: Seed = 0,
) -> None:
    """Train the lip-sync discriminator on clips whose sound and picture belong together.

    Several GPUs or machines: torchrun --nproc-per-node N -m koubo train sync ...
    """
    from training import parallel
    from training.clip_data import ClipData, read_clips
    from training.models.discriminator import crop_side
    from training.models.presets import preset as named
    from training.train_sync import DISCRIMINATOR, SyncRun
    from training.train_sync import train_sync as run
    from training.variation import draw_harsh

    plan = named(preset)
    with parallel.joined(), progress("", percent=True) as bar:
        clips = read_clips(data)
        run(
            plan,
            ClipData(clips, crop_side(plan.size), seed=seed, camera=draw_harsh),
            SyncRun(
                output_folder(output), lambda share, figures: told(bar)("sync", share, figures), _warn,
                steps=steps, minutes=minutes, batch=batch, seed=seed,
            ),
        )  # fmt: skip
    typer.echo(output / DISCRIMINATOR)


@app.command("generator")
def train_generator(
    data: Data,
    output: Output,
    speech: Annotated[
        Path | None, typer.Option(help="Folder of English recordings: for the ear, with rendered pairs.")
    ] = None,
    preset: PresetName = "lite192",
    discriminator: Annotated[
        Path | None, typer.Option(help="discriminator.safetensors of `koubo train sync` (default: shipped).")
    ] = None,
    start: Annotated[
        list[Path] | None, typer.Option(help="Checkpoint of the same preset to start from; repeatable.")
    ] = None,
    ear_minutes: Annotated[float, typer.Option(help="Step B: minutes for the ear.", min=0)] = 14.0,
    picture_minutes: Annotated[float, typer.Option(help="Step A: minutes for the picture.", min=0)] = 45.0,
    joint_minutes: Annotated[float, typer.Option(help="Step C: minutes for both together.", min=0)] = 0.0,
    together_minutes: Annotated[
        float, typer.Option(help="Minutes with the discriminator, on clips.", min=0)
    ] = 45.0,
    together_steps: Annotated[int, typer.Option(help="Or steps, for the same weights again.", min=0)] = 0,
    sync: Annotated[float, typer.Option(help="Share of the sync loss.")] = 0.1,
    perceptual: Annotated[float, typer.Option(help="Share of the perceptual loss.")] = 0.4,
    ms_ssim: Annotated[float, typer.Option(help="Share of MS-SSIM.")] = 0.3,
    gradient: Annotated[float, typer.Option(help="Share of the gradients' L1; L1 gets the rest.")] = 0.0,
    warm_up: Annotated[int, typer.Option(help="Steps until the sync loss has its full share.", min=0)] = 200,
    fixed: Annotated[bool, typer.Option(help="Keep the discriminator as it is instead of by turns.")] = False,
    vgg: Annotated[
        Path | None, typer.Option(help="VGG-19 weights for the perceptual loss (default: discriminator's).")
    ] = None,
    fetch_vgg: Annotated[bool, typer.Option(help="Fetch torchvision's VGG-19 once and use it.")] = False,
    from_code: Annotated[
        bool, typer.Option(help="Paint clips from their true code (rendered ones) instead of the sound.")
    ] = False,
    rate: Annotated[float, typer.Option(help="Highest learning rate on clips.", min=0)] = 5e-4,
    batch: Annotated[int, typer.Option(help="Sequences of five pictures a step.", min=2)] = 4,
    emphasise: Annotated[list[str] | None, typer.Option(help="A character to draw more often.")] = None,
    seed: Seed = 0,
) -> None:
    """Train a lip generator.

    From rendered pairs and speech by steps (ear, picture, joint), then, from clips, by turns with the
    discriminator; from clips alone only the latter. Several GPUs or machines: torchrun --nproc-per-node N
    -m koubo train generator ...
    """
    from training import parallel
    from training.curriculum import Minutes, Plan, train
    from training.losses import Weights
    from training.perceptual import fetch_vgg as fetched
    from training.train_together import Recipe

    weights = Weights(sync, perceptual, ms_ssim, gradient, warm_up)
    recipe = Recipe(
        weights, alternate=not fixed, rate=rate, batch=batch, source="code" if from_code else "sound"
    )
    minutes = Minutes(ear_minutes, picture_minutes, joint_minutes, together_minutes, together_steps)
    with parallel.joined(), progress("", percent=True) as bar:
        plan = Plan(
            preset, data, sounds(speech) if speech else [], output_folder(output), minutes,
            recipe=recipe, discriminator=discriminator,
            vgg=fetched() if fetch_vgg else vgg, start=start or (), emphasise=emphasise or (), seed=seed,
        )  # fmt: skip
        checkpoint = train(plan, told(bar), _warn)
    typer.echo(checkpoint)


@app.command("ablation")
def ablation(
    data: Data,
    held_out: Annotated[list[Path], typer.Option(help="Folder of clips of people kept out; repeatable.")],
    output: Annotated[Path, typer.Option(help="Folder for runs and the report; an old suite there goes on.")],
    suite: Annotated[str, typer.Option(help="losses, curriculum or sweep.")] = "losses",
    seeds: Annotated[int, typer.Option(help="Runs of each variant.", min=1)] = 3,
    steps: Annotated[int, typer.Option(help="The generator's turns in each run.", min=2)] = 300,
    base_steps: Annotated[
        int, typer.Option(help="Steps of L1 that all variants of a seed have in common.", min=0)
    ] = 600,
    discriminator: Annotated[
        Path | None, typer.Option(help="discriminator.safetensors of `koubo train sync` (default: shipped).")
    ] = None,
) -> None:
    """Compare recipes: the same network, data and steps, one thing changed at a time."""
    from engine.anchor.mediapipe_tracker import MediaPipeTracker
    from training.ablation import SUITES, Suite, run_suite
    from training.sync_score import SHIPPED

    if suite not in SUITES:
        raise KouboError(f"There is no suite called {suite}; choose one of {', '.join(SUITES)}.")
    plan = Suite(
        SUITES[suite], range(seeds), steps, data, held_out, discriminator or SHIPPED, output, base_steps
    )
    with progress("", percent=True) as bar:
        report = run_suite(plan, MediaPipeTracker, told(bar))
    typer.echo(report.read_text(encoding="utf-8"))


def _warn(sentence: str) -> None:
    console.print(f"[bold yellow]koubo:[/] {sentence}", highlight=False, soft_wrap=True)
