"""Write the settings by which the `llm` command knows the mesh."""

from __future__ import annotations

import os
import pathlib

import yaml

entry = {
    "model_id": "mesh",
    "model_name": os.environ["MODEL"],
    "api_base": os.environ["OPENAI_BASE_URL"],
    "api_key_name": "mesh",
}
home = pathlib.Path(os.environ["LLM_USER_PATH"])
(home / "extra-openai-models.yaml").write_text(yaml.safe_dump([entry]))
(home / "keys.json").write_text(f'{{"mesh": "{os.environ["OPENAI_API_KEY"]}"}}')
print("passed")
