"""One typed settings object; every field can be set by an environment variable KOUBO_<NAME>."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, HttpUrl, SecretStr, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from engine.picture.label import OPACITIES, SIZES, Corner, Language
from streaming.encoding.choose import H264Encoder
from streaming.logs import LogFormat, LogLevel

TurnUrl = Annotated[str, StringConstraints(pattern=r"^(turn|turns):[^\s,\"<>]+$")]


class IceServer(BaseModel):
    """A STUN or TURN server (RFC 7064, RFC 7065) told to clients and used by the server itself."""

    url: str = Field(pattern=r"^(stun|stuns|turn|turns):\S+$")
    username: str | None = None
    credential: str | None = None


class Settings(BaseSettings):
    """How a server behaves. Lists are given as JSON in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="KOUBO_", extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 for any that is free."""

    tls_cert: Path | None = None
    """PEM certificate chain; with it and `tls_key` the server speaks HTTPS."""

    tls_key: Path | None = None
    """PEM private key of `tls_cert`, not encrypted."""

    log_format: LogFormat = "text"
    """How the log is written on stderr: text for people, json for one object a line."""

    log_level: LogLevel = "info"
    """The least that is logged; debug tells health checks and scrapes too."""

    drain_s: float = Field(default=30.0, ge=0)
    """On SIGTERM, seconds that running sessions may go on before they are closed."""

    default_avatar: str | None = None
    """Presenter of a session that names none; the first of the list when unset."""

    greeting: bool = True
    """Whether a presenter that has a greeting shows it when the first viewer of a session comes."""

    avatar_cache_mb: int = Field(default=2048, ge=0)
    """Megabytes of loaded presenters that stay in memory for ten minutes for whoever asks next."""

    avatar_store_mb: int = Field(default=4096, ge=0)
    """Megabytes on disk (KOUBO_CACHE) of what was decoded and computed of presenters, for quick starts."""

    max_sessions: int = Field(default=8, ge=1)
    """Sessions at once."""

    max_viewers: int = Field(default=16, ge=1)
    """Viewers of one session."""

    idle_close_s: float = Field(default=60.0, gt=0)
    """A session without a viewer, a microphone and queued text is closed after this many seconds."""

    connect_timeout_s: float = Field(default=15.0, gt=0)
    """A peer that has not connected after this many seconds is dropped."""

    text_max_chars: int = Field(default=2000, ge=1)
    """Characters of the longest text that may be spoken at once."""

    text_queue: int = Field(default=16, ge=1)
    """Texts that may wait in one session."""

    audio_buffer_s: float = Field(default=60.0, ge=1, le=600)
    """Seconds of an agent's sound that may wait in one session; over it, its socket is not read."""

    default_voice: str = "espeak:en-us"
    """Voice of texts that name none; one of espeak-ng leaves texts in another script to the voice of that."""

    fallback_voice: str = "espeak"
    """Voice that goes on when another fails, a kind alone chooses by script; empty for none."""

    voice_patience_s: float = Field(default=5.0, gt=0)
    """A voice that gives no sound for this many seconds has failed."""

    openai_voice_url: HttpUrl | None = None
    """Base address of a server with OpenAI's speech endpoint, such as https://api.openai.com/v1."""

    openai_voice_key: SecretStr | None = None
    """Key of that server, sent as a bearer token."""

    openai_voice_model: str = "gpt-4o-mini-tts"
    """Model of that server."""

    openai_voices: tuple[str, ...] = ("alloy", "ash", "coral", "echo", "fable", "nova", "onyx", "shimmer")
    """Voices of that server, the most usual first."""

    openai_voice_rate: int = Field(default=24_000, ge=8_000, le=48_000)
    """Samples a second of the bare samples (pcm) that server sends."""

    video_bitrate_kbps: int = Field(default=2500, ge=300, le=20_000)
    """Of the picture; while most viewers cannot take it and nothing is sent on, it is lowered, to a third."""

    h264_encoder: H264Encoder = "auto"
    """What encodes H.264: libx264, h264_nvenc, or auto for the card's encoder where it works."""

    ice_servers: tuple[IceServer, ...] = ()
    """STUN and TURN servers, each with url, username and credential."""

    allowed_origins: tuple[str, ...] = ()
    """Web origins, besides the server's own, that may call it from a browser; "*" for any."""

    runtime: str = "auto"
    """What draws the mouth: tensorrt, torch or openvino; auto for the best that works here."""

    mouth_process: bool = False
    """Whether a process of its own draws the mouth, so that a crash in it costs no session; openvino only."""

    tick_workers: int | None = Field(default=None, ge=1)
    """Threads that draw and encode for all sessions together; one for each core when not given."""

    outlet_schemes: tuple[str, ...] = ("rtmp", "rtmps", "srt", "udp", "https", "http", "hls", "mp4", "camera")
    """What outlets may be; https and http are WHIP, hls and mp4 write files, camera is a virtual camera."""

    outlet_hosts: tuple[str, ...] = ()
    """The only hosts that outlets may send to, *.name for all below a name; any host when empty."""

    outlet_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that outlets may send to (or listen in) although they are not public, such as 127.0.0.0/8."""

    max_outlets: int = Field(default=8, ge=1)
    """Outlets of one session."""

    recordings: Path | None = None
    """Folder for MP4 recordings and HLS playlists; none are made when unset."""

    recordings_min_free_mb: int = Field(default=1024, ge=0)
    """Megabytes that must stay free there; recordings end before there are fewer."""

    upload_max_mb: int = Field(default=500, ge=1)
    """Megabytes of the largest video or package that may be uploaded to make a presenter."""

    uploads_min_free_mb: int = Field(default=1024, ge=0)
    """Megabytes that must stay free where presenters are kept; uploads that would leave fewer are refused."""

    makers: int = Field(default=1, ge=1)
    """Presenters that are made at a time, each in a process of low priority."""

    makers_waiting: int = Field(default=4, ge=0)
    """Presenters that may wait to be made."""

    operate_tokens: tuple[SecretStr, ...] = ()
    """Bearer tokens that may do everything. Without any, it serves its own machine only."""

    watch_tokens: tuple[SecretStr, ...] = ()
    """Bearer tokens that may watch every session and do nothing else."""

    watch_link_max_s: int = Field(default=86_400, ge=1)
    """Longest life of a link to watch one session, in seconds."""

    max_body_bytes: int = Field(default=131_072, ge=1024)
    """Largest body of a request."""

    sessions_per_minute: float = Field(default=30.0, gt=0)
    """Sessions that one address may open in the long run, after the first `sessions_at_once`."""

    sessions_at_once: int = Field(default=30, ge=1)
    """Sessions that one address may open in quick succession."""

    requests_at_once: int = Field(default=64, ge=1)
    """Requests and WebSockets of one address that may be under way at a time."""

    connections_at_once: int = Field(default=128, ge=1)
    """TCP connections that one address may hold; this machine and proxies on it may hold any number."""

    label: Literal[Language, "off"] = "zh"
    """The label burnt into every picture: zh (AI生成), en (AI-generated) or both; off needs a reason."""

    label_off_reason: str = ""
    """Why pictures may go without the label; logged, and needed when it is off."""

    label_corner: Corner = "top-left"
    """Where the label stands: top-left, top-right, bottom-left or bottom-right."""

    label_size: float = Field(default=0.055, ge=SIZES[0], le=SIZES[1])
    """Height of the label's words, as a share of the picture's shorter side."""

    label_opacity: float = Field(default=0.55, ge=OPACITIES[0], le=OPACITIES[1])
    """Of the dark pill behind the label's words; the words are opaque."""

    content_producer: str = Field(default="Koubo", min_length=1, max_length=200)
    """Name or code of who makes the pictures, told in the AIGC metadata of files."""

    content_propagator: str = Field(default="", max_length=200)
    """Name or code of who distributes the files, told in their AIGC metadata; empty when nobody yet does."""

    c2pa_certificate: Path | None = None
    """PEM chain, the signer's certificate first, that signs finished MP4s (C2PA); none are signed without."""

    c2pa_key: Path | None = None
    """PEM private key of `c2pa_certificate`, not encrypted; readable by the server alone."""

    c2pa_timestamp_url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    """A time stamping authority (RFC 3161) that confirms when a file was signed."""

    turn_urls: tuple[TurnUrl, ...] = ()
    """TURN servers that share `turn_secret`; clients are told short-lived credentials for them."""

    turn_secret: SecretStr | None = None
    """The shared secret of the TURN servers (coturn: `use-auth-secret`, `static-auth-secret`)."""

    turn_credential_s: int = Field(default=43_200, ge=60)
    """How long told TURN credentials open new relays, in seconds; keep it above the longest view."""

    relay_server: bool = False
    """Whether the server relays its own media too; needed only where no client can reach it directly."""

    @model_validator(mode="after")
    def _turn_goes_with_its_secret(self) -> Self:
        if bool(self.turn_urls) != (self.turn_secret is not None):
            raise ValueError("turn_urls and turn_secret go together; set both or neither")
        return self
