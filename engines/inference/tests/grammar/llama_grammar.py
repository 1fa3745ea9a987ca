"""llama.cpp's own reading of a grammar, from the library that the engine runs: the judge of what a grammar accepts."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import xllamacpp


@cache
def _library() -> Any:
    [path] = Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
    library = ctypes.CDLL(str(path))
    # C++ functions, by their mangled names.
    library.init = library["_Z23llama_grammar_init_implPK11llama_vocabPKcS3_bPS3_mPKim"]
    library.init.restype = ctypes.c_void_p
    library.init.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_bool, ctypes.c_void_p, ctypes.c_size_t,
        ctypes.c_void_p, ctypes.c_size_t,
    ]  # fmt: skip
    library.accept = library["_Z20llama_grammar_acceptP13llama_grammarj"]
    library.accept.restype = None
    library.accept.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.stacks = library["_Z24llama_grammar_get_stacksP13llama_grammar"]
    library.stacks.restype = ctypes.POINTER(ctypes.c_void_p)
    library.stacks.argtypes = [ctypes.c_void_p]
    library.free = library["_Z23llama_grammar_free_implP13llama_grammar"]
    library.free.restype = None
    library.free.argtypes = [ctypes.c_void_p]
    return library


class LlamaGrammar:
    """A compiled grammar."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()
        with self._begun():
            pass

    @contextmanager
    def _begun(self) -> Iterator[int]:
        handle = _library().init(None, self._text, b"root", False, None, 0, None, 0)
        if not handle:
            raise ValueError("llama.cpp does not compile the grammar")
        try:
            yield handle
        finally:
            _library().free(handle)

    def accepts(self, text: str) -> bool:
        """Return whether the model may write exactly this text."""
        with self._begun() as handle:
            for character in text:
                _library().accept(handle, ord(character))
                stacks = _library().stacks(handle)
                if stacks[0] == stacks[1]:
                    return False
            # A vector of vectors: the text may end where a stack is empty.
            stacks = _library().stacks(handle)
            for at in range(stacks[0] or 0, stacks[1] or 0, 3 * ctypes.sizeof(ctypes.c_void_p)):
                stack = ctypes.cast(at, ctypes.POINTER(ctypes.c_void_p))
                if stack[0] == stack[1]:
                    return True
            return False
