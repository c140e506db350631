"""The signalling protocol by hand: join requests and frames, for tests that talk to the WebSocket
themselves."""

import base64
import gzip
import urllib.parse

from livekit.protocol import models, rtc

_CLIENT = models.ClientInfo(sdk=models.ClientInfo.PYTHON, version="1.2.1", protocol=17)


LEAVE = rtc.SignalRequest(leave=rtc.LeaveRequest(reason=1)).SerializeToString()


def v0_target(access_token: str, *, prefix: str = "") -> str:
    """Request target of a join with two peer connections."""
    query = urllib.parse.urlencode(
        {
            "access_token": access_token,
            "sdk": "python",
            "version": "1.2.1",
            "protocol": "16",
            "auto_subscribe": "1",
        }
    )
    return f"{prefix}/rtc?{query}"


def v1_target(
    access_token: str | None, *, prefix: str = "", compressed: bool = True, resume: str = ""
) -> str:
    """Request target of a join with one peer connection (`join_request`, no offer), or of a resume
    of the participant with this sid."""
    join = rtc.JoinRequest(
        client_info=_CLIENT,
        connection_settings=rtc.ConnectionSettings(auto_subscribe=True),
        reconnect=bool(resume),
        participant_sid=resume,
    ).SerializeToString()
    wrapped = rtc.WrappedJoinRequest(
        compression=rtc.WrappedJoinRequest.GZIP if compressed else rtc.WrappedJoinRequest.NONE,
        join_request=gzip.compress(join) if compressed else join,
    ).SerializeToString()
    query = {"join_request": base64.urlsafe_b64encode(wrapped).rstrip(b"=").decode()}
    if access_token is not None:
        query["access_token"] = access_token
    return f"{prefix}/rtc/v1?{urllib.parse.urlencode(query)}"


def validate_target(access_token: str, *, prefix: str = "", version: str = "v1") -> str:
    """Request target of the check that clients make after a refused WebSocket."""
    path = "/rtc/v1/validate" if version == "v1" else "/rtc/validate"
    return f"{prefix}{path}?{urllib.parse.urlencode({'access_token': access_token})}"


def response(data: bytes) -> rtc.SignalResponse:
    """A message of the server."""
    message = rtc.SignalResponse()
    message.ParseFromString(data)
    return message
