#include "tests/simulation/broker/workload.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/record/record_batch.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Shorter than a run, so that its clients know of partitions that came.
constexpr Duration kMetadataAgeMax = seconds(3);

}  // namespace

SimProducer::SimProducer(SimWorld& world, SimEdge& edge, std::vector<std::string> addresses,
                         const SimProducerOptions& options, History& history,
                         std::function<void(const Acknowledgement&)> on_acknowledged)
    : world_(world),
      process_(world.AddProcess("producer" + std::to_string(options.number))),
      random_(process_.Fork()),
      connector_(edge, process_),
      client_({process_.executor(), process_.clock(), connector_, process_.Fork()},
              {.bootstrap = std::move(addresses), .metadata_age_max = kMetadataAgeMax}),
      options_(options),
      history_(history),
      on_acknowledged_(std::move(on_acknowledged)),
      producer_(
          client_, options.topic,
          {.batch_bytes = 4 << 10,
           .delivery_timeout = options.delivery_timeout,
           // A codec for each, so that retries and leader changes meet them all.
           .compression = kBatchCompressions[options.number % std::size(kBatchCompressions)]},
          {.on_report = [this](const client::DeliveryReport& r) { OnReport(r); },
           .on_room = [] {},
           .on_grown = [] { MILLRACE_SOMETIMES("a producer learned of partitions that came"); }}) {
  Open();
}

void SimProducer::Open() {
  producer_.Open(seconds(60), [this](Status status) {
    if (!status.ok()) return Open();
    is_open_ = true;
    SendSome();
  });
}

void SimProducer::SendSome() {
  if (is_stopped_) {
    producer_.Flush([this] { done_(); });
    return;
  }
  const uint64_t count = random_.Between(1, 12);
  for (uint64_t i = 0; i < count && producer_.has_room(); ++i) {
    const ValueId value{.producer = options_.number, .number = next_value_++};
    const PartitionId partition(static_cast<uint32_t>(random_.Below(producer_.partition_count())));
    const std::string text = value.Text() + " " + Filling(random_.Below(options_.value_bytes_max));
    history_.Sent(options_.history_base + partition.value(), value);
    const Result<PartitionId> sent =
        producer_.Send({.value = text}, process_.clock().Now(), partition);
    CHECK(sent.ok() || options_.may_fail) << sent.status();
    if (!sent.ok()) continue;
    unanswered_[partition.value()].push_back(
        {.value = value, .sent_at = world_.elapsed(), .bytes = text.size()});
  }
  process_.executor().RunAfter(milliseconds(random_.Between(1, 60)), [this] { SendSome(); });
}

std::string SimProducer::Filling(uint64_t bytes) {
  std::string filling(bytes, 'x');
  if (options_.value_bytes_max <= SimProducerOptions{}.value_bytes_max) return filling;
  for (size_t at = 0; at < bytes; at += 8) {
    const uint64_t drawn = random_.Next();
    for (size_t i = at; i < std::min<size_t>(at + 8, bytes); ++i) {
      filling[i] = static_cast<char>('!' + (drawn >> (i - at) * 8) % 64);
    }
  }
  return filling;
}

void SimProducer::OnReport(const client::DeliveryReport& report) {
  const uint32_t partition = report.partition.partition.value();
  std::deque<Unanswered>& values = unanswered_[partition];
  for (uint32_t i = 0; i < report.record_count; ++i) {
    CHECK(!values.empty());
    const Unanswered sent = values.front();
    const ValueId value = sent.value;
    values.pop_front();
    if (!report.status.ok()) {
      if (options_.may_fail) continue;
      // Nothing in a run may make a record undeliverable for good.
      history_.SawStuck("a record was refused: " + report.status.ToString());
      continue;
    }
    const bool is_known = report.base_offset >= Offset(0);
    const Offset offset = is_known ? report.base_offset + static_cast<int64_t>(i) : Offset(-1);
    history_.Acknowledged(options_.history_base + partition, value, offset);
    if (is_known)
      on_acknowledged_({.partition = partition,
                        .value = value,
                        .offset = offset,
                        .sent_at = sent.sent_at,
                        .bytes = sent.bytes});
  }
}

void SimProducer::StopAndFlush(MoveFunction<void()> done) {
  done_ = std::move(done);
  is_stopped_ = true;
}

