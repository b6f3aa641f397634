"""CPU time and memory of processes, read from /proc (Linux)."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    cpu: float
    """Seconds of user and system time, with children that it has waited for."""
    command: str


def all_processes() -> dict[int, Process]:
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                rest = file.read().rpartition(")")[2].split()
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode("utf-8", "replace")
            cpu = sum(int(value) for value in rest[11:15]) / TICKS
            found[int(entry)] = Process(int(entry), int(rest[1]), cpu, command)
    return found


def family(root: int) -> list[Process]:
    """`root` and all its descendants that live."""
    processes = all_processes()
    wanted, grew = {root}, True
    while grew:
        more = {p.pid for p in processes.values() if p.parent in wanted} - wanted
        wanted |= more
        grew = bool(more)
    return [processes[pid] for pid in wanted if pid in processes]


def cpu_of(root: int) -> float:
    return sum(p.cpu for p in family(root))


def peak_mb(pid: int) -> float:
    """Resident memory at most so far, in MB (10^6 bytes); 0 when the process is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def reset_peak(pid: int) -> None:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as f:
        f.write("5")
