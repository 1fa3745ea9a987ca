"""What a request asks for, read from its body in whatever form it comes: sizes and names, never meaning."""

from enginehouse.router.asks._ask import MESSAGE_OVERHEAD, Ask, Purpose
from enginehouse.router.asks._parse import ask_of, first_message, parse_ask, purpose_of

__all__ = ["MESSAGE_OVERHEAD", "Ask", "Purpose", "ask_of", "first_message", "parse_ask", "purpose_of"]
