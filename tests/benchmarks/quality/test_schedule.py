"""Processes start in order, after what they need; a failure takes along only what needs it."""

import sys
from pathlib import Path

from benchmarks.quality.schedule import Job, run_jobs


def job(folder: Path, name: str, code: str, *needs: str) -> Job:
    return Job(name, [sys.executable, "-c", code], folder / f"{name}.log", needs)


def test_a_failure_is_one_line_and_the_others_go_on(tmp_path):
    wrong = "import sys; print('a long story'); sys.exit('error: no such thing')"
    written = f"open({str(tmp_path / 'done')!r}, 'a').write('x')"
    jobs = [
        job(tmp_path, "wrong", wrong),
        job(tmp_path, "after-wrong", written, "wrong"),
        job(tmp_path, "right", written),
        job(tmp_path, "after-right", written, "right", "finished in an earlier study"),
    ]
    lines: list[str] = []
    assert run_jobs(jobs, processes=2, say=lines.append) == ["wrong", "after-wrong"]
    assert (tmp_path / "done").read_text() == "xx"
    (failed,) = [line for line in lines if line.startswith("FAILED")]
    assert "error: no such thing" in failed
    assert str(tmp_path / "wrong.log") in failed
    assert any(line.startswith("left out  after-wrong") for line in lines)


def test_processes_have_one_thread(tmp_path):
    run_jobs([job(tmp_path, "one", "import os; print(os.environ['OMP_NUM_THREADS'])")], processes=1, say=lambda _: None)
    assert (tmp_path / "one.log").read_text() == "1\n"
