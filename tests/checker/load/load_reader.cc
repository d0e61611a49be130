#include "tests/checker/load/load_reader.h"

#include <charconv>
#include <optional>
#include <utility>

#include <glog/logging.h>

#include "proto/record/record_batch.h"
#include "tests/checker/load/payload.h"

namespace millrace::checker {
namespace {

constexpr Duration kOpenTimeout = std::chrono::seconds(60);
constexpr Duration kPauseBeforeBeginningAgain = std::chrono::milliseconds(100);

// As an OUT_OF_RANGE tells it.
std::optional<Offset> LogStartIn(const Status& error) {
  if (error.reason() != Reason::kOffsetOutOfRange) return std::nullopt;
  for (const auto& [name, value] : error.metadata()) {
    if (name != "log_start_offset") continue;
    int64_t number = 0;
    std::from_chars(value.data(), value.data() + value.size(), number);
    return Offset(number);
  }
  return std::nullopt;
}

}  // namespace

LoadReader::LoadReader(client::Client& client, Recorder& recorder, std::string topic)
    : client_(client), recorder_(recorder), topic_(std::move(topic)) {}

LoadReader::~LoadReader() { *is_alive_ = false; }

void LoadReader::Open() {
  process_ = recorder_.NewProcess();
  is_broken_ = false;
  next_.clear();
  consumer_ = std::make_unique<client::ConsumerDriver>(client_, topic_, client::ConsumerTuning{},
                                                       [this] { TakeAll(); });
  consumer_->Open(kOpenTimeout, [this](const Status& status) {
    if (!status.ok()) return BeginAgain(status);
    next_.assign(consumer_->partition_count(), Offset(0));
    std::vector<Key> keys;
    for (uint32_t i = 0; i < consumer_->partition_count(); ++i) {
      keys.push_back(Key(i));
      // Some ask for the first offset, and are told where the log starts.
      const Status assigned = consumer_->Assign(
          Key(i), process_ % 2 == 0 ? client::StartAt::Earliest() : client::StartAt::At(Offset(0)));
      if (!assigned.ok()) return BeginAgain(assigned);
    }
    recorder_.Assigned(process_, std::move(keys));
  });
}

void LoadReader::TakeAll() {
  if (is_broken_) return;
  std::vector<Read> reads;
  std::vector<HighWatermark> seen;
  Status error;
  while (std::optional<client::FetchedChunk> chunk = consumer_->Next()) {
    error = Take(*chunk, &reads);
    if (!error.ok() && IsGone(chunk->partition.partition, error)) {
      // What was read up to here was read before what follows is assigned.
      recorder_.Polled(process_, std::exchange(reads, {}), std::exchange(seen, {}));
      GoOn(chunk->partition.partition, *LogStartIn(error));
      error = {};
      continue;
    }
    if (!error.ok()) break;
    seen.push_back({.key = chunk->partition.partition, .offset = chunk->high_watermark});
  }
  recorder_.Polled(process_, std::move(reads), std::move(seen));
  if (!error.ok()) BeginAgain(error);
}

Status LoadReader::Take(const client::FetchedChunk& chunk, std::vector<Read>* reads) {
  if (!chunk.status.ok()) return chunk.status;
  ASSIGN_OR_RETURN(const RecordBatchView batch,
                   ParseRecordBatch(chunk.batch.view(), chunk.partition));
  ASSIGN_OR_RETURN(const OpenedBatch opened, OpenRecordBatch(batch));
  RecordIterator records(opened.view);
  RecordView record;
  const Key key = chunk.partition.partition;
  for (Offset offset = chunk.base_offset; records.Next(&record); ++offset) {
    if (offset < chunk.first_wanted) continue;
    reads->push_back(
        {.key = key, .offset = offset, .value = DecodePayload(record.value.value_or(""))});
    next_[key.value()] = offset + 1;
  }
  return {};
}

// Whether what comes next lies below the log start.
bool LoadReader::IsGone(Key key, const Status& error) const {
  const std::optional<Offset> start = LogStartIn(error);
  return start.has_value() && next_[key.value()] < *start;
}

void LoadReader::GoOn(Key key, Offset start) {
  recorder_.ToldLogStart(process_, {.key = key, .offset = start});
  next_[key.value()] = start;
  recorder_.Assigned(process_, {key});
  consumer_->Seek(key, client::StartAt::At(start));
}

// The old one can't be destroyed here, in its own callback.
void LoadReader::BeginAgain(const Status& error) {
  if (is_broken_) return;
  is_broken_ = true;
  ++restarts_;
  last_error_ = error;
  LOG(WARNING) << "process " << process_ << " begins again: " << error;
  client_.executor().RunAfter(kPauseBeforeBeginningAgain, [this, alive = is_alive_] {
    if (*alive) Open();
  });
}

bool LoadReader::HasReached(const std::vector<Offset>& ends) const { return Missing(ends).empty(); }

std::string LoadReader::Missing(const std::vector<Offset>& ends) const {
  std::string missing;
  for (size_t i = 0; i < ends.size(); ++i) {
    const Offset next = i < next_.size() ? next_[i] : Offset(0);
    if (next >= ends[i]) continue;
    missing += (missing.empty() ? "partition " : ", partition ") + std::to_string(i) + " at " +
               std::to_string(next.value()) + " of " + std::to_string(ends[i].value());
  }
  return missing;
}

}  // namespace millrace::checker
