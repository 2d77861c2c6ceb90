"""One source through all seven steps, into its own work folder."""

import io
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from engine.anchor.crop import Picture
from engine.anchor.tracker import FacesTracker
from engine.errors import BadMediaError
from engine.picture.source import probe
from engine.picture.video import read_rgb
from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, SAMPLES_PER_TICK
from training.clips import MARGIN, ClipCard, encode, write_clip
from training.preprocess.crops import Growing, begin, grow
from training.preprocess.cuts import Flags, Span, find_spans, lip_motion, voice_flags
from training.preprocess.denoise import BLOCK_SECONDS, NoiseFinding, clean
from training.preprocess.embedder import FaceEmbedder
from training.preprocess.faces import ROW, Table, watch
from training.preprocess.limits import LEAD, Settings
from training.preprocess.quality import refuse_source
from training.preprocess.rates import Sound, store_sound
from training.preprocess.results import Result, Row, store, work_folder
from training.preprocess.sources import Source, shown
from training.preprocess.sync import decide
from training.sync_score import SyncFinding, SyncJudge

Progress = Callable[[int, int], None]

THUMB_WIDTH = 240
_TABLE = "pictures.npy"


@dataclass(frozen=True, slots=True)
class Tools:
    """What the steps work with: a new tracker for each source, the sync judge (None: nobody is asked), the
    embedder.
    """

    tracker: Callable[[], FacesTracker]
    judge: SyncJudge | None
    embedder: FaceEmbedder


def prepare_source(
    source: Source, output: Path, settings: Settings, tools: Tools, progress: Progress | None = None
) -> Result:
    """Does one source and stores its result; what was there of it before is replaced.

    `progress` is told (pictures done, pictures expected or 0), twice over: the source is read twice. A file
    that cannot be used gives a result whose one row says why; OSError where `output` cannot be written.
    """
    folder = work_folder(output, source.id)
    _clear(source, output)
    folder.mkdir(parents=True, exist_ok=True)
    work = _Work(source, folder, settings, tools, progress)
    try:
        work.run()
    except BadMediaError as error:
        work.drop_all("unreadable", str(error))
    embedder = tools.embedder
    result = Result(
        source.id, shown(source.path), settings.fingerprint(), embedder.name, embedder.threshold, work.facts,
        work.rows,
    )  # fmt: skip
    store(output, result)
    return result


def _clear(source: Source, output: Path) -> None:
    """Takes away clips and pictures of an earlier run; the table of pictures stays good."""
    folder = work_folder(output, source.id)
    (folder / "source.json").unlink(missing_ok=True)
    for old in (folder / "clips", folder / "thumbs", *output.glob(f"*/{source.id}-*")):
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)


