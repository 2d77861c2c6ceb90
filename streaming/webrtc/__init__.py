"""WebRTC: WHIP in (RFC 9725), WHEP out (draft-ietf-wish-whep), on aiortc."""
