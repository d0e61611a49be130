#include "tests/simulation/broker/log_start_load.h"

#include <utility>
#include <vector>

#include "client/core/error.h"
#include "proto/base/coverage.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Further than any log gets in a run.
constexpr int64_t kFarPastEnd = 10'000'000;

}  // namespace

LogStartLoad::LogStartLoad(SimWorld& world, SimCluster& cluster, History& history, Random random,
                           LogStartLoadOptions options)
    : own_(world, cluster.edge(), cluster.addresses(), options.name),
      history_(history),
      random_(random),
      number_(random_.Next()),
      options_(std::move(options)) {}

void LogStartLoad::Next() {
  is_asking_ = false;
  own_.process.executor().RunAfter(milliseconds(random_.Between(20, 600)), [this] {
    if (!is_stopped_) AskOffsets();
  });
}

void LogStartLoad::AskOffsets() {
  is_asking_ = true;
  v1::ListOffsetsRequest request;
  request.set_topic("t");
  const uint64_t what = random_.Below(4);
  const auto ago_ms = static_cast<int64_t>(random_.Below(15'000));
  if (what == 0) request.set_newest(true);
  if (what == 1) request.set_timestamp_ms(own_.process.clock().WallMs() - ago_ms);
  history_.OffsetsAsked(number_);
  own_.client.ListOffsets(request, seconds(2),
                          [this, request](const Result<v1::ListOffsetsResponse>& response) {
                            TakeOffsets(request, response);
                          });
}

void LogStartLoad::TakeOffsets(const v1::ListOffsetsRequest& request,
                               const Result<v1::ListOffsetsResponse>& response) {
  std::map<uint32_t, Offset> starts;
  std::vector<const v1::PartitionOffsets*> told;
  if (response.ok()) {
    for (const v1::PartitionOffsets& offsets : response->partitions()) {
      if (offsets.has_error()) continue;
      starts[offsets.partition()] = Offset(offsets.log_start_offset());
      told.push_back(&offsets);
      if (request.has_timestamp_ms() || request.newest()) CheckLookup(offsets);
    }
  }
  history_.OffsetsTold(number_, starts);
  const bool deletes = options_.on_delete && !is_stopped_ && !told.empty() && random_.OneIn(2);
  if (!deletes) return Next();
  DeleteSome(*told[random_.Below(told.size())]);
}

// A record that is found is not below the start.
void LogStartLoad::CheckLookup(const v1::PartitionOffsets& offsets) {
  const bool is_within = offsets.timestamp_offset() >= offsets.log_start_offset();
  MILLRACE_SOMETIMES_IF("a record was looked up behind a log start",
                        is_within && offsets.log_start_offset() > 0);
  if (is_within) return;
  history_.SawLogStart("a lookup found offset " + std::to_string(offsets.timestamp_offset()) +
                       " below the start " + std::to_string(offsets.log_start_offset()));
}

void LogStartLoad::DeleteSome(const v1::PartitionOffsets& offsets) {
  const int64_t start = offsets.log_start_offset();
  const int64_t end = offsets.high_watermark();
  const auto up_to = [this](int64_t bound) {
    return static_cast<int64_t>(random_.Below(static_cast<uint64_t>(bound) + 1));
  };
  const uint64_t how = deletes_all_ ? 1 : random_.Below(10);
  int64_t before = start + up_to(end - start);
  if (how == 0) before = up_to(start);
  if (how == 1) before = end;
  if (how == 2) before = end + kFarPastEnd;
  Delete(offsets.partition(), Offset(before), how == 2);
}

void LogStartLoad::Delete(uint32_t partition, Offset before, bool is_past_end) {
  v1::DeleteRecordsRequest request;
  request.set_topic("t");
  v1::RecordsBefore& records = *request.add_partitions();
  records.set_partition(partition);
  records.set_before_offset(before.value());
  if (!is_past_end) options_.on_delete(partition, before);
  history_.DeletionAsked(partition, number_, before);
  own_.client.DeleteAllRecords(
      request, seconds(random_.Between(1, 8)),
      [this, partition, before, is_past_end](const Result<v1::DeleteRecordsResponse>& response) {
        OnDeleted(partition, before, is_past_end, response);
        Next();
      });
}

void LogStartLoad::OnDeleted(uint32_t partition, Offset before, bool is_past_end,
                             const Result<v1::DeleteRecordsResponse>& response) {
  const std::string what = "a deletion up to " + std::to_string(before.value()) + " of partition " +
                           std::to_string(partition);
  Status error = response.status();
  if (response.ok() && response->partitions(0).has_error()) {
    error = client::FromError(response->partitions(0).error());
  }
  if (error.ok()) {
    const Offset start(response->partitions(0).log_start_offset());
    if (is_past_end) history_.SawLogStart(what + " was taken, and lies past the end");
    MILLRACE_SOMETIMES_IF("a deletion was below the log start", start > before);
    options_.on_deleted();
    return history_.Deleted(partition, number_, before, start);
  }
  const bool is_refused =
      error.code() == Code::kOutOfRange || error.code() == Code::kFailedPrecondition;
  // What was asked for was below a high watermark that somebody had been told.
  if (error.code() == Code::kOutOfRange && !is_past_end) {
    history_.SawLogStart(what + " was refused: " + error.ToString());
  }
  MILLRACE_SOMETIMES_IF("a deletion past the end was refused", is_refused && is_past_end);
  history_.DeletionFailed(partition, number_, before, /*may_be_done=*/!is_refused && !is_past_end);
}

}  // namespace millrace::sim
