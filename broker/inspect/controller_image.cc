#include "broker/inspect/controller_image.h"

#include <algorithm>
#include <string>
#include <utility>

#include "broker/controller/controller.h"
#include "proto/frame/frame.h"

namespace millrace::broker {
namespace {

constexpr uint64_t kReadBytes = 1 << 20;

class Restore : public std::enable_shared_from_this<Restore> {
 public:
  Restore(const Clock& clock, ControllerLog log, MoveFunction<void(RestoredImage)> done)
      : log_(std::move(log)), done_(std::move(done)), controller_(clock) {}

  void Start() {
    if (log_.snapshot.has_value()) {
      const Status status = controller_.Restore(log_.snapshot->state);
      if (!status.ok()) return Finish(status);
      applied_ = log_.snapshot->index;
    }
    ReadOn();
  }

 private:
  void ReadOn() {
    if (applied_ >= log_.segments_end) return Finish(ApplyAll(log_.entries));
    log_.segments->Read(
        applied_ + 1, kReadBytes,
        [self = shared_from_this()](const Result<std::vector<raft::core::Entry>>& entries) {
          if (!entries.ok()) return self->Finish(entries.status());
          const Status status = self->ApplyAll(*entries);
          if (!status.ok()) return self->Finish(status);
          if (entries->empty()) return self->Finish(DataLoss("no entry"));
          self->ReadOn();
        });
  }

  Status ApplyAll(const std::vector<raft::core::Entry>& entries) {
    for (const raft::core::Entry& entry : entries) {
      const FrameHeader header = entry.frame.header();
      if (!IsUnderstood(header)) return NotUnderstood(header);
      const Status status = controller_.Apply(entry);
      if (!status.ok()) return status.With("entry " + std::to_string(entry.index.value()));
      applied_ = entry.index;
    }
    return {};
  }

  void Finish(const Status& status) { done_({.image = controller_.image(), .why = status}); }

  const ControllerLog log_;
  MoveFunction<void(RestoredImage)> done_;
  Controller controller_;
  LogIndex applied_;
};

}  // namespace

LogIndex CommittedEnd(const storage::journal::GroupLedger& group,
                      const std::vector<raft::core::Entry>& above, LogIndex controller_floor) {
  const storage::journal::LogRecord& log = group.log;
  if (above.empty()) return log.end.index;
  const LogIndex last = above.back().index;
  const bool is_fixed = std::ranges::none_of(
      above, [](const raft::core::Entry& entry) { return entry.configuration != nullptr; });
  const bool is_alone = log.configuration.voters.size() == 1 && !log.configuration.is_joint() &&
                        log.configuration.voters.front().number == group.record.number;
  if (is_fixed && is_alone) return last;
  return std::min(last, std::max(log.end.index, controller_floor));
}

void RestoreImage(const Clock& clock, ControllerLog log, MoveFunction<void(RestoredImage)> done) {
  std::make_shared<Restore>(clock, std::move(log), std::move(done))->Start();
}

}  // namespace millrace::broker
