"""What Koubo is built on sends nothing about its users."""

import subprocess
import sys
from pathlib import Path


def test_openvino_counts_nothing(tmp_path: Path) -> None:
    code = "from engine.mouth.openvino_runtime import has_bf16; has_bf16()"
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, env=env, cwd=root, timeout=60)
    assert list(tmp_path.iterdir()) == []
