"""The command `voices`: list voices, and create and delete voices of the tenant."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, TimeoutOption, UrlOption, connect
from enginehouse.cli.messages import word
from enginehouse.cli.names import VOICES
from enginehouse.cli.output import JsonFlag, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.values import check_word
from enginehouse.client.requests.voice import GENDERS
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(invoke_without_command=True, help="List voices, create one from a recording, delete one.")


@app.callback()
@reported
def voices(
    context: typer.Context,
    language: Annotated[str, typer.Option("--language", "-l", help="Only voices of this language, such as te.")] = "",
    gender: Annotated[str, typer.Option("--gender", help=f"Only voices of this gender: {', '.join(GENDERS)}.")] = "",
    style: Annotated[str, typer.Option("--style", help="Only voices of this style, such as whisper.")] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="Only voices of this model.")] = "",
    mine: Annotated[bool, typer.Option("--mine", help="Only voices that the tenant created.")] = False,
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List the available voices."""
    if context.invoked_subcommand is not None:
        return
    check_word(gender, GENDERS, flag="--gender", what="gender")
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
    print_table(columns, rows, empty="no voices", wide=wide, folding=["name", "languages", "models"])


@app.command()
@reported
def create(
    name: Annotated[str, typer.Argument(help="The voice's name.")],
    file: Annotated[str, typer.Argument(help="A recording of one speaker, 3 to 30 seconds, in any common format.")],
    language: Annotated[str, typer.Option("--language", "-l", help="The language of the recording, such as te.")],
    speaker: Annotated[str, typer.Option("--consent-speaker", help="The speaker's name.")],
    statement: Annotated[str, typer.Option("--consent-statement", help="The text that the speaker agreed to.")],
    confirmed: Annotated[
        bool, typer.Option("--i-confirm-consent", help="Confirm that the speaker has agreed; required.")
    ] = False,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model that can clone voices; default: the only one.")
    ] = "",
    gender: Annotated[str, typer.Option("--gender", help=f"The voice's gender: {', '.join(GENDERS)}.")] = "",
    description: Annotated[str, typer.Option("--description", help="A description.")] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    timeout: TimeoutOption = 120.0,
    json_: JsonFlag = False,
) -> None:
    """Create a voice from a recording of a speaker who has consented."""
    check_word(gender, GENDERS, flag="--gender", what="gender")
    if not confirmed:
        raise ValueError("consent not confirmed: give --i-confirm-consent once the speaker has agreed")
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
        print_text(f"{voice.voice_id} {voice.name}: use it with `enginehouse say --voice {voice.voice_id}`")


@app.command()
@reported
def delete(
    voice_id: Annotated[str, typer.Argument(help="The voice: its id or the beginning of it, or its name.")],
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Delete a voice that the tenant created, with its recording."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        VOICES.call(mesh, voice_id, mesh.delete_voice)
    if json_:
        print_json({"deleted": voice_id})
    else:
        print_text(f"{voice_id} deleted")


def describe(voice: voice_pb2.Voice) -> dict[str, Any]:
    """Return a voice as a JSON document."""
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
