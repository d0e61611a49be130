// Fetched chunks as the records of a Poll: decompressed, on the program's thread, and with the
// memory that they view.
//
//   Status read = ChunkRecords::Append(chunk, topic, &records, &opened_bytes);
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "client/core/consumer.h"
#include "millrace/consumer.h"
#include "proto/base/status.h"
#include "proto/record/record_batch.h"

namespace millrace::internal {

// Shared with every Records that has records of the topic.
using TopicName = std::shared_ptr<const std::string>;

class ChunkRecords {
 public:
  // Adds the records of the chunk that are wanted, and what they took uncompressed to
  // `opened_bytes`. DATA_LOSS if the batch cannot be read: then none of it is added.
  static Status Append(const client::FetchedChunk& chunk, const TopicName& topic, Records* records,
                       size_t* opened_bytes);

 private:
  static Status AppendAll(const client::FetchedChunk& chunk, const TopicName& topic,
                          Records* records, size_t* opened_bytes);
  static std::span<const Header> AppendHeaders(const RecordView& record, Records* records);
};

// Of the partition that a chunk ended, as Poll says it.
Status ChunkError(const client::FetchedChunk& chunk, const std::string& topic);

}  // namespace millrace::internal
