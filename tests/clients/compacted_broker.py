"""A broker that is none: its one topic has what compaction leaves, so that no client may count records.

Offsets 0 to 9 hold nothing, which an answer without batches says; then comes a batch of eight offsets of which two are left,
12 and 15; and 18 and 19 hold nothing again. It takes what a program stores before it reads, and keeps none of it.
"""
import concurrent.futures
import contextlib

import grpc

from packed import crc32c

BASE, BATCH_END, END = 10, 18, 20
LEFT = {12: (b"AA", b"two"), 15: (b"B6", b"five")}
LINES = [f"{offset} {key.decode()} {value.decode()}" for offset, (key, value) in LEFT.items()]
TOPIC_ID = 1000


def records_of(api):
    """As they are stored: with their distance from the batch's beginning."""
    return {offset: api.Record(key=key, value=value, timestamp_ms=offset, offset_delta=offset - BASE)
            for offset, (key, value) in LEFT.items()}


def batch_of(api):
    batch = api.RecordBatch(records=records_of(api).values())
    return api.FetchedBatch(base_offset=BASE, append_time_ms=1, leader_epoch=1, record_count=len(LEFT), batch=batch,
                            batch_checksum=crc32c(batch.SerializeToString()), end_offset=BATCH_END)


def services_of(api, address):
    """The servicers, by the functions that add them to a server."""
    partition = api.Partition(partition=0, leader_id=1, leader_epoch=1, replica_ids=[1])

    class Metadata(api.MetadataServiceServicer):
        def GetServerInfo(self, request, context):
            return api.GetServerInfoResponse(broker_id=1, message_bytes_max=8 << 20, batch_bytes_max=1 << 20)

        def DescribeTopics(self, request, context):
            topics = [api.Topic(name=name, topic_id=TOPIC_ID, partitions=[partition], replication_factor=1)
                      for name in request.names]
            brokers = [api.Broker(broker_id=1, address=address(), is_alive=True)]
            return api.DescribeTopicsResponse(topics=topics, brokers=brokers)

    class Admin(api.AdminServiceServicer):
        def CreateTopic(self, request, context):
            return api.CreateTopicResponse(topic=api.Topic(name=request.name, topic_id=TOPIC_ID, partitions=[partition]))

    class Producer(api.ProducerServiceServicer):
        def Publish(self, request, context):
            return api.PublishResponse(results=[api.PublishResult(offset=n) for n in range(len(request.records))])

        def Produce(self, requests, context):
            for request in requests:
                results = [api.ProduceResult(batch_id=batch.batch_id) for batch in request.batches]
                if results:
                    yield api.ProduceResponse(results=results)

    class Consumer(api.ConsumerServiceServicer):
        def ListOffsets(self, request, context):
            return api.ListOffsetsResponse(partitions=[api.PartitionOffsets(high_watermark=END, end_offset=END, leader_epoch=1)])

        def Fetch(self, requests, context):
            yield api.FetchResponse(init=api.FetchInitResult(broker_id=1))
            for request in requests:
                for added in request.add:
                    for next_offset, batches in ((0, []), (BASE, []), (BATCH_END, [batch_of(api)]), (END, [])):
                        yield api.FetchResponse(partitions=[api.FetchedPartition(
                            fetch_id=added.fetch_id, high_watermark=END, end_offset=END, leader_epoch=1,
                            next_offset=next_offset, batches=batches)])

        def Subscribe(self, request, context):
            yield api.SubscribeResponse(records=[api.SubscribedRecord(offset=offset, append_time_ms=1, record=record)
                                                 for offset, record in records_of(api).items()])

    return {api.add_MetadataServiceServicer_to_server: Metadata(), api.add_AdminServiceServicer_to_server: Admin(),
            api.add_ProducerServiceServicer_to_server: Producer(), api.add_ConsumerServiceServicer_to_server: Consumer()}


@contextlib.contextmanager
def running_compacted_broker(api):
    """Its address."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=8))
    bound = []
    for add, servicer in services_of(api, lambda: bound[0]).items():
        add(servicer, server)
    bound.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    try:
        yield bound[0]
    finally:
        server.stop(grace=None)
