#include "client/api/chunk_records.h"

#include <vector>

namespace millrace::internal {

Status ChunkRecords::Append(const client::FetchedChunk& chunk, const TopicName& topic,
                            Records* records, size_t* opened_bytes) {
  const size_t count = records->records_.size();
  const Status read = AppendAll(chunk, topic, records, opened_bytes);
  if (read.ok()) return {};
  records->records_.resize(count);
  const Offset last = chunk.end_offset - 1;
  return DataLoss("the batch of offsets " + std::to_string(chunk.base_offset.value()) + " to " +
                  std::to_string(last.value()) + " cannot be read: " + std::string(read.message()));
}

Status ChunkRecords::AppendAll(const client::FetchedChunk& chunk, const TopicName& topic,
                               Records* records, size_t* opened_bytes) {
  const auto batch = std::make_shared<const Bytes>(chunk.batch);
  ASSIGN_OR_RETURN(OpenedBatch opened, OpenRecordBatch(batch->view()));
  *opened_bytes += opened.view.records.size();
  records->owners_.push_back(topic);
  records->owners_.push_back(batch);
  if (!opened.decompressed.empty()) {
    records->owners_.push_back(std::make_shared<const Bytes>(opened.decompressed));
  }
  RecordIterator iterator(opened.view);
  RecordView record;
  while (iterator.Next(&record)) {
    const Offset offset = chunk.base_offset + record.place;
    if (offset < chunk.first_wanted) continue;
    if (offset >= chunk.end_wanted) break;
    ConsumedRecord& added = records->records_.emplace_back();
    added.topic = *topic;
    added.partition = chunk.partition.partition.value();
    added.offset = offset.value();
    added.append_time_ms = chunk.append_time_ms;
    added.timestamp_ms = record.time_ms(chunk.append_time_ms);
    added.key = record.key;
    added.value = record.value;
    if (record.header_count > 0) added.headers = AppendHeaders(record, records);
  }
  return iterator.status();
}

std::span<const Header> ChunkRecords::AppendHeaders(const RecordView& record, Records* records) {
  auto headers = std::make_shared<std::vector<Header>>();
  headers->reserve(record.header_count);
  HeaderIterator iterator(record);
  HeaderView header;
  while (iterator.Next(&header)) headers->push_back({.key = header.key, .value = header.value});
  records->owners_.push_back(headers);
  return *headers;
}

Status ChunkError(const client::FetchedChunk& chunk, const std::string& topic) {
  const std::string partition = std::to_string(chunk.partition.partition.value());
  return chunk.status.With("partition " + partition)
      .AddMetadata("topic", topic)
      .AddMetadata("partition", partition);
}

}  // namespace millrace::internal
