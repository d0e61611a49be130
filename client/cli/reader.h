// Reads partitions of a topic record by record, up to a count or to where they ended when it began:
// what `consume` and `bench consume` have in common.
//
// On the session's loop.
//
//   Reader reader(session, {.topic = "flights", ...}, on_record, on_end);
//   reader.Start();
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "client/cli/session.h"
#include "client/cpp/consumer_client.h"
#include "proto/record/record_batch.h"

namespace millrace::client::cli {

struct ReadPlan {
  std::string topic;
  std::optional<uint32_t> partition;  // absent: all
  StartAt start;
  uint64_t count = 0;  // 0: no end
  bool until_end = false;
  Duration timeout{};
};

struct ReadRecord {
  PartitionId partition;
  Offset offset;
  int64_t timestamp_ms = 0;  // the producer's, else the append time
  RecordView record;         // valid during the call
};

class Reader {
 public:
  using RecordHandler = std::function<void(const ReadRecord&)>;
  // Called after some records, so that they may be written out together.
  using FlushHandler = std::function<void()>;
  // Once, with ok when the plan is fulfilled.
  using EndHandler = std::function<void(const Status&)>;

  Reader(Session& session, ReadPlan plan, RecordHandler on_record, FlushHandler on_flush,
         EndHandler on_end);

  void Start();
  // Ends early, with ok.
  void Stop() { End(Status::Ok()); }
  uint64_t records_read() const { return records_read_; }

 private:
  void AskOffsets();
  void OnOffsets(const Result<v1::ListOffsetsResponse>& response);
  void Assign();
  void Drain();
  Status Take(const FetchedChunk& chunk);
  bool IsDone() const;
  void End(const Status& status);

  Session& session_;
  const ReadPlan plan_;
  const RecordHandler on_record_;
  const FlushHandler on_flush_;
  const EndHandler on_end_;
  ConsumerClient consumer_;
  MonotonicTime deadline_{};
  // With until_end: where each partition that is not done ends.
  std::map<PartitionId, Offset> ends_;
  uint64_t records_read_ = 0;
  bool has_ended_ = false;
};

}  // namespace millrace::client::cli
