"""`koubo quantise`: a mouth with int8 weights, for processors that do not compute in bf16."""

from pathlib import Path
from typing import Annotated

import typer

from commands.terminal import Json, console, show

_TEXTS = {
    "en": "The quick brown fox jumps over the lazy dog, and we all watch it go by, humming a low tune.",
    "de": "Guten Morgen, heute scheint die Sonne, und wir gehen gemeinsam durch den alten Park.",
    "fr": "Bonjour à tous, nous voici de retour avec des nouvelles fraîches du marché.",
    "cmn": "你好，今天天气很好，我们一起去公园散步，然后喝一杯茶。",
}


def quantise(
    avatar: Annotated[str, typer.Option(help="The presenter whose mouth it is: its name or folder.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder for a copy of the mouth (default: the mouth's own folder).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a decoder with int8 weights to a mouth; taken by itself on processors without bf16."""
    import shutil
    from dataclasses import asdict

    import numpy as np

    from engine.anchor.package import MOUTH_FILES, Avatar, find_avatar
    from trt_build.quantise import quantise as run
    from trt_build.quantise import voices_mels

    loaded = Avatar.load(find_avatar(avatar))
    mouth = loaded.mouth
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for name in MOUTH_FILES:
            shutil.copyfile(mouth / name, output / name)
        mouth = output
    with console.status("quantising"):
        faces = np.stack([loaded.face(frame) for frame in range(0, loaded.frames, 5)])
        apart = run(mouth, faces, voices_mels(_TEXTS))
    show("Difference from f32, in levels of 255", {"mouth": str(mouth), **asdict(apart)}, as_json)
