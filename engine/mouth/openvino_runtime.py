"""MouthRuntime by OpenVINO on the CPU: bf16 where the processor has it, f32 elsewhere."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue
from weakref import WeakValueDictionary

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.errors import AvatarError
from engine.mouth.openvino_graph import channels_last, flatten_tail, restrict
from engine.mouth.region import Region
from engine.mouth.runtime import Features
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MouthSheet, read_sheet
from engine.speech.mel import MEL_BANDS, WINDOW_COLUMNS, Mel

BATCHES = (4, 2, 1)
"""Faces that are drawn in one call; more at once are no quicker."""

_STEP = 4  # pixels to which a region is rounded, so that avatars share compiled networks

_Map = NDArray[np.float16]


class OpenVinoMouth:
    """Runs the mouth in a folder (engine.mouth.sheet); features are float16 arrays (h, w, C).

    A call works in the thread that makes it, and in no other; as many as there are callers work at once.
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
        """Load; `threads`: how many callers to be ready for, None: as many as there are cores; `cache`: a
        folder for compiled networks.

        `precision` "f32" or "bf16", None: bf16 where the processor computes in it. Raises AvatarError when a
        file is missing, damaged or does not follow the contract.
        """
        networks = _Networks(folder, threads or os.cpu_count() or 1, cache, precision)
        self._set(networks, Region.whole(networks.sheet.size), WeakValueDictionary())

    def _set(
        self, networks: "_Networks", region: Region, known: "WeakValueDictionary[Region, OpenVinoMouth]"
    ) -> None:
        self._networks = networks
        self._region = region
        self._known = known
        self._decoders: dict[int, _Decoder] = {}
        self._lock = threading.Lock()
        known[region] = self

    @property
    def precision(self) -> str:
        """What it computes in: "bf16" or "f32"."""
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
        if not self._networks.can_draw(region):
            region = Region.whole(self.size)
        mouth = self._known.get(region)
        if mouth is None:
            mouth = OpenVinoMouth.__new__(OpenVinoMouth)
            mouth._set(self._networks, region, self._known)
        for batch in BATCHES:
            mouth._decoder(batch)
        return mouth

    def encode(self, faces: Picture) -> list[Features]:
        """The features of idle faces, RGB uint8 (n, S, S, 3)."""
        boxes = self._networks.boxes(self._region)
        return [
            tuple(
                np.copy(map_[boxes[name].rows, boxes[name].columns] if name in boxes else map_)
                for name, map_ in self._networks.encode(face).items()
            )
            for face in faces
        ]

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """Faces that speak: mel windows float32 (n, 80, 16) on n faces -> RGB uint8 (n, S, S, 3).

        A face's picture may differ by single levels with the number of those drawn with it.
        """
        if len(mels) != len(features):
            raise ValueError(f"{len(mels)} mel windows for {len(features)} faces")
        pictures = np.zeros((len(mels), self.size, self.size, 3), np.uint8)
        start = 0
        while start < len(mels):
            batch = next(size for size in BATCHES if size <= len(mels) - start)
            part = slice(start, start + batch)
            drawn = pictures[part, self._region.rows, self._region.columns]
            self._decoder(batch).draw(mels[part], features[part], drawn)
            start += batch
        return pictures

    def _decoder(self, batch: int) -> "_Decoder":
        decoder = self._decoders.get(batch)
        if decoder is None:
            with self._lock:
                if batch not in self._decoders:
                    self._decoders[batch] = self._networks.decoder(batch, self._region)
                decoder = self._decoders[batch]
        return decoder


