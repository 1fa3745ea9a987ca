"""The learned predictor of how demanding a prompt is, and the artefact that it is read from."""

from enginehouse.router.predictor._artefact import SHIPPED, Artefact, load_predictor, save_artefact
from enginehouse.router.predictor._model import LearnedPredictor, PredictorWeights
from enginehouse.router.predictor._reading import GROUPS, KNOWLEDGE, STORY, Reading, read
from enginehouse.router.predictor._words import EDGE_LETTERS, MIN_LETTERS, WordTable

__all__ = [
    "EDGE_LETTERS",
    "GROUPS",
    "KNOWLEDGE",
    "MIN_LETTERS",
    "SHIPPED",
    "STORY",
    "Artefact",
    "LearnedPredictor",
    "PredictorWeights",
    "Reading",
    "WordTable",
    "load_predictor",
    "read",
    "save_artefact",
]
