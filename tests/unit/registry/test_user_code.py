from __future__ import annotations

import functools
import queue
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detektr.errors import EndedEarlyError, RefusedError, SourceError
from detektr.registry.code_checks import UserCodeError
from detektr.registry.stateful import is_stateful
from detektr.registry.user_code import PictureCode, build_worker, find, make_worker, told
from detektr.sinks import Sink

CODE = """
import functools

class Outer:
    class Inner:
        def process(self, frame): return {"inner": frame}

class Look:
    def __init__(self, model, threshold=0.5): self.model, self.threshold = model, threshold
    def process(self, frame): return {"model": self.model, "frame": frame}

built = Look("yolo")
def look(frame, *, scale=1): return {"scale": scale, "frame": frame}
half = functools.partial(look, scale=2)
seven = 7
pictures = [1, 2, 3]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "code_of_test.py").write_text(CODE)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def build(folder: Path, use: str, method: str = "process", **arguments: Any) -> Any:
    return build_worker(use, arguments, method, "processors" if method == "process" else "sinks", folder)[1]


def refused(folder: Path, use: str, method: str = "process", **arguments: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        build(folder, use, method, **arguments)
    return str(caught.value)


def test_a_class_in_a_class_is_found_by_use(folder: Path) -> None:
    assert build(folder, "code_of_test:Outer.Inner")(1) == {"inner": 1}


def test_an_object_that_is_built_already_is_used_as_it_is(folder: Path) -> None:
    assert build(folder, "code_of_test:built")(1) == {"model": "yolo", "frame": 1}
    assert "is an object that is built already" in refused(folder, "code_of_test:built", model="x")


def test_a_function_takes_the_keys_of_with_behind_the_frame(folder: Path) -> None:
    assert build(folder, "code_of_test:look")(1) == {"scale": 1, "frame": 1}
    assert build(folder, "code_of_test:look", scale=3)(1) == {"scale": 3, "frame": 1}
    assert build(folder, "code_of_test:half")(1) == {"scale": 2, "frame": 1}
    assert "`with` has 'scal', which look does not take; write 'scale'" in refused(folder, "code_of_test:look", scal=1)


def test_a_short_name_is_built_like_its_class(folder: Path) -> None:
    assert build(folder, "motion", threshold=0.5).__self__.__class__.__name__ == "Motion"
    assert "no installed package offers 'motin'; known: motion; " in refused(folder, "motin")
    assert "constructor raised ValueError: Motion: threshold 7 is out of range" in refused(
        folder, "motion", threshold=7
    )


def test_what_our_own_sink_refuses_is_told_in_its_own_words(folder: Path) -> None:
    text = refused(folder, "jsonl", "write", path=f"{folder}/nowhere/out")
    assert text == f"use: jsonl: JsonLines: {folder}/nowhere/out: folder {folder}/nowhere does not exist; make it"


def test_a_key_that_a_constructor_needs_and_with_lacks_is_named(folder: Path) -> None:
    text = refused(folder, "code_of_test:Look", threshold=1)
    assert text == "use: code_of_test:Look: `with` lacks 'model', which Look needs; write `with: {model: ...}`"


def test_a_value_of_with_is_not_told(folder: Path) -> None:
    assert "hunter2" not in refused(folder, "code_of_test:Look", model="a", password="hunter2")


def test_a_file_that_an_installed_module_hides_is_said_with_the_one_that_was_imported(folder: Path) -> None:
    (folder / "queue.py").write_text("class Mine:\n    def process(self, frame): pass\n")
    text = refused(folder, "queue:Mine")
    assert f"module queue ({queue.__file__}) has no 'Mine'" in text
    assert f"it hides your {folder}/queue.py" in text and "rename yours" in text


def test_a_folder_that_an_installed_module_hides_is_said_too(folder: Path) -> None:
    (folder / "queue").mkdir()
    (folder / "queue" / "mine.py").write_text("class Mine: pass\n")
    text = refused(folder, "queue.mine:Mine")
    assert f"no module 'queue.mine' in {queue.__file__}; it hides your {folder}/queue" in text


def test_a_name_that_is_missing_is_told_with_the_file_and_what_it_has(folder: Path) -> None:
    text = refused(folder, "code_of_test:Loook")
    assert f"module code_of_test ({folder}/code_of_test.py) has no 'Loook'; write code_of_test:Look" in text
    assert "it has: Outer, Look, built, look" in refused(folder, "code_of_test:Zzz")
    assert "Outer has no 'Iner'" in refused(folder, "code_of_test:Outer.Iner")


def test_a_module_that_imports_a_missing_one_is_not_taken_for_the_missing_one(folder: Path) -> None:
    (folder / "yolo_look.py").write_text("import os\nimport yolo\n")
    text = refused(folder, "yolo_look:Look")
    assert f"{folder}/yolo_look.py:2 imports 'yolo', which is not there; install it for {sys.executable}" in text


def test_a_package_that_imports_a_missing_part_of_itself_is_told_so(folder: Path) -> None:
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").write_text("from pack import look\nimport pack.gone\n")
    (folder / "pack" / "look.py").write_text("")
    assert "pack/__init__.py:2 imports 'pack.gone'" in refused(folder, "pack.look:Look")


def test_a_module_that_is_nowhere_is_looked_for_beside_the_file(folder: Path) -> None:
    assert f"there is no module 'nowhere_of_test'; put it on PYTHONPATH or in {folder}" in refused(
        folder, "nowhere_of_test:Look"
    )
    assert "no module 'code_of_test.inner' in " in refused(folder, "code_of_test.inner:Look")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("raise SystemExit('no licence')", "SystemExit: no licence (ending_of_test.py:1)"),
        ("1 / 0", "ZeroDivisionError: division by zero (ending_of_test.py:1)"),
        ("def (", "SyntaxError: "),
    ],
)
def test_a_module_that_raises_is_told_with_its_line(folder: Path, line: str, says: str) -> None:
    (folder / "ending_of_test.py").write_text(line + "\n")
    text = refused(folder, "ending_of_test:Look")
    assert "importing ending_of_test raised " + says in text
    assert "ending_of_test.py" in text


ODD = """
from detektr.processors import Processor

