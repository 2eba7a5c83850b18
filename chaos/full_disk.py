"""The disk fills while executions run: submissions are refused honestly, nothing is lost, and with room all goes on."""

from __future__ import annotations

import os
import random
import resource
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from chaos.load import Load, carry
from chaos.recipes import BY_NAME
from chaos.world import WORKSPACES, World

DISK_MIB = 96
ROOM_BYTES = 256 * 1024
"""What is left for the database to grow by when the limit on file size stands in for a small disk."""
BEFORE_S, FULL_S = 2.0, 14.0
"""Longer full than a submission waits for its answer (10 s), so that the refusal is seen."""
UNMOUNT_S = 10.0
START_S = 4.0
"""How long a start on the full disk is watched."""
BLOCK = bytes(64 * 1024)


@asynccontextmanager
async def small_disk(parent: Path) -> AsyncIterator[tuple[Path, Mapping[str, str]]]:
    """Put the data directory on a small file system of its own where root may mount one."""
    disk = parent / "disk"
    disk.mkdir()
    options = f"size={DISK_MIB}m,mode=0700"
    mount = ["mount", "-t", "tmpfs", "-o", options, "execd-chaos", str(disk)]
    is_mounted = os.geteuid() == 0 and (await trio.run_process(mount, check=False, capture_stderr=True)).returncode == 0
    try:
        yield disk / "data", {}
    finally:
        if is_mounted:
            shutil.copytree(disk / "data", parent / "data", ignore=shutil.ignore_patterns("ballast"))
            with trio.move_on_after(UNMOUNT_S, shield=True):
                await trio.run_process(["umount", "--lazy", str(disk)])


async def play(world: World, rng: random.Random, *, kills: int) -> None:
    """Fill, wait, kill the server and start it on the full disk, free."""
    load = Load(world, random.Random(rng.getrandbits(64)))
    server = world.server
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        await trio.sleep(BEFORE_S)
        server.is_troubled = True
        with _full(world):
            await trio.sleep(FULL_S)
            ready = await world.ask_once_at_root("/readyz")
            world.book.notes.append(f"/readyz said {ready} while it was full.")
            server.kill()
            world.book.kills += 1
            await server.wait_gone()
            if _is_small(world):
                with _full(world):
                    await _try_to_start(world)
        began = trio.current_time()
        await _start_as_a_supervisor(world)
        server.is_troubled = False
        await carry(world, world.wish(BY_NAME["short"], WORKSPACES[0]), rng)
        world.book.notes.append(f"With room again the first script was done after {trio.current_time() - began:.1f} s.")
        await trio.sleep(BEFORE_S)
        load.close()


async def _start_as_a_supervisor(world: World) -> None:
    """Start it until it stays; there is room now, so at most the process that met the full disk may end."""
    if not world.server.is_running:
        world.server.spawn()
    try:
        await world.server.wait_ready()
    except RuntimeError:
        await world.server.start()


async def _try_to_start(world: World) -> None:
    """Three honest ways: it starts, it ends with a code that is not zero, or it waits for room."""
    world.server.spawn()
    with trio.move_on_after(START_S):
        try:
            await world.server.wait_ready()
        except RuntimeError:
            code = await world.server.wait_gone()
            world.book.notes.append(f"Started on the full disk it ended with code {code}.")
            if code == 0:
                world.book.blame("other", "", "it could not start, and ended with code 0")
            return
        world.book.notes.append("Killed and started on the full disk, it served.")
        return
    world.book.notes.append(f"Killed and started on the full disk, it waited for room ({START_S:.0f} s).")


@contextmanager
def _full(world: World) -> Iterator[None]:
    """Leave no room: fill the small disk, or, where there is none, forbid the server to make files larger."""
    directory = world.server.data_dir
    if not _is_small(world):
        with _short_files(world):
            yield
        return
    path = directory.parent / f"ballast{len(list(directory.parent.glob('ballast*')))}"
    try:
        _fill(path)
        yield
    finally:
        path.unlink(missing_ok=True)


def _is_small(world: World) -> bool:
    return os.path.ismount(world.server.data_dir.parent)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for block in (BLOCK, BLOCK[:4096]):
            try:
                while file.write(block):
                    pass
            except OSError:
                continue


@contextmanager
def _short_files(world: World) -> Iterator[None]:
    world.book.notes.append("No tmpfs could be mounted: RLIMIT_FSIZE of the running server stood in for the full disk.")
    size = max(path.stat().st_size for path in world.server.data_dir.glob("execd.db*"))
    world.server.limit(resource.RLIMIT_FSIZE, size + ROOM_BYTES)
    try:
        yield
    finally:
        if world.server.is_running:
            world.server.limit(resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
