#include "client/cli/reader.h"

#include <utility>

namespace millrace::client::cli {
namespace {

constexpr Duration kOffsetsRetry = std::chrono::milliseconds(50);
// Chunks taken before the loop gets its turn.
constexpr int kChunksPerTurn = 16;

}  // namespace

Reader::Reader(Session& session, ReadPlan plan, RecordHandler on_record, FlushHandler on_flush,
               EndHandler on_end)
    : session_(session),
      plan_(std::move(plan)),
      on_record_(std::move(on_record)),
      on_flush_(std::move(on_flush)),
      on_end_(std::move(on_end)),
      consumer_(session.client(), plan_.topic, {}, [this] { Drain(); }) {}

void Reader::Start() {
  deadline_ = session_.clock().Now() + plan_.timeout;
  consumer_.Open(plan_.timeout, [this](const Status& status) {
    if (!status.ok()) return End(status);
    if (plan_.until_end) return AskOffsets();
    Assign();
  });
}

void Reader::AskOffsets() {
  v1::ListOffsetsRequest request;
  request.set_topic(plan_.topic);
  if (plan_.partition) request.add_partitions(*plan_.partition);
  session_.client().ListOffsets(
      request, plan_.timeout,
      [this](const Result<v1::ListOffsetsResponse>& response) { OnOffsets(response); });
}

void Reader::OnOffsets(const Result<v1::ListOffsetsResponse>& response) {
  if (has_ended_) return;
  if (!response.ok()) return End(response.status());
  for (const v1::PartitionOffsets& offsets : response->partitions()) {
    if (!offsets.has_error()) continue;
    const Status error = FromError(offsets.error());
    const bool may_heal =
        error.code() == Code::kUnavailable || error.code() == Code::kDeadlineExceeded;
    if (!may_heal || session_.clock().Now() >= deadline_) return End(error);
    session_.loop().RunAfter(kOffsetsRetry, [this] { AskOffsets(); });
    return;
  }
  for (const v1::PartitionOffsets& offsets : response->partitions()) {
    const Offset end(offsets.high_watermark());
    const bool has_nothing = plan_.start.kind == StartAt::kLatest ||
                             end == Offset(offsets.log_start_offset()) ||
                             (plan_.start.kind == StartAt::kOffset && plan_.start.offset == end);
    if (!has_nothing) ends_[PartitionId(offsets.partition())] = end;
  }
  Assign();
}

void Reader::Assign() {
  if (plan_.until_end) {
    for (const auto& [partition, end] : ends_) {
      const Status assigned = consumer_.Assign(partition, plan_.start);
      if (!assigned.ok()) return End(assigned);
    }
    if (IsDone()) End(Status::Ok());
    return;
  }
  for (uint32_t i = 0; i < consumer_.partition_count(); ++i) {
    if (plan_.partition && *plan_.partition != i) continue;
    const Status assigned = consumer_.Assign(PartitionId(i), plan_.start);
    if (!assigned.ok()) return End(assigned);
  }
  if (plan_.partition && *plan_.partition >= consumer_.partition_count()) {
    End(NotFound(
        "topic \"" + plan_.topic + "\" has no partition " + std::to_string(*plan_.partition),
        Reason::kUnknownPartition));
  }
}

bool Reader::IsDone() const {
  if (plan_.count != 0 && records_read_ >= plan_.count) return true;
  return plan_.until_end && ends_.empty();
}

void Reader::Drain() {
  for (int i = 0; i < kChunksPerTurn; ++i) {
    if (has_ended_) return;
    const std::optional<FetchedChunk> chunk = consumer_.Next();
    if (!chunk) return on_flush_();
    const Status taken = chunk->status.ok() ? Take(*chunk) : chunk->status;
    if (!taken.ok()) {
      return End(taken.With("partition " + std::to_string(chunk->partition.partition.value())));
    }
    if (IsDone()) return End(Status::Ok());
  }
  on_flush_();
  session_.loop().Post([this] { Drain(); });
}

Status Reader::Take(const FetchedChunk& chunk) {
  const PartitionId partition = chunk.partition.partition;
  const auto end = ends_.find(partition);
  if (plan_.until_end && end == ends_.end()) return {};
  ASSIGN_OR_RETURN(const RecordBatchView batch, ParseRecordBatchHeader(chunk.batch.view()));
  RecordIterator records(batch);
  ReadRecord read{.partition = partition, .offset = chunk.base_offset - 1, .record = {}};
  while (records.Next(&read.record)) {
    ++read.offset;
    if (read.offset < chunk.first_wanted) continue;
    if (plan_.until_end && read.offset >= end->second) break;
    if (plan_.count != 0 && records_read_ >= plan_.count) return {};
    const int64_t given = read.record.timestamp_ms;
    read.timestamp_ms = given != 0 ? given : chunk.append_time_ms;
    on_record_(read);
    ++records_read_;
  }
  RETURN_IF_ERROR(records.status());
  if (plan_.until_end && chunk.base_offset + chunk.record_count >= end->second) ends_.erase(end);
  return {};
}

void Reader::End(const Status& status) {
  if (std::exchange(has_ended_, true)) return;
  on_flush_();
  on_end_(status);
}

}  // namespace millrace::client::cli