class _Networks:
    """Both networks of a mouth, read and found to fit its sheet; the encoder is compiled."""

    def __init__(self, folder: Path, threads: int, cache: Path | None, precision: str | None) -> None:
        self.sheet = read_sheet(folder)
        self._core = ov.Core()
        if cache is not None:
            self._core.set_property({"CACHE_DIR": str(cache)})
        self.precision = precision or ("bf16" if has_bf16(self._core) else "f32")
        self._settings: dict[str, object] = {
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": self.precision,
        }
        encoder, self._read = _read(self._core, folder, self.sheet)
        names = self.sheet.map_names
        self._encoder = self._compiled(channels_last(encoder, names))
        self._encoding = _Requests(self._encoder)
        self._boxes: dict[Region, dict[str, Region] | None] = {Region.whole(self.sheet.size): {}}

    def encode(self, face: Picture) -> dict[str, _Map]:
        """The maps of one face (S, S, 3), whole."""
        with self._encoding.one() as request:
            request.set_input_tensor(ov.Tensor(np.array(face[None])))
            request.infer()
            return {name: np.copy(request.get_tensor(name).data[0]) for name in self.sheet.map_names}

    def can_draw(self, region: Region) -> bool:
        """Whether the decoder's graph is understood well enough to draw `region` alone."""
        if region not in self._boxes:
            self._boxes[region] = restrict(self._shaped(1), region)
        return self._boxes[region] is not None

    def boxes(self, region: Region) -> dict[str, Region]:
        """Which part of each map a decoder of `region` reads, and of the picture it draws, where not all."""
        return self._boxes[region] or {}

    def decoder(self, batch: int, region: Region) -> "_Decoder":
        """Compile the decoder for so many faces at once."""
        network = self._shaped(batch)
        if region != Region.whole(self.sheet.size):
            restrict(network, region)
        flatten_tail(network)
        compiled = self._compiled(channels_last(network, self.sheet.map_names))
        drawn = self.boxes(region).get("picture", region)
        return _Decoder(compiled, self.sheet.map_names, batch, region.within(drawn))

    def _shaped(self, batch: int) -> ov.Model:
        decoder = self._read.clone()
        decoder.reshape(_decoder_shapes(self.sheet, batch))
        return decoder

    def _compiled(self, network: ov.Model) -> ov.CompiledModel:
        return self._core.compile_model(network, "CPU", self._settings)


class _Requests:
    """Requests of a compiled network, one for each caller of the moment."""

    def __init__(self, network: ov.CompiledModel) -> None:
        self._network = network
        self._idle: LifoQueue[ov.InferRequest] = LifoQueue()

    @contextmanager
    def one(self) -> Iterator[ov.InferRequest]:
        """A request for this thread alone."""
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = self._network.create_infer_request()
        try:
            yield request
        finally:
            self._idle.put(request)


class _Decoder:
    """A decoder compiled for a number of faces; `part` is what is wanted of the pictures that it draws."""

    def __init__(self, network: ov.CompiledModel, names: Sequence[str], batch: int, part: Region) -> None:
        self._requests = _Requests(network)
        self._names = names
        self._batch = batch
        self._part = part

    def draw(self, mels: Mel, features: Sequence[Features], pictures: Picture) -> None:
        """Draw `batch` faces into `pictures` (batch, h, w, 3)."""
        with self._requests.one() as request:
            request.get_tensor("mel").data[:] = mels
            for name, maps in zip(self._names, zip(*features, strict=True), strict=True):
                if self._batch == 1:
                    request.set_tensor(name, _shared(maps[0]))
                else:
                    np.stack(maps, out=request.get_tensor(name).data)
            request.infer()
            pictures[:] = request.get_output_tensor().data[:, self._part.rows, self._part.columns]


def has_bf16(core: ov.Core | None = None) -> bool:
    """Whether this processor computes in bfloat16."""
    return "BF16" in (core or ov.Core()).get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _shared(map_: _Map) -> ov.Tensor:
    """A map (h, w, C) as a batch of one, where it lies; OpenVINO shares no memory that is read-only."""
    return ov.Tensor(map_[None], shared_memory=map_.flags.writeable)


def _decoder_shapes(sheet: MouthSheet, batch: int) -> dict[str, list[int]]:
    maps = zip(sheet.map_names, sheet.maps, strict=True)
    return {"mel": [batch, MEL_BANDS, WINDOW_COLUMNS], **{name: [batch, *shape] for name, shape in maps}}


def _read(core: ov.Core, folder: Path, sheet: MouthSheet) -> tuple[ov.Model, ov.Model]:
    """The encoder for a single face, and the decoder."""
    shapes = _decoder_shapes(sheet, 1)
    face = [1, sheet.size, sheet.size, 3]
    try:
        encoder = core.read_model(str(folder / FACE_ENCODER))
        decoder = core.read_model(str(folder / MOUTH_DECODER))
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
