#include "tests/simulation/broker/walker.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "tests/simulation/broker/workload.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// What comes with every jump costs a run its time.
constexpr uint64_t kRecordsMax = 12;
constexpr uint64_t kCreditBytes = 8 << 10;

}  // namespace

Walker::Walker(SimWorld& world, SimEdge& edge, std::vector<std::string> addresses,
               uint32_t partitions, History& history, Random random)
    : own_(world, edge, std::move(addresses), "walker"),
      history_(history),
      random_(random),
      reader_(own_.process.Fork().Next()),
      consumer_(own_.client, "t", {.credit_bytes = kCreditBytes}, [this] { TakeAll(); }),
      places_(partitions) {}

void Walker::Open() {
  consumer_.Open(seconds(60), [this](Status status) {
    if (!status.ok()) return Open();
    for (uint32_t i = 0; i < places_.size(); ++i) {
      history_.Assigned(i, reader_);
      const Status assigned = consumer_.Assign(PartitionId(i), client::StartAt::Earliest());
      CHECK(assigned.ok()) << assigned;
      places_[i].left = kRecordsMax;
    }
    is_open_ = true;
    Next();
  });
}

void Walker::Next() {
  own_.process.executor().RunAfter(milliseconds(random_.Between(10, 150)), [this] {
    if (is_stopped_) return;
    const auto partition = static_cast<uint32_t>(random_.Below(places_.size()));
    const int64_t end = places_[partition].end.value();
    const Offset to(static_cast<int64_t>(random_.Below(static_cast<uint64_t>(end) + 1)));
    Jump(partition, random_.OneIn(3) ? std::nullopt : std::optional(to));
    Next();
  });
}

void Walker::JumpBelow(uint32_t partition, Offset before) {
  if (!is_open_ || is_stopped_ || before == Offset(0)) return;
  Jump(partition,
       Offset(static_cast<int64_t>(random_.Below(static_cast<uint64_t>(before.value())))));
}

// To the start if it is not said where to.
void Walker::Jump(uint32_t partition, std::optional<Offset> to) {
  Place& place = places_[partition];
  place.asked = to;
  place.left = random_.Between(1, kRecordsMax);
  history_.Assigned(partition, reader_);
  consumer_.Seek(PartitionId(partition),
                 to.has_value() ? client::StartAt::At(*to) : client::StartAt::Earliest());
  consumer_.Resume(PartitionId(partition));
}

void Walker::TakeAll() {
  while (std::optional<client::FetchedChunk> chunk = consumer_.Next()) Take(*chunk);
}

void Walker::Take(const client::FetchedChunk& chunk) {
  const uint32_t partition = chunk.partition.partition.value();
  if (!chunk.status.ok()) return OnGone(partition, chunk.status);
  Place& place = places_[partition];
  place.end = std::max(place.end, chunk.high_watermark);
  const Status taken = ForEachRecord(chunk, [&](Offset offset, std::string_view value) {
    if (place.left > 0) TakeRecord(partition, offset, value);
  });
  if (!taken.ok()) error_ = taken;
  if (place.left == 0) consumer_.Pause(PartitionId(partition));
}

void Walker::TakeRecord(uint32_t partition, Offset offset, std::string_view value) {
  Place& place = places_[partition];
  if (place.asked.has_value() && *place.asked != offset) {
    history_.SawLogStart("offset " + std::to_string(place.asked->value()) + " of partition " +
                         std::to_string(partition) + " was asked for, and " +
                         std::to_string(offset.value()) + " was given");
  }
  place.asked.reset();
  --place.left;
  history_.Read(partition, reader_, offset, value);
}

void Walker::OnGone(uint32_t partition, const Status& error) {
  const Place& place = places_[partition];
  const std::optional<LogRange> range = LogRangeIn(error);
  // Where it goes on from what it read, or from the start, that may have gone meanwhile.
  const bool was_there =
      range.has_value() && place.asked.has_value() && *place.asked >= range->start;
  if (!range.has_value() || was_there) {
    error_ = error;
    return;
  }
  MILLRACE_SOMETIMES("a read below the log start was told where it starts");
  history_.ToldLogStart(partition, reader_, range->start);
}

}  // namespace millrace::sim
