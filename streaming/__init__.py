"""Everything that touches a socket: sessions, WebRTC in and out, voices, the HTTP interface."""
