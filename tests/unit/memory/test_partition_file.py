from __future__ import annotations

from pathlib import Path

from detektr.memory import layout
from detektr.memory.partition_file import PartitionWriter, open_partition

ROWS = [("door", 0, 1), ("yard", 1, 1)]


def test_who_reads_the_map_sees_each_state_whole(tmp_path: Path) -> None:
    path = tmp_path / "motion.partition"
    assert open_partition(path) is None
    writer = PartitionWriter(path, 1, 2, ROWS)
    reader = open_partition(path)
    assert reader is not None
    assert (reader.epoch, reader.replicas, reader.read()) == (1, 2, (1, ROWS))
    moved = [("door", -1, 1), ("yard", 1, 1)]
    writer.write(2, 3, moved)
    assert (reader.epoch, reader.replicas, reader.read()) == (2, 3, (2, moved))
    writer._segment.words[layout.PARTITION_WORD_CHANGE] += 1  # as one who is killed in the middle of a change leaves it
    assert (reader.epoch, reader.read()) == (2, None)
    reader.close()
    writer.close()


def test_a_file_of_another_version_is_no_map(tmp_path: Path) -> None:
    path = tmp_path / "motion.partition"
    writer = PartitionWriter(path, 1, 2, ROWS)
    writer._segment.words[layout.PARTITION_WORD_VERSION] += 1
    assert open_partition(path) is None
    writer.close()
