"""What a sandbox's first process and its child share, and how the child becomes the program.

Runs under the sandbox's interpreter, like shim.py beside it, and obeys the same rules: standard library, few imports.

Never: returns from `execute`, or lets anything of the shim be seen in the program but one frame below its own.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found,unused-ignore]  # the C half of `signal`, unknown to typeshed
import errno
import marshal
import os
import resource
import sys
import time

PR_SET_DUMPABLE = 4
INTERRUPTED = -2
"""In place of an exit code: ended by SIGINT, as Python does after an uncaught KeyboardInterrupt."""

TYPE_CHECKING = False  # mypy knows this name; `typing` itself would be a costly import
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, NoReturn

    Message = dict[str, Any]

# --- what both processes use ----------------------------------------------------------------------------------------


def prctl(option: int, value: int) -> None:
    """Call prctl(2) through the C half of ctypes: importing all of ctypes takes four times as long."""
    import _ctypes

    class Int(_ctypes._SimpleCData):  # type: ignore[type-arg] # noqa: SLF001 - what ctypes itself does
        _type_ = "i"

    class Function(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL
        _restype_ = Int

    libc = _ctypes.dlopen(None, 0)  # type: ignore[arg-type] # None is this program, as in ctypes.CDLL(None)
    call = Function(_ctypes.dlsym(libc, "prctl"))
    if call(option, value, 0, 0, 0) != 0:
        raise OSError(f"prctl({option}, {value}) failed")


def read_exactly(fd: int, count: int) -> bytes | None:
    """Read so many bytes, or give None at end-of-file."""
    pieces = []
    while count:
        piece = os.read(fd, min(count, 1 << 20))
        if not piece:
            return None
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def receive(fd: int) -> Message | None:
    """Read one message; None when execd closed its end."""
    head = read_exactly(fd, 4)
    body = None if head is None else read_exactly(fd, int.from_bytes(head, "big"))
    return None if body is None else marshal.loads(body)  # noqa: S302 - written by execd, see the module's head


def write_record(fd: int, **fields: str | float | None) -> None:
    """Write one record. Shorter than PIPE_BUF, so it arrives whole; by hand, because importing json is dear."""
    pairs = [f'"{name}":{json_text(value)}' for name, value in fields.items()]
    os.write(fd, ("{" + ",".join(pairs) + "}\n").encode("ascii"))


def json_text(value: str | float | None) -> str:
    """Write a plain word, number or constant as JSON."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f'"{value}"' if isinstance(value, str) else repr(value)


def be_child(script: int, record: int, streams: list[int]) -> None:
    """Wait for the script and become the program. Returns only when a Python script ran to its end in this process."""
    for target, fd in enumerate(streams):
        os.dup2(fd, target)
        os.close(fd)
    os.setsid()
    prctl(PR_SET_DUMPABLE, 1)
    volunteer_for_oom()
    os.write(script, b"C")
    message = receive(script)
    if message is None:
        os._exit(0)
    os.close(script)
    try:
        take_place(message)
    except (OSError, ValueError, ImportError) as error:
        give_up(record, error)
    write_record(record, type="started")
    if message["argv"] is not None:
        execute(message, record)
    os.close(record)
    become(message["path"], message["args"])


