"""A real server in a directory: started by the first process, shared, stopped after the last."""

from octavo.embedded.binary import find_server
from octavo.embedded.foreground import serve
from octavo.embedded.server import Embedded

__all__ = ["Embedded", "find_server", "serve"]
