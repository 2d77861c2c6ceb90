"""Malformed input: what hypothesis makes offers, fragments, bodies and WebSocket messages from."""

import asyncio
import json

from aiortc import RTCPeerConnection
from hypothesis import strategies as st


def real_offer() -> str:
    async def make() -> str:
        pc = RTCPeerConnection()
        pc.addTransceiver("video", direction="recvonly")
        pc.addTransceiver("audio", direction="recvonly")
        await pc.setLocalDescription()
        sdp: str = pc.localDescription.sdp
        await pc.close()
        return sdp

    return asyncio.run(make())


FRAGMENT = "\r\n".join(
    [
        "m=audio 9 UDP/TLS/RTP/SAVPF 0",
        "a=mid:0",
        "a=candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host",
        "a=candidate:2 1 udp 1694498815 198.51.100.1 50000 typ srflx raddr 127.0.0.1 rport 50000",
        "a=end-of-candidates",
    ]
)

NASTY_LINES = [
    "",
    "v=1",
    "m=video 9 UDP/TLS/RTP/SAVPF 96",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "m=audio 0 UDP/TLS/RTP/SAVPF 255",
    "m=audio 9 RTP/AVP",
    "a=mid:",
    "a=mid:0",
    "a=group:BUNDLE",
    "a=group:BUNDLE 0 1 2 3",
    "a=rtpmap:96 VP8/0",
    "a=rtpmap:111 opus/48000/0",
    "a=rtpmap:96 H264/90000",
    "a=fmtp:96 profile-level-id=zzzzzz;packetization-mode=9",
    "a=fmtp:96 apt=96",
    "a=fmtp:97 apt=",
    "a=rtcp-fb:* nack",
    "a=rtcp-fb:96",
    "a=extmap:0 urn:ietf:params:rtp-hdrext:sdes:mid",
    "a=extmap:99999 x",
    "a=ssrc:0 cname:x",
    "a=ssrc-group:FID 1",
    "a=candidate:1 1 udp 1 127.0.0.1 0 typ host",
    "a=candidate:1 1 udp 99999999999 ::1 99999 typ host",
    "a=candidate:1 256 udp 1 not-an-address 9 typ host",
    "a=candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype active",
    "a=candidate:1 1 udp 1 127.0.0.1 9 typ relay raddr rport",
    "a=candidate:",
    "a=end-of-candidates",
    "a=setup:holdconn",
    "a=setup:passive",
    "a=fingerprint:sha-256 00",
    "a=fingerprint:md5 zz:zz",
    "a=fingerprint:",
    "a=ice-ufrag:",
    "a=ice-pwd:short",
    "a=ice-lite",
    "a=recvonly",
    "a=sendonly",
    "a=inactive",
    "a=rtcp:99999999 IN IP9 x",
    "a=simulcast:send 1;2",
    "a=rid:1 send",
    "a=max-message-size:-1",
    "c=IN IP6 127.0.0.1",
    "c=",
    "t=",
    "\x00",
    "\N{SNOWMAN}" * 50,
]

words = st.one_of(
    st.sampled_from(
        ["-1", "0", "65536", "4294967296", "9" * 400, "1e9", "NaN", " ", "é", "\ud7ff", "%s%n", "../.."]
    ),
    st.text(max_size=20),
    st.integers().map(str),
)
edits = st.tuples(
    st.sampled_from(["delete", "repeat", "insert", "word", "swap", "cut", "join"]),
    st.integers(0, 10**6),
    words,
)


Edits = list[tuple[str, int, str]]


def mutate(text: str, changes: Edits) -> str:
    """A text with some of its lines changed."""
    lines = text.split("\r\n")
    for kind, number, word in changes:
        at = number % max(1, len(lines))
        line = lines[at] if lines else ""
        match kind:
            case "delete":
                del lines[at : at + 1]
            case "repeat":
                lines[at:at] = [line] * (1 + number % 3)
            case "insert":
                lines.insert(at, NASTY_LINES[number % len(NASTY_LINES)])
            case "word" if lines:
                parts = line.replace(":", " : ").split(" ")
                parts[number // 7 % len(parts)] = word
                lines[at] = " ".join(parts).replace(" : ", ":")
            case "swap" if lines:
                other = number // 11 % len(lines)
                lines[at], lines[other] = lines[other], lines[at]
            case "cut" if lines:
                lines[at] = line[: number // 3 % (len(line) + 1)]
            case "join" if lines:
                lines[at] = line + word
    return "\r\n".join(lines)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(
    ["text", "voice", "avatar", "seconds", "url", "token", "type", "video_codec", "utterance"]
)
addresses = st.one_of(
    st.sampled_from(
        ["hls:", "mp4:", "camera:", "file:///etc/passwd", "rtmp://127.0.0.1/a/b", "srt://0x7f.1:9"]
    ),
    st.tuples(st.sampled_from(["rtmp", "srt", "udp", "https", "x"]), st.text(max_size=30)).map("://".join),
    values,
)
bodies = st.one_of(
    st.fixed_dictionaries(
        {"url": addresses},
        optional={
            "token": st.text(max_size=20) | values,
            "video_codec": st.sampled_from(["h264", "vp8", "av1"]),
        },
    ).map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {"text": st.sampled_from(["Good day.", "你好。", "\u202e1,5 km", "a" * 300]) | st.text(max_size=300)},
        optional={"voice": st.sampled_from(["en-us", "espeak:cmn", "x"]) | values},
    ).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=200),
    values.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    st.dictionaries(fields, values, max_size=4).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(fields, st.just("Good day.") | st.text(max_size=300) | st.integers(), max_size=4).map(
        lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    ),
)
types = st.just("application/json") | st.sampled_from(
    ["application/json", "application/sdp", "application/trickle-ice-sdpfrag", "text/plain", "x", ""]
)
controls = st.one_of(
    st.text(max_size=100),
    values.map(json.dumps),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["start", "begin", "finish", "interrupt", "clear_buffer", "x"])},
        optional={
            "utterance": st.text(max_size=140) | values,
            "sample_rate": st.integers() | values,
            "format": st.sampled_from(["s16le", "f32"]) | values,
        },
    ).map(json.dumps),
)
frames = st.lists(st.one_of(controls, controls, st.binary(max_size=2000)), max_size=8)
