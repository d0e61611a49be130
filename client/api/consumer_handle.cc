#include "client/api/consumer_handle.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <glog/logging.h>

#include "client/api/positions.h"
#include "client/core/error.h"

namespace millrace::internal {
namespace {

Status Validate(const ConsumerOptions& options) {
  RETURN_IF_ERROR(CheckPrefetch(options.prefetch_bytes));
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
    : runtime_(std::move(runtime)),
      topic_(std::make_shared<const std::string>(topic)),
      options_(options),
      queue_(options.prefetch_bytes / 2) {
  runtime_->RunAndWait([this] {
    client::ConsumerTuning tuning;
    tuning.credit_bytes = options_.prefetch_bytes / 2;
    tuning.isolation = ToWire(options_.isolation);
    tuning.below_log_start = ToStart(options_.auto_offset_reset);
    consumer_ = std::make_unique<client::ConsumerDriver>(
        runtime_->client(), *topic_, tuning, [this] { Refill(); },
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
      return NotFound("topic \"" + *topic_ + "\" has no " + name, Reason::kUnknownPartition);
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
  request.set_topic(*topic_);
  request.set_isolation(ToWire(options_.isolation));
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
  queue_.Fill([this] { return consumer_->Next(); });
}

std::optional<client::FetchedChunk> ConsumerHandle::Take(Duration timeout, bool may_be_error) {
  ChunkQueue::Taken taken = queue_.Take(timeout, may_be_error);
  if (taken.wants_more) runtime_->Post(lifetime_.Guard([this] { Refill(); }));
  return std::move(taken.chunk);
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
  Part& part = parts_[chunk.partition.partition.value()];
  if (!chunk.status.ok() || chunk.is_end) {
    part.is_finished = true;
    return chunk.status.ok() ? Status() : ChunkError(chunk, *topic_);
  }
  if (chunk.has_moved) {
    part.position.reset();
    return {};
  }
  const Status read = ChunkRecords::Append(chunk, topic_, records, opened_bytes);
  if (read.ok()) {
    part.position = chunk.end_wanted.value();
  } else {
    Fail(chunk.partition.partition, read);
  }
  return {};
}

void ConsumerHandle::Fail(PartitionId partition, const Status& why) {
  runtime_->RunAndWait([&] {
    queue_.Drop(At(partition.value()), false);
    consumer_->Fail(partition, why);
    Refill();  // as in Seek
  });
}

Status ConsumerHandle::Seek(uint32_t partition, const Position& position) {
  RETURN_IF_ERROR(CheckPosition(position));
  RETURN_IF_ERROR(CheckAssigned(partition));
  runtime_->RunAndWait([&] {
    queue_.Drop(At(partition), false);
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
    const std::optional<Offset> first = queue_.Drop(At(partition), true);
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
