"""LiteLLM's proxy, before the same upstream: one worker, no database, a master key, its logging turned down."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

from .tools import Tool

KEY = "sk-bench-0123456789"


def configuration(*, upstream_url: str, upstream_key: str, model: str) -> str:
    """The proxy's configuration file (JSON, which is YAML)."""
    return json.dumps(
        {
            "model_list": [
                {
                    "model_name": model,
                    "litellm_params": {
                        "model": f"openai/{model}",
                        "api_base": f"{upstream_url}/v1",
                        "api_key": upstream_key or "none",
                    },
                }
            ],
            "general_settings": {"master_key": KEY},
            "litellm_settings": {"telemetry": False, "set_verbose": False, "drop_params": True},
        }
    )


def command(litellm: Tool, *, config: pathlib.Path, port: int) -> list[str]:
    """Run the proxy as its documentation says."""
    return [litellm.path, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]


def environment() -> Mapping[str, str]:
    """Settings that turn off its downloads and its log line for each request."""
    return {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DISABLE_ADMIN_UI": "True"}
