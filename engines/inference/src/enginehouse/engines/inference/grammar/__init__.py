"""Grammars that bound a model's output: JSON schemas and tool calls, as GBNF.

Written by hand, since the runtime's own conversion drops a schema that it cannot compile and then generates freely.
Here a schema is either enforced or refused.
"""

from __future__ import annotations

from enginehouse.engines.inference.grammar._check import check_grammar
from enginehouse.engines.inference.grammar._gbnf import literal
from enginehouse.engines.inference.grammar._schema import Grammar, schema_grammar

__all__ = ["Grammar", "check_grammar", "literal", "schema_grammar"]
