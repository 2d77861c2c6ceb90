"""Past one machine: the parts of a cluster as deployments of Ray Serve, and `koubo serve --ray`.

Ray starts, scales, checks and drains replicas and gateways, and stands before the gateways on every machine.
Which replica holds which session is decided and known by the gateways alone (`cluster_placement`). They talk
to replicas over HTTP, not through Ray: to a replica that drains Serve no longer routes, and yet its sessions
go on; and a broken connection tells of a loss long before Ray does.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.errors import KouboError, MissingToolError
from streaming.auth import Keys
from streaming.cluster_directory import REGISTER_S, Entry, Order, Phase, Register
from streaming.cluster_gateway import gateway_app
from streaming.cluster_placement import new_name
from streaming.cluster_replica import Replica
from streaming.cluster_scaling import SESSIONS, WAITING, SessionsPolicy
from streaming.cluster_settings import Plan
from streaming.config_file import load_settings
from streaming.limits import is_loopback
from streaming.logs import set_up
from streaming.settings import Settings

APPLICATION = "koubo"
STAGE = "KouboStage"
DIRECTORY = "KouboDirectory"
GATEWAY = "KouboGateway"

_PASSED_ON = ("KOUBO_AVATARS", "KOUBO_CACHE", "KOUBO_DATA")
"""What the engine reads from the environment, given to replicas on every machine."""

_ASK_S = 5.0
_LOOK_S = 0.2
_END_S = 15.0


class DirectoryActor:
    """The deployment that knows where the replicas are."""

    def __init__(self) -> None:
        self._register = Register()

    async def enter(self, name: str, entry: Entry) -> Order:
        """A replica says how it does."""
        return self._register.enter(name, entry, time.monotonic())

    async def leave(self, name: str) -> None:
        """A replica ends."""
        self._register.leave(name)

    async def ask(self, gateway: str, waiting: int) -> dict[str, str]:
        """A gateway asks for the replicas."""
        return self._register.ask(gateway, waiting, time.monotonic())

    async def show(self) -> dict[str, Entry]:
        """Every replica."""
        return self._register.replicas(time.monotonic())

    async def begin(self, phase: Phase) -> None:
        """Tell all replicas, as they come by, what to do from now on."""
        self._register.phase = phase


class StageActor:
    """The deployment that holds sessions: one `Replica`, and what Serve wants to know of it."""

    async def __init__(self, settings: Settings, plan: Plan, directory: Any) -> None:  # type: ignore[misc]
        """Serve awaits it, and sends nothing before."""
        util: Any = import_module("ray.util")
        set_up(settings.log_format, settings.log_level)
        self._directory = directory
        self._waiting = 0
        self._ending = False
        self._replica = Replica(new_name(), settings, plan, util.get_node_ip_address())
        await self._replica.until_ready()
        self._saying = asyncio.create_task(self._say(), name="directory")

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What the autoscaler goes by."""
        return {SESSIONS: float(self._replica.load().sessions), WAITING: float(self._waiting)}

    def check_health(self) -> None:
        """Raise when the server ended though nobody told it to; Serve then starts another replica."""
        if not self._replica.alive and not self._ending:
            raise KouboError("The server of this replica has ended.")

    async def __del__(self) -> None:
        """Serve calls this when the replica is to go, and waits: sessions go on for the plan's time."""
        self._ending = True
        await self._replica.drain()
        await asyncio.wait([self._saying], timeout=2 * REGISTER_S)

    async def _say(self) -> None:
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        replica = self._replica
        away = (RayError, RayServeException, TimeoutError)
        while replica.alive:
            entry = Entry(replica.url, replica.load().sessions, replica.in_use)
            with suppress(*away):  # it is being started anew; the gateways have their links
                async with asyncio.timeout(_ASK_S):
                    await self._obey(await self._directory.enter.remote(replica.name, entry))
            await asyncio.sleep(REGISTER_S)
        with suppress(*away):
            async with asyncio.timeout(_ASK_S):
                await self._directory.leave.remote(replica.name)

    async def _obey(self, order: Order) -> None:
        self._waiting = order.waiting
        if order.phase != "run":
            self._ending = True
            self._replica.close_door()
        if order.phase == "stop":
            self._replica.hurry()


class RayDirectory:
    """The directory as a gateway sees it."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def replicas(self, gateway: str, waiting: int) -> Mapping[str, str]:
        """Name and URL of each. Raises OSError while the directory is away."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        try:
            async with asyncio.timeout(_ASK_S):
                found: dict[str, str] = await self._handle.ask.remote(gateway, waiting)
        except (RayError, RayServeException) as error:
            raise OSError("the directory does not answer") from error
        return found


