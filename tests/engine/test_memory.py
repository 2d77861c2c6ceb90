"""How much memory there is: the machine's, a control group's, the limit of a process."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from engine.memory import free_memory

GIB = 1 << 30


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc of a machine with 3 GiB to spare, whose process is in the group /app/one."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(
        f"MemTotal:       {8 * GIB >> 10} kB\nMemFree:    100 kB\nMemAvailable:   {3 * GIB >> 10} kB\n"
        "HugePages_Total:       0\n"
    )
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/app/one\n")
    return tmp_path / "proc"


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def limit(groups: Path, path: str, most: int | str, used: int, files: int = 0) -> None:
    """Of a control group; `files` of what is used is two halves of page cache."""
    folder = groups / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(
        f"anon {used - files}\ninactive_file {files // 2}\nactive_file {files // 2}\n"
    )


def test_the_machine_alone(proc: Path, groups: Path) -> None:
    assert free_memory(proc, groups) == 3 * GIB


def test_a_group_leaves_what_is_not_used_and_what_can_be_read_again(proc: Path, groups: Path) -> None:
    limit(groups, "app/one", 2 * GIB, GIB)
    assert free_memory(proc, groups) == GIB
    limit(groups, "app/one", 2 * GIB, GIB, files=GIB // 2)
    assert free_memory(proc, groups) == GIB * 3 // 2


def test_the_groups_above_count_too(proc: Path, groups: Path) -> None:
    limit(groups, "app/one", "max", GIB)
    limit(groups, "app", GIB, GIB // 2)
    assert free_memory(proc, groups) == GIB // 2
    limit(groups, "", GIB, GIB * 3 // 4)
    assert free_memory(proc, groups) == GIB // 4


def test_a_group_that_is_over_its_limit_leaves_nothing(proc: Path, groups: Path) -> None:
    limit(groups, "app/one", GIB, GIB + 1)
    assert free_memory(proc, groups) == 0


def test_within_a_container_the_group_is_the_root(proc: Path, groups: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/\n")
    limit(groups, "", GIB, GIB // 4)
    assert free_memory(proc, groups) == GIB * 3 // 4


def test_groups_of_version_1_are_passed_over(proc: Path, groups: Path) -> None:
    (proc / "self" / "cgroup").write_text("4:memory:/app/one\n1:name=systemd:/\n")
    limit(groups, "app/one", GIB, GIB)
    assert free_memory(proc, groups) == 3 * GIB


def test_where_nobody_tells_it_is_not_known(tmp_path: Path) -> None:
    assert free_memory(tmp_path, tmp_path) is None


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="needs /proc")
def test_this_machine_has_some() -> None:
    free = free_memory()
    assert free is not None
    assert 1 << 20 < free < 1 << 50


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_limit_of_address_space_counts() -> None:
    """In a process of its own; what is told to be free can be had, and no more."""
    program = """
        import resource
        import mmap
        from pathlib import Path
        from engine.memory import free_memory
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * mmap.PAGESIZE + (300 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        free = free_memory()
        assert free <= 300 << 20, free
        assert free > 200 << 20, free
        mmap.mmap(-1, free - (20 << 20)).close()
        try:
            mmap.mmap(-1, free + (20 << 20))
        except OSError:
            print("refused")
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc")
def test_threads_share_heaps() -> None:
    """Many threads that allocate at once leave few heaps; glibc alone has them."""
    program = """
        import sys, threading
        from pathlib import Path
        from engine.memory import share_heaps
        if sys.argv[1] == "shared":
            share_heaps()
        met = threading.Barrier(12)
        def work():
            met.wait()
            held = [bytes(60_000) for _ in range(50)]
            met.wait()
        threads = [threading.Thread(target=work) for _ in range(12)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        # The heap of an arena is reserved in steps of 64 MiB.
        print(int(Path("/proc/self/statm").read_text().split()[0]) * 4096 >> 20)
    """

    def reserved(how: str) -> int:
        command = [sys.executable, "-c", textwrap.dedent(program), how]
        done = subprocess.run(
            command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    own, shared = reserved("own"), reserved("shared")
    if own < 500:
        pytest.skip("this C library has no heap for each thread")
    assert shared < own - 200
