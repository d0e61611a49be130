"""Create a topic, produce typed records, consume them. Needs grpcio and grpcio-tools, and no client library.

    python client/python/quickstart.py [HOST:PORT of any broker]
"""
import pathlib
import queue
import sys
import uuid

import grpc

# The .proto files are all that a client needs; grpcio-tools compiles them as they are imported.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "proto"))
admin, admin_rpc = grpc.protos_and_services("millrace/v1/admin_service.proto")
metadata, metadata_rpc = grpc.protos_and_services("millrace/v1/metadata_service.proto")
producer, producer_rpc = grpc.protos_and_services("millrace/v1/producer_service.proto")
consumer, consumer_rpc = grpc.protos_and_services("millrace/v1/consumer_service.proto")
record = grpc.protos("millrace/v1/record.proto")

any_broker = grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7440")
name = f"quickstart-{uuid.uuid4().hex[:8]}"
admin_rpc.AdminServiceStub(any_broker).CreateTopic(admin.CreateTopicRequest(name=name), timeout=30)

# Every partition has a leader; talk to it.
info = metadata_rpc.MetadataServiceStub(any_broker).DescribeTopics(metadata.DescribeTopicsRequest(names=[name]))
addresses = {broker.broker_id: broker.address for broker in info.brokers}
leader = grpc.insecure_channel(addresses[info.topics[0].partitions[0].leader_id])

# Produce: `init` first, then batches. A result without an error means fsynced on a majority.
flights = [record.Record(key=b"UA", value=f"flight {number}".encode()) for number in (1545, 1714, 1696)]
batch = producer.ProduceBatch(topic=name, batch_id=1, batch=record.RecordBatch(records=flights))
requests = [producer.ProduceRequest(init=producer.ProduceInit()), producer.ProduceRequest(batches=[batch])]
for response in producer_rpc.ProducerServiceStub(leader).Produce(iter(requests), timeout=30):
    for result in response.results:
        assert not result.HasField("error"), result.error.message
        print(f"stored {len(flights)} records in {name}, the first at offset {result.base_offset}")

# Consume: grant credit for some bytes; the broker sends records as they are committed.
requests = queue.SimpleQueue()  # stays open while we read
start = consumer.FetchPartition(fetch_id=1, topic=name, position=consumer.Position(earliest=True))
requests.put(consumer.FetchRequest(init=consumer.FetchInit(), add=[start], credit_bytes=1 << 20))
stream = consumer_rpc.ConsumerServiceStub(leader).Fetch(iter(requests.get, None), timeout=30)
batches = (batch for response in stream for part in response.partitions for batch in part.batches)
first = next(batches)
for place, fetched in enumerate(first.batch.records):
    offset = first.base_offset + max(place, fetched.offset_delta)
    print(f"offset {offset}: {fetched.key.decode()} {fetched.value.decode()}")
requests.put(None)
