"""How a cluster is laid out."""

import hmac
import secrets
from typing import Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from streaming.drain import CLOSE_S


def _new_secret() -> SecretStr:
    return SecretStr(secrets.token_urlsafe(32))


class Plan(BaseModel):
    """How many replicas, what each may use, and how they come and go."""

    least: int = Field(default=1, ge=1)
    """Replicas that are always there."""

    most: int = Field(default=1, ge=1)
    """Replicas at most."""

    sessions: int = Field(default=6, ge=1)
    """Sessions of one replica."""

    cpus: float = Field(default=2.0, ge=0)
    """Cores that one replica has to itself; it may be a fraction."""

    gpus: float = Field(default=0.0, ge=0)
    """GPUs that one replica has to itself; it may be a fraction."""

    fill: float = Field(default=0.8, gt=0, le=1)
    """Share of all places that should be taken; above it a replica is added, below it one may go."""

    grow_s: float = Field(default=2.0, ge=0)
    """Seconds for which a replica has to be missing before one is added."""

    shrink_s: float = Field(default=300.0, ge=0)
    """Seconds for which a replica has to be too many before one goes."""

    drain_s: float = Field(default=3600.0, ge=0)
    """Seconds that sessions of a replica that is to go may go on."""

    gateways: int = Field(default=2, ge=1)
    """Processes that answer HTTP and pass it on."""

    gateway_resources: dict[str, float] = Field(default_factory=dict)
    """Resources of Ray that a gateway needs; ties gateways to the nodes that have them."""

    wait_s: float = Field(default=3.0, ge=0)
    """Seconds that a new session may wait for a place before it is refused."""

    secret: SecretStr = Field(default_factory=_new_secret)
    """What a gateway shows to replicas: nobody else is answered."""

    @model_validator(mode="after")
    def _most_is_not_less_than_least(self) -> Self:
        if self.most < self.least:
            raise ValueError(f"at most {self.most} replicas are fewer than at least {self.least}")
        return self

    @property
    def link_key(self) -> bytes:
        """Signs links to watch, so that those of one replica hold at every gateway."""
        return hmac.digest(self.secret.get_secret_value().encode(), b"watch links", "sha256")

    @property
    def stop_s(self) -> float:
        """Seconds after which a replica that is to go is killed: its drain, and time to close the rest."""
        return self.drain_s + CLOSE_S + 5.0
