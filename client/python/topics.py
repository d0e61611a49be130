"""Change a topic while it is used, find records by time, and delete the oldest. Needs grpcio and grpcio-tools.

    python client/python/topics.py [HOST:PORT of any broker]
"""
import datetime
import pathlib
import sys
import uuid

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "proto"))
admin, admin_rpc = grpc.protos_and_services("millrace/v1/admin_service.proto")
producer, producer_rpc = grpc.protos_and_services("millrace/v1/producer_service.proto")
consumer, consumer_rpc = grpc.protos_and_services("millrace/v1/consumer_service.proto")
record = grpc.protos("millrace/v1/record.proto")

channel = grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7440")
admins = admin_rpc.AdminServiceStub(channel)
consumers = consumer_rpc.ConsumerServiceStub(channel)


def checked(results):
    """Each partition, as each record, has an error of its own."""
    for result in results:
        assert not result.HasField("error"), result.error.message
    return results


def offsets(**which):
    """Where partition 0 begins and ends, and where the record is that is asked for."""
    request = consumer.ListOffsetsRequest(topic=name, partitions=[0], **which)
    return checked(consumers.ListOffsets(request, timeout=30).partitions)[0]


name = f"topics-{uuid.uuid4().hex[:8]}"
admins.CreateTopic(admin.CreateTopicRequest(name=name), timeout=30)
change = admin.AlterTopicRequest(name=name, set={"retention_time": "7d"}, partition_count=2)
altered = admins.AlterTopic(change, timeout=30)
print("changed:", *altered.changed, "partitions:", len(altered.topic.partitions))

morning = datetime.datetime(2026, 1, 1, 6, tzinfo=datetime.timezone.utc)
times = [int((morning + datetime.timedelta(hours=hour)).timestamp() * 1000) for hour in range(3)]
records = [record.Record(value=value, timestamp_ms=at) for value, at in zip((b"six", b"seven", b"eight"), times)]
publish = producer.PublishRequest(topic=name, partition=0, records=records)
checked(producer_rpc.ProducerServiceStub(channel).Publish(publish, timeout=30).results)

since = int((morning + datetime.timedelta(minutes=30)).timestamp() * 1000)
by_time, newest = offsets(timestamp_ms=since), offsets(newest=True)
print("earliest:", by_time.log_start_offset, "latest:", by_time.end_offset,
      "since half past six:", by_time.timestamp_offset, "newest:", newest.timestamp_offset)

oldest = admin.RecordsBefore(partition=0, before_offset=by_time.timestamp_offset)
deletion = admin.DeleteRecordsRequest(topic=name, partitions=[oldest])
[deleted] = checked(admins.DeleteRecords(deletion, timeout=30).partitions)
print("begins at:", deleted.log_start_offset)

request = consumer.SubscribeRequest(topic=name, position=consumer.Position(earliest=True), stop_at_end=True)
for response in consumers.Subscribe(request, timeout=30):
    for read in response.records:
        print(read.offset, read.record.value.decode())
