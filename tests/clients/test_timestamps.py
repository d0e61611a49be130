"""Offsets by timestamp against what a look at every record says; also after a restart."""
import random
import subprocess
import time

import grpc
import pytest

from conftest import running_server
from local_cluster import wait_until
from test_python import Fetch, batch_of, produce

DAY_MS = 24 * 3600 * 1000


def offsets_at(api, channel, topic, timestamp_ms):
    request = api.ListOffsetsRequest(topic=topic, partitions=[0], timestamp_ms=timestamp_ms)
    [partition] = api.ConsumerServiceStub(channel).ListOffsets(request, timeout=10).partitions
    assert not partition.HasField("error"), partition.error
    return partition


def all_times(api, channel, topic, count):
    """Each record's time by its offset: its own timestamp, or else its batch's append time."""
    fetch = Fetch(api, channel, topic=topic, position=api.Position(earliest=True), credit_bytes=64 << 20)
    times = []
    for part in fetch.parts():
        for batch in part.batches:
            records = batch.batch.records or api.Records.FromString(batch.batch.packed).records
            times += [record.timestamp_ms or batch.append_time_ms for record in records]
        if len(times) >= count:
            break
    fetch.close()
    return times


def assert_as_naive(api, channel, topic, times):
    moments = {0, 1, min(times), max(times), max(times) + 1, *random.Random(5).sample(times, 40)}
    for moment in sorted(moments | {moment + 1 for moment in moments}):
        expected = next((offset for offset, at in enumerate(times) if at >= moment), len(times))
        found = offsets_at(api, channel, topic, moment)
        assert found.timestamp_offset == expected, moment
        assert found.high_watermark == len(times)


def fill(api, channel, address, binary, topic):
    """Batches of records with wandering times, of records without, of both, and the CLI's packed ones."""
    chance = random.Random(4)
    first = int(time.time() * 1000) - DAY_MS
    batches = []
    for number in range(300):
        records = [api.Record(value=bytes(300), timestamp_ms=0 if chance.random() < 0.1 else
                              first + number * 100 + chance.randrange(5000)) for _ in range(5)]
        batches.append(batch_of(api, topic, *records, batch_id=number))
    assert not any(result.HasField("error") for result in produce(api, channel, *batches))
    run = subprocess.run([binary, "produce", topic, "--partition", "0", "--bootstrap", address],
                         input="packed\n" * 20, text=True, capture_output=True, timeout=30)
    assert run.returncode == 0, run.stderr
    return 1520


def segment_bytes(folder):
    """Of the partition that has most."""
    return max((file.stat().st_size for file in (folder / "data" / "groups").rglob("*.segment")), default=0)


@pytest.mark.parametrize("where", ["memory", "segments"])
def test_the_first_record_of_a_time_is_found(api, binary, tmp_path, where):
    """Of 1 MiB for tails, each of sixteen partitions has 64 KiB: once segments have the rest, memory has it no more."""
    flags = ["--tail-bytes-max", "1MiB"] if where == "segments" else []
    with running_server(binary, tmp_path, *flags) as server:
        with grpc.insecure_channel(server.address) as channel:
            create = api.CreateTopicRequest(name="t", partition_count=16)
            api.AdminServiceStub(channel).CreateTopic(create, timeout=30)
            count = fill(api, channel, server.address, binary, "t")
            if where == "segments":
                wait_until(lambda: segment_bytes(tmp_path) >= 450_000, "the records are in a segment")
            times = all_times(api, channel, "t", count)
            assert len(times) == count
            assert_as_naive(api, channel, "t", times)
    with running_server(binary, tmp_path, *flags) as server:
        with grpc.insecure_channel(server.address) as channel:
            wait_for_leader(api, channel, "t")
            assert_as_naive(api, channel, "t", times)


def wait_for_leader(api, channel, topic):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        request = api.ListOffsetsRequest(topic=topic)
        try:
            answer = api.ConsumerServiceStub(channel).ListOffsets(request, timeout=5)
            if not answer.partitions[0].HasField("error"):
                return
        except grpc.RpcError:
            pass
        time.sleep(0.02)
    pytest.fail(f"{topic} has no leader")


def test_a_fetch_begins_at_a_time(api, channel, topic):
    records = [api.Record(value=str(at).encode(), timestamp_ms=1_000_000 + at) for at in (3, 1, 7, 5, 9)]
    produce(api, channel, batch_of(api, topic, *records[:2]), batch_of(api, topic, *records[2:]))
    fetch = Fetch(api, channel, topic=topic, position=api.Position(timestamp_ms=1_000_008))
    start = next(fetch.parts())
    assert start.next_offset == 4
    found = [offset for offset, _ in fetch.records(1) if offset >= start.next_offset]
    fetch.close()
    assert found == [4]


def test_a_time_beyond_every_record_begins_after_the_last(api, channel, topic):
    assert offsets_at(api, channel, topic, 5).timestamp_offset == 0
    produce(api, channel, batch_of(api, topic, api.Record(timestamp_ms=1_000)))
    assert offsets_at(api, channel, topic, 1_000).found_timestamp_ms == 1_000
    beyond = offsets_at(api, channel, topic, 1_001)
    assert beyond.timestamp_offset == 1
    assert not beyond.HasField("found_timestamp_ms") and not beyond.HasField("found_leader_epoch")
    without = api.ListOffsetsRequest(topic=topic)
    partitions = api.ConsumerServiceStub(channel).ListOffsets(without, timeout=10).partitions
    assert not any(partition.HasField("timestamp_offset") for partition in partitions)


def test_a_record_more_than_a_day_in_the_future_is_refused(api, channel, topic):
    now = int(time.time() * 1000)
    late, in_time = produce(api, channel,
                            batch_of(api, topic, api.Record(timestamp_ms=now + 2 * DAY_MS)),
                            batch_of(api, topic, api.Record(timestamp_ms=now + DAY_MS - 60_000)))
    assert late.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "ahead of the broker's clock" in late.error.message
    assert in_time.base_offset == 0
