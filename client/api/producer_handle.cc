#include "client/api/producer_handle.h"

#include <future>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "client/api/compression_names.h"

namespace millrace::internal {
namespace {

constexpr size_t kBatchBytesMin = size_t{1} << 10;
constexpr size_t kBatchBytesMax = size_t{4} << 20;

Status Validate(const ProducerOptions& options) {
  if (options.batch_bytes < kBatchBytesMin || options.batch_bytes > kBatchBytesMax) {
    return InvalidArgument("batch_bytes is not between 1 KiB and 4 MiB");
  }
  if (options.memory_bytes_max < 2 * options.batch_bytes) {
    return InvalidArgument("memory_bytes_max is less than twice batch_bytes");
  }
  if (options.linger.count() < 0) return InvalidArgument("linger is negative");
  if (options.send_timeout.count() < 0) return InvalidArgument("send_timeout is negative");
  if (options.delivery_timeout.count() < 1 || options.open_timeout.count() < 1) {
    return InvalidArgument("a timeout is less than a millisecond");
  }
  return {};
}

client::ProducerTuning TuningOf(const ProducerOptions& options) {
  client::ProducerTuning tuning;
  tuning.batch_bytes = options.batch_bytes;
  tuning.linger = Bounded(options.linger);
  // What is counted here is never more than what ProducerHandle counts.
  tuning.memory_bytes_max = options.memory_bytes_max + options.batch_bytes;
  tuning.delivery_timeout = Bounded(options.delivery_timeout);
  tuning.compression = ToBatchCompression(options.compression);
  return tuning;
}

std::vector<HeaderView> ViewsOf(const Record& record) {
  std::vector<HeaderView> views;
  views.reserve(record.headers.size());
  for (const Header& header : record.headers) {
    views.push_back({.key = header.key, .value = header.value});
  }
  return views;
}

RecordQueue::Place PlaceOf(const Record& record) {
  RecordQueue::Place place;
  if (record.partition) place.partition = PartitionId(*record.partition);
  if (record.expected_end_offset) place.expected_end = Offset(*record.expected_end_offset);
  return place;
}

}  // namespace

Result<std::unique_ptr<ProducerHandle>> ProducerHandle::Open(std::shared_ptr<Runtime> runtime,
                                                             const std::string& topic,
                                                             const ProducerOptions& options) {
  RETURN_IF_ERROR(Validate(options));
  if (runtime->IsLoopThread()) return Runtime::WouldBlock();
  std::unique_ptr<ProducerHandle> handle(new ProducerHandle(std::move(runtime), topic, options));
  RETURN_IF_ERROR(handle->runtime_
                      ->Await<Done>([&](client::ResponseDone<Done> done) {
                        handle->producer_->Open(
                            Bounded(options.open_timeout),
                            [&handle, done = std::move(done)](Status status) mutable {
                              if (status.ok()) handle->OnOpened();
                              done(status.ok() ? Result<Done>(Done()) : std::move(status));
                            });
                      })
                      .status());
  return handle;
}

ProducerHandle::ProducerHandle(std::shared_ptr<Runtime> runtime, const std::string& topic,
                               const ProducerOptions& options)
    : runtime_(std::move(runtime)), topic_(topic), options_(options) {
  runtime_->RunAndWait([this] {
    producer_ = std::make_unique<client::ProducerDriver>(
        runtime_->client(), topic_, TuningOf(options_),
        client::ProducerDriver::Callbacks{
            .on_report =
                [this](const client::DeliveryReport& report) {
                  tracker_->Answer(report);
                  Release(report.record_count, report.bytes);
                },
            .on_room = {},
            .on_record_bytes_max = [this](size_t bytes) { record_bytes_max_ = bytes; },
            .on_grown = [this] { OnGrown(); }});
  });
}

void ProducerHandle::OnOpened() {
  partition_count_ = producer_->partition_count();
  tracker_.emplace(partition_count_);
}

// Who sends there learns of it last.
void ProducerHandle::OnGrown() {
  tracker_->Grow(producer_->partition_count());
  partition_count_ = producer_->partition_count();
}

ProducerHandle::~ProducerHandle() {
  CHECK(!runtime_->IsLoopThread()) << "a millrace::Producer was destroyed in a callback";
  runtime_->RunAndWait([this] {
    if (partition_count_ > 0) {
      Drain();
      producer_->Abandon(Status(Code::kCancelled, "the producer was destroyed before the answer"));
    }
    lifetime_.End();
    producer_.reset();
  });
}

Status ProducerHandle::Check(const Record& record, size_t size) const {
  if (size > record_bytes_max_) {
    return InvalidArgument("the record takes " + std::to_string(size) + " bytes, and topic \"" +
                               topic_ + "\" takes " + std::to_string(record_bytes_max_) +
                               " (its batch_bytes_max, less a header)",
                           Reason::kBatchTooLarge);
  }
  if (record.timestamp_ms < 0) return InvalidArgument("timestamp_ms is negative");
  if (record.expected_end_offset && *record.expected_end_offset < 0) {
    return InvalidArgument("expected_end_offset is negative");
  }
  if (record.expected_end_offset && !record.partition) {
    return InvalidArgument("expected_end_offset is set, and partition is not");
  }
  if (record.partition && *record.partition >= partition_count_) {
    return NotFound(
        "topic \"" + topic_ + "\" has no partition " + std::to_string(*record.partition),
        Reason::kUnknownPartition);
  }
  return {};
}

Status ProducerHandle::Send(const Record& record, bool may_wait, DeliveryCallback on_delivery) {
  const std::vector<HeaderView> headers = ViewsOf(record);
  const NewRecord view{.key = record.key,
                       .value = record.value,
                       .headers = headers,
                       .timestamp_ms = record.timestamp_ms};
  const size_t size = EncodedRecordSize(view);
  RETURN_IF_ERROR(Check(record, size));
  {
    std::unique_lock<std::mutex> lock(mu_);
    RETURN_IF_ERROR(WaitForRoom(size, may_wait, &lock));
    waiting_.Push(view, PlaceOf(record), size, std::move(on_delivery));
    ++unanswered_records_;
    unanswered_bytes_ += MemoryOf(1, size);
    if (std::exchange(is_drain_posted_, true)) return {};
  }
  runtime_->Post(lifetime_.Guard([this] { Drain(); }));
  return {};
}

Status ProducerHandle::WaitForRoom(size_t size, bool may_wait, std::unique_lock<std::mutex>* lock) {
  const auto has_room = [&] {
    return unanswered_records_ == 0 ||
           unanswered_bytes_ + MemoryOf(1, size) <= options_.memory_bytes_max;
  };
  if (has_room()) return {};
  // The client's thread would wait for itself.
  const bool waits = may_wait && !runtime_->IsLoopThread();
  if (waits && room_.wait_for(*lock, Bounded(options_.send_timeout), has_room)) return {};
  return ResourceExhausted("the producer's memory is full of " +
                           std::to_string(unanswered_records_) + " unanswered records");
}

void ProducerHandle::Release(uint64_t records, size_t bytes) {
  {
    const std::lock_guard<std::mutex> lock(mu_);
    CHECK_GE(unanswered_records_, records);
    CHECK_GE(unanswered_bytes_, MemoryOf(records, bytes));
    unanswered_records_ -= records;
    unanswered_bytes_ -= MemoryOf(records, bytes);
  }
  room_.notify_all();
}

void ProducerHandle::Drain() {
  {
    const std::lock_guard<std::mutex> lock(mu_);
    is_drain_posted_ = false;
    std::swap(waiting_, draining_);
  }
  struct Refused {
    Delivery delivery;
    DeliveryCallback on_delivery;
    size_t size = 0;
  };
  std::vector<Refused> refused;
  const MonotonicTime now = runtime_->clock().Now();
  draining_.TakeAll([&](const NewRecord& record, const RecordQueue::Place& place, size_t size,
                        DeliveryCallback on_delivery) {
    const PartitionId to = place.partition ? *place.partition : producer_->Pick(record.key, size);
    const Result<PartitionId> sent = producer_->Send(record, now, to, place.expected_end);
    if (sent.ok()) return tracker_->Sent(to, std::move(on_delivery));
    refused.push_back({.delivery = {.status = sent.status(), .partition = to.value()},
                       .on_delivery = std::move(on_delivery),
                       .size = size});
  });
  if (refused.empty()) return;
  producer_->Report();  // earlier records of the same partitions
  for (const Refused& record : refused) {
    if (record.on_delivery) record.on_delivery(record.delivery);
    Release(1, record.size);
  }
}

Status ProducerHandle::Flush(std::chrono::milliseconds timeout) {
  if (runtime_->IsLoopThread()) return Runtime::WouldBlock();
  const auto flushed = std::make_shared<std::promise<void>>();  // shared with the flush's end
  std::future<void> result = flushed->get_future();
  runtime_->Post(lifetime_.Guard([this, flushed] {
    Drain();
    producer_->Flush([flushed] { flushed->set_value(); });
  }));
  if (result.wait_for(Bounded(timeout)) == std::future_status::ready) return {};
  return DeadlineExceeded(std::to_string(unanswered_records()) + " records are not answered yet");
}

uint64_t ProducerHandle::unanswered_records() const {
  const std::lock_guard<std::mutex> lock(mu_);
  return unanswered_records_;
}

}  // namespace millrace::internal
