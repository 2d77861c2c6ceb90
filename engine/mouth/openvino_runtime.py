"""MouthRuntime by OpenVINO on the CPU: bf16 where the processor has it, f32 elsewhere."""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import LifoQueue
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.errors import AvatarError
from engine.mouth.onnx_file import check_network
from engine.mouth.openvino_graph import channels_last, flatten_tail, restrict
from engine.mouth.region import Region
from engine.mouth.runtime import Features
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, QUANTISED, MouthSheet, read_sheet
from engine.speech.mel import MEL_BANDS, WINDOW_COLUMNS, Mel

_STEP = 4  # pixels to which a region is rounded, so that avatars share compiled networks

_Map = NDArray[np.float16]
_T = TypeVar("_T")


class OpenVinoMouth:
    """Runs the mouth in a folder (engine.mouth.sheet); features are float16 arrays (h, w, C).

    A call works in the thread that makes it, and in no other; `threads` of them at once, others wait. Faces
    are drawn one after the other: a batch costs as much, for it must be gathered and leaves the cache, and so
    no picture depends on who else is drawn.
    """

    name = "openvino"

    def __init__(
        self,
        folder: Path,
        *,
        threads: int | None = None,
        cache: Path | None = None,
        precision: str | None = None,
    ) -> None:
        """Load; `threads`: how many callers may work at once, None: as many as there are cores; `cache`: a
        folder for compiled networks.

        `precision` "f32", "bf16" or "int8", None: bf16 where the processor computes in it, elsewhere int8
        where the folder holds such a decoder (`koubo quantise`). Raises AvatarError when a file is missing,
        damaged or does not follow the contract.
        """
        networks = _Networks(folder, threads or os.cpu_count() or 1, cache, precision)
        self._set(networks, Region.whole(networks.sheet.size), WeakValueDictionary())

    def _set(
        self, networks: "_Networks", region: Region, known: "WeakValueDictionary[Region, OpenVinoMouth]"
    ) -> None:
        self._networks = networks
        self._region = region
        self._known = known
        self._decoders: _Pool[_Decoder] | None = None
        self._names = networks.sheet.map_names
        self._lock = threading.Lock()
        known[region] = self

    @property
    def precision(self) -> str:
        """What it computes in: "bf16", "f32" or "int8"."""
        return self._networks.precision

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        return self._networks.sheet.size

    @property
    def region(self) -> Region:
        """The part of its pictures that is drawn."""
        return self._region

    @property
    def maps_key(self) -> str:
        """Names the layout, precision and region of its features."""
        part = self._region
        return f"hwc-f16-{self.precision}-{part.left}-{part.top}-{part.right}-{part.bottom}"

    def restricted(self, region: Region) -> "OpenVinoMouth":
        """The same networks, drawing `region`, rounded; the whole square where the graph is not understood.

        Ready to draw when it is returned. The same region gives the same mouth.
        """
        region = region.rounded(_STEP, self.size)
        if self._networks.boxes(region) is None:
            region = Region.whole(self.size)
        mouth = self._known.get(region)
        if mouth is None:
            mouth = OpenVinoMouth.__new__(OpenVinoMouth)
            mouth._set(self._networks, region, self._known)
        mouth._ready()
        return mouth

    def encode(self, faces: Picture) -> list[Features]:
        """The features of idle faces, RGB uint8 (n, S, S, 3)."""
        boxes = self._networks.boxes(self._region) or {}
        return [
            tuple(
                np.copy(map_[boxes[name].rows, boxes[name].columns] if name in boxes else map_)
                for name, map_ in self._networks.encode(face).items()
            )
            for face in faces
        ]

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """Faces that speak: mel windows float32 (n, 80, 16) on n faces -> RGB uint8 (n, S, S, 3)."""
        if len(mels) != len(features):
            raise ValueError(f"{len(mels)} mel windows for {len(features)} faces")
        pictures = np.zeros((len(mels), self.size, self.size, 3), np.uint8)
        drawn = pictures[:, self._region.rows, self._region.columns]
        with self._ready().lent() as worker:
            for mel, maps, picture in zip(mels, features, drawn, strict=True):
                worker.draw(mel, dict(zip(self._names, maps, strict=True)), picture)
        return pictures

    def _ready(self) -> "_Pool[_Decoder]":
        if self._decoders is None:
            with self._lock:
                if self._decoders is None:
                    self._decoders = self._networks.decoders(self._region)
        return self._decoders


