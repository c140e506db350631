"""The media servers that are compared, each bound to one processor, all on loopback."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import httpx
import yaml
from harness.fleet import common
from harness.ports import free_port

from .processes import ROOT, Child, memory_kib, wait_for

# The server has the first processor, its load the second.
SERVER_CPU, LOAD_CPU = ("taskset", "-c", "0"), ("taskset", "-c", "1")
ANTEROOM = Path(os.environ.get("ANTEROOM", ROOT / "target/release/anteroom")).resolve()
PEERS = Path(os.environ.get("PEERS", ROOT / "target/peers")).resolve()
# Files: a server has a connection or two for each participant.
FILES = 20_000


def _answers(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


class Server:
    """A media server. Each measurement has a fresh process, whose memory knows of nobody."""

    name = ""
    # What it is measured in; empty: everything.
    scenarios: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.folder.mkdir()
        self.port, self.media = free_port(), free_port()
        self.child: Child | None = None

    def absent(self) -> str:
        """Why it cannot be measured here; empty: it can."""
        return ""

    def start(self) -> None:
        self.configure()
        self.child = Child(self.name, [*SERVER_CPU, *self.command()], self.folder)
        wait_for("its port", self.ready, self.child)

    def stop(self) -> None:
        if self.child:
            self.child.stop()
            self.child = None

    def ready(self) -> bool:
        return _answers(self.port)

    @property
    def pids(self) -> list[int]:
        """Its processes; those that they start count too."""
        assert self.child is not None
        return [self.child.process.pid]

    def memory_kib(self) -> int:
        return sum(map(memory_kib, self.pids))

    def target(self) -> list[object]:
        """What tells `bench sfu` whom to load, and how."""
        raise NotImplementedError

    def version(self) -> str:
        raise NotImplementedError

    def configure(self) -> None:
        """Writes its files."""

    def command(self) -> list[str]:
        raise NotImplementedError


class Janus(Server):
    """Debian's, with the video room over WebSockets and nothing else. One event loop for the one
    processor that it has: by default each connection has a thread, which costs it half as much again.
    """

    name = "janus"

    def absent(self) -> str:
        return "" if shutil.which("janus") else "not installed: scripts/setup bench"

    def configure(self) -> None:
        libraries = next(Path("/usr/lib").glob("*/janus"))
        (self.folder / "janus.jcfg").write_text(f"""
general: {{
    configs_folder = "{self.folder}"
    plugins_folder = "{libraries}/plugins"
    transports_folder = "{libraries}/transports"
    events_folder = "{libraries}/events"
    loggers_folder = "{libraries}/loggers"
    debug_level = 3
    session_timeout = 0
    event_loops = 1
}}
media: {{ ipv6 = false }}
nat: {{ ice_lite = true }}
plugins: {{ disable = "{_others(libraries / "plugins", "videoroom")}" }}
transports: {{ disable = "{_others(libraries / "transports", "websockets")}" }}
""")
        (self.folder / "janus.transport.websockets.jcfg").write_text(f"""