def volunteer_for_oom() -> None:
    """Ask the kernel to take the program before the shim when memory runs out; a hint, so failure is no fault."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        return


def rehearse() -> None:
    """Do once for nothing what a script will need: memory shared with the shim is copied now, not while somebody waits."""
    import gc

    message = marshal.loads(marshal.dumps({"env": {"PATH": "/"}, "args": [], "source": b"x"}, 2))  # noqa: S302 - our own
    set_limits([])
    os.environ.update(message["env"])
    namespace = {"__name__": "rehearsal"}
    exec(compile("import sys\ndef f(x):\n    return [x]\nf(1)\n", "rehearsal", "exec"), namespace)  # noqa: S102 - our own
    namespace.clear()
    gc.collect()


def take_place(message: Message) -> None:
    """Lay the files, set the environment and the limits, as the script message says."""
    os.umask(0o022)
    os.chdir(message["directory"])
    for path, content in message["files"]:
        lay_file(path, content)
    os.environ.clear()
    os.environ.update(message["env"])
    if "TZ" in message["env"]:
        time.tzset()
    set_limits(message["rlimits"])


def lay_file(path: str, content: bytes) -> None:
    """Write one file below the working directory. Nothing is followed and nothing replaced."""
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)


def set_limits(rlimits: list[tuple[str, int, int]]) -> None:
    """Set resource limits; one that is already lower stays."""
    for name, soft, hard in rlimits:
        which = getattr(resource, name)
        ceiling = resource.getrlimit(which)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(which, (soft, hard))


def give_up(record: int, error: Exception) -> NoReturn:
    """Say why the program could not be started, and end."""
    number = getattr(error, "errno", None) or errno.EINVAL
    write_record(record, type="exec_error", name=errno.errorcode.get(number, "EINVAL"))
    os._exit(127)


def execute(message: Message, record: int) -> NoReturn:
    """Run the compile step if there is one, then replace this process by the program. The record pipe closes on exec."""
    env = dict(os.environ)
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):  # Python ignores both, and what it ignores stays ignored by exec
        _signal.signal(number, _signal.SIG_DFL)
    try:
        if message["compile"]:
            compile_first(message["compile"], env)
        os.execvpe(message["argv"][0], message["argv"], env)  # noqa: S606 - an argv, on purpose without a shell
    except (OSError, ValueError) as error:
        give_up(record, error)


def compile_first(argv: list[str], env: dict[str, str]) -> None:
    """Run the compiler with the program's own streams and limits; its failure is the run's."""
    pid = os.posix_spawnp(argv[0], argv, env)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != 0:
        os._exit(code if code > 0 else 128 - code)


def become(path: str, args: list[str]) -> None:
    """Run the file as `python3 path` would in a fresh interpreter, with the same `__main__`, arguments and tracebacks."""
    import _frozen_importlib_external as machinery  # present since the interpreter began; importlib.machinery is not

    namespace = fresh_main(path, args, machinery.SourceFileLoader)
    # `sys` and `__main__` change in every run, and are looked after by name.
    kept = [(name, module) for name, module in sys.modules.items() if name not in {"sys", "__main__"}]
    inherited = {name: len(getattr(module, "__dict__", ())) for name, module in kept}
    with Catcher() as script:
        with open(namespace["__file__"], "rb") as file:
            source = file.read()
        code = compile(source, namespace["__file__"], "exec", dont_inherit=True)
        exec(code, namespace)  # noqa: S102 - this is what it is for
    # Told after the block, strictly: inside a handler every further exception would carry this one as its context.
    end_as_python_does(0 if script.error is None else tell_failure(script.error), inherited)


class Catcher:
    """Catches whatever ends a block, without the frame that caught it."""

    error: BaseException | None = None

    def __enter__(self) -> Catcher:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> bool:
        if error is not None:
            self.error = error.with_traceback(trace and trace.tb_next)
        return True


def fresh_main(path: str, args: list[str], loader: Any) -> dict[str, Any]:
    """Put an empty `__main__` and the script's own arguments in the place of the shim's."""
    full_path = os.path.join(os.getcwd(), path)
    flags = sys.orig_argv[: sys.orig_argv.index(sys.argv[0])] if hasattr(sys, "orig_argv") else []
    sys.orig_argv = [*flags, path, *args]
    sys.argv[:] = [path, *args]
    sys.modules.pop("shim_program", None)
    if not sys.flags.isolated and not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.getcwd()
    module = type(sys)("__main__")
    namespace = module.__dict__
    namespace.update(__loader__=loader("__main__", full_path), __builtins__=sys.modules["builtins"])
    namespace.update(__annotations__={}, __file__=full_path, __cached__=None)
    sys.modules["__main__"] = module
    return namespace


def tell_failure(error: BaseException) -> int:
    """Print what ended the script, through its own hook, as Python would; give the exit code."""
    if isinstance(error, SystemExit):
        return exit_code_of(error.code)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
    with Catcher() as hook:
        sys.excepthook(type(error), error, error.__traceback__)
    if isinstance(hook.error, SystemExit):
        return exit_code_of(hook.error.code)
    if hook.error is not None:
        sys.stderr.write("Error in sys.excepthook:\n")
        sys.__excepthook__(type(hook.error), hook.error, hook.error.__traceback__)
        sys.stderr.write("\nOriginal exception was:\n")
        sys.__excepthook__(type(error), error, error.__traceback__)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def exit_code_of(value: Any) -> int:
    """Turn the argument of `sys.exit` into a code; anything but a number or None is a message."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value & 0xFF
    sys.stderr.write(f"{value}\n")
    return 1


def end_as_python_does(code: int, inherited: dict[str, int]) -> NoReturn:
    """Join threads, run exit functions, let go of what the script made, flush, and end.

    Python's own finalisation would also take the preloaded modules apart, object by object, on pages shared with the
    shim: 6 ms for nothing anybody could see. It is left to Python only if the script changed one of those modules, whose
    contents could then have something to say at their end.
    """
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()  # noqa: SLF001 - what the interpreter itself calls
    import atexit

    atexit._run_exitfuncs()  # noqa: SLF001 - likewise
    if code != INTERRUPTED and has_changed(inherited):
        sys.exit(code)
    let_go(inherited)
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        sys.exit(code)
    if code == INTERRUPTED:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
        os.kill(os.getpid(), _signal.SIGINT)
    os._exit(code)


def has_changed(inherited: dict[str, int]) -> bool:
    """Say whether the script added to, or removed, a module that was there before it."""
    expected = inherited.items()
    now = {name: len(getattr(module, "__dict__", ())) for name, module in list(sys.modules.items())}
    return any(now.get(name) != size for name, size in expected)


def let_go(inherited: dict[str, int]) -> None:
    """Empty the script's own modules, so that files are flushed and `__del__` runs, in Python's order: main first."""
    own = [
        module
        for name, module in list(sys.modules.items())
        if name not in inherited and name not in {"sys", "__main__"}
    ]
    for name in ("last_type", "last_value", "last_traceback"):
        sys.__dict__.pop(name, None)
    for module in [sys.modules["__main__"], *reversed(own)]:
        names = getattr(module, "__dict__", {})
        for name in [name for name in names if name != "__builtins__"]:
            names[name] = None
    import gc

    gc.collect()
