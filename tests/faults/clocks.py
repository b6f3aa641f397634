"""The time of day of one process, set by a test: a small library that stands before libc's clock.

Python, Celery and every extension in the process see it; nothing in the product knows of it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
  static time_t read_at = -1;
  static long known = 0;
  static int (*real)(clockid_t, struct timespec *) = 0;
  struct timespec now;
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  real(CLOCK_MONOTONIC, &now);
  if (now.tv_sec != read_at) {
    const char *path = getenv("GOVTRACK_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    char text[32] = {0};
    read_at = now.tv_sec;
    if (file >= 0) {
      if (read(file, text, sizeof text - 1) > 0) known = atol(text);
      close(file);
    }
  }
  return known;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
  static int (*real)(clockid_t, struct timespec *) = 0;
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int status = real(id, ts);
  if (status == 0 && id == CLOCK_REALTIME) ts->tv_sec += offset();
  return status;
}

time_t time(time_t *out) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  if (out) *out = ts.tv_sec;
  return ts.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  tv->tv_sec = ts.tv_sec;
  tv->tv_usec = ts.tv_nsec / 1000;
  return 0;
}
"""


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def library(folder: Path) -> Path:
    """The compiled library, for LD_PRELOAD."""
    made = folder / "clock.so"
    if not made.exists():
        source = folder / "clock.c"
        source.write_text(SOURCE)
        command = [compiler() or "cc", "-shared", "-fPIC", "-O2", "-o", str(made), str(source)]
        subprocess.run([*command, "-ldl"], check=True, capture_output=True)
    return made