general: {{ ws = true, ws_ip = "127.0.0.1", ws_port = {self.port}, wss = false }}
admin: {{ admin_ws = false }}
""")
        (self.folder / "janus.plugin.videoroom.jcfg").write_text("general: { events = false }\n")

    def command(self) -> list[str]:
        return ["janus", "-F", str(self.folder), "-C", str(self.folder / "janus.jcfg")]

    def target(self) -> list[object]:
        # Janus takes no loopback address for media; to the host's own it does not leave it either.
        bind = ["--bind", _own_address()]
        return ["--protocol", "janus", "--to", f"127.0.0.1:{self.port}", *bind]

    def version(self) -> str:
        return _last_line("dpkg-query", "-W", "-f", "${Package} ${Version}", "janus")


class Pion(Server):
    """A plain forwarding server on pion: benches/pion."""

    name = "pion"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.binary = PEERS / "pion-sfu"

    def absent(self) -> str:
        return _not_built(self.binary)

    def command(self) -> list[str]:
        listen, udp = (f"127.0.0.1:{port}" for port in (self.port, self.media))
        return [str(self.binary), "-listen", listen, "-udp", udp]

    def target(self) -> list[object]:
        return ["--protocol", "whip", "--to", f"127.0.0.1:{self.port}"]

    def version(self) -> str:
        return _last_line(str(self.binary), "-version")


class LiveKit(Server):
    """LiveKit's server with one UDP port and batched writes."""

    name = "livekit"
    secret = "a secret that is long enough for it"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.binary = PEERS / "livekit-server"

    def absent(self) -> str:
        return _not_built(self.binary)

    def configure(self) -> None:
        config = {
            "port": self.port,
            "bind_addresses": ["127.0.0.1"],
            "keys": {"devkey": self.secret},
            "logging": {"level": "error"},
            "rtc": {
                "udp_port": self.media,
                "tcp_port": 0,
                "node_ip": "127.0.0.1",
                "enable_loopback_candidate": True,
                "use_ice_lite": True,
                "batch_io": {"batch_size": 128, "max_flush_interval": "2ms"},
            },
        }
        (self.folder / "livekit.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def command(self) -> list[str]:
        return [str(self.binary), "--config", str(self.folder / "livekit.yaml")]

    def target(self) -> list[object]:
        to = ["--to", f"ws://127.0.0.1:{self.port}", "--secret", self.secret]
        return ["--protocol", "livekit", *to]

    def version(self) -> str:
        return _last_line(str(self.binary), "--version")


class Anteroom(Server):
    """Ours: a gateway, through which everybody joins, and a shard with its node."""

    name = "anteroom"
    # Whether it estimates what each client's line takes.
    estimates = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.admin = f"127.0.0.1:{free_port()}"
        self.gateway: Child | None = None

    def absent(self) -> str:
        return _not_built(ANTEROOM)

    def start(self) -> None:
        self.configure()
        self.gateway = Child("gateway", [*SERVER_CPU, *self._role("gateway")], self.folder)
        super().start()

    def stop(self) -> None:
        super().stop()
        if self.gateway:
            self.gateway.stop()
            self.gateway = None

    @property
    def pids(self) -> list[int]:
        assert self.gateway is not None
        return [*super().pids, self.gateway.process.pid]

    def ready(self) -> bool:
        """The gateway sees the shard's lease, and the shard its node."""
        try:
            shards = httpx.get(f"http://{self.admin}/v1/shards").json()
            ready = httpx.get(f"http://{self.admin}/readyz").status_code == 200
        except httpx.HTTPError:
            return False
        listed = shards if isinstance(shards, list) else shards["shards"]
        return ready and all(shard["lease"]["alive"] for shard in listed)

    def configure(self) -> None:
        signalling, internal, directory = (f"127.0.0.1:{free_port()}" for _ in range(3))
        gateway = {
            "listen": [{"address": f"127.0.0.1:{self.port}"}],
            "internal": directory,
            "shards": [{"id": "s1", "url": f"http://{signalling}"}],
        }
        shard = {
            "id": "s1",
            "listen": signalling,
            "internal": internal,
            "nodes": 1,
            "directory": f"http://{directory}",
            # The others have no limit.
            "limits": {"participants_per_room": 10_000},
        }
        node = {
            "id": "n1",
            "udp_port": self.media,
            "shard": f"http://{internal}",
            "bind": ["127.0.0.1"],
            "estimate_bandwidth": self.estimates,
        }
        files = {
            "gateway": {**common(self.admin), "gateway": gateway},
            "shard": {**common(None), "shard": shard, "node": node},
        }
        for role, config in files.items():
            self._file(role).write_text(yaml.safe_dump(config, sort_keys=False))

    def _file(self, role: str) -> Path:
        return self.folder / f"{role}.yaml"

    def _role(self, role: str) -> list[str]:
        return [str(ANTEROOM), role, "--config", str(self._file(role))]

    def command(self) -> list[str]:
        return self._role("shard")

    def target(self) -> list[object]:
        return ["--protocol", "livekit", "--to", f"ws://127.0.0.1:{self.port}"]

    def version(self) -> str:
        described = _last_line("git", "-C", str(ROOT), "describe", "--always", "--dirty")
        return f"{_last_line(str(ANTEROOM), '--version')} ({described})"


class Plain(Anteroom):
    """Ours, without a look at what the clients' lines take: what it costs to send, and no more."""

    name = "plain"
    estimates = False
    scenarios = ("1x60", "1x500")


ALL = (Janus, Pion, LiveKit, Anteroom, Plain)
SERVERS: dict[str, type[Server]] = {one.name: one for one in ALL}


def _not_built(binary: Path) -> str:
    return "" if binary.exists() else f"{binary.name} is not built"


def _others(folder: Path, wanted: str) -> str:
    """All plugins of a folder but one."""
    names = {re.sub(r"\.so.*$", ".so", path.name) for path in folder.glob("*.so*")}
    return ",".join(sorted(name for name in names if wanted not in name))


def _own_address() -> str:
    """The address of this machine that leads out. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


def _last_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1].strip() if lines else "unknown"