class NoSelf:
    def process(): pass

class OnlyFrame:
    def process(frame): pass

class More:
    def process(self, frame, model): pass

class Async:
    async def process(self, frame): pass

class Yields:
    def process(self, frame): yield {}

class Misspelt(Processor):
    def proces(self, frame): pass

class Nothing:
    pass

seven = 7
bare = lambda: None
"""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("NoSelf", "it is process(); expected process(self, frame)"),
        ("OnlyFrame", "it is process(frame); expected process(self, frame)"),
        ("More", "it is process(self, frame, model); expected process(self, frame)"),
        ("Async", "process() is async, and nobody awaits it; write `def`"),
        ("Yields", "process() is a generator (it has `yield`), so calling it runs none of its code; return a list"),
        ("Misspelt", "the class Misspelt has no method process(); rename proces() to process()"),
        ("Nothing", "the class Nothing has no method process(); define process(self, frame)"),
        ("seven", "is int 7, which has no process(); name a class with process(self, frame), an object"),
        ("bare", "it is <lambda>(); expected <lambda>(frame)"),
    ],
)
def test_what_could_not_be_called_with_a_frame_is_refused_before_the_first_one(
    folder: Path, name: str, says: str
) -> None:
    (folder / "odd_of_test.py").write_text(ODD)
    assert says in refused(folder, f"odd_of_test:{name}")


def test_what_an_object_got_as_it_was_built_is_looked_at_too() -> None:
    with pytest.raises(UserCodeError, match=r"it is <lambda>\(a, b\); expected <lambda>\(frame\)"):
        make_worker(SimpleNamespace(process=lambda a, b: None), {}, "process")


class Ways:
    @staticmethod
    def process(frame: Any) -> Any:
        return frame

    @classmethod
    def write(cls, event: Any) -> Any:
        return event


def test_a_static_and_a_class_method_work_and_so_does_a_frame_with_defaults_behind_it() -> None:
    assert make_worker(Ways, {}, "process")[1](5) == 5
    assert make_worker(Ways, {}, "write")[1](5) == 5
    assert make_worker(lambda frame, scale=2: frame * scale, {}, "process")[1](5) == 10
    assert make_worker(lambda *frames: frames, {}, "process")[1](5) == (5,)
    assert make_worker(print, {}, "process")[1] is print


def test_a_sink_that_defines_no_write_is_refused() -> None:
    class Deaf(Sink):
        def wirte(self, event: Any) -> None:
            pass

    with pytest.raises(UserCodeError, match=r"rename wirte\(\) to write\(\)"):
        make_worker(Deaf, {}, "write")


def test_an_object_with_iter_is_a_source(folder: Path) -> None:
    assert list(PictureCode("python:code_of_test:pictures", {}, folder).build()) == [1, 2, 3]
    with pytest.raises(SourceError, match="built already, and takes no `with`"):
        PictureCode("python:code_of_test:pictures", {"a": 1}, folder)


def test_an_async_source_is_refused(folder: Path) -> None:
    (folder / "waits_of_test.py").write_text("async def pictures():\n    yield 1\n")
    with pytest.raises(SourceError, match=r"source python:waits_of_test:pictures: is async.*`yield` each picture"):
        PictureCode("python:waits_of_test:pictures", {}, folder)


def test_ctrl_c_while_a_module_is_imported_stays_ctrl_c(folder: Path) -> None:
    (folder / "stopped_of_test.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        find("stopped_of_test:Look", "processors", folder)


def test_a_fault_whose_text_raises_is_told_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    assert told(Mute()) == "Mute: <its text cannot be had: __str__ raised RuntimeError>"


def test_code_says_itself_whether_it_keeps_state_and_nothing_but_yes_or_no() -> None:
    class Tracker:
        stateful = True

    def count(frame: object, step: int) -> None: ...

    assert is_stateful(Tracker(), "m:Tracker")
    assert not is_stateful(object(), "m:Other")
    assert not is_stateful(functools.partial(count, step=2), "m:count")
    count.stateful = True  # type: ignore[attr-defined]
    assert is_stateful(functools.partial(count, step=2), "m:count")
    Tracker.stateful = "yes"  # type: ignore[assignment]
    with pytest.raises(RefusedError, match="use: m:Tracker: its `stateful` is str 'yes'; write `stateful = True`"):
        is_stateful(Tracker(), "m:Tracker")


BATCHES = """
from detektr import Processor
class Single(Processor):
    def process(self, frame): return None
