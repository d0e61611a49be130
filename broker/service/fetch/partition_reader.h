// Reads partitions for one client wherever their leaders are and whoever becomes leader meanwhile,
// as fast as the stream's transport and the memory for clients allow, and gives their records out
// in messages. Partitions may come and go while others are read.
//
//   each partition:  locate -> read -> send -> read ...      an error that passes: wait, go on
//
// Owned by the stream's handler, on the shard's thread. Calls back as long as it is there.
//
//   PartitionReader reader(environment, stream, {.located = ..., .send = ..., ...});
//   RETURN_IF_ERROR(reader.Add({{.id = 1, .topic = t, .partition = p, .group = g}}));
//   reader.Pump();
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "broker/api/client_memory.h"
#include "broker/api/stream.h"
#include "broker/controller/leader_epoch.h"
#include "broker/service/fetch/environment.h"
#include "broker/service/fetch/fetched_batch.h"
#include "broker/service/fetch/stream_memory.h"
#include "broker/service/fetch/subscribe_wire.h"
#include "millrace/v1/consumer_service.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {

class PartitionReader {
 public:
  // The owner's name for a partition that it reads; it is given once.
  using Id = uint64_t;
  struct Reading {
    Id id = 0;
    TopicId topic;
    PartitionId partition;
    RaftGroupId group;
    v1::Position position;
    // It is done after the records that were committed when it was located.
    bool stops_at_end = false;
    Isolation isolation = Isolation::kCommitted;
  };
  struct Sent {
    Id id = 0;
    Bytes message;             // a SubscribeResponse
    Offset end;                // one past its last record
    LeaderEpoch leader_epoch;  // of the last record
  };
  struct Listener {
    // Where the reading begins: told before the first records, and once more if the earliest record
    // is another one by then.
    std::function<void(Id, Offset)> located;
    // To be written to the stream. Nothing is added or removed from within it.
    std::function<void(Sent)> send;
    std::function<void(Id)> done;
    // It is not read any more: an error that does not pass.
    std::function<void(Id, const Status&)> failed;
  };

  PartitionReader(const FetchEnvironment& environment, std::shared_ptr<const Stream> stream,
                  Listener listener);
  PartitionReader(const PartitionReader&) = delete;
  PartitionReader& operator=(const PartitionReader&) = delete;

  // Of a message, as RecordMessages has it.
  void SetMessageBytes(size_t bytes) { message_bytes_ = bytes; }
  // All of them, or none: RESOURCE_EXHAUSTED. A Pump follows.
  Status Add(const std::vector<Reading>& readings);
  // Nothing more of it is sent. No effect if it is not read.
  void Remove(Id id) { sessions_.erase(id); }
  // Nothing is read any more.
  void Stop();

  // While it holds back, nothing is sent.
  void SetHoldsBack(bool holds_back);
  // Begins what may begin.
  void Pump();
  // The stream's transport took what there was.
  void OnWritable();

 private:
  // A partition. It is in ready_, or one operation is under way for it.
  struct Session {
    Reading reading;
    bool is_located = false;
    // `next` is where the log started, and nothing was read from there.
    bool is_at_earliest = false;
    Offset next;
    Offset end;  // stops_at_end: where it is done
    // As of the last answer: what lies below is read from disk or from a leader, and takes memory.
    Offset reader_end;
    MemoryHold memory;
  };

  Session* Find(Id id);
  // The partition's next operation may begin.
  void MakeReady(const Session& session);
  void PostPump();
  void Locate(const Session& session);
  void OnLocated(Session& session, const Result<PartitionOffsets>& offsets);
  void LocateAgain(Session& session);
  void Read(const Session& session);
  void OnRead(Session& session, bool is_reserved, const Result<FetchedBatches>& read);
  Status Deliver(Session& session, const FetchedBatches& read);
  void OnError(const Session& session, const Status& status);
  void Fail(const Session& session, const Status& status);
  // It goes on, unless it has come to its end.
  void Continue(const Session& session);

  const FetchEnvironment environment_;
  const std::shared_ptr<const Stream> stream_;
  const Listener listener_;
  size_t message_bytes_ = RecordMessages::kMessageBytes;
  bool holds_back_ = false;
  bool is_pump_posted_ = false;
  std::map<Id, Session> sessions_;
  // In turn; those to be located first. Some may be removed.
  std::deque<Id> ready_;
  StreamMemory memory_;
  Lifetime lifetime_;
};

}  // namespace millrace::broker
