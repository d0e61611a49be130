// What a Subscribe call sends: the records of fetched batches one by one, each in the producer's
// bytes, in messages of a bounded size.
//
// Pure; any thread.
//
//   RecordMessages messages(partition, [&stream](RecordMessage message) {
//     stream.Write({message.bytes});
//     return stream.pending_bytes() < kEnough;
//   });
//   ASSIGN_OR_RETURN(Offset next, messages.Add(batch, from, to));
//   messages.Flush();
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "broker/service/fetch/fetched_batch.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

struct RecordMessage {
  Bytes bytes;  // a SubscribeResponse
  Offset end;   // one past its last record
  Term term;    // of the last record
};

class RecordMessages {
 public:
  // A message is sent once it is as large as this; a larger one has a single record.
  static constexpr size_t kMessageBytes = size_t{256} << 10;

  // `send` says whether there is room for another message.
  RecordMessages(PartitionId partition, MoveFunction<bool(RecordMessage)> send,
                 size_t message_bytes = kMessageBytes)
      : partition_(partition), message_bytes_(message_bytes), send_(std::move(send)) {}

  // Adds the batch's records in [from, to) as long as there is room: the offset of the first that
  // is not added, or the batch's end. DATA_LOSS if they cannot be read.
  Result<Offset> Add(const FetchedBatch& batch, Offset from, Offset to);
  // Sends what is left.
  void Flush();
  bool has_room() const { return has_room_; }

 private:
  // False, and nothing added, if what was added before had to be sent and there is no more room.
  bool AddRecord(Offset offset, int64_t append_time_ms, std::string_view record);

  const PartitionId partition_;
  const size_t message_bytes_;
  MoveFunction<bool(RecordMessage)> send_;
  bool has_room_ = true;
  std::string message_;  // a SubscribeResponse
  // Of the last record in it.
  Offset last_;
  Term term_;
};

}  // namespace millrace::broker