class Batch(Processor):
    def process_batch(self, frames): return [len(frames)]
class Both(Batch):
    def process(self, frame): return None
class NoFrames:
    def process_batch(self): return []
def function(frames): return frames
"""


def test_a_batch_asks_for_process_batch_and_a_class_may_have_both(tmp_path: Path, folder: Path) -> None:
    (folder / "batches.py").write_text(BATCHES)
    for name in ("Batch", "Both"):
        _, call = build_worker(f"batches:{name}", {}, "process_batch", "processors", folder)
        assert call([1, 2]) == [2]
    hint = "has no method process_batch(); define process_batch(self, frames), or remove `batch`"
    assert hint in refused(folder, "batches:Single", "process_batch")
    assert "it is process_batch(self); expected process_batch(self, frames)" in refused(
        folder, "batches:NoFrames", "process_batch"
    )
    assert "name a class with process_batch(self, frames), or remove `batch`" in refused(
        folder, "batches:function", "process_batch"
    )
    assert "write `batch: {size: 8}` for its process_batch()" in refused(folder, "batches:Batch")


def test_a_constructor_in_which_the_process_is_told_to_end_is_not_to_blame() -> None:
    class Slow:
        def __init__(self) -> None:
            raise EndedEarlyError(0)  # as the handler of SIGTERM does

        def process(self, frame: object) -> None: ...

    with pytest.raises(EndedEarlyError):
        make_worker(Slow, {}, "process")
