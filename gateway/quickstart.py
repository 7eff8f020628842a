"""``bin/quickstart``: a gateway on the embedded local Mesos, and a sample job brought up on it.

Starts the gateway as a child process with ``--master=local``, submits ``examples/hello.aurora``,
shows its instances reach RUNNING, registers the product ``products/reference``, gives nodes that are
containers a network, prints what to try with curl and serves until Ctrl-C. Arguments are handed to the
gateway. Nothing is left behind: state and sandboxes are in a temporary directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "hello.aurora"
PRODUCT = ROOT / "products" / "reference"
KEY = "devcluster/www-data/prod/hello"
IMAGE = "mesos-gateway/sample:latest"
# Takes the place of what agents have anyway, where containers do not know each other's addresses.
NETWORK, SUBNET = "default", "10.213.0.0/16"
STARTED_WITHIN = 60.0
# The gateway itself gives its local Mesos half a minute to end.
STOPPED_WITHIN = 45.0
_LISTENS = "listens on "

_TRY = """
The gateway serves on {url} until Ctrl-C. Try, in another terminal:

  curl -s {url}/alpha/jobs/devcluster/www-data                               # the role's jobs
  curl -s {url}/alpha/jobs/{key}                    # one job, its instances
  curl -s '{url}/alpha/jobs/{key}/instances/0/logs?stream=stdout'
  curl -s -X PUT --data-binary @examples/hello.aurora '{url}/alpha/jobs/{key}/update?shards=1'
  curl -s -X PUT '{url}/alpha/jobs/{key}/restart?shards=0,2'
  curl -s -X DELETE '{url}/alpha/jobs/{key}?shards=2'  # kills one shard
  curl -s -X DELETE {url}/alpha/jobs/{key}          # kills them all
  curl -sN {url}/alpha/events                                                # what happens, live

A cluster of the product reference, which is registered: launched, looked at, deleted.

  curl -s -X POST -d '{{"size": 2}}' {url}/bigdata/api/v1/products/reference/1.0.0
  curl -s {url}/bigdata/api/v1/clusters
  curl -s {url}/bigdata/api/v1/clusters/anonymous/reference/1.0.0/1/nodes
  curl -s {url}/bigdata/api/v1/clusters/anonymous/reference/1.0.0/1/orchestrator_stdout
  curl -s -X DELETE {url}/bigdata/api/v1/clusters/anonymous/reference/1.0.0/1

Documents of that API name the port 5000: bin/quickstart --port 5000 serves there.
"""


_HELP = """usage: bin/quickstart [OPTION OF THE GATEWAY]…

Starts a gateway on an embedded local Mesos, with containers if a Docker daemon answers and plain
processes otherwise; brings a sample job up to RUNNING, registers the product reference, says what to
try with curl, and serves until Ctrl-C. Nothing is left behind.

All options are the gateway's, and hold instead of what this program gives it:

  bin/quickstart --port 9000          serve on another port than 8888
  bin/quickstart --local-agents 5     with five agents
  bin/gateway --help                  all of them
"""


class QuickstartFailed(RuntimeError):
    """The sample did not come up; the sentence says what to look at."""


def say(text: str) -> None:
    """Writes a line to the terminal at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _python() -> list[str]:
    """Returns what starts this Python again, the working directory left out as it is here."""
    return [sys.executable, *(["-P"] if sys.flags.safe_path else [])]


