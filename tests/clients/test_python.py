"""Python's gRPC against a real server: the quickstart as it is, and what the API promises."""
import itertools
import queue
import subprocess
import sys
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from conftest import ROOT
from packed import gzip_batch, large_texts
from test_languages import PROMISED_OF_TOPICS

SERVICES = [f"millrace.v1.{name}Service" for name in ("Admin", "Consumer", "Group", "Metadata", "Producer")]


def produce(api, channel, *batches):
    requests = [api.ProduceRequest(init=api.ProduceInit(client_id="test"))]
    requests += [api.ProduceRequest(batches=[batch]) for batch in batches]
    answers = api.ProducerServiceStub(channel).Produce(iter(requests), timeout=30)
    return [result for answer in answers for result in answer.results]


def batch_of(api, topic, *records, partition=0, batch_id=0, **fields):
    batch = api.RecordBatch(records=records, **fields)
    return api.ProduceBatch(topic=topic, partition=partition, batch_id=batch_id, batch=batch)


class Fetch:
    """A Fetch stream that stays open until close()."""

    def __init__(self, api, channel, credit_bytes=1 << 20, init=None, **partition):
        self.api = api
        self.requests = queue.SimpleQueue()
        self.stream = api.ConsumerServiceStub(channel).Fetch(iter(self.requests.get, None), timeout=30)
        start = api.FetchPartition(fetch_id=1, **partition)
        self.send(init=api.FetchInit(**(init or {})), add=[start], credit_bytes=credit_bytes)

    def send(self, **fields):
        self.requests.put(self.api.FetchRequest(**fields))

    def parts(self):
        return (part for answer in self.stream for part in answer.partitions)

    def records(self, count):
        found = []
        for part in self.parts():
            assert not part.HasField("error"), part.error
            for batch in part.batches:
                for number, record in enumerate(batch.batch.records):
                    found.append((batch.base_offset + max(number, record.offset_delta), record))
            if len(found) >= count:
                return found
        raise AssertionError(f"the stream ended after {len(found)} records")

    def close(self):
        self.requests.put(None)
        return list(self.stream)


def error_info(api, error):
    """ErrorInfo of a failed call, from the google.rpc.Status in its trailer."""
    trailer = dict(error.trailing_metadata())["grpc-status-details-bin"]
    name = b"type.googleapis.com/google.rpc.ErrorInfo"
    assert name in trailer
    value = trailer[trailer.index(name) + len(name):]
    assert value[0] == 0x12  # Any.value
    return api.ErrorInfo.FromString(value[2:2 + value[1]])


def test_the_quickstart_runs_as_it_is(server):
    script = ROOT / "client" / "python" / "quickstart.py"
    run = subprocess.run([sys.executable, script, server.address], capture_output=True, text=True,
                         timeout=60)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith("stored 3 records in quickstart-")
    assert lines[1:] == ["offset 0: UA flight 1545", "offset 1: UA flight 1714",
                         "offset 2: UA flight 1696"]


