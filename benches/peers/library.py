"""This crate's side in this process: its library, loaded by ctypes. Needs nothing but Python."""

import ctypes
import json


class Failure(RuntimeError):
    """what the library says of a request that it could not do"""


class Library:
    """The three functions of `../in_process`, whose `requests.rs` lists what can be asked; call it from one thread."""

    def __init__(self, path: str):
        loaded = ctypes.CDLL(path)
        self._ask, self._free, self._run = loaded.foveate_ask, loaded.foveate_free, loaded.foveate_run
        self._ask.argtypes, self._ask.restype = [ctypes.c_char_p], ctypes.c_void_p
        self._free.argtypes, self._free.restype = [ctypes.c_void_p], None
        self._run.argtypes, self._run.restype = [ctypes.c_uint32], ctypes.c_int

    def ask(self, do: str, **fields) -> dict:
        """the answer to a request"""
        text = self._ask(json.dumps({"do": do, **fields}).encode())
        if not text:
            raise Failure(f"{do}: no memory for an answer")
        try:
            answer = json.loads(ctypes.string_at(text))
        finally:
            self._free(text)
        if "error" in answer:
            raise Failure(f"{do}: {answer['error']}")
        return answer

    def run(self, times: int = 1):
        """computes the prepared case so many times, without waiting for it"""
        if self._run(times):
            raise Failure(self.ask("failure")["why"])

    def result(self, at: int, shape: dict) -> tuple[bytearray, dict]:
        """the bytes of a result of the first call, and its `dtype` and `dims`"""
        count = 1
        for size in shape["dims"]:
            count *= size
        held = bytearray(count * {"f32": 4, "i32": 4, "u8": 1}[shape["dtype"]])
        if held:
            pointer = ctypes.addressof(ctypes.c_char.from_buffer(held))
            self.ask("read", at=at, pointer=pointer, bytes=len(held))
        return held, shape
