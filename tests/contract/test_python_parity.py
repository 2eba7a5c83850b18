"""A script must not be able to tell (nor its author be surprised) that its interpreter was waiting for it.

Each script runs under the system's own `python3 -u main.py` and in our sandboxes; bytes and codes must be equal.
"""

# ruff: noqa: E501 - each script on its line, as in a table

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from execd.adapters.local_sandbox import LocalRunner
from tests.support.local_runs import open_runner, run

pytestmark = pytest.mark.slow

SCRIPTS = {
    "main": "import sys; print(__name__, __doc__, __package__, __spec__, sys.argv, sys.path[0] == __file__[:-8])",
    "globals": "print(sorted(globals()))",
    "flags": "import sys; print(sys.flags, sys.dont_write_bytecode)",
    "traceback": "def f():\n    return 1 / 0\n\nf()\n",
    "chained": "try:\n    1/0\nexcept ZeroDivisionError as e:\n    raise ValueError('x') from e\n",
    "context": "try:\n    {}[1]\nfinally:\n    [].pop()\n",
    "group": "raise ExceptionGroup('g', [ValueError(1), OSError(2)])",
    "syntax": "def f(:\n  pass\n",
    "indent": "if 1:\nprint(1)\n",
    "future": "from __future__ import annotations\ndef f(x: undefined): pass\nprint(f.__annotations__)\n",
    "no_future": "def f(x: int): pass\nprint(f.__annotations__)\n",
    "exit_text": "import sys; sys.exit('words')",
    "exit_300": "import sys; sys.exit(300)",
    "exit_minus": "import sys; sys.exit(-1)",
    "exit_object": "import sys; sys.exit([1, 2])",
    "exit_nested": "try:\n    exit(3)\nfinally:\n    print('finally')\n",
    "atexit": "import atexit; atexit.register(print, 'bye'); print('hello')",
    "atexit_fails": "import atexit\n@atexit.register\ndef f(): 1/0\nprint('x')",
    "atexit_after_error": "import atexit; atexit.register(print, 'bye'); 1/0",
    "thread": "import threading, time\ndef f(): time.sleep(0.05); print('late')\nthreading.Thread(target=f).start(); print('early')",
    "thread_fails": "import threading\ndef f(): 1/0\nt = threading.Thread(target=f, name='T'); t.start(); t.join(); print('on')",
    "thread_exits": "import threading, sys\nt = threading.Thread(target=lambda: sys.exit(3)); t.start(); t.join(); print('on')",
    "daemon_thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start(); print('done')",
    "hook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__)\n1/0\n",
    "bad_hook": "import sys\ndef hook(*a): [].pop()\nsys.excepthook = hook\n1/0\n",
    "del": "class A:\n    def __del__(self): print('gone')\na = A()\nprint('end')\n",
    "del_in_cycle": "class A:\n    def __del__(self): print('gone')\na = A(); a.me = a\nprint('end')\n",
    "del_in_module": "import sys, types\nclass A:\n    def __del__(self): print('gone')\nm = types.ModuleType('m'); m.a = A(); sys.modules['m'] = m\n",
    "del_in_builtin": "import json\nclass A:\n    def __del__(self): print('gone')\njson.a = A()\n",
    "unflushed": "f = open('out', 'w'); f.write('data')\nimport os; print(os.path.getsize('out'))\nprint('end')",
    "stdout_replaced": "import sys, io\nsys.stdout = io.StringIO()\nprint('lost')\n",
    "stdout_closed": "import sys\nsys.stdout.close()\n",
    "recursion": "import sys\nsys.setrecursionlimit(100)\ndef f(): f()\ntry:\n    f()\nexcept RecursionError as e: print(e)",
    "interrupt": "raise KeyboardInterrupt",
    "interrupt_changed": "import json; json.x = 1; raise KeyboardInterrupt",
    "input": "print(input('? ') + input())",
    "input_eof": "input(); input(); input()",
    "stdin_lines": "import sys\nfor line in sys.stdin: print(repr(line))",
    "streams": "import sys\nprint([(s.encoding, s.errors, s.isatty(), s.seekable(), s.line_buffering, s.name, s.mode) for s in (sys.stdin, sys.stdout, sys.stderr)])",
    "order": "import sys, os\nsys.stdout.write('a'); os.write(1, b'b'); print('c', end=''); os.write(1, b'd')",
    "warn": "import warnings; warnings.warn('careful')",
    "deprecated": "import warnings\ndef f(): warnings.warn('old', DeprecationWarning, stacklevel=2)\nf()",
    "signals": "import signal; print([(s.name, str(signal.getsignal(s))) for s in sorted(signal.valid_signals()) if hasattr(s, 'name') and s.name in ('SIGINT','SIGTERM','SIGCHLD','SIGPIPE','SIGXFSZ','SIGHUP')])",
    "fork": "import os\nif os.fork() == 0:\n    print('child'); os._exit(0)\nprint(os.wait()[1])",
    "fork_exits": "import os, sys\npid = os.fork()\nif pid == 0: sys.exit(4)\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
    "subprocess": "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'print(1)'], capture_output=True).stdout)",
    "multiprocessing": "import multiprocessing as m\ndef f(x): return x * x\nif __name__ == '__main__':\n    with m.Pool(2) as p: print(p.map(f, [1, 2, 3]))",
    "asyncio": "import asyncio\nasync def f(): await asyncio.sleep(0.01); return 5\nprint(asyncio.run(f()))",
    "pickle": "import pickle\nclass A: x = 1\nprint(pickle.loads(pickle.dumps(A())).__class__)",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nprint(A(1))",
    "inspect": "import inspect\ndef f(): pass\nprint(inspect.getsource(f), inspect.getfile(f)[-7:])",
    "cwd": "import os; print(os.listdir('.'), os.umask(0))",
    "import_self": "import main; print(main.__name__)",
    "orig_argv": "import sys; print(sys.orig_argv[1:])",
}


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    folder = tmp_path / "reference"
    folder.mkdir()
    return folder


@pytest.fixture(params=["cold", "warm"])
async def runner(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LocalRunner]:
    async with open_runner(tmp_path, request.param) as opened:
        yield opened


@pytest.mark.parametrize("name", sorted(SCRIPTS))
async def test_a_script_behaves_as_under_plain_python(runner: LocalRunner, reference: Path, name: str) -> None:
    """Whatever differs is a bug report that says "works on my machine"."""
    source, stdin = SCRIPTS[name], "eins\nzwei"
    (reference / "main.py").write_text(source, encoding="utf-8")
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
    # As from a terminal, whatever this run of the tests has inherited: one in the background ignores INT, one under nohup HUP.
    command = ["/usr/bin/env", "--default-signal=HUP,INT,PIPE", "/usr/bin/python3", "-u", "main.py"]
    plain = subprocess.run(command, cwd=reference, input=stdin.encode(), capture_output=True, env=env)  # noqa: ASYNC221 - nothing else runs

    seen = await run(runner, source, stdin=stdin)

    record = seen.exited.record
    assert record is not None
    code = record.exit_code if record.signal is None else -record.signal
    place = str(reference).encode()
    assert (code, seen.stdout, without_addresses(seen.stderr)) == (
        plain.returncode,
        plain.stdout.replace(place, b"/box"),
        without_addresses(plain.stderr.replace(place, b"/box")),
    )


def without_addresses(text: bytes) -> bytes:
    """Objects lie elsewhere in each process."""
    return re.sub(rb"0x[0-9a-f]+", b"0x", text)
