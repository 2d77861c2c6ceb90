"""`koubo bench encode`: options of x264 on pictures of a speaking presenter, by cost and quality."""

from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from commands.bench_report import Against, Plot, Report, Save
from commands.terminal import Json, Runtime, progress

_LEAST_WIDTH = 110


def bench_encode(
    avatar: Annotated[str, typer.Option(help="The presenter, by name or folder.")] = "ada",
    seconds: Annotated[float, typer.Option(help="Seconds of speaking pictures.", min=1, max=60)] = 8.0,
    kbps: Annotated[int, typer.Option(help="Bit rate, as the setting video_bitrate_kbps.", min=100)] = 2500,
    rounds: Annotated[
        int, typer.Option(help="How often everything is encoded; the fastest counts.", min=1)
    ] = 3,
    runtime: Runtime = None,
    save: Save = None,
    against: Against = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """What presets and options of x264 cost on this machine, and what they do to the picture."""
    from engine.anchor.package import Avatar, find_avatar
    from engine.mouth.choose import AUTO, choose
    from streaming.bench_clip import speech_clip
    from streaming.bench_encode import bench_encode as measure
    from streaming.bench_encode import mouth_square, speaking
    from trt_build.plot_live import plot_encode

    report = Report("bench encode", save, against, plot, plot_encode)
    package = Avatar.load(find_avatar(avatar))
    with progress("drawing the presenter") as bar:
        mouth = choose(package.mouth, runtime or AUTO, tell=lambda sentence: None).runtime
        pictures = speaking(package, mouth, speech_clip(seconds), seconds)

        def tell(done: int, total: int, name: str) -> None:
            bar.describe(name)
            bar(done, total)

        figures = measure(pictures, mouth_square(package.card), kbps, rounds=rounds, tell=tell)
    report.finish({"avatar": package.card.name} | figures, as_json, encode_table)


def encode_table(figures: dict[str, Any]) -> None:
    """Print the variants, the dearest first."""
    table = Table(
        title=f"x264 for {figures['size']} at {figures['target_kbps']} kbit/s: "
        f"{figures['avatar']}, {figures['pictures']} pictures, one thread",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    columns = ("ms", "p99", "kbit/s", "key kB", "PSNR dB", "mouth", "worst", "SSIM", "mouth")
    table.add_column("options over those of the server", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for name, found in sorted(figures["variants"].items(), key=lambda item: -item[1]["mean_ms"]):
        table.add_row(
            name,
            f"{found['mean_ms']:.2f}",
            f"{found['encode_ms']['p99']:.1f}",
            str(found["sent_kbps"]),
            f"{found['keyframe_kb']:.1f}",
            *(f"{found[key]:.2f}" for key in ("psnr_db", "mouth_psnr_db", "worst_mouth_psnr_db")),
            *(f"{found[key]:.4f}" for key in ("ssim", "mouth_ssim")),
        )
    Console(width=max(Console().width, _LEAST_WIDTH)).print(table)