class _Networks:
    """Both networks of a mouth, read and found to fit its sheet; the encoder is compiled."""

    def __init__(self, folder: Path, threads: int, cache: Path | None, precision: str | None) -> None:
        self.sheet = read_sheet(folder)
        self._core = ov.Core()
        if cache is not None:
            self._core.set_property({"CACHE_DIR": str(cache)})
        self.precision = precision or _best(self._core, folder)
        # One stream of one thread works in the thread that calls; two callers at once would wait for each
        # other, so each has a compiled network of its own.
        self._settings: dict[str, object] = {
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": 1,
            # Each network would tie its caller to the first core, all callers to the same one.
            "ENABLE_CPU_PINNING": False,
            # What int8 leaves in floats is quicker as it is than turned to bf16 and back.
            "INFERENCE_PRECISION_HINT": "f32" if self.precision == "int8" else self.precision,
        }
        self._threads = threads
        decoder = folder / MOUTH_DECODER
        if self.precision == "int8":
            decoder = folder / QUANTISED
            if not decoder.is_file():
                raise AvatarError(f"The mouth in {folder} has no int8 decoder; run `koubo quantise` on it.")
            check_network(decoder)
        encoder, self._read = _read(self._core, folder / FACE_ENCODER, decoder, self.sheet)
        encoder = channels_last(encoder, self.sheet.map_names)
        self._encoders = _Pool([self._request(encoder) for _ in range(threads)])
        self._boxes: dict[Region, dict[str, Region] | None] = {}

    def encode(self, face: Picture) -> dict[str, _Map]:
        """The maps of one face (S, S, 3), whole."""
        with self._encoders.lent() as request:
            request.set_input_tensor(ov.Tensor(np.array(face[None])))
            request.infer()
            return {name: np.copy(request.get_tensor(name).data[0]) for name in self.sheet.map_names}

    def boxes(self, region: Region) -> dict[str, Region] | None:
        """Which part of each map is needed to draw `region`, where not all of it is, and "picture": what is
        drawn; None where the decoder's graph is not understood.
        """
        if region not in self._boxes:
            self._boxes[region] = restrict(self._shaped(), region)
        return self._boxes[region]

    def decoders(self, region: Region) -> "_Pool[_Decoder]":
        """Compile the decoder of a region for each thread."""
        network = self._shaped()
        boxes = restrict(network, region) or {}
        flatten_tail(network)
        network = channels_last(network, self.sheet.map_names)
        part = region.within(boxes.get("picture", Region.whole(self.sheet.size)))
        return _Pool(_Decoder(self._request(network), part) for _ in range(self._threads))

    def _shaped(self) -> ov.Model:
        decoder = self._read.clone()
        decoder.reshape(_decoder_shapes(self.sheet))
        return decoder

    def _request(self, network: ov.Model) -> ov.InferRequest:
        return self._core.compile_model(network, "CPU", self._settings).create_infer_request()


class _Pool(Generic[_T]):
    """Things of which each is one caller's at a time; further callers wait."""

    def __init__(self, things: Iterable[_T]) -> None:
        self._idle: LifoQueue[_T] = LifoQueue()
        for thing in things:
            self._idle.put(thing)

    @contextmanager
    def lent(self) -> Iterator[_T]:
        """One of them, for this thread alone."""
        thing = self._idle.get()
        try:
            yield thing
        finally:
            self._idle.put(thing)


class _Decoder:
    """A decoder for one caller; `part` is what is wanted of the pictures that it draws."""

    def __init__(self, request: ov.InferRequest, part: Region) -> None:
        self._request = request
        self._part = part

    def draw(self, mel: Mel, maps: dict[str, _Map], picture: Picture) -> None:
        """Draw a face into `picture` (h, w, 3)."""
        self._request.get_tensor("mel").data[0] = mel
        for name, map_ in maps.items():
            self._request.set_tensor(name, _shared(map_))
        self._request.infer()
        picture[:] = self._request.get_output_tensor().data[0, self._part.rows, self._part.columns]


def has_bf16(core: ov.Core | None = None) -> bool:
    """Whether this processor computes in bfloat16."""
    return "BF16" in (core or ov.Core()).get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _shared(map_: _Map) -> ov.Tensor:
    """A map (h, w, C) as a batch of one, where it lies; OpenVINO shares no memory that is read-only."""
    return ov.Tensor(map_[None], shared_memory=map_.flags.writeable)


def _decoder_shapes(sheet: MouthSheet) -> dict[str, list[int]]:
    maps = zip(sheet.map_names, sheet.maps, strict=True)
    return {"mel": [1, MEL_BANDS, WINDOW_COLUMNS], **{name: [1, *shape] for name, shape in maps}}


def _best(core: ov.Core, folder: Path) -> str:
    if has_bf16(core):
        return "bf16"
    quick = "INT8" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "int8" if quick and (folder / QUANTISED).is_file() else "f32"


def _read(core: ov.Core, faces: Path, mouth: Path, sheet: MouthSheet) -> tuple[ov.Model, ov.Model]:
    """The encoder for a single face, and the decoder."""
    folder, shapes = mouth.parent, _decoder_shapes(sheet)
    face = [1, sheet.size, sheet.size, 3]
    try:
        encoder, decoder = core.read_model(str(faces)), core.read_model(str(mouth))
        encoder.reshape({"face": face})
        decoder.reshape(shapes)
        fits = list(decoder.output("picture").shape) == face and all(
            list(encoder.output(name).shape) == shapes[name] for name in sheet.map_names
        )
    except RuntimeError as error:
        what = str(error).strip().splitlines()[-1].strip()
        raise AvatarError(f"The mouth in {folder} is damaged ({what}); export it again.") from error
    if not fits:
        raise AvatarError(
            f"The mouth in {folder} is damaged (its networks do not fit its sheet); export it again."
        )
    return encoder, decoder
