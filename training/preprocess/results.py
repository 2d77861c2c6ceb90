"""What is kept of one source: rows of the manifest, stored when the source is finished."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from training.preprocess.limits import Settings

SCHEMA = 1
WORK = "work"
_RESULT = "source.json"


@dataclass(slots=True)
class Row:
    """One stretch of a source. `clip` names the clip's folder, `reason` says why there is none; `thumb` is
    the picture in the work folder, `vector` the face, both only for gathering.
    """

    source: str
    start_s: float
    end_s: float
    reason: str | None = None
    detail: str = ""
    clip: str | None = None
    person: str | None = None
    scores: dict[str, float | int | None] = field(default_factory=dict)
    thumb: str | None = None
    vector: list[float] | None = None

    def as_manifest(self) -> dict[str, Any]:
        """The row as it stands in manifest.jsonl."""
        return {
            "source": self.source,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "status": "dropped" if self.reason else "kept",
            "reason": self.reason,
            "detail": self.detail,
            "person": self.person,
            "clip": f"{self.person}/{self.clip}" if self.clip and self.person else None,
            "scores": self.scores,
        }


@dataclass(slots=True)
class Result:
    """A finished source: its number, its name, who made its vectors and up to which distance they are one
    person, what the file says of itself, its rows.
    """

    id: str
    source: str
    settings: str
    embedder: str
    threshold: float
    facts: dict[str, Any]
    rows: list[Row]
    schema: int = SCHEMA


def work_folder(output: Path, id_: str) -> Path:
    """Where a source is worked on."""
    return output / WORK / id_


def store(output: Path, result: Result) -> None:
    """Writes the result last of all, so that a source with a result is finished."""
    target = work_folder(output, result.id) / _RESULT
    partial = target.with_suffix(".part")
    partial.write_text(json.dumps(asdict(result), ensure_ascii=False), encoding="utf-8")
    partial.replace(target)


def load(folder: Path) -> Result | None:
    """The result in a work folder; None where there is none, or a damaged or older one."""
    try:
        content = json.loads((folder / _RESULT).read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            return None
        return Result(**{**content, "rows": [Row(**row) for row in content["rows"]]})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def finished(output: Path, id_: str, settings: Settings) -> bool:
    """Whether a source was done with these very settings."""
    result = load(work_folder(output, id_))
    return result is not None and result.settings == settings.fingerprint()
