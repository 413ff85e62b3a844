"""A headless Chromium, spoken to over its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PATIENCE = 90.0  # seconds; a bound against hanging, not a claim
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--remote-debugging-port=0",
    "--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update",
    "--mute-audio", "--hide-scrollbars", "--force-color-profile=srgb", "--proxy-server=direct://",
)  # fmt: skip
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
NO_WEBGL = ("--disable-gpu", "--disable-software-rasterizer")

DATA = "document.documentElement.dataset"
LIT = """(() => {
  const from = document.querySelector("#surface canvas"), to = document.createElement("canvas");
  [to.width, to.height] = [from.width, from.height];
  const pen = to.getContext("2d");
  pen.drawImage(from, 0, 0);
  const bytes = pen.getImageData(0, 0, to.width, to.height).data;
  let lit = 0;
  for (let i = 3; i < bytes.length; i += 4) {
    lit += bytes[i] > 100 && Math.max(bytes[i - 1], bytes[i - 2], bytes[i - 3]) > 60;
  }
  return lit / (bytes.length / 4);
})()"""
"""Of a page: the share of its picture's pixels that glow."""


def program() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Tab:
    """One page in the browser."""

    def __init__(self, line: ClientConnection, session: str) -> None:
        self._line, self._session = line, session
        self._numbers = itertools.count(100)
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._line.send(
            json.dumps({"id": number, "sessionId": self._session, "method": method, "params": parameters})
        )
        while True:
            told = json.loads(self._line.recv(timeout=PATIENCE))
            if told.get("id") == number:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']}")
                result: dict[str, Any] = told["result"]
                return result
            self._note(told.get("method"), told.get("params", {}))

    def _note(self, method: str | None, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            thrown = told["exceptionDetails"]
            self.errors.append(str(thrown.get("exception", {}).get("description", thrown["text"])))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")

    def inside(self) -> Tab:
        """The frame of the page that has no origin, and so a process of its own; waits until it is there."""
        for _ in range(int(PATIENCE * 10)):
            number = next(self._numbers)
            self._line.send(json.dumps({"id": number, "method": "Target.getTargets", "params": {}}))
            found = [t for t in _answer(self._line, number)["targetInfos"] if t["type"] == "iframe"]
            if found:
                attach = {"targetId": found[0]["targetId"], "flatten": True}
                self._line.send(
                    json.dumps({"id": number, "method": "Target.attachToTarget", "params": attach})
                )
                return Tab(self._line, _answer(self._line, number)["sessionId"])
            time.sleep(0.1)
        raise TimeoutError("the page has no frame")

    def size(self, width: int, height: int, *, dense: float = 1.0, mobile: bool = False) -> None:
        self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=dense,
            mobile=mobile,
        )

    def less_motion(self) -> None:
        self.do(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}]
        )

    def go(self, url: str) -> None:
        self.do("Page.navigate", url=url)

    def ask(self, expression: str) -> Any:
        """Evaluate an expression in the page; a promise is awaited."""
        done = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise RuntimeError(f"{expression}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait, in the page, until a condition holds, looked at before each picture it paints."""
        self.ask(
            "new Promise((done, failed) => { const end = performance.now() + " + str(PATIENCE * 500) + ";"
            f"const look = () => {{ if (document.documentElement && ({condition})) done(true);"
            f"else if (performance.now() > end) failed(new Error({json.dumps('never: ' + condition)}));"
            "else requestAnimationFrame(look); }; look(); })"
        )

    def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        self.do("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.do("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def click_on(self, selector: str) -> None:
        """Click in the middle of an element that nothing covers; again if it went away under the pointer."""
        found = f"document.querySelector({json.dumps(selector)})"
        place = (
            "new Promise((done) => { let last = ''; const look = () => {"
            f"const found = {found};"
            "const box = found.getBoundingClientRect();"
            "const place = [box.x + box.width / 2, box.y + box.height / 2];"
            "if (String(place) === last && found.contains(document.elementFromPoint(...place))) done(place);"
            "else { last = String(place); requestAnimationFrame(look); } }; look(); })"
        )
        self.ask(
            "globalThis.hit = false; addEventListener('click',"
            f" (event) => {{ globalThis.hit ||= {found}.contains(event.target); }}, true)"
        )
        end = time.monotonic() + PATIENCE
        while not self.ask("globalThis.hit"):
            assert time.monotonic() < end, f"{selector} is never hit"
            self.click(*self.ask(place))

    def picture(self) -> bytes:
        return base64.b64decode(self.do("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browsing(folder: Path, flags: tuple[str, ...] = WEBGL) -> Iterator[Tab]:
    """Start the browser with a profile in `folder`; gives an empty page."""
    found = program()
    if found is None:
        raise FileNotFoundError("no Chromium; on Debian: apt-get install chromium")
    command = [found, *_FLAGS, *flags, f"--user-data-dir={folder}", "about:blank"]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process,
        (folder / "browser.log").open("w") as log,
    ):
        try:
            assert process.stderr is not None
            address = None
            while address is None:
                line = process.stderr.readline()
                if not line:
                    raise RuntimeError(f"the browser ended: {(folder / 'browser.log').read_text()[-500:]}")
                log.write(line)
                log.flush()
                address = re.search(r"DevTools listening on (ws://\S+)", line)
            with connect(address[1], proxy=None, max_size=None, compression=None) as wire:
                wire.send(
                    json.dumps({"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}})
                )
                target = _answer(wire, 1)["targetId"]
                attach = {"targetId": target, "flatten": True}
                wire.send(json.dumps({"id": 2, "method": "Target.attachToTarget", "params": attach}))
                yield Tab(wire, _answer(wire, 2)["sessionId"])
        finally:
            process.kill()
            process.stderr.close()


def _answer(wire: ClientConnection, number: int) -> dict[str, Any]:
    while True:
        told = json.loads(wire.recv(timeout=PATIENCE))
        if told.get("id") == number:
            result: dict[str, Any] = told["result"]
            return result
