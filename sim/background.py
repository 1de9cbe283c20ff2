"""Work beside the main thread."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def background(
    function: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Future[Result]:
    """Call a function in a thread of its own.

    A daemon, unlike the threads of ``concurrent.futures``: an interrupt ends the program even while
    Numba compiles in it.
    """
    future: Future[Result] = Future()

    def work() -> None:
        try:
            future.set_result(function(*arguments, **named))
        except BaseException as error:
            # Raised where the result is asked for.
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future
