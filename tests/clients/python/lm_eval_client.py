"""lm-eval's `local-completions`: the accuracy of a loglikelihood task, by token arrays and by text.

The arguments are the folder of the model's tokenizer, the task's folder and whether prompts go as token arrays.
It prints the accuracy and each choice's loglikelihood as JSON.
"""

from __future__ import annotations

import json
import os
import sys

import lm_eval
from lm_eval.tasks import TaskManager

tokenizer, tasks, tokenized = sys.argv[1:]
model = {
    "model": os.environ["MODEL"],
    "base_url": f"{os.environ['OPENAI_BASE_URL']}/completions",
    "tokenizer": tokenizer,
    "tokenizer_backend": "huggingface",
    "tokenized_requests": tokenized == "tokens",
    "max_length": 512,
    "max_retries": 1,
}
results = lm_eval.simple_evaluate(
    model="local-completions",
    model_args=model,
    tasks=["loaves"],
    task_manager=TaskManager(include_path=tasks, include_defaults=False),
    log_samples=True,
    bootstrap_iters=0,
    verbosity="ERROR",
)
samples = sorted(results["samples"]["loaves"], key=lambda sample: sample["doc_id"])
print(
    json.dumps(
        {
            "accuracy": results["results"]["loaves"]["acc,none"],
            "loglikelihoods": [[float(answer[0]) for answer in sample["filtered_resps"]] for sample in samples],
        }
    )
)
