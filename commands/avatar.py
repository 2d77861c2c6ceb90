"""`koubo avatar`: presenters on this machine."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from commands import avatar_create, avatar_train
from commands.terminal import Json, say
from engine.errors import AvatarError, KouboError

if TYPE_CHECKING:
    from engine.anchor.package_checks import Check
    from engine.anchor.summary import Summary

app = typer.Typer(help="Presenters on this machine.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A presenter's name, or the folder of one.")]

_MARKS = {"ok": "[green]✓[/]", "advice": "[yellow]•[/]", "problem": "[red]✗[/]"}
_WORST = ("problem", "advice", "ok")


@app.command("list")
def avatar_list(as_json: Json = False) -> None:
    """The presenters on this machine."""
    from engine.anchor.package import find_avatar, list_avatars
    from engine.anchor.summary import summarise

    found: list[dict[str, Any]] = []
    table = Table()
    for column in ("name", "title", "where", "seconds", "size", "MB", "clips", "mouth", "consent", "matte"):
        table.add_column(column, justify="right" if column in ("seconds", "MB") else "left")
    for name in list_avatars():
        try:
            summary = summarise(find_avatar(name))
        except AvatarError as error:
            found.append({"name": name, "problem": str(error)})
            table.add_row(name, "[red]damaged[/]", f"see koubo avatar validate {escape(name)}")
            continue
        found.append(asdict(summary))
        table.add_row(*(escape(cell) for cell in _row(summary)))
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        Console().print(table)


def _row(summary: "Summary") -> tuple[str, ...]:
    consent = summary.consent
    return (
        summary.name,
        " ".join(dict.fromkeys(summary.title.values())),
        summary.where,
        f"{summary.seconds:.1f}",
        "x".join(map(str, summary.size)),
        f"{summary.bytes / 1e6:.1f}",
        " ".join(clip.name for clip in summary.clips),
        summary.model,
        "none" if consent is None else f"{consent.shown}: {consent.by}",
        "yes" if summary.matte else "no",
    )


@app.command("inspect")
def avatar_inspect(
    name: Name,
    sheet: Annotated[
        Path | None, typer.Option(help="Picture to write (.jpg or .png).", show_default="NAME-sheet.jpg here")
    ] = None,
    as_json: Json = False,
) -> None:
    """What is known of a presenter, and a contact sheet that shows whether it is good."""
    from engine.anchor.contact_sheet import contact_sheet
    from engine.anchor.package import Avatar, find_avatar
    from engine.anchor.page import write_page
    from engine.anchor.summary import summarise
    from engine.mouth.openvino_runtime import OpenVinoMouth

    folder = find_avatar(name)
    summary = summarise(folder)
    target = sheet or Path(f"{summary.name}-sheet.jpg")
    with avatar_create.steps() as tell:
        avatar = Avatar.load(folder)
        write_page(target, contact_sheet(avatar, OpenVinoMouth(avatar.mouth), tell))
    if as_json:
        typer.echo(json.dumps({**asdict(summary), "sheet": str(target)}, ensure_ascii=False))
        return
    table = Table(title=escape(summary.name), show_header=False)
    for key, value in _facts(summary):
        table.add_row(key, escape(value))
    Console().print(table)
    say(f"Look at it: {target}")


def _facts(summary: "Summary") -> list[tuple[str, str]]:
    consent = summary.consent
    facts = [
        ("title", ", ".join(f"{text} ({language})" for language, text in summary.title.items())),
        ("folder", f"{summary.folder} ({summary.where})"),
        (
            "pictures",
            f"{summary.size[0]}x{summary.size[1]}, {summary.seconds:.1f} s, {summary.bytes / 1e6:.1f} MB",
        ),
    ]
    facts += [
        (
            f"clip {clip.name}",
            f"{clip.kind}, {clip.loop}, {clip.seconds:.1f} s, mouth shown {clip.share:.0%}",
        )
        for clip in summary.clips
    ]
    facts += [
        (
            "mouth",
            f"{summary.model} in {summary.mouth}: draws {summary.mouth_size} px for {summary.crop:.0f} px",
        ),
        ("matte", "yes" if summary.matte else "no"),
        ("licence", summary.licence),
        ("credits", summary.credits or "none"),
    ]
    if consent is None:
        return [*facts, ("consent", "none is stated")]
    return [*facts, ("consent", f"{consent.shown}: {consent.by}, {consent.on}"), ("to", consent.statement)]


@app.command("validate")
def avatar_validate(
    what: Annotated[str, typer.Argument(help="A presenter's name, its folder, or a zip file.")],
    as_json: Json = False,
) -> None:
    """Check everything of a presenter; ends with 1 where there is a problem."""
    from engine.anchor.archive import validate_archive
    from engine.anchor.package import find_avatar, list_avatars
    from engine.anchor.validate import validate

    packed = what not in list_avatars() and Path(what).is_file()
    with avatar_create.steps() as tell:
        checks = validate_archive(Path(what), tell) if packed else validate(find_avatar(what), tell)
    worst = min((check.verdict for check in checks), key=_WORST.index)
    if as_json:
        report = {"verdict": worst, "checks": [asdict(check) for check in checks]}
        typer.echo(json.dumps(report, ensure_ascii=False))
    else:
        Console().print(_table(checks))
    if worst == "problem":
        raise typer.Exit(1)


def _table(checks: "list[Check]") -> Table:
    table = Table(show_header=False, box=None)
    for check in checks:
        table.add_row(_MARKS[check.verdict], check.code, escape(check.sentence))
    return table


@app.command("export")
def avatar_export(
    name: Name,
    output: Annotated[
        Path | None, typer.Option(help="Zip file to write.", show_default="NAME.zip here")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    consent_by: Annotated[
        str, typer.Option(help="For a presenter without one: name of the person who is shown.")
    ] = "",
    i_have_consent: Annotated[bool, typer.Option("--i-have-consent", help="They agreed.")] = False,
    rendered: Annotated[
        str, typer.Option(help="For a presenter without consent that is drawn: who made it.")
    ] = "",
) -> None:
    """Pack a presenter and its mouth into one file for another machine."""
    from engine.anchor.archive import export_avatar
    from engine.anchor.card import read_card
    from engine.anchor.package import find_avatar

    folder = find_avatar(name)
    given = bool(consent_by or i_have_consent or rendered)
    asked = given or read_card(folder).consent is None
    consent = avatar_create.ask_consent(consent_by, i_have_consent, rendered) if asked else None
    target = output or Path(f"{folder.absolute().name}.zip")
    with avatar_create.steps() as tell:
        export_avatar(folder, target, consent=consent, force=force, tell=tell)
    typer.echo(target)


@app.command("import")
def avatar_import(
    archive: Annotated[Path, typer.Argument(help="A zip file that `koubo avatar export` wrote.")],
    name: Annotated[
        str | None, typer.Option(help="Another name for it.", show_default="as it was called")
    ] = None,
) -> None:
    """Take a presenter out of a file; refused where anything in it is not as it should be."""
    from engine.anchor.archive import import_avatar

    with avatar_create.steps() as tell:
        folder = import_avatar(archive, name=name, tell=tell)
    say(f"Next: koubo serve, then choose {folder.name}; or koubo avatar inspect {folder.name}.")
    typer.echo(folder)


@app.command("delete")
def avatar_delete(
    name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Remove one of your own presenters for good."""
    from engine.anchor.package import check_own, delete, find_avatar

    folder = find_avatar(name)
    check_own(folder)
    try:
        sure = yes or typer.confirm(f"Remove {folder} for good?")
    except typer.Abort:
        sure = False
    if not sure:
        raise KouboError("Nothing was deleted; say --yes to delete without being asked.")
    delete(name)
    say(f"{folder.name} is deleted.")


app.command("create")(avatar_create.create)
app.command("add-clip")(avatar_create.add_clip)
app.command("train")(avatar_train.train)