class _Work:
    """The state of one source between its steps."""

    def __init__(
        self, source: Source, folder: Path, settings: Settings, tools: Tools, progress: Progress | None
    ) -> None:
        self.rows: list[Row] = []
        self.facts: dict[str, object] = {}
        self._source = source
        self._folder = folder
        self._settings = settings
        self._limits = settings.limits
        self._tools = tools
        self._progress = progress
        self._expected = 0

    def run(self) -> None:
        if self._source.duplicate_of is not None:
            self.drop_all("duplicate", f"as {shown(self._source.duplicate_of)}")
            return
        facts = probe(self._source.path)
        self.facts = asdict(facts)
        self._expected = round(facts.duration_s * FRAME_RATE)
        refused = refuse_source(facts, self._limits)
        if refused is not None:
            self.drop_all(*refused)
            return
        raw = self._folder / "sound.s16"
        try:
            sound, damaged = store_sound(self._source.path, raw, facts.start_s)
            self.facts["damaged_sound_packets"] = damaged
            noise = clean(sound, self._limits)
            table = self._table()
            voice = voice_flags(sound, len(table))
            spans = find_spans(table, voice, self._limits)
            self._read(spans, table, voice, sound, noise)
        finally:
            raw.unlink(missing_ok=True)

    def drop_all(self, reason: str, detail: str) -> None:
        """One row for the whole source, with its first picture where there is one."""
        thumb = None
        if self.facts and reason != "unreadable":
            try:
                thumb = self._thumb(next(iter(read_rgb(self._source.path))), "whole")
            except BadMediaError as error:
                reason, detail = "unreadable", str(error)
        end = self._expected / FRAME_RATE
        self.rows = [Row(shown(self._source.path), 0.0, end, reason, detail, thumb=thumb)]

    def _table(self) -> Table:
        """The rows of the source's pictures, from an earlier run where they were stored."""
        stored = self._folder / _TABLE
        damage = self._folder / "damage.txt"
        if stored.is_file():
            table: Table = np.load(stored, allow_pickle=False)
            message = damage.read_text(encoding="utf-8") if damage.is_file() else None
        else:
            tracker = self._tools.tracker()
            try:
                tell = self._told(0)
                table, message = watch(read_rgb(self._source.path), tracker, tell)
            finally:
                tracker.close()
            if message is not None:
                damage.write_text(message, encoding="utf-8")
            _save(stored, table)
        if table.dtype != ROW:
            stored.unlink()
            return self._table()
        if message is not None:
            start, end = len(table) / FRAME_RATE, self._expected / FRAME_RATE
            row = Row(
                shown(self._source.path), round(start, 2), round(max(start, end), 2), "damaged", message
            )
            self.rows.append(row)
        return table

    def _read(
        self, spans: list[Span], table: Table, voice: Flags, sound: Sound, noise: list[NoiseFinding]
    ) -> None:
        """The second reading: cuts clips out and takes a thumbnail of every span."""
        judge, embedder = self._tools.judge, self._tools.embedder
        tell = self._told(len(table))
        waiting = iter(spans)
        span = next(waiting, None)
        clip: Growing | None = None
        thumb: str | None = None
        for index, frame in enumerate(read_rgb(self._source.path)):
            if span is None:
                break
            if index == span.first and span.reason is None:
                clip = begin(table, span)
            if clip is not None:
                grow(
                    clip, frame, table, index,
                    size=self._settings.size, judged_size=judge.size if judge else None, embedder=embedder,
                )  # fmt: skip
            if index == (span.first + span.last) // 2:
                thumb = self._thumb(frame, f"{span.first:06d}")
            if index == span.last - 1:
                scores = {} if clip is None else _scores(table, voice, noise, span)
                row = self._row(span, thumb, scores)
                if clip is not None:
                    self._finish(clip, row, sound)
                self.rows.append(row)
                clip, span = None, next(waiting, None)
            tell(index + 1)

    def _row(self, span: Span, thumb: str | None, scores: dict[str, float | int | None]) -> Row:
        start, end = round(span.first / FRAME_RATE, 2), round(span.last / FRAME_RATE, 2)
        return Row(shown(self._source.path), start, end, span.reason, span.detail, scores=scores, thumb=thumb)

    def _finish(self, clip: Growing, row: Row, sound: Sound) -> None:
        """Judges the sync of a whole clip and writes it, or notes why not."""
        first, frames = clip.span.first, clip.frames
        finding: SyncFinding | None = None
        shift = 0
        if self._tools.judge is not None:
            finding = self._tools.judge.judge(clip.judged, sound.span(first, frames))
            verdict = decide(finding, self._limits)
            row.scores |= {
                "offset": finding.offset,
                "confidence": round(finding.confidence, 4),
                "distance": round(finding.distance, 4),
                "steady": round(finding.steady, 3),
                "shift": verdict.shift,
                "sure": int(verdict.sure),
            }
            if verdict.reason is not None:
                row.reason, row.detail = verdict.reason, verdict.detail
                return
            shift = verdict.shift
        row.clip = f"{self._source.id}-{sum(r.clip is not None for r in self.rows):03d}"
        row.vector = [round(float(value), 6) for value in clip.vector()]
        card = ClipCard(
            person="",
            source=row.source,
            start_s=row.start_s,
            frames=frames,
            size=self._settings.size,
            margin=MARGIN,
            lead=LEAD,
            lips=clip.lips,
            offset=finding.offset if finding else None,
            confidence=round(finding.confidence, 4) if finding else None,
        )
        samples = sound.span(first + shift - LEAD, frames + 2 * LEAD)
        write_clip(self._folder / "clips" / row.clip, card, clip.pictures, samples)

    def _thumb(self, frame: Picture, name: str) -> str:
        height = max(1, round(frame.shape[0] * THUMB_WIDTH / frame.shape[1]))
        small = cv2.resize(frame, (THUMB_WIDTH, height), interpolation=cv2.INTER_AREA)
        target = self._folder / "thumbs" / f"{name}.jpg"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(encode(np.asarray(small, np.uint8)))
        return f"{self._source.id}/thumbs/{name}.jpg"

    def _told(self, already: int) -> Callable[[int], None]:
        def tell(done: int) -> None:
            if self._progress is not None:
                self._progress(already + done, 2 * max(self._expected, already, done))

        return tell


def _save(path: Path, table: Table) -> None:
    """Through memory, for numpy writes to files without saying why it could not."""
    content = io.BytesIO()
    np.save(content, table)
    partial = path.with_suffix(".part")
    partial.write_bytes(content.getbuffer())
    partial.replace(path)


def _scores(
    table: Table, voice: Flags, noise: list[NoiseFinding], span: Span
) -> dict[str, float | int | None]:
    """What was measured of a span that may become a clip."""
    rows, flags = table[span.first : span.last], voice[span.first : span.last]
    block = noise[min(span.first * SAMPLES_PER_TICK // (BLOCK_SECONDS * SAMPLE_RATE), len(noise) - 1)]
    return {
        "face": round(float(np.median(rows["crop"][:, 2]))),
        "yaw": round(float(np.median(np.abs(rows["yaw"]))), 1),
        "sharpness": round(float(np.median(rows["sharpness"])), 1),
        "light": round(float(np.median(rows["light"])), 1),
        "contrast": round(float(np.median(rows["contrast"])), 1),
        "speech": round(float(flags.mean()), 3),
        "lip_motion": round(lip_motion(rows, flags), 4),
        "snr_db": block.snr_db,
        "cleaned_db": block.cleaned_db,
    }
