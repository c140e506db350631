"""The proxies that are compared, each with one thread, plain and with TLS, in front of the same
origins. The affinity key is the query parameter `room`."""

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import yaml
from harness.fleet import common
from harness.ports import free_port

from .processes import ROOT, Child, tree, wait_for

# Each proxied WebSocket is two files, and some more are needed.
FILES = 20_000
_FILES_MORE = 500


def sockets_max() -> int:
    """How many proxied WebSockets fit into one process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (min(soft, FILES) - _FILES_MORE) // 2


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Subject:
    """A proxy: two addresses (plain and TLS) in front of the origins."""

    def __init__(self, name: str, folder: Path, origins: dict[str, str]) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.pems = folder
        self.origins = origins
        self.ports = {"plain": free_port(), "tls": free_port()}
        self.child: Child | None = None
        # Grows with each reload and is part of a timeout: there is something new to read.
        self.version_s = 10

    def start(self) -> None:
        self.configure()
        self.child = Child(self.name, self.command(), self.folder)
        wait_for("its ports", lambda: all(map(_answers, self.ports.values())), self.child)
        self.settle()

    def stop(self) -> None:
        if self.child:
            self.child.stop()
            self.child = None

    def restart(self) -> None:
        """A fresh process, whose memory knows of no connection."""
        self.stop()
        self.start()

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.process.pid

    def target(self, way: str) -> list[object]:
        """What tells `bench` whom to ask."""
        tls = ["--tls", self.pems / "cert.pem"] if way == "tls" else []
        return ["--to", f"127.0.0.1:{self.ports[way]}", *tls]

    def reload(self) -> None:
        """Reads its configuration again, which has changed; returns when that is done."""
        before = set(tree(self.pid))
        self.change()
        os.kill(self.pid, self.reload_signal)
        assert self.child is not None
        wait_for("a new worker", lambda: bool(set(tree(self.pid)) - before), self.child, 10)

    reload_signal = signal.SIGHUP

    def change(self) -> None:
        """Writes another configuration."""
        self.version_s = 10 if self.version_s == 11 else 11
        self.configure()

    def settle(self) -> None:
        """Waits for whatever it needs besides its ports."""

    def version(self) -> str:
        raise NotImplementedError

    def configure(self) -> None:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError


class Haproxy(Subject):
    """Master and one worker with one thread."""

    reload_signal = signal.SIGUSR2

    def __init__(self, name: str, folder: Path, origins: dict[str, str]) -> None:
        super().__init__(name, folder, origins)
        self.peers = free_port()

    def configure(self) -> None:
        servers = "\n".join(f"    server {n} {a} check" for n, a in self.origins.items())
        (self.folder / "haproxy.cfg").write_text(f"""
global
    maxconn {sockets_max()}
    nbthread 1
    localpeer bench
defaults
    mode http
    maxconn {sockets_max()}
    option forwardfor
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request {self.version_s}s
    timeout tunnel 1h
peers bench
    peer bench 127.0.0.1:{self.peers}
frontend public
    bind 127.0.0.1:{self.ports["plain"]}
    bind 127.0.0.1:{self.ports["tls"]} ssl crt {self.pems / "both.pem"} alpn h2,http/1.1
    default_backend shards
