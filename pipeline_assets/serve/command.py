"""`serve`: the HTTP service, until it is stopped."""

import ipaddress
import logging
import os
import socket
from collections.abc import Callable

import uvicorn

from pipeline_assets.commands.search import search
from pipeline_assets.errors import PipelineError
from pipeline_assets.resources import Resources
from pipeline_assets.serve.app import application
from pipeline_assets.serve.errors import CannotListen

log = logging.getLogger(__name__)

CONNECTIONS = 256
KEEP_ALIVE_S = 15
STOP_S = 10
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def serve(resources: Resources, host: str, port: int, say: Callable[[str], None]) -> None:
    """Answer until SIGTERM or Ctrl-C; what is being answered then is answered still.

    Raises `CannotListen`, before any model is loaded.
    """
    _try_to_listen(host, port)
    if not is_loopback(host):
        say(
            f"warning: there is no login, and {host} is not loopback: whoever reaches port {port} "
            "reads every item. Put a proxy with a login before it"
        )
    one_thread_a_search()
    warm_up(resources)
    name = f"[{host}]" if ":" in host else host
    app = application(resources, hosts=_named(name) if is_loopback(host) else ("*",))
    say(f"serving {resources.settings.data} at http://{name}:{port} until Ctrl-C")
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        ws="none",
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
    )


def _try_to_listen(host: str, port: int) -> None:
    """Uvicorn would say why only in its log, after we had said that we serve."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise CannotListen(host, port, error.strerror or str(error)) from error


def _named(name: str) -> tuple[str, ...]:
    """What a request may call a service on loopback: as every one of them, or as this one."""
    return tuple(dict.fromkeys((*LOOPBACK_NAMES, name)))


def one_thread_a_search() -> None:
    """Have FAISS and torch, which are not loaded yet, use one thread a call.

    Requests share the cores already. With a team of threads for each, which wait for each other in
    busy loops, eight clients waited half as long again (median of 10,000 items on two cores).
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def warm_up(resources: Resources) -> None:
    """Load the models that searches need before the first one waits for them."""
    try:
        search(resources, "anything", mode="hybrid", top=1)
    except PipelineError as error:
        log.warning("there is no search for now: %s", error)
