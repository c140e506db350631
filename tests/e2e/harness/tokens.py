"""Access tokens: good ones by the official library, bad ones by hand."""

import base64
import datetime
import hashlib
import hmac
import json
import time

from livekit import api

KEY, SECRET = "devkey", "secret"


def token(room: str, identity: str, *, name: str = "", metadata: str = "", **grants: object) -> str:
    """A token that lets `identity` into `room` for ten minutes."""
    return (
        api.AccessToken(KEY, SECRET)
        .with_identity(identity)
        .with_name(name or identity)
        .with_metadata(metadata)
        .with_ttl(datetime.timedelta(minutes=10))
        .with_grants(api.VideoGrants(room_join=True, room=room, **grants))
        .to_jwt()
    )


def claims(room: str, identity: str = "mallory", **changes: object) -> dict:
    """The claims of a good token; a change to `None` removes the claim."""
    now = int(time.time())
    base = {
        "iss": KEY,
        "sub": identity,
        "nbf": now - 5,
        "exp": now + 600,
        "video": {"room": room, "roomJoin": True},
    }
    base.update(changes)
    return {key: value for key, value in base.items() if value is not None}


def forge(payload: dict, *, header: dict | None = None, secret: str | None = SECRET) -> str:
    """A JWT of any header and payload; without a secret its signature is empty."""
    header = {"alg": "HS256", "typ": "JWT"} if header is None else header
    signed = f"{_part(header)}.{_part(payload)}"
    if secret is None:
        return f"{signed}."
    mac = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_base64(mac)}"


def _part(value: dict) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
