"""`voices`: which there are, and those that a tenant makes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, TimeoutOption, UrlOption, connect
from enginehouse.cli.messages import word
from enginehouse.cli.output import JsonFlag, print_json, print_table, print_text, reported
from enginehouse.client.requests.voice import GENDERS
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(invoke_without_command=True, help="List the voices, make one from a recording, delete one.")


@app.callback()
@reported
def voices(
    context: typer.Context,
    language: Annotated[str, typer.Option("--language", "-l", help="Only those that speak it, such as te.")] = "",
    gender: Annotated[str, typer.Option("--gender", help=f"Only those that sound so: {', '.join(GENDERS)}.")] = "",
    style: Annotated[str, typer.Option("--style", help="Only those of this style, such as whisper.")] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="Only those that this model speaks with.")] = "",
    mine: Annotated[bool, typer.Option("--mine", help="Only those that were made here.")] = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List the voices that you may use."""
    if context.invoked_subcommand is not None:
        return
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = list(mesh.voices(language=language, gender=gender, style=style, model=model, cloned=mine))
    if json_:
        print_json({"voices": [describe(voice) for voice in found]})
        return
    rows = [
        [
            voice.voice_id,
            voice.name,
            ", ".join(voice.languages),
            word(voice_pb2.Gender, voice.gender) if voice.gender else "",
            voice.style,
            ", ".join(voice.models),
        ]
        for voice in found
    ]
    columns = ["voice", "name", "languages", "gender", "style", "models"]
    print_table(columns, rows, empty="no such voices", whole="voice")


@app.command()
@reported
def create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    file: Annotated[str, typer.Argument(help="A recording of one speaker, 3 to 30 seconds, of any common form.")],
    language: Annotated[str, typer.Option("--language", "-l", help="The language spoken in it, such as te.")],
    speaker: Annotated[str, typer.Option("--consent-speaker", help="Who speaks in it.")],
    statement: Annotated[str, typer.Option("--consent-statement", help="What the speaker agreed to, in words.")],
    confirmed: Annotated[
        bool, typer.Option("--i-confirm-consent", help="Confirm that the speaker has agreed; required.")
    ] = False,
    model: Annotated[str, typer.Option("--model", "-m", help="A model that can clone voices; else the only one.")] = "",
    gender: Annotated[str, typer.Option("--gender", help=f"How it sounds: {', '.join(GENDERS)}.")] = "",
    description: Annotated[str, typer.Option("--description", help="What there is to say of it.")] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    timeout: TimeoutOption = 120.0,
    json_: JsonFlag = False,
) -> None:
    """Make a voice from a recording of somebody who has agreed to it."""
    if not confirmed:
        raise ValueError("no voice is made of a speaker who has not agreed: give --i-confirm-consent once that is so")
    with connect(url=url, api_key=api_key, data=data, timeout_s=timeout) as mesh:
        voice = mesh.create_voice(
            name,
            file,
            language=language,
            speaker=speaker,
            statement=statement,
            confirmed=confirmed,
            model=model,
            gender=gender,
            description=description,
        )
    if json_:
        print_json(describe(voice))
    else:
        print_text(f"{voice.voice_id} {voice.name}: speak with it by `enginehouse say --voice {voice.voice_id}`")


@app.command()
@reported
def delete(
    voice_id: Annotated[str, typer.Argument(help="The voice's id.")],
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Delete a voice that was made here, its recording included."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        mesh.delete_voice(voice_id)
    if json_:
        print_json({"deleted": voice_id})
    else:
        print_text(f"{voice_id} is deleted")


def describe(voice: voice_pb2.Voice) -> dict[str, Any]:
    """A voice as JSON prints it."""
    return {
        "voice_id": voice.voice_id,
        "name": voice.name,
        "models": list(voice.models),
        "languages": list(voice.languages),
        "gender": word(voice_pb2.Gender, voice.gender) if voice.gender else "",
        "style": voice.style,
        "cloned": voice.cloned,
        "created_at_ms": voice.created_at_ms,
        "description": voice.description,
    }