def application(settings: Settings, plan: Plan) -> Any:
    """The Serve application: directory, stage and gateways. Raises MissingToolError without Ray."""
    serve = _ray_serve()
    Keys(settings)  # unusable tokens are told here rather than by replicas that do not start
    passed = {name: value for name in _PASSED_ON if (value := os.environ.get(name))}
    quiet = {"enable_access_log": False}
    front = {"num_cpus": 0, **({"resources": plan.gateway_resources} if plan.gateway_resources else {})}
    directory = serve.deployment(
        DirectoryActor,
        name=DIRECTORY,
        num_replicas=1,
        max_ongoing_requests=10_000,
        ray_actor_options=front,
        logging_config=quiet,
    ).bind()
    stage = serve.deployment(
        StageActor,
        name=STAGE,
        autoscaling_config={
            "min_replicas": plan.least,
            "max_replicas": plan.most,
            "upscale_delay_s": plan.grow_s,
            "downscale_delay_s": plan.shrink_s,
            "policy": {
                "policy_function": f"{SessionsPolicy.__module__}:{SessionsPolicy.__qualname__}",
                "policy_kwargs": {"places": plan.sessions, "fill": plan.fill},
            },
        },
        graceful_shutdown_timeout_s=plan.stop_s,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=2,
        health_check_timeout_s=10,
        ray_actor_options={
            "num_cpus": plan.cpus,
            "num_gpus": plan.gpus,
            "runtime_env": {
                "env_vars": {**passed, "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1"}
            },
        },
        logging_config=quiet,
    ).bind(settings, plan, directory)

    def build() -> Any:
        from ray.serve import get_deployment_handle

        set_up(settings.log_format, settings.log_level)
        handle = get_deployment_handle(DIRECTORY, APPLICATION)
        return gateway_app(settings, plan, RayDirectory(handle))

    return serve.deployment(
        serve.ingress(build)(),
        name=GATEWAY,
        num_replicas=plan.gateways,
        max_ongoing_requests=100_000,
        ray_actor_options=front,
        graceful_shutdown_timeout_s=5,
        health_check_period_s=2,
        health_check_timeout_s=10,
        logging_config=quiet,
    ).bind(directory, stage)


def build(args: Plan) -> Any:
    """For a Serve config file: `import_path: streaming.cluster:build`, whose `args` are fields of `Plan`.

    Settings come from the environment, and from the file that KOUBO_CONFIG names.
    """
    config = os.environ.get("KOUBO_CONFIG")
    return application(load_settings(Path(config) if config else None, {}), args)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that was deployed from here."""

    drain_s: float
    started_ray: bool

    def sessions(self) -> dict[str, Entry]:
        """What each replica holds."""
        found: dict[str, Entry] = _directory().show.remote().result(timeout_s=_ASK_S)
        return found

    def close(self, hurry: threading.Event) -> None:
        """Take no new sessions, wait for those that run up to `drain_s` or until `hurry`, then end it all."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        serve = _ray_serve()
        ray: Any = import_module("ray")
        try:
            _directory().begin.remote("drain").result(timeout_s=_ASK_S)
            until = time.monotonic() + self.drain_s
            while time.monotonic() < until and any(one.in_use for one in self.sessions().values()):
                if hurry.wait(_LOOK_S):
                    break
            _directory().begin.remote("stop").result(timeout_s=_ASK_S)
            until = time.monotonic() + _END_S
            while time.monotonic() < until and self.sessions():
                time.sleep(_LOOK_S)
        except (RayError, RayServeException, TimeoutError):
            pass  # nothing of it answers: all that is left is to take it down
        serve.delete(APPLICATION)
        if self.started_ray:
            serve.shutdown()
        ray.shutdown()


def deploy(settings: Settings, plan: Plan, address: str | None = None, *, every_node: bool = True) -> Cluster:
    """Join the Ray cluster at `address` ("auto" or HOST:PORT), or start one here, and run Koubo on it.

    `every_node`: Serve's proxies listen on each machine, else on the head alone. Raises MissingToolError
    without Ray, KouboError when Ray cannot be joined or the deployment fails.
    """
    if Keys(settings).open and not is_loopback(settings.host):
        raise KouboError(
            f"Listening on {settings.host} lets everybody in; "
            "set KOUBO_OPERATE_TOKENS, or listen on 127.0.0.1."
        )
    address = address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        # Ray reads this when it is imported: a cluster of one machine stays on its loopback.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    serve = _ray_serve()
    ray: Any = import_module("ray")
    app = application(settings, plan)
    started = not ray.is_initialized()
    if started:
        here = {} if address else {"include_dashboard": False}
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False, **here)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise KouboError(
                f"There is no Ray cluster at {address or 'this machine'}; start one with `ray start --head`."
            ) from error
    serve.start(
        proxy_location="EveryNode" if every_node else "HeadOnly",
        http_options={"host": settings.host, "port": settings.port},
    )
    try:
        serve.run(app, name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        serve.delete(APPLICATION)
        raise KouboError("The cluster did not start; Ray's log of the replicas says why.") from error
    return Cluster(settings.drain_s, started_ray=started and address is None)


def serve_on_ray(settings: Settings, plan: Plan, address: str | None, tell: Callable[[str], None]) -> None:
    """`koubo serve --ray`: deploy, say where it is, and drain at SIGINT or SIGTERM; a second one hurries."""
    tell("Starting Koubo on Ray…")
    cluster = deploy(settings, plan, address)
    end, hurry = threading.Event(), threading.Event()

    def leave(*_: object) -> None:
        (hurry if end.is_set() else end).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    replicas = f"{plan.least} to {plan.most}" if plan.most > plan.least else f"{plan.least}"
    where = f"http://{settings.host}:{settings.port}"
    tell(f"Koubo is at {where}, on {replicas} replicas of {plan.sessions} sessions each")
    end.wait()
    tell(f"Waiting up to {settings.drain_s:.0f} s for sessions to end; once more ends them now.")
    cluster.close(hurry)


def _ray_serve() -> Any:
    try:
        from ray import serve
    except ImportError as error:
        raise MissingToolError("Many machines need Ray Serve; run `pip install 'koubo[ray]'`.") from error
    return serve


def _directory() -> Any:
    return _ray_serve().get_deployment_handle(DIRECTORY, APPLICATION)
