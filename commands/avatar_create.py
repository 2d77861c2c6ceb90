"""`koubo avatar create` and `add-clip`: from a video of somebody to a presenter."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from commands.terminal import Bar, progress, say
from engine.errors import FootageError, KouboError

if TYPE_CHECKING:
    from engine.anchor.card import ClipKind, Consent
    from engine.anchor.choose_matte import MatteChoice
    from engine.anchor.finding import Finding
    from engine.anchor.loops import LoopChoice
    from engine.anchor.survey import Tell

STATEMENT = (
    "I am the person in this video, or have their permission: a talking presenter may be made of it and "
    "shown saying words that were never filmed."
)
RENDERED = "No real person is shown: the character was rendered or drawn."

_STEPS = {
    "look": "looking at the footage",
    "loop": "choosing the idle loop",
    "rest": "closing the mouth",
    "film": "writing pictures",
    "write": "finishing",
    "check": "reading pictures",
    "mouth": "trying the mouth",
    "sheet": "drawing the sheet",
    "pack": "packing",
    "unpack": "unpacking",
}
_MARKS = {"problem": "✗", "advice": "•"}


def create(
    video: Annotated[
        Path, typer.Argument(help="A video of one person, from the front; two minutes are good.")
    ],
    name: Annotated[str, typer.Option(help="Name of the new presenter.")],
    title: Annotated[str, typer.Option(help="Name to show.")] = "",
    title_zh: Annotated[str, typer.Option(help="Name to show in Chinese.")] = "",
    consent_by: Annotated[str, typer.Option(help="Name of the person who is shown.")] = "",
    i_have_consent: Annotated[bool, typer.Option("--i-have-consent", help="They agreed.")] = False,
    rendered: Annotated[str, typer.Option(help="For a drawn or rendered character: who made it.")] = "",
    loop: Annotated[str, typer.Option(help="auto, forward or pingpong.")] = "auto",
    matte: Annotated[
        str, typer.Option(help="auto, none, or a grey video, white where the person is.")
    ] = "auto",
    tracker: Annotated[str, typer.Option(help="mediapipe or face-alignment.")] = "mediapipe",
    mouth: Annotated[
        Path | None, typer.Option(help="Folder of the mouth.", show_default="the shipped one")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder that will hold it.", show_default="your own avatars")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the pictures.")] = "all rights reserved",
    credits: Annotated[str, typer.Option(help="Who made it.")] = "",
) -> None:
    """Make a presenter from a video: checks it, finds the idle loop, writes the package."""
    from engine.anchor.create import Order
    from engine.anchor.create import create as make
    from engine.anchor.package import check_free, check_name, own_avatars, shipped_mouth

    if loop not in ("auto", "forward", "pingpong"):
        raise KouboError(f"There is no loop called {loop}; choose auto, forward or pingpong.")
    (check_name if output else check_free)(name)
    if not video.is_file():
        raise KouboError(f"There is no video file at {video}; check the path.")
    order = Order(
        video, name, output or own_avatars(), mouth or shipped_mouth("lite192"),
        ask_consent(consent_by, i_have_consent, rendered),
        title={"en": title or name, "zh": title_zh or title or name}, licence=licence, credits=credits,
        loop=cast("LoopChoice", loop), matte=_matte(matte), tracker=tracker,
    )  # fmt: skip
    with _footage(video, "presenter"), steps() as tell:
        made = make(order, tell)
    _list(made.findings)
    idle = made.idle
    say(
        f"Idle loop: {made.loop_s[0]:.1f} to {made.loop_s[1]:.1f} s of the video, {made.loop}; where it goes "
        f"round it jumps by {idle.jump:.1f} (1 is just visible). The mouth's square trembles by "
        f"{made.jitter.tremble:.2f} px and lags by {made.jitter.lag:.2f} px."
    )
    shown = name if output is None else str(made.folder)
    say(f"Next: koubo avatar inspect {shown}, then koubo serve and choose {name}.")
    typer.echo(made.folder)


def add_clip(
    name: Annotated[str, typer.Argument(help="The presenter.")],
    video: Annotated[Path, typer.Argument(help="A video of the same person, filmed as the presenter was.")],
    clip_name: Annotated[str, typer.Option(help="Name of the clip, such as wave.")],
    kind: Annotated[str, typer.Option(help="gesture, greeting or talking.")] = "gesture",
    matte: Annotated[str, typer.Option(help="auto, or a grey video, white where the person is.")] = "auto",
    tracker: Annotated[str, typer.Option(help="mediapipe or face-alignment.")] = "mediapipe",
) -> None:
    """Add a gesture, a greeting or another posture to a presenter."""
    from engine.anchor.add_clip import add_clip as add
    from engine.anchor.package import find_avatar, where

    if kind not in ("gesture", "greeting", "talking"):
        raise KouboError(f"There is no kind of clip called {kind}; choose gesture, greeting or talking.")
    folder = find_avatar(name)
    if where(folder) == "shipped":
        raise KouboError(f"{name} came with Koubo and stays as it is; create a presenter of your own.")
    with _footage(video, "clip"), steps() as tell:
        added = add(
            folder, video, clip_name, cast("ClipKind", kind), matte=_matte(matte), tracker=tracker, tell=tell
        )
    _list(added.findings)
    say(f"{clip_name}: {added.taken_s[0]:.1f} to {added.taken_s[1]:.1f} s of the video, {added.clip.loop}.")
    typer.echo(folder / added.clip.file)


def ask_consent(by: str, agreed: bool, rendered: str) -> "Consent":
    """The consent to be stored, asked for where the flags do not give it. Raises KouboError without one."""
    from engine.anchor.card import Consent

    today = date.today().isoformat()
    if rendered.strip():
        return Consent("rendered", rendered.strip(), RENDERED, today)
    try:
        name = by.strip() or typer.prompt("Name of the person in the video").strip()
        agreed = agreed or typer.confirm(f"{STATEMENT}\nDo you, for {name}, confirm this?")
    except typer.Abort as error:
        raise KouboError(
            "No presenter is made of a person who was not asked; give --consent-by NAME --i-have-consent, or "
            "--rendered BY for a character."
        ) from error
    if not agreed:
        raise KouboError("Nothing was made: without consent no presenter is made of a person.")
    return Consent("person", name, STATEMENT, today)


def _matte(choice: str) -> "MatteChoice":
    return cast("MatteChoice", choice) if choice in ("auto", "none") else Path(choice)


@contextmanager
def _footage(video: Path, what: str) -> Iterator[None]:
    """Shows what is wrong with footage as a list; `what` could not be made of it."""
    try:
        yield
    except FootageError as error:
        _list(error.findings)
        raise KouboError(
            f"No {what} was made of {video.name}; see what is marked {_MARKS['problem']}."
        ) from error


@contextmanager
def steps() -> "Iterator[Tell]":
    """A progress bar for each step, one below the other."""
    with ExitStack() as stack:
        bars: dict[str, Bar] = {}

        def tell(step: str, done: int, total: int) -> None:
            if step not in bars:
                stack.close()
                bars[step] = stack.enter_context(progress(_STEPS.get(step, step)))
            bars[step](done, total)

        yield tell


def _list(findings: "tuple[Finding, ...]") -> None:
    for finding in findings:
        say(f"{_MARKS[finding.severity]} {finding.sentence}")