SimConsumer::SimConsumer(SimWorld& world, SimEdge& edge, std::vector<std::string> addresses,
                         const SimConsumerOptions& options, History& history)
    : process_(world.AddProcess(options.name)),
      connector_(edge, process_),
      client_({process_.executor(), process_.clock(), connector_, process_.Fork()},
              {.bootstrap = std::move(addresses), .metadata_age_max = kMetadataAgeMax}),
      options_(options),
      history_(history),
      reader_(process_.Fork().Next()),
      consumer_(
          client_, options.topic, {}, [this] { TakeAll(); },
          [this](PartitionId) {
            MILLRACE_SOMETIMES("a reader learned of partitions that came");
            AssignPartitions();
          }) {
  Open();
}

void SimConsumer::Open() {
  consumer_.Open(seconds(60), [this](Status status) {
    if (!status.ok()) return Open();
    AssignPartitions();
  });
}

void SimConsumer::AssignPartitions() {
  for (auto i = static_cast<uint32_t>(next_.size()); i < consumer_.partition_count(); ++i) {
    history_.Assigned(options_.history_base + i, reader_);
    const Status assigned = consumer_.Assign(PartitionId(i), options_.begins_at_earliest
                                                                 ? client::StartAt::Earliest()
                                                                 : client::StartAt::At(Offset(0)));
    CHECK(assigned.ok()) << assigned;
    next_.emplace_back(0);
  }
}

void SimConsumer::TakeAll() {
  while (std::optional<client::FetchedChunk> chunk = consumer_.Next()) Take(*chunk);
}

void SimConsumer::Take(const client::FetchedChunk& chunk) {
  const uint32_t partition = chunk.partition.partition.value();
  if (!chunk.status.ok()) return GoOn(partition, chunk.status);
  history_.SawHighWatermark(options_.history_base + partition, reader_, chunk.high_watermark);
  const Status taken = ForEachRecord(chunk, [&](Offset offset, std::string_view value) {
    // Where the log starts is told by the first record, or by an error.
    const bool begins = next_[partition] == Offset(0) && options_.begins_at_earliest;
    if (offset != next_[partition] && !begins) {
      history_.SawStuck(options_.name + " was to read offset " +
                        std::to_string(next_[partition].value()) + " of partition " +
                        std::to_string(partition) + " and got " + std::to_string(offset.value()));
    }
    history_.Read(options_.history_base + partition, reader_, offset, value);
    next_[partition] = offset + 1;
  });
  if (!taken.ok()) error_ = taken;
}

void SimConsumer::GoOn(uint32_t partition, const Status& error) {
  const std::optional<LogRange> range = LogRangeIn(error);
  // Nothing else may be out of range: it reads what there was.
  if (!range.has_value() || next_[partition] >= range->start) {
    error_ = error;
    return;
  }
  MILLRACE_SOMETIMES("a reader went on where the log starts");
  history_.ToldLogStart(options_.history_base + partition, reader_, range->start);
  next_[partition] = range->start;
  history_.Assigned(options_.history_base + partition, reader_);
  consumer_.Seek(PartitionId(partition), client::StartAt::At(range->start));
}

Status ForEachRecord(const client::FetchedChunk& chunk,
                     const std::function<void(Offset, std::string_view)>& take) {
  ASSIGN_OR_RETURN(const RecordBatchView batch,
                   ParseRecordBatch(chunk.batch.view(), chunk.partition));
  const Result<OpenedBatch> opened = OpenRecordBatch(batch);
  CHECK(opened.ok()) << opened.status();
  RecordIterator records(opened->view);
  RecordView record;
  for (Offset offset = chunk.base_offset; records.Next(&record); ++offset) {
    if (offset < chunk.first_wanted) continue;
    MILLRACE_SOMETIMES_IF("a read began within a batch", chunk.base_offset < chunk.first_wanted);
    take(offset, record.value.value_or(""));
  }
  return {};
}

std::optional<LogRange> LogRangeIn(const Status& status) {
  if (status.reason() != Reason::kOffsetOutOfRange) return std::nullopt;
  std::optional<Offset> start;
  std::optional<Offset> end;
  for (const auto& [key, value] : status.metadata()) {
    int64_t number = 0;
    std::from_chars(value.data(), value.data() + value.size(), number);
    if (key == "log_start_offset") start = Offset(number);
    if (key == "end_offset") end = Offset(number);
  }
  if (!start.has_value() || !end.has_value()) return std::nullopt;
  return LogRange{.start = *start, .end = *end};
}

bool SimConsumer::HasReached(const std::vector<Offset>& ends) const {
  if (next_.size() < ends.size()) return false;
  for (size_t i = 0; i < ends.size(); ++i) {
    if (next_[i] < ends[i]) return false;
  }
  return true;
}

}  // namespace millrace::sim
