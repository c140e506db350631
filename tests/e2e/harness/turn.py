"""TURN: certificates, credentials, a browser that knows no other way, and a client of another make."""

import asyncio
import base64
import datetime
import hashlib
import hmac
import ipaddress
import json
import ssl
import time
from pathlib import Path

import aioice.turn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .browser import Chromium, Page
from .wait import PATIENCE

NAME = "turn.example.org"

# Every peer connection of the page goes through TURN, over the given transport alone.
_RELAY_ONLY = """(() => {
  const wanted = %s;
  const Native = window.RTCPeerConnection;
  window.relayed = [];
  const fixed = (config) => {
    const servers = (config?.iceServers ?? []).map((server) => ({
      ...server,
      urls: [server.urls].flat().filter((url) => wanted.test(url)),
    }));
    return {
      ...config,
      iceTransportPolicy: "relay",
      iceServers: servers.filter((server) => server.urls.length > 0),
    };
  };
  window.RTCPeerConnection = class extends Native {
    constructor(config, ...rest) {
      super(fixed(config), ...rest);
      window.relayed.push(this);
    }
    setConfiguration(config) {
      super.setConfiguration(fixed(config));
    }
  };
})()"""

# The ways that the page's connected peer connections have chosen.
_WAYS = """async () => {
  const ways = [];
  for (const peer of window.relayed) {
    const stats = await peer.getStats();
    for (const one of stats.values()) {
      if (one.type !== "transport" || !one.selectedCandidatePairId) continue;
      const pair = stats.get(one.selectedCandidatePairId);
      const local = stats.get(pair.localCandidateId);
      ways.push([local.candidateType, local.relayProtocol ?? "", local.url ?? ""]);
    }
  }
  return ways;
}"""


class RelayOnly(Chromium):
    """Pages whose media goes through TURN or not at all."""

    def __init__(self, urls: str, *flags: str) -> None:
        """`urls` is the start of the URLs that are used, as a regular expression."""
        super().__init__(*flags)
        self._script = _RELAY_ONLY % f"new RegExp({json.dumps(urls)})"

    async def page(self) -> Page:
        page = await super().page()
        await page.page.add_init_script(self._script)
        return page


async def ways(page: Page) -> list[tuple[str, str, str]]:
    """Type, protocol towards the TURN server and its URL, for each connection in use."""
    return [tuple(way) for way in await page.page.evaluate(_WAYS)]


def certificate(folder: Path, name: str = NAME) -> tuple[Path, Path]:
    """A self-signed certificate and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "turn.pem", folder / "turn.key"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain, private


def credentials(secret: str, participant: str, *, seconds: float = 600) -> tuple[str, str]:
    """User name and password, as a shard makes them."""
    username = f"{int(time.time() + seconds)}:{participant}"
    made = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(made).decode()


class _Named(ssl.SSLContext):
    """A context that asks for a name, whatever the address is that is connected to."""

    def __new__(cls, context: ssl.SSLContext, name: str) -> "_Named":
        made = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = context.check_hostname
        made.verify_mode = context.verify_mode
        made._name = name
        return made

    def wrap_bio(self, *args: object, **options: object) -> ssl.SSLObject:
        return super().wrap_bio(*args, **{**options, "server_hostname": self._name})


class Echo(asyncio.DatagramProtocol):
    """A peer that sends everything back."""

    def __init__(self) -> None:
        self.senders: list[tuple[str, int]] = []
        self.transport: asyncio.DatagramTransport | None = None

    async def start(self, port: int = 0) -> "Echo":
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))
        return self

    @property
    def address(self) -> tuple[str, int]:
        assert self.transport is not None
        return self.transport.get_extra_info("sockname")[:2]

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.senders.append(addr)
        assert self.transport is not None
        self.transport.sendto(data, addr)


class Client(asyncio.DatagramProtocol):
    """aioice's TURN client."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()
        self.lost = asyncio.Event()
        self.transport: aioice.turn.TurnTransport | None = None

    @classmethod
    async def allocate(
        cls,
        port: int,
        user: tuple[str, str],
        *,
        transport: str = "udp",
        tls: bool = False,
        name: str | None = None,
    ) -> "Client":
        """`name` is what a TLS client asks for; else none."""
        context = None
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            if name is not None:
                context = _Named(context, name)
        _, client = await asyncio.wait_for(
            aioice.turn.create_turn_endpoint(
                cls, ("127.0.0.1", port), *user, transport=transport, ssl=context
            ),
            10 * PATIENCE,
        )
        return client

    @property
    def relayed(self) -> tuple[str, int]:
        assert self.transport is not None
        return self.transport.get_extra_info("sockname")

    def send(self, data: bytes, peer: tuple[str, int]) -> None:
        assert self.transport is not None
        self.transport.sendto(data, peer)

    async def next(self, *, seconds: float = 10) -> bytes:
        return await asyncio.wait_for(self.heard.get(), seconds * PATIENCE)

    async def refused(self, *, seconds: float = 10) -> int:
        """The error code of the next thing that fails."""
        error = await asyncio.wait_for(self.errors.get(), seconds * PATIENCE)
        return error.response.error_code

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def connection_made(self, transport: aioice.turn.TurnTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.put_nowait(data)

    def error_received(self, error: Exception) -> None:
        self.errors.put_nowait(error)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()
