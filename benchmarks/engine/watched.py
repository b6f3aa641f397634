"""A run of 2,000 cases in a real browser: started, watched, paused, resumed, complete.

    python -m benchmarks.engine.watched [--cases 2000] [--concurrency 16] [--images DIR]

Everything is done on the pages in Chromium: sign in, estimate, start, pause, resume. What the page
says is held against what the provider saw (its clock is this machine's monotonic clock): how long
after the click the last call arrived, how long after the other click the next one did, how often
the page moved, and how far its count was behind. Screenshots go to DIR. About two minutes; the last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import re
import secrets
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.engine.control import Provider, Variant
from benchmarks.engine.processes import peak_mb, reset_peak
from benchmarks.engine.product import Product

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
EMAIL = "olga@example.com"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Watcher:
    """One person's browser on the run."""

    def __init__(self, page: Any, url: str, provider: Provider, images: Path) -> None:
        self.page = page
        self.url = url
        self.provider = provider
        self.images = images
        self.complaints: list[str] = []
        self.shown = 0
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )

    def sign_in(self, email: str, password: str) -> None:
        self.page.goto(f"{self.url}/account/login/")
        self.page.locator("input[name=login]").fill(email)
        self.page.locator("input[name=password]").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(re.compile(r"^(?!.*/account/login/)"))

    def start(self, suite: str, cases: int) -> float:
        self.page.goto(f"{self.url}/runs/new/?suite={suite}")
        self.page.get_by_role("button", name="Estimate first").click()
        self.page.locator("main").get_by_role("status").filter(
            has_text=f"About {cases:,} calls"
        ).wait_for()
        self.shoot("estimate")
        clicked = time.monotonic()
        self.page.get_by_role("button", name="Start the run").click()
        self.page.wait_for_url(re.compile(r"/runs/[0-9a-f-]{36}/$"))
        return clicked

    def click(self, name: str) -> float:
        clicked = time.monotonic()
        self.page.get_by_role("button", name=name).click()
        return clicked

    def done(self) -> int:
        from playwright.sync_api import Error

        bar = "document.querySelector('#run-progress progress')"
        try:
            self.shown = int(self.page.evaluate(f"{bar} ? {bar}.value : 0"))
        except Error:  # between two pages
            self.page.wait_for_load_state()
        return self.shown

    def until(self, count: int) -> list[tuple[float, int, int]]:
        """Watch until the page counts so many: (time, count on the page, answered by then)."""
        seen: list[tuple[float, int, int]] = []
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            shown = self.done()
            if not seen or shown != seen[-1][1]:
                seen.append((time.monotonic(), shown, int(self.provider.stats()["answered"])))
            if shown >= count:
                return seen
            time.sleep(0.1)
        raise RuntimeError(f"the page still shows {self.done()} of {count}")

    def sentence(self, text: str, seconds: float = 60) -> None:
        self.page.locator("#run-sentence").filter(has_text=text).wait_for(timeout=1000 * seconds)

    def shoot(self, name: str, **media: Any) -> None:
        self.page.set_viewport_size(media.pop("size", WIDE))
        self.page.emulate_media(color_scheme=media.pop("scheme", "light"))
        full = media.pop("full", False)
        self.page.screenshot(path=self.images / f"run-{name}.png", full_page=full)
        self.page.set_viewport_size(WIDE)
        self.page.emulate_media(color_scheme="light")


def watch(who: Watcher, provider: Provider, *, cases: int) -> dict[str, Any]:
    clicked = who.start(f"bench-{cases}", cases)
    moves = who.until(cases // 4)
    first = provider.stats()["first"] - clicked
    who.shoot("on-its-way")
    say(f"on its way: first call {first:.2f} s after the click")

    clicked = who.click("Pause")
    who.sentence("is paused")
    told = time.monotonic() - clicked
    time.sleep(6)
    stats = provider.stats()
    paused = stats["calls"]
    stopped = max(0.0, stats["newest"] - clicked)
    time.sleep(4)
    after = provider.stats()
    who.shoot("paused")
    say(f"paused: the page said so in {told:.2f} s, the last call came after {stopped:.2f} s")

    newest = after["newest"]
    clicked = who.click("Resume")
    while (again := provider.stats()["newest"]) == newest:
        time.sleep(0.01)
    resumed = again - clicked
    moves += who.until(cases * 3 // 4)
    who.shoot("on-its-way-dark", scheme="dark")
    who.shoot("on-its-way-390", size=NARROW, full=True)
    who.sentence(f"All {cases:,} answers are in", 300)
    ended = time.monotonic()
    stats = provider.stats()
    who.shoot("complete", full=True)
    running = [m for m in moves if m[2] < cases]
    found = {
        "cases": cases,
        "first_call_s": first,
        "pause_said_s": told,
        "pause_last_call_s": stopped,
        "calls_while_paused": after["calls"] - paused,
        "answered_when_paused": after["answered"],
        "resume_first_call_s": resumed,
        "page_moved": len(moves),
        "behind_at_most": max(answered - shown for _, shown, answered in running),
        "complete_said_s": ended - stats["last"],
        "calls": stats["calls"],
        "answered": stats["answered"],
        "repeated": stats["calls"] - cases,
        "complained": len(who.complaints),
        "complaints": who.complaints,
    }
    return {k: round(v, 2) if isinstance(v, float) else v for k, v in found.items()}


GOALS = (
    ("seconds from Pause to the last call", "pause_last_call_s", 5.0),
    ("calls while it is paused", "calls_while_paused", 0),
    ("seconds from Resume to the next call", "resume_first_call_s", 5.0),
    ("calls beyond one a case", "repeated", 0),
    ("complaints of the browser's console", "complained", 0),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.watched")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--images", type=Path, default=Path("test-artifacts"))
    asked = parser.parse_args()
    if not Path(CHROMIUM).exists():
        sys.exit("There is no Chromium on the PATH: install it (Debian: chromium), then try again.")
    asked.images.mkdir(parents=True, exist_ok=True)
    with Provider() as provider, Product(pages=free_port()) as product:
        from apps.accounts.services import create_user
        from apps.audit.services import SYSTEM
        from apps.evaluations.models import Run

        password = secrets.token_urlsafe(16)
        create_user(
            actor=SYSTEM,
            email=EMAIL,
            display_name="Olga Owner",
            password=password,
            roles=["model_owner"],
        )
        product.make_version(provider, asked.concurrency)
        product.make_revision(asked.cases)
        provider.prepare(Variant("watched", "", asked.concurrency))
        for pid in product.runner_pids():
            reset_peak(pid)
        # Playwright keeps an event loop in this thread, in which Django refuses the database.
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            context = browser.new_context(
                viewport=WIDE, color_scheme="light", reduced_motion="reduce"
            )
            context.set_default_timeout(60_000)
            url = f"http://127.0.0.1:{product.pages}"
            who = Watcher(context.new_page(), url, provider, asked.images)
            who.sign_in(EMAIL, password)
            results = watch(who, provider, cases=asked.cases)
            browser.close()
        product.check(Run.objects.get(), asked.cases, provider.stats())
        results["worker_mb"] = round(max(map(peak_mb, product.runner_pids())), 1)
    for name, value in results.items():
        print(f"  {name}: {value}")
    goals = [
        {"name": name, "goal": f"<= {most:g}", "value": results[key], "met": results[key] <= most}
        for name, key, most in GOALS
    ]
    print(json.dumps({"benchmark": "engine-watched", "results": results, "goals": goals}))


if __name__ == "__main__":
    main()