def _images(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A process of its own: the Docker SDK belongs to the executor, which the gateway never imports.
    command = [*_python(), "-m", "executor.runtimes.images", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def runtime() -> Iterator[list[str]]:
    """Chooses the runtime, says so, and yields the gateway's options for it.

    A sample image that had to be made is removed at the end.
    """
    ping = _images("ping")
    if ping.returncode:
        say("Runtime: plain processes (no Docker daemon answers).")
        yield []
        return
    made = _images("make", IMAGE)
    if made.returncode not in (0, 3):
        say(f"Runtime: plain processes (no sample image could be made: {made.stderr.strip()}).")
        yield []
        return
    say(f"Runtime: Docker containers; the image {IMAGE} was made from this host's own programs.")
    try:
        yield [f"--default-image={IMAGE}"]
    finally:
        if made.returncode == 0:
            _images("remove", IMAGE)


class Gateway:
    """The gateway's process: started, its address read from its first line, stopped by SIGTERM."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [*_python(), "-m", "gateway", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C reaches the whole foreground group; the gateway is stopped by us, in order.
            start_new_session=True,
        )
        self.url: str | None = None
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, name="gateway-output", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if self.url is None and _LISTENS in line:
                self.url = line.partition(_LISTENS)[2].split()[0].rstrip("/")
                self._listening.set()
            else:
                say(line.rstrip())
        self._listening.set()

    def wait_listening(self, timeout: float) -> str:
        """Returns the URL; raises :class:`QuickstartFailed` if the gateway ends or stays silent."""
        self._listening.wait(timeout)
        if self.url is None:
            raise QuickstartFailed("the gateway did not start; its own message stands above")
        return self.url

    def wait(self) -> int:
        """Waits for the end of the process; returns its exit code."""
        return self._process.wait()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOPPED_WITHIN)
            except subprocess.TimeoutExpired:
                say("The gateway did not stop in time and is killed.")
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


def request(method: str, url: str, body: bytes | None = None) -> Any:
    """Returns the JSON answer; raises :class:`QuickstartFailed` with the errors of a failure."""
    # The URL is that of the gateway that this program has started.
    ask = urllib.request.Request(url, data=body, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(ask, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            raise QuickstartFailed(
                f"{method} {url}: {error.code} {error.read().decode(errors='replace')}"
            ) from error
    except OSError as error:
        raise QuickstartFailed(f"{method} {url}: {error}") from error


def gatewayctl(url: str, *arguments: str) -> None:
    """Runs ``gatewayctl`` and shows it; raises :class:`QuickstartFailed` if it fails."""
    command = [*_python(), "-m", "gatewayctl", "--url", url, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    shown = f"gatewayctl {' '.join(arguments)}"
    if run.returncode:
        raise QuickstartFailed(f"{shown} failed: {run.stderr.strip()}")
    say(f"\n$ {shown}\n{run.stdout.strip()}".rstrip())


def register_product(url: str) -> None:
    """Registers the product that a cluster can be launched of."""
    gatewayctl(url, "product", "put", str(PRODUCT.relative_to(ROOT)))


def define_network(url: str) -> None:
    """Defines the network ``default`` for nodes that are containers, unless there is one already, or
    the gateway has been given one that has its addresses.

    Two of these programs on one machine share its Docker network; their pools are not the same.
    """
    if NETWORK in request("GET", f"{url}/resources/networks/v1/networks")["networks"]:
        return
    part = f"{SUBNET.rsplit('.', 2)[0]}.{1 + secrets.randbelow(254)}"
    try:
        gatewayctl(url, "network", "define", NETWORK, SUBNET, "--addresses", f"{part}.1-{part}.254")
    except QuickstartFailed as error:
        # All else does without it.
        say(f"The network {NETWORK} stays what agents have anyway: {error}")


def submit_sample(url: str) -> None:
    """Submits the sample job and shows each transition until all its instances are RUNNING."""
    say(f"\n$ curl -X PUT --data-binary @examples/hello.aurora {url}/alpha/jobs/{KEY}")
    say(json.dumps(request("PUT", f"{url}/alpha/jobs/{KEY}", EXAMPLE.read_bytes())))
    began = time.monotonic()
    shown: dict[int, int] = {}
    while time.monotonic() - began < STARTED_WITHIN:
        instances = request("GET", f"{url}/alpha/jobs/{KEY}")["instances"]
        for instance in instances:
            _show(instance, shown)
        if instances and all(i["state"] == "RUNNING" for i in instances):
            say(f"All {len(instances)} instances are RUNNING.")
            return
        time.sleep(0.2)
    raise QuickstartFailed(f"the sample job did not reach RUNNING; see {url}/alpha/jobs/{KEY}")


def _show(instance: dict[str, Any], shown: dict[int, int]) -> None:
    number = instance["instance"]
    for event in instance["history"][shown.get(number, 0) :]:
        at = time.strftime("%H:%M:%S", time.localtime(event["at"]))
        say(f"  {at}  instance {number}  {event['state']:<9} {event['message']}".rstrip())
    shown[number] = len(instance["history"])


def serve(arguments: Sequence[str]) -> int:
    """Runs the whole of it; returns the exit code."""
    if not EXAMPLE.is_file():
        raise QuickstartFailed(f"it needs the project's directory: there is no {EXAMPLE}")
    with tempfile.TemporaryDirectory(prefix="mesos-gateway-") as directory, runtime() as options:
        gateway = Gateway(
            [
                "--master=local",
                "--cluster-name=devcluster",
                f"--state={directory}/state.db",
                f"--local-work-dir={directory}/mesos",
                "--log-level=warning",
                *options,
                *arguments,
            ]
        )
        try:
            url = gateway.wait_listening(STARTED_WITHIN)
            submit_sample(url)
            register_product(url)
            if options:
                define_network(url)
            say(_TRY.format(url=url, key=KEY))
            return gateway.wait()
        except KeyboardInterrupt:
            say("\nStopping …")
            return 0
        finally:
            gateway.stop()


def main() -> int:
    """Entry point of ``bin/quickstart``."""
    if not {"--help", "-h"}.isdisjoint(sys.argv[1:]):
        sys.stdout.write(_HELP)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return serve(sys.argv[1:])
    except KeyboardInterrupt:
        return 0
    except QuickstartFailed as error:
        sys.stderr.write(f"quickstart: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