backend shards
    balance url_param room
    hash-type consistent
    stick-table type string len 128 size 200k expire 4h peers bench
    stick on url_param(room)
{servers}
""")

    def _loads(self) -> int:
        assert self.child is not None
        return self.child.log.read_text(errors="replace").count("Loading success")

    def reload(self) -> None:
        # The master starts itself anew, and takes no signal before it has said so; one that comes
        # in that moment is lost.
        before = self._loads()
        self.change()
        for _ in range(5):
            os.kill(self.pid, self.reload_signal)
            until = time.monotonic() + 2
            while time.monotonic() < until:
                if self._loads() > before:
                    return
                time.sleep(0.01)
        raise AssertionError(f"haproxy does not reload:\n{self.child.tail() if self.child else ''}")

    def command(self) -> list[str]:
        return [_found("haproxy"), "-W", "-f", str(self.folder / "haproxy.cfg")]

    def version(self) -> str:
        return _output("haproxy", "-v").splitlines()[0]


class Nginx(Subject):
    """Master and one worker."""

    def configure(self) -> None:
        servers = "\n".join(f"        server {a};" for a in self.origins.values())
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "\n".join(f"    {kind}_temp_path {self.folder}/{kind};" for kind in kinds)
        # As root its worker would become somebody who may not enter the folder.
        user = "user root;" if os.geteuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(f"""
{user}
daemon off;
worker_processes 1;
pid {self.folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections {2 * sockets_max() + 100}; }}
http {{
{folders}
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 60s;
    client_header_timeout {self.version_s}s;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {self.pems}/cert.pem;
    ssl_certificate_key {self.pems}/key.pem;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    upstream shards {{
        hash $arg_room consistent;
{servers}
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{self.ports["plain"]};
        listen 127.0.0.1:{self.ports["tls"]} ssl http2;
        location / {{
            proxy_pass http://shards;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
        }}
    }}
}}
""")

    def command(self) -> list[str]:
        paths = ["-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr"]
        return [_found("nginx"), *paths]

    def version(self) -> str:
        return _output("nginx", "-v")


class Gateway(Subject):
    """`anteroom gateway` with one thread for each listener, and the directory in its memory."""

    def __init__(self, name: str, folder: Path, origins: dict[str, str], binary: Path) -> None:
        super().__init__(name, folder, origins)
        self.binary = binary
        self.internal, self.admin = (f"127.0.0.1:{free_port()}" for _ in range(2))

    def configure(self) -> None:
        pems = {"cert": str(self.pems / "cert.pem"), "key": str(self.pems / "key.pem")}
        plain, tls = (f"127.0.0.1:{self.ports[way]}" for way in ("plain", "tls"))
        shards = [{"id": name, "url": f"http://{a}"} for name, a in self.origins.items()]
        gateway = {
            "listen": [{"address": plain}, {"address": tls, "tls": {"certificates": [pems]}}],
            "internal": self.internal,
            "threads": 1,
            "header_deadline_ms": self.version_s * 1_000,
            "shards": shards,
        }
        config = {**common(self.admin), "gateway": gateway}
        (self.folder / "gateway.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def command(self) -> list[str]:
        return [str(self.binary), "gateway", "--config", str(self.folder / "gateway.yaml")]

    def settle(self) -> None:
        """Until every origin has its lease, as shards in life have."""
        assert self.child is not None
        wait_for("all leases", self._is_complete, self.child, 60)

    def _is_complete(self) -> bool:
        try:
            if httpx.get(f"http://{self.admin}/readyz").status_code != 200:
                return False
            shards = httpx.get(f"http://{self.admin}/v1/shards").json()
        except httpx.HTTPError:
            return False
        listed = shards if isinstance(shards, list) else shards["shards"]
        return sum(bool(shard["lease"]["alive"]) for shard in listed) == len(self.origins)

    def _reloads(self) -> float:
        text = httpx.get(f"http://{self.admin}/metrics").text
        found = re.findall(r"^anteroom_reloads_total(?:\{[^}]*\})? (\S+)", text, re.MULTILINE)
        return sum(map(float, found))

    def reload(self) -> None:
        before = self._reloads()
        self.change()
        os.kill(self.pid, self.reload_signal)
        assert self.child is not None
        wait_for("a reload", lambda: self._reloads() > before, self.child, 10)

    def version(self) -> str:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
        )
        text = _output(str(self.binary), "--version")
        return f"{text} ({described.stdout.strip()})" if described.returncode == 0 else text


def _found(program: str) -> str:
    # Debian keeps servers where users do not look.
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise SystemExit(
            f"{program} is not installed: run `make setup`, or apt-get install {program}"
        )
    return found


def _output(program: str, *arguments: str) -> str:
    command = [_found(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()
