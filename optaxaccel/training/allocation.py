"""Keep what the allocator frees, so that a step on CPU does not fetch its memory from the system anew each time."""

import contextlib
import ctypes
import os
import sys
from pathlib import Path

_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD, _ARENA_MAX = -4, -1, -2, -8  # <malloc.h> of glibc
_SETTINGS = {
    _MMAP_MAX: 0,  # no block is mapped for itself alone
    _TRIM_THRESHOLD: -1,  # nothing goes back to the system
    _TOP_PAD: 1 << 27,  # bytes by which the heap grows
}


def keep_freed_memory(*, one_arena: bool = False) -> bool:
    """Tell glibc's malloc to keep freed memory for the next step, for this process; call it before JAX starts.

    XLA allocates the temporary memory of a compiled step on CPU when the step starts and frees it at its end. By
    default glibc maps each block of more than 32 MB for itself and unmaps it again, and the first touch of every page
    of 4 KB is a trap to the kernel: together as costly as three or four passes over the block.

    XLA's threads have arenas of their own, of 64 MB at most; a larger block is mapped and unmapped whatever the
    settings. `one_arena` has all threads share the main thread's heap, which has no such limit. But there compilers
    leave thousands of small holes, and the search for a place goes through them at every allocation. Huge pages make
    mapping cheap instead, but only the environment a process starts with turns them on, see `restart_with_huge_pages`.
    CPU time of a step, after four compilations in the process (batch 128, one core, jax 0.10):

    | network | temporary memory | glibc's default | kept | kept, one arena | kept, huge pages |
    | --- | ---: | ---: | ---: | ---: | ---: |
    | three convolutions, half the channels | 26 MB | 24 ms | 24 ms | 29 ms | 24 ms |
    | ResNet of 8 layers, half the channels | 62 MB | 78 ms | 55 ms | 70 ms | 54 ms |
    | three convolutions, with `gose_sgd` | 89 MB | 35 ms | 35 ms | 28 ms | 25 ms |
    | ResNet-20 | 303 MB | 409 ms | 404 ms | 346 ms | 373 ms |

    Args:
      one_arena: whether all threads share one heap.

    Returns:
      Whether the settings were accepted; elsewhere than on Linux with glibc nothing is done. The environment does the
      same: `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000`, and `MALLOC_ARENA_MAX=1` for one arena.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = {**_SETTINGS, _ARENA_MAX: 1} if one_arena else _SETTINGS
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in settings.items())


def restart_with_huge_pages() -> None:
    """Start this Python process anew, in its place, with an environment that has malloc ask for pages of 2 MB.

    For the entry of the `optaxaccel` command, before anything is imported that takes time: the command begins anew,
    with the same process number. In any other program nothing is done, since what stands before the call would run
    twice; set the variable, `GLIBC_TUNABLES=glibc.malloc.hugetlb=1`, where it is started. Nor is anything done where
    that says something about huge pages already, or where the kernel grants none on request or the C library is not
    glibc 2.35 or newer.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc.hugetlb" in tunables or not (_is_the_command() and _grants_huge_pages()):
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, [tunables, "glibc.malloc.hugetlb=1"]))
    with contextlib.suppress(OSError):  # then it goes on as it is
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _is_the_command() -> bool:
    program, entry = Path(sys.argv[0]), Path(__file__).parents[1] / "__main__.py"
    return sys.platform == "linux" and (program.name == "optaxaccel" or program == entry)


def _grants_huge_pages() -> bool:
    try:
        policy = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
        library, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (OSError, ValueError):
        return False
    return "[madvise]" in policy and library == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
