#include "tests/checker/load/load_deleter.h"

#include <utility>

#include <glog/logging.h>

#include "client/core/error.h"

namespace millrace::checker {
namespace {

constexpr Duration kOffsetsTimeout = std::chrono::seconds(2);
// While a replica lacks what would go, it is waited for.
constexpr Duration kDeleteTimeout = std::chrono::seconds(5);
// Of what a log holds a deletion takes at most one part in so many: readers that are late must find
// something, too.
constexpr uint64_t kShare = 4;

}  // namespace

LoadDeleter::LoadDeleter(client::Client& client, Recorder& recorder, Options options)
    : client_(client),
      recorder_(recorder),
      options_(std::move(options)),
      random_(client.ForkRandom()),
      process_(recorder.NewProcess()) {}

LoadDeleter::~LoadDeleter() {
  *is_alive_ = false;
  client_.executor().Cancel(timer_);
}

void LoadDeleter::Next() {
  is_asking_ = false;
  if (stopped_) return std::exchange(stopped_, {})();
  timer_ = client_.executor().RunAfter(options_.interval, [this] { AskOffsets(); });
}

void LoadDeleter::Stop(MoveFunction<void()> done) {
  stopped_ = std::move(done);
  if (is_asking_) return;
  client_.executor().Cancel(timer_);
  client_.executor().Post([this, alive = is_alive_] {
    if (*alive) Next();
  });
}

void LoadDeleter::AskOffsets() {
  is_asking_ = true;
  v1::ListOffsetsRequest request;
  request.set_topic(options_.topic);
  recorder_.OffsetsAsked(process_);
  client_.ListOffsets(request, kOffsetsTimeout,
                      [this, alive = is_alive_](const Result<v1::ListOffsetsResponse>& response) {
                        if (*alive) TakeOffsets(response);
                      });
}

void LoadDeleter::TakeOffsets(const Result<v1::ListOffsetsResponse>& response) {
  std::vector<LogStart> starts;
  std::vector<const v1::PartitionOffsets*> told;
  if (response.ok()) {
    for (const v1::PartitionOffsets& offsets : response->partitions()) {
      if (offsets.has_error()) continue;
      starts.push_back(
          {.key = Key(offsets.partition()), .offset = Offset(offsets.log_start_offset())});
      told.push_back(&offsets);
    }
  }
  recorder_.OffsetsTold(process_, std::move(starts));
  if (told.empty() || stopped_) return Next();
  Delete(*told[random_.Below(told.size())]);
}

void LoadDeleter::Delete(const v1::PartitionOffsets& offsets) {
  const int64_t start = offsets.log_start_offset();
  const auto held = static_cast<uint64_t>(offsets.high_watermark() - start);
  const Deletion deletion{
      .key = Key(offsets.partition()),
      .before = Offset(start + static_cast<int64_t>(random_.Below(held / kShare + 1)))};
  v1::DeleteRecordsRequest request;
  request.set_topic(options_.topic);
  v1::RecordsBefore& records = *request.add_partitions();
  records.set_partition(offsets.partition());
  records.set_before_offset(deletion.before.value());
  recorder_.DeletionAsked(process_, deletion);
  client_.DeleteAllRecords(
      request, kDeleteTimeout,
      [this, deletion, alive = is_alive_](const Result<v1::DeleteRecordsResponse>& response) {
        if (!*alive) return;
        TakeDeleted(deletion, response);
        Next();
      });
}

// What was refused did not happen; of anything else nobody knows.
void LoadDeleter::TakeDeleted(const Deletion& deletion,
                              const Result<v1::DeleteRecordsResponse>& response) {
  Status error = response.status();
  if (response.ok() && response->partitions(0).has_error()) {
    error = client::FromError(response->partitions(0).error());
  }
  if (error.ok()) {
    return recorder_.DeletionEnded(
        process_, OpType::kOk, deletion,
        LogStart{.key = deletion.key,
                 .offset = Offset(response->partitions(0).log_start_offset())});
  }
  LOG(WARNING) << "process " << process_ << " could not delete: " << error;
  const bool is_refused = error.code() == Code::kFailedPrecondition;
  recorder_.DeletionEnded(process_, is_refused ? OpType::kFail : OpType::kInfo, deletion);
}

}  // namespace millrace::checker
