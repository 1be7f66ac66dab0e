"""A parser process whose documents say what becomes of it."""

import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType

from pipeline_assets.documents import parser
from pipeline_assets.documents.documents import Document
from pipeline_assets.errors import InvalidInput


def obey(data: bytes) -> Document:
    """Do what the document says; it is `WORD`, or `WORD ARGUMENT`."""
    word, _, argument = data.decode().partition(" ")
    match word:
        case "kill":
            os.kill(os.getpid(), int(argument))
        case "once" if not Path(argument).exists():
            Path(argument).touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        case "compute":
            while True:
                pass
        case "wait":
            time.sleep(float(argument))
        case "fill":
            return Document(text=str(len(bytearray(int(argument)))))
        case "grow":
            HELD.append(bytearray(int(argument)))
        case "nest":
            return obey(data)
        case "raise":
            raise ERRORS[argument]
    return Document(text=f"{os.getpid()}")


HELD: list[bytearray] = []
ERRORS = {"refusal": InvalidInput("no text in it"), "bug": LookupError("nothing under this key")}

if __name__ == "__main__":
    if sys.argv[2] == "0.5":  # as a library that cannot be loaded
        sys.exit(9)
    parser.ACTIONS = MappingProxyType({"structured": (obey, ())})
    parser.main(Connection(int(sys.argv[1])), float(sys.argv[2]), int(sys.argv[3]))