def test_the_quickstart_tells_offsets_where_records_are_gone(compacted):
    script = ROOT / "client" / "python" / "quickstart.py"
    run = subprocess.run([sys.executable, script, compacted], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[1:] == ["offset 12: AA two", "offset 15: B6 five"]


def test_the_program_for_who_looks_after_topics_runs_as_it_is(server):
    script = ROOT / "client" / "python" / "topics.py"
    run = subprocess.run([sys.executable, script, server.address], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == PROMISED_OF_TOPICS


def test_health_answers_for_the_server_and_each_service(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ["", *SERVICES]:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service


def test_reflection_describes_every_service(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(SERVICES) <= set(database.get_services())
    file = database.FindFileContainingSymbol("millrace.v1.ProducerService")
    assert file.name == "millrace/v1/producer_service.proto"


def test_records_come_back_as_they_were(api, channel, topic):
    sent = [
        api.Record(key=b"k", value=b"v", timestamp_ms=1357034400000),
        api.Record(value=b"no key"),
        api.Record(key=b"tombstone"),
        api.Record(key=b"", value=b""),
        api.Record(value=bytes(range(256)),
                   headers=[api.Header(key="a", value=b"1"), api.Header(key="a")]),
    ]
    [result] = produce(api, channel, batch_of(api, topic, *sent, batch_id=9))
    assert (result.batch_id, result.base_offset, result.HasField("error")) == (9, 0, False)
    fetch = Fetch(api, channel, topic=topic, position=api.Position(earliest=True))
    received = fetch.records(len(sent))
    fetch.close()
    assert [offset for offset, _ in received] == [0, 1, 2, 3, 4]
    assert [record for _, record in received] == sent


def topic_id(api, channel, topic):
    request = api.DescribeTopicsRequest(names=[topic])
    return api.MetadataServiceStub(channel).DescribeTopics(request, timeout=10).topics[0].topic_id


def test_batches_that_inflate_to_4_mib_are_read_with_grpcs_default_limit_and_1_mib_of_credit(api, channel, topic):
    """By a reader that takes no compression and gives 1 MiB more after each answer, however small it was."""
    texts = large_texts()
    batch = gzip_batch(api, topic_id(api, channel, topic), 0, [api.Record(value=text.encode()) for text in texts])
    assert batch.uncompressed_size > 4_000_000 and len(batch.packed) < 1_000_000
    results = produce(api, channel, *(api.ProduceBatch(topic=topic, batch=batch) for _ in range(2)))
    assert [result.base_offset for result in results] == [0, len(texts)], results
    fetch = Fetch(api, channel, topic=topic, position=api.Position(earliest=True), credit_bytes=1 << 20)
    offsets, values = [], []
    for part in fetch.parts():
        assert sum(piece.ByteSize() for piece in part.batches) < 1 << 20
        for piece in part.batches:
            assert piece.base_offset == len(offsets) and not piece.skipped_before
            assert piece.record_count == piece.batch.record_count == len(piece.batch.records)
            assert piece.end_offset == piece.base_offset + piece.record_count
            offsets += range(piece.base_offset, piece.end_offset)
            values += [record.value.decode() for record in piece.batch.records]
        assert part.next_offset == len(offsets)
        if part.batches and len(offsets) == 2 * len(texts):
            break
        fetch.send(credit_bytes=1 << 20)
    fetch.close()
    assert values == texts * 2


def test_a_batch_that_inflates_to_more_than_a_message_holds_is_refused_and_named(api, channel, topic):
    records = [api.Record(value=bytes((4 << 20) - (64 << 10)))]
    batch = gzip_batch(api, topic_id(api, channel, topic), 0, records)
    [result] = produce(api, channel, api.ProduceBatch(topic=topic, batch=batch))
    assert result.error.info.reason == "BATCH_TOO_LARGE"
    assert result.error.info.metadata["uncompressed_bytes_max"] == str((4 << 20) - (64 << 10))
    assert "before compression" in result.error.message


def test_a_batch_is_stored_where_the_log_ends_or_not_at_all(api, channel, topic):
    """Batches may each name the end of the one before, without waiting."""
    values = [api.Record(value=b"a"), api.Record(value=b"b")]

    def at(end):
        batch = batch_of(api, topic, *values, batch_id=end)
        batch.expected_end_offset = end
        return batch

    results = produce(api, channel, at(0), at(2), at(2), at(4), at(9))
    assert [result.base_offset for result in results if not result.HasField("error")] == [0, 2, 4]
    refused = [(result.batch_id, result.error) for result in results if result.HasField("error")]
    assert [batch_id for batch_id, _ in refused] == [2, 9]
    for (_, error), end in zip(refused, ("4", "6")):
        assert error.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
        assert error.info.reason == "OFFSET_MOVED" and error.info.metadata["end_offset"] == end


def test_a_retry_is_a_duplicate_though_it_moved_the_end_itself(api, channel, topic):
    stub = api.ProducerServiceStub(channel)
    producer = stub.InitProducer(api.InitProducerRequest(), timeout=10)
    batch = batch_of(api, topic, api.Record(value=b"v"), producer_id=producer.producer_id,
                     producer_epoch=producer.producer_epoch)
    batch.expected_end_offset = 0
    first, = produce(api, channel, batch)
    again, = produce(api, channel, batch)
    assert not first.HasField("error") and not first.is_duplicate
    assert again.is_duplicate and again.base_offset == first.base_offset == 0


def test_records_that_are_published_are_stored_where_the_log_ends_or_not_at_all(api, channel, topic):
    publish = api.ProducerServiceStub(channel).Publish
    request = api.PublishRequest(topic=topic, partition=0, records=[api.Record(value=b"a"), api.Record(value=b"b")],
                                 expected_end_offset=0)
    assert [result.offset for result in publish(request, timeout=10).results] == [0, 1]
    for result in publish(request, timeout=10).results:
        assert result.error.info.reason == "OFFSET_MOVED" and result.error.info.metadata["end_offset"] == "2"
    request.ClearField("partition")
    with pytest.raises(grpc.RpcError) as refused:
        publish(request, timeout=10)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_batches_of_one_partition_keep_their_order(api, channel, topic):
    batches = [batch_of(api, topic, api.Record(value=str(n).encode()), partition=n % 2, batch_id=n)
               for n in range(200)]
    results = produce(api, channel, *batches)
    assert sorted(result.batch_id for result in results) == list(range(200))
    for partition in (0, 1):
        mine = [result for result in results if result.batch_id % 2 == partition]
        assert [result.base_offset for result in mine] == list(range(100))


def test_a_batch_that_is_sent_again_is_stored_once(api, channel, topic):
    producer = api.ProducerServiceStub(channel).InitProducer(api.InitProducerRequest(), timeout=10)
    batch = batch_of(api, topic, api.Record(value=b"once"), producer_id=producer.producer_id,
                     producer_epoch=producer.producer_epoch)
    first, second = produce(api, channel, batch, batch)
    assert (first.base_offset, first.is_duplicate) == (0, False)
    assert (second.base_offset, second.is_duplicate) == (0, True)


@pytest.mark.parametrize("isolation", [0, 1, 2, 77])
def test_every_isolation_means_the_same_as_long_as_there_are_no_transactions(api, channel, topic, isolation):
    """Also one that a later version may have."""
    produce(api, channel, batch_of(api, topic, api.Record(value=b"a"), api.Record(value=b"b")))
    stub = api.ConsumerServiceStub(channel)
    request = api.ListOffsetsRequest(topic=topic, partitions=[0], isolation=isolation)
    assert stub.ListOffsets(request, timeout=10).partitions[0].end_offset == 2
    request = api.SubscribeRequest(topic=topic, position=api.Position(earliest=True), stop_at_end=True,
                                   isolation=isolation)
    assert [record.offset for answer in stub.Subscribe(request, timeout=30) for record in answer.records] == [0, 1]
    fetch = Fetch(api, channel, init={"isolation": isolation}, topic=topic, position=api.Position(earliest=True))
    [part] = itertools.islice((part for part in fetch.parts() if part.batches), 1)
    fetch.close()
    assert (part.end_offset, part.next_offset) == (2, 2)


def test_a_reader_at_the_end_gets_what_comes_later(api, channel, topic):
    produce(api, channel, batch_of(api, topic, api.Record(value=b"before")))
    fetch = Fetch(api, channel, topic=topic, position=api.Position(latest=True))
    position = next(part for part in fetch.parts())
    assert position.next_offset == 1
    produce(api, channel, batch_of(api, topic, api.Record(value=b"after")))
    [(offset, record)] = fetch.records(1)
    fetch.close()
    assert (offset, record.value) == (1, b"after")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "tab\t", "x" * 250, "ü"])
def test_a_bad_topic_name_is_refused(api, channel, name):
    with pytest.raises(grpc.RpcError) as caught:
        api.AdminServiceStub(channel).CreateTopic(api.CreateTopicRequest(name=name), timeout=10)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "topic name" in caught.value.details()


@pytest.mark.parametrize("fields, named", [
    ({"replication_factor": 3}, "replication_factor 3"),
    ({"partition_count": 10001}, "partition_count 10001"),
    ({"settings": {"no_such": "1"}}, '"no_such"'),
    ({"settings": {"batch_bytes_max": "huge"}}, "batch_bytes_max"),
])
def test_a_bad_setting_is_refused_naming_it(api, channel, fields, named):
    with pytest.raises(grpc.RpcError) as caught:
        api.AdminServiceStub(channel).CreateTopic(api.CreateTopicRequest(name="bad", **fields),
                                                  timeout=10)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert named in caught.value.details()


def test_an_unknown_topic_is_not_found_with_error_details(api, channel):
    stub = api.MetadataServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.DescribeTopics(api.DescribeTopicsRequest(names=["absent"]), timeout=10)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    info = error_info(api, caught.value)
    assert (info.reason, info.domain) == ("UNKNOWN_TOPIC", "millrace")
    with pytest.raises(grpc.RpcError) as caught:
        api.AdminServiceStub(channel).DeleteTopic(api.DeleteTopicRequest(name="absent"), timeout=10)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_bad_batches_are_refused_one_by_one_and_the_stream_goes_on(api, channel, topic):
    record = api.Record(value=b"v")
    cases = [
        (batch_of(api, "absent", record), "UNKNOWN_TOPIC"),
        (batch_of(api, topic, record, partition=2), "UNKNOWN_PARTITION"),
        (batch_of(api, topic), "CORRUPT_BATCH"),
        (batch_of(api, topic, record, record_count=2), "CORRUPT_BATCH"),
        (batch_of(api, topic, record, packed=b"both"), "CORRUPT_BATCH"),
        (batch_of(api, topic, packed=b"\x0a\x00", record_count=1, checksum=1), "CORRUPT_BATCH"),
        (batch_of(api, topic, api.Record(value=bytes(2 << 20))), "BATCH_TOO_LARGE"),
        (batch_of(api, topic, record), ""),
    ]
    for number, (batch, _) in enumerate(cases):
        batch.batch_id = number
    results = {result.batch_id: result
               for result in produce(api, channel, *(batch for batch, _ in cases))}
    assert [results[number].error.info.reason for number in range(len(cases))] == [
        reason for _, reason in cases]
    assert results[len(cases) - 1].base_offset == 0


def test_a_sequence_gap_is_refused(api, channel, topic):
    producer = api.ProducerServiceStub(channel).InitProducer(api.InitProducerRequest(), timeout=10)
    fields = {"producer_id": producer.producer_id, "producer_epoch": producer.producer_epoch}
    first = batch_of(api, topic, api.Record(value=b"0"), first_sequence=0, **fields)
    gap = batch_of(api, topic, api.Record(value=b"2"), first_sequence=2, batch_id=1, **fields)
    results = produce(api, channel, first, gap)
    assert not results[0].HasField("error")
    assert results[1].error.info.reason == "SEQUENCE_GAP"


@pytest.mark.parametrize("offset", [-1, 5])
def test_an_offset_out_of_range_ends_its_partition_with_both_ends(api, channel, topic, offset):
    produce(api, channel, batch_of(api, topic, api.Record(value=b"v")))
    fetch = Fetch(api, channel, topic=topic, position=api.Position(offset=offset))
    error = next(part.error for part in fetch.parts() if part.HasField("error"))
    fetch.close()
    assert error.info.reason == "OFFSET_OUT_OF_RANGE"
    assert dict(error.info.metadata) == {"log_start_offset": "0", "end_offset": "1"}


def test_a_stream_that_does_not_begin_with_init_is_refused(api, channel, topic):
    requests = [api.ProduceRequest(batches=[batch_of(api, topic, api.Record(value=b"v"))])]
    with pytest.raises(grpc.RpcError) as caught:
        list(api.ProducerServiceStub(channel).Produce(iter(requests), timeout=10))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "init" in caught.value.details()


def test_bytes_that_are_no_request_are_refused(channel):
    for method in ("AdminService/CreateTopic", "AdminService/DeleteTopic",
                   "MetadataService/DescribeTopics", "MetadataService/ListTopics", "ProducerService/InitProducer",
                   "ProducerService/Publish", "ConsumerService/ListOffsets"):
        call = channel.unary_unary(f"/millrace.v1.{method}")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff\xff", timeout=10)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, method


def test_a_message_over_the_limit_ends_its_stream_alone(api, channel, topic):
    with pytest.raises(grpc.RpcError) as caught:
        produce(api, channel, batch_of(api, topic, api.Record(value=bytes(5 << 20))))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    [result] = produce(api, channel, batch_of(api, topic, api.Record(value=b"fits")))
    assert not result.HasField("error")


def test_the_servers_limits_are_told(api, channel):
    info = api.MetadataServiceStub(channel).GetServerInfo(api.GetServerInfoRequest(), timeout=10)
    assert info.version
    assert info.broker_id == 1
    assert info.batch_bytes_max == 1_048_588
    assert info.message_bytes_max == 4 << 20


def publish(api, channel, topic, *records, **fields):
    request = api.PublishRequest(topic=topic, records=records, **fields)
    return api.ProducerServiceStub(channel).Publish(request, timeout=20).results


def test_published_records_come_back_as_they_were(api, channel, topic):
    sent = [api.Record(key=b"k", value=b"v", timestamp_ms=1357034400000,
                       headers=[api.Header(key="a", value=b"1"), api.Header(key="a")]),
            api.Record(key=b""), api.Record(value=b"")]
    results = publish(api, channel, topic, *sent, partition=1)
    assert [(result.partition, result.offset) for result in results] == [(1, 0), (1, 1), (1, 2)]
    fetch = Fetch(api, channel, topic=topic, partition=1, position=api.Position(earliest=True))
    received = fetch.records(len(sent))
    fetch.close()
    assert [record for _, record in received] == sent


@pytest.mark.parametrize("fields, code", [
    ({"records": []}, grpc.StatusCode.INVALID_ARGUMENT),
    ({"topic": "absent"}, grpc.StatusCode.NOT_FOUND),
    ({"partition": 2}, grpc.StatusCode.NOT_FOUND),
    ({"records": [{"timestamp_ms": -1}]}, grpc.StatusCode.INVALID_ARGUMENT),
    ({"records": [{"offset_delta": 1}]}, grpc.StatusCode.INVALID_ARGUMENT),
    ({"records": [{}] * 10001}, grpc.StatusCode.INVALID_ARGUMENT),
])
def test_a_bad_publish_is_refused_whole(api, channel, topic, fields, code):
    request = {"topic": topic, "records": [{"value": b"v"}], **fields}
    with pytest.raises(grpc.RpcError) as caught:
        api.ProducerServiceStub(channel).Publish(api.PublishRequest(**request), timeout=20)
    assert caught.value.code() == code


def subscribe(api, channel, topic, timeout=20, **fields):
    request = api.SubscribeRequest(topic=topic, **fields)
    return api.ConsumerServiceStub(channel).Subscribe(request, timeout=timeout)


def test_a_subscriber_gets_typed_and_packed_records_one_by_one(api, binary, server, channel, topic):
    typed = [api.Record(key=b"k", value=b"typed", timestamp_ms=1357034400000,
                        headers=[api.Header(key="a", value=b"1"), api.Header(key="a")]),
             api.Record(key=b"tombstone")]
    publish(api, channel, topic, *typed, partition=1)
    run = subprocess.run([binary, "produce", topic, "--partition", "1", "--bootstrap", server.address],
                         input="packed 1\npacked 2\n", text=True, capture_output=True, timeout=30)
    assert run.returncode == 0, run.stderr
    answers = subscribe(api, channel, topic, position=api.Position(earliest=True), stop_at_end=True)
    received = [record for answer in answers for record in answer.records]
    assert [(record.partition, record.offset) for record in received] == [(1, n) for n in range(4)]
    assert [record.record for record in received[:2]] == typed
    assert [record.record.value for record in received[2:]] == [b"packed 1", b"packed 2"]
    assert all(record.append_time_ms > 1_700_000_000_000 for record in received)


def test_a_subscriber_gets_what_comes_later_until_it_cancels(api, channel, topic):
    publish(api, channel, topic, api.Record(value=b"before"))
    call = subscribe(api, channel, topic)
    received = queue.SimpleQueue()

    def read():
        try:
            for answer in call:
                for record in answer.records:
                    received.put(record.record.value)
        except grpc.RpcError as error:
            received.put(error.code())

    reader = threading.Thread(target=read)
    reader.start()
    first = None
    while first is None:  # the call begins at the end that it finds
        publish(api, channel, topic, api.Record(value=b"after"))
        try:
            first = received.get(timeout=0.2)
        except queue.Empty:
            pass
    assert first == b"after"
    call.cancel()
    reader.join(timeout=10)
    while (last := received.get(timeout=10)) == b"after":
        pass
    assert last == grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("fields, code", [
    ({"topic": "absent"}, grpc.StatusCode.NOT_FOUND),
    ({"partitions": [2]}, grpc.StatusCode.NOT_FOUND),
    ({"partitions": [0, 0]}, grpc.StatusCode.INVALID_ARGUMENT),
    ({"position": {"offset": 0}}, grpc.StatusCode.INVALID_ARGUMENT),
    ({"position": {"offset": 5}, "partitions": [0]}, grpc.StatusCode.OUT_OF_RANGE),
])
def test_a_bad_subscribe_ends_with_its_reason(api, channel, topic, fields, code):
    call = subscribe(api, channel, **{"topic": topic, **fields})
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert caught.value.code() == code
    if code == grpc.StatusCode.OUT_OF_RANGE:
        metadata = dict(error_info(api, caught.value).metadata)
        assert metadata == {"log_start_offset": "0", "end_offset": "0"}


def test_a_subscribe_of_bytes_that_are_no_request_is_refused(channel):
    call = channel.unary_stream("/millrace.v1.ConsumerService/Subscribe")
    with pytest.raises(grpc.RpcError) as caught:
        list(call(b"\xff\xff\xff", timeout=10))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
