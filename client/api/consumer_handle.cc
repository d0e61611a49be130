#include "client/api/consumer_handle.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <glog/logging.h>

#include "client/core/error.h"
#include "proto/record/record_batch.h"

namespace millrace::internal {
namespace {

constexpr size_t kPrefetchBytesMin = size_t{64} << 10;
// What one Poll gives at most, uncompressed, but for the batch that crosses it.
constexpr size_t kPollBytes = size_t{1} << 20;

client::StartAt ToStart(const Position& position) {
  switch (position.kind()) {
    case Position::Kind::kEarliest:
      return client::StartAt::Earliest();
    case Position::Kind::kLatest:
      return client::StartAt::Latest();
    case Position::Kind::kOffset:
      return client::StartAt::At(Offset(position.value()));
    case Position::Kind::kTime:
      return client::StartAt::Time(position.value());
  }
  return client::StartAt::Earliest();
}

std::optional<client::StartAt> ToStart(OffsetReset reset) {
  switch (reset) {
    case OffsetReset::kFail:
      break;
    case OffsetReset::kEarliest:
      return client::StartAt::Earliest();
    case OffsetReset::kLatest:
      return client::StartAt::Latest();
  }
  return std::nullopt;
}

std::optional<int64_t> KnownOffset(const Position& position) {
  if (position.kind() != Position::Kind::kOffset) return std::nullopt;
  return position.value();
}

Status CheckPosition(const Position& position) {
  if (position.value() < 0) return InvalidArgument("the position is negative");
  return {};
}

Status Validate(const ConsumerOptions& options) {
  if (options.prefetch_bytes < kPrefetchBytesMin) {
    return InvalidArgument("prefetch_bytes is less than 64 KiB");
  }
  if (options.open_timeout.count() < 1) {
    return InvalidArgument("open_timeout is less than a millisecond");
  }
  if (options.stop && options.stop->kind() == Position::Kind::kEarliest) {
    return InvalidArgument("stop is where every partition begins");
  }
  if (options.stop) RETURN_IF_ERROR(CheckPosition(*options.stop).With("stop"));
  return CheckPosition(options.start);
}

}  // namespace

std::span<const Header> ConsumerHandle::AppendHeaders(const RecordView& record, Records* records) {
  auto headers = std::make_shared<std::vector<Header>>();
  headers->reserve(record.header_count);
  HeaderIterator iterator(record);
  HeaderView header;
  while (iterator.Next(&header)) headers->push_back({.key = header.key, .value = header.value});
  records->owners_.push_back(headers);
  return *headers;
}

Result<std::unique_ptr<ConsumerHandle>> ConsumerHandle::Open(std::shared_ptr<Runtime> runtime,
                                                             const std::string& topic,
                                                             const ConsumerOptions& options) {
  RETURN_IF_ERROR(Validate(options));
  if (runtime->IsLoopThread()) return Runtime::WouldBlock();
  std::unique_ptr<ConsumerHandle> handle(new ConsumerHandle(std::move(runtime), topic, options));
  const MonotonicTime deadline = handle->OpenDeadline();
  RETURN_IF_ERROR(handle->runtime_
                      ->Await<Done>([&](client::ResponseDone<Done> done) {
                        handle->consumer_->Open(
                            Bounded(options.open_timeout),
                            [&handle, done = std::move(done)](Status status) mutable {
                              if (status.ok()) {
                                handle->followed_from_ = handle->consumer_->partition_count();
                                handle->partition_count_ = handle->followed_from_;
                              }
                              done(status.ok() ? Result<Done>(Done()) : std::move(status));
                            });
                      })
                      .status());
  // Growth since then was followed, if it is.
  std::vector<uint32_t> all(handle->followed_from_);
  std::iota(all.begin(), all.end(), 0);
  RETURN_IF_ERROR(handle->AssignUntil(deadline, options.partitions.value_or(all), options.start));
  return handle;
}

ConsumerHandle::ConsumerHandle(std::shared_ptr<Runtime> runtime, const std::string& topic,
                               const ConsumerOptions& options)
    : runtime_(std::move(runtime)), topic_(topic), options_(options) {
  runtime_->RunAndWait([this] {
    client::ConsumerTuning tuning;
    tuning.credit_bytes = options_.prefetch_bytes / 2;
    tuning.below_log_start = ToStart(options_.auto_offset_reset);
    consumer_ = std::make_unique<client::ConsumerDriver>(
        runtime_->client(), topic_, tuning, [this] { Refill(); },
        [this](PartitionId first) { OnGrown(first); });
  });
}

ConsumerHandle::~ConsumerHandle() {
  CHECK(!runtime_->IsLoopThread()) << "a millrace::Consumer was destroyed in a callback";
  runtime_->RunAndWait([this] {
    lifetime_.End();
    consumer_.reset();
  });
}

Status ConsumerHandle::CheckNew(const std::vector<uint32_t>& partitions) const {
  for (const uint32_t partition : partitions) {
    const std::string name = "partition " + std::to_string(partition);
    if (partition >= partition_count_) {
      return NotFound("topic \"" + topic_ + "\" has no " + name, Reason::kUnknownPartition);
    }
    const bool is_twice = std::count(partitions.begin(), partitions.end(), partition) > 1;
    if (IsAssigned(partition) || is_twice) return AlreadyExists(name + " is assigned already");
  }
  return {};
}

Status ConsumerHandle::CheckAssigned(uint32_t partition) const {
  if (IsAssigned(partition)) return {};
  return NotFound("partition " + std::to_string(partition) + " is not assigned",
                  Reason::kUnknownPartition);
}

MonotonicTime ConsumerHandle::OpenDeadline() const {
  return runtime_->clock().Now() + Bounded(options_.open_timeout);
}

Result<std::map<uint32_t, ConsumerHandle::Stop>> ConsumerHandle::FindStops(
    MonotonicTime deadline, const std::vector<uint32_t>& partitions) {
  const Position wanted = options_.stop.value_or(Position::Latest());
  v1::ListOffsetsRequest request;
  request.set_topic(topic_);
  for (const uint32_t partition : partitions) request.add_partitions(partition);
  if (wanted.kind() == Position::Kind::kTime) request.set_timestamp_ms(wanted.value());
  ASSIGN_OR_RETURN(const v1::ListOffsetsResponse response,
                   runtime_->Await<v1::ListOffsetsResponse>([&](auto done) {
                     runtime_->client().ListAllOffsets(
                         request, TimeLeft(runtime_->clock(), deadline), std::move(done));
                   }));
  std::map<uint32_t, Stop> stops;
  for (const uint32_t partition : partitions) stops[partition] = {};
  for (const v1::PartitionOffsets& offsets : response.partitions()) {
    if (offsets.has_error()) {
      return client::FromError(offsets.error())
          .With("partition " + std::to_string(offsets.partition()));
    }
    const int64_t end = offsets.end_offset();
    int64_t at = end;
    if (wanted.kind() == Position::Kind::kOffset) at = wanted.value();
    if (wanted.kind() == Position::Kind::kTime) at = offsets.timestamp_offset();
    stops[offsets.partition()] = {.at = std::min(at, end), .end = end};
  }
  return stops;
}

Status ConsumerHandle::Assign(uint32_t partition, const Position& start) {
  if (runtime_->IsLoopThread()) return Runtime::WouldBlock();
  return AssignUntil(OpenDeadline(), {partition}, start);
}

Status ConsumerHandle::AssignUntil(MonotonicTime deadline, const std::vector<uint32_t>& partitions,
                                   const Position& start) {
  RETURN_IF_ERROR(CheckPosition(start));
  RETURN_IF_ERROR(CheckNew(partitions));
  if (partitions.empty()) return {};  // ListOffsets takes none for all
  std::map<uint32_t, Stop> stops_found;
  if (stops()) {
    ASSIGN_OR_RETURN(stops_found, FindStops(deadline, partitions));
  }
  for (const uint32_t partition : partitions) {
    Part& part = parts_[partition];
    part.position = KnownOffset(start);
    if (stops()) part.stop = stops_found[partition];
  }
  runtime_->RunAndWait([&] {
    for (const uint32_t partition : partitions) {
      const std::optional<Stop>& stop = parts_[partition].stop;
      const Status assigned =
          consumer_->Assign(PartitionId(partition), StartOf(partition, start),
                            stop ? std::optional<Offset>(stop->at) : std::nullopt);
      CHECK(assigned.ok()) << assigned;  // CheckNew
    }
  });
  return {};
}

client::StartAt ConsumerHandle::StartOf(uint32_t partition, const Position& position) const {
  const std::optional<Stop>& stop = parts_.at(partition).stop;
  const bool is_past_stop = position.kind() == Position::Kind::kOffset && stop &&
                            position.value() > stop->at && position.value() <= stop->end;
  return is_past_stop ? client::StartAt::At(Offset(stop->at)) : ToStart(position);
}

// What came is read from its start, wherever this began: all of it is newer than that.
void ConsumerHandle::OnGrown(PartitionId first) {
  const uint32_t count = consumer_->partition_count();
  for (uint32_t partition = first.value(); follows() && partition < count; ++partition) {
    const Status assigned = consumer_->Assign(PartitionId(partition), client::StartAt::Earliest());
    CHECK(assigned.ok()) << assigned;
  }
  partition_count_ = count;
}

void ConsumerHandle::Refill() {
  bool has_more = false;
  {
    const std::lock_guard<std::mutex> lock(mu_);
    is_refill_due_ = false;
    while (queued_bytes_ < options_.prefetch_bytes / 2) {
      std::optional<client::FetchedChunk> chunk = consumer_->Next();
      if (!chunk) break;
      has_more = true;
      queued_bytes_ += chunk->batch.size();
      queue_.push_back(std::move(*chunk));
    }
    is_refill_due_ = queued_bytes_ >= options_.prefetch_bytes / 2;
  }
  if (has_more) ready_.notify_one();
}

std::optional<client::FetchedChunk> ConsumerHandle::Take(Duration timeout, bool may_be_error) {
  std::unique_lock<std::mutex> lock(mu_);
  if (!ready_.wait_for(lock, timeout, [this] { return !queue_.empty(); })) return std::nullopt;
  if (!may_be_error && !queue_.front().status.ok()) return std::nullopt;
  std::optional<client::FetchedChunk> taken = std::move(queue_.front());
  queue_.pop_front();
  queued_bytes_ -= taken->batch.size();
  if (!is_refill_due_ || queued_bytes_ > options_.prefetch_bytes / 4) return taken;
  is_refill_due_ = false;
  lock.unlock();
  runtime_->Post(lifetime_.Guard([this] { Refill(); }));
  return taken;
}

Result<Records> ConsumerHandle::Poll(std::chrono::milliseconds timeout) {
  if (runtime_->IsLoopThread()) return Runtime::WouldBlock();
  const MonotonicTime deadline = runtime_->clock().Now() + Bounded(timeout);
  Records records;
  size_t opened_bytes = 0;
  bool has_taken = false;
  while (opened_bytes < kPollBytes) {
    // An error is told alone.
    std::optional<client::FetchedChunk> chunk = Take(Duration(0), records.empty());
    // What was taken may have been the end of a partition alone, or of the last.
    if (!chunk && records.empty() && !(has_taken && at_end())) {
      chunk = Take(TimeLeft(runtime_->clock(), deadline), true);
    }
    if (!chunk) break;
    has_taken = true;
    RETURN_IF_ERROR(Read(*chunk, &records, &opened_bytes));
  }
  return records;
}

Status ConsumerHandle::Read(const client::FetchedChunk& chunk, Records* records,
                            size_t* opened_bytes) {
  const uint32_t partition = chunk.partition.partition.value();
  Part& part = parts_[partition];
  if (!chunk.status.ok() || chunk.is_end) {
    part.is_finished = true;
    if (chunk.status.ok()) return {};
    return chunk.status.With("partition " + std::to_string(partition))
        .AddMetadata("topic", topic_)
        .AddMetadata("partition", std::to_string(partition));
  }
  if (chunk.has_moved) {
    part.position.reset();
    return {};
  }
  const size_t count = records->records_.size();
  const Status read = Append(chunk, records, opened_bytes);
  if (read.ok()) {
    part.position = chunk.end_wanted.value();
  } else {
    records->records_.resize(count);
    Fail(chunk, read);
  }
  return {};
}

Status ConsumerHandle::Append(const client::FetchedChunk& chunk, Records* records,
                              size_t* opened_bytes) {
  const auto batch = std::make_shared<const Bytes>(chunk.batch);
  ASSIGN_OR_RETURN(OpenedBatch opened, OpenRecordBatch(batch->view()));
  *opened_bytes += opened.view.records.size();
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

// The error comes through the queue, like one that the broker tells.
void ConsumerHandle::Fail(const client::FetchedChunk& chunk, const Status& why) {
  const Offset last = chunk.end_offset - 1;
  const Status lost =
      DataLoss("the batch of offsets " + std::to_string(chunk.base_offset.value()) + " to " +
               std::to_string(last.value()) + " cannot be read: " + std::string(why.message()));
  const PartitionId partition = chunk.partition.partition;
  runtime_->RunAndWait([&] {
    DropQueued(partition.value(), false);
    consumer_->Fail(partition, lost);
    Refill();  // as in Seek
  });
}

// On the client's thread.
std::optional<Offset> ConsumerHandle::DropQueued(uint32_t partition, bool if_batches) {
  const std::lock_guard<std::mutex> lock(mu_);
  const auto is_its = [&](const client::FetchedChunk& chunk) {
    return chunk.partition.partition.value() == partition;
  };
  const auto first = std::find_if(queue_.begin(), queue_.end(), [&](const auto& chunk) {
    return is_its(chunk) && !chunk.batch.empty();
  });
  std::optional<Offset> began;
  if (first != queue_.end()) began = first->first_wanted;
  if (!began && if_batches) return std::nullopt;
  for (const client::FetchedChunk& chunk : queue_) {
    if (is_its(chunk)) queued_bytes_ -= chunk.batch.size();
  }
  std::erase_if(queue_, is_its);
  return began;
}

Status ConsumerHandle::Seek(uint32_t partition, const Position& position) {
  RETURN_IF_ERROR(CheckPosition(position));
  RETURN_IF_ERROR(CheckAssigned(partition));
  runtime_->RunAndWait([&] {
    DropQueued(partition, false);
    consumer_->Seek(PartitionId(partition), StartOf(partition, position));
    Refill();  // the queue may be empty now: then no Poll would ask for more
  });
  parts_[partition].position = KnownOffset(position);
  parts_[partition].is_finished = false;
  return {};
}

// What was fetched is dropped, so that a paused partition takes no room from the others, and is
// fetched again by Resume.
Status ConsumerHandle::Pause(uint32_t partition) {
  RETURN_IF_ERROR(CheckAssigned(partition));
  runtime_->RunAndWait([&] {
    consumer_->Pause(PartitionId(partition));
    const std::optional<Offset> first = DropQueued(partition, true);
    // An end or an error behind it is met again.
    if (first) consumer_->Seek(PartitionId(partition), client::StartAt::At(*first));
    Refill();  // as in Seek
  });
  return {};
}

Status ConsumerHandle::Resume(uint32_t partition) {
  RETURN_IF_ERROR(CheckAssigned(partition));
  runtime_->RunAndWait([&] { consumer_->Resume(PartitionId(partition)); });
  return {};
}

bool ConsumerHandle::at_end() const {
  return stops() && std::all_of(parts_.begin(), parts_.end(),
                                [](const auto& entry) { return entry.second.is_finished; });
}

std::optional<int64_t> ConsumerHandle::position(uint32_t partition) const {
  const auto found = parts_.find(partition);
  return found == parts_.end() ? std::nullopt : found->second.position;
}

}  // namespace millrace::internal
