#include "client/api/producer_handle.h"

#include <deque>
#include <future>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "client/api/compression_names.h"

namespace millrace::internal {
namespace {

constexpr size_t kBatchBytesMin = size_t{1} << 10;
constexpr size_t kBatchBytesMax = size_t{4} << 20;
constexpr std::chrono::milliseconds kTransactionTimeoutMin = std::chrono::seconds(1);
constexpr std::chrono::milliseconds kTransactionTimeoutMax = std::chrono::minutes(15);

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
  const bool is_in_bounds = options.transaction_timeout >= kTransactionTimeoutMin &&
                            options.transaction_timeout <= kTransactionTimeoutMax;
  if (!is_in_bounds) return InvalidArgument("transaction_timeout is not between 1 s and 15 min");
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
  tuning.transactional_id = options.transactional_id;
  tuning.transaction_timeout = options.transaction_timeout;
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
    : runtime_(std::move(runtime)),
      topic_(topic),
      options_(options),
      transaction_(!options.transactional_id.empty()) {
  runtime_->RunAndWait([this] {
    producer_ = std::make_unique<client::ProducerDriver>(
        runtime_->client(), topic_, TuningOf(options_),
        client::ProducerDriver::Callbacks{
            .on_report =
                [this](const client::DeliveryReport& report) {
                  LearnFencing(report.status);
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
    RETURN_IF_ERROR(transaction_.CheckSend());
    RETURN_IF_ERROR(WaitForRoom(size, may_wait, &lock));
    RETURN_IF_ERROR(transaction_.CheckSend());  // another thread may have ended it meanwhile
    transaction_.Sent();
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
  std::deque<OpenTransaction::Turn> turns;
  {
    const std::lock_guard<std::mutex> lock(mu_);
    is_drain_posted_ = false;
    std::swap(waiting_, draining_);
    turns = transaction_.TakeTurns();
  }
  std::vector<Refused> refused;
  const auto take_turns = [&] {
    while (!turns.empty() && turns.front().records_before <= drained_records_) {
      Turn(std::move(turns.front()), &refused);
      turns.pop_front();
    }
  };
  const MonotonicTime now = runtime_->clock().Now();
  draining_.TakeAll([&](const NewRecord& record, const RecordQueue::Place& place, size_t size,
                        DeliveryCallback on_delivery) {
    take_turns();
    ++drained_records_;
    const PartitionId to = place.partition ? *place.partition : producer_->Pick(record.key, size);
    const Result<PartitionId> sent = producer_->Send(record, now, to, place.expected_end);
    if (sent.ok()) return tracker_->Sent(to, std::move(on_delivery));
    refused.push_back({.delivery = {.status = sent.status(), .partition = to.value()},
                       .on_delivery = std::move(on_delivery),
                       .size = size});
  });
  take_turns();
  CHECK(turns.empty());
  Tell(&refused);
}

void ProducerHandle::Tell(std::vector<Refused>* refused) {
  if (refused->empty()) return;
  producer_->Report();  // earlier records of the same partitions
  for (const Refused& record : std::exchange(*refused, {})) {
    if (record.on_delivery) record.on_delivery(record.delivery);
    Release(1, record.size);
  }
}

// What refuses to begin refuses all that follows, and tells it.
void ProducerHandle::Turn(OpenTransaction::Turn turn, std::vector<Refused>* refused) {
  switch (turn.kind) {
    case OpenTransaction::Turn::Kind::kBegin:
      return static_cast<void>(producer_->BeginTransaction());
    case OpenTransaction::Turn::Kind::kOffsets:
      // Of a transaction that has failed: its end will say so.
      return static_cast<void>(producer_->AddOffsets(std::move(turn.offsets)));
    case OpenTransaction::Turn::Kind::kEnd:
      break;
  }
  Tell(refused);  // its records before its end
  producer_->EndTransaction(turn.is_commit,
                            [this, is_commit = turn.is_commit, on_ended = std::move(turn.on_ended)](
                                const Status& outcome) { OnEnded(is_commit, outcome, on_ended); });
}

void ProducerHandle::OnEnded(bool is_commit, const Status& outcome,
                             const TransactionCallback& on_ended) {
  LearnFencing(outcome);
  {
    const std::lock_guard<std::mutex> lock(mu_);
    transaction_.Ended();
    const bool counts = is_commit && outcome.ok();
    if (!counts && read_again_ != nullptr) *read_again_ = true;
  }
  if (on_ended) on_ended(outcome);
}

void ProducerHandle::LearnFencing(const Status& status) {
  if (options_.transactional_id.empty() || !client::IsFencing(status)) return;
  const std::lock_guard<std::mutex> lock(mu_);
  transaction_.EndAll(status);
}

Status ProducerHandle::BeginTransaction() {
  const std::lock_guard<std::mutex> lock(mu_);
  return transaction_.Begin();
}

Status ProducerHandle::SendOffsets(GroupConsumerHandle& reader) {
  {
    const std::lock_guard<std::mutex> lock(mu_);
    RETURN_IF_ERROR(transaction_.CheckOffsets());
  }
  ASSIGN_OR_RETURN(GroupConsumerHandle::Given given,
                   reader.TakeGiven(*runtime_, [this] { return producer_->member_producer(); }));
  {
    const std::lock_guard<std::mutex> lock(mu_);
    Status may = transaction_.CheckOffsets();  // another thread may have ended it meanwhile
    if (may.ok() && transaction_.has_offsets() && read_again_ != given.read_again) {
      may = FailedPrecondition("the transaction has offsets of another group consumer");
    }
    if (!may.ok()) {
      *given.read_again = true;
      return may;
    }
    read_again_ = std::move(given.read_again);
    if (given.offsets.topics().empty()) return {};
    transaction_.Offsets(std::move(given.offsets));
    if (std::exchange(is_drain_posted_, true)) return {};
  }
  runtime_->Post(lifetime_.Guard([this] { Drain(); }));
  return {};
}

Status ProducerHandle::EndTransaction(bool is_commit, TransactionCallback on_ended) {
  {
    const std::lock_guard<std::mutex> lock(mu_);
    RETURN_IF_ERROR(transaction_.End(is_commit, std::move(on_ended)));
    if (std::exchange(is_drain_posted_, true)) return {};
  }
  runtime_->Post(lifetime_.Guard([this] { Drain(); }));
  return {};
}

Status ProducerHandle::EndTransaction(bool is_commit, std::chrono::milliseconds timeout) {
  if (runtime_->IsLoopThread()) return Runtime::WouldBlock();
  const auto ended = std::make_shared<std::promise<Status>>();  // shared with the end's callback
  std::future<Status> result = ended->get_future();
  RETURN_IF_ERROR(
      EndTransaction(is_commit, [ended](const Status& outcome) { ended->set_value(outcome); }));
  if (result.wait_for(Bounded(timeout)) == std::future_status::ready) return result.get();
  return DeadlineExceeded("the transaction has not ended yet");
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
