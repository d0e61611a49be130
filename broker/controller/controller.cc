#include "broker/controller/controller.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"

namespace millrace::broker {

using internal::v1::ControllerRecords;

void Controller::Execute(Decide decide, Done done) {
  if (!speculative_.has_value()) {
    done(host_->NotLeader(kControllerGroup));
    return;
  }
  Decision decision = decide(*speculative_);
  if (!decision.ok()) {
    done(decision.status());
    return;
  }
  if (decision->records().empty()) {
    // Nothing changes, yet what the answer rests on may still be in flight.
    if (pending_.empty()) {
      done(Status::Ok());
    } else {
      pending_.back().waiting.push_back(std::move(done));
    }
    return;
  }
  const std::string payload = decision->SerializeAsString();
  Buffer frame = AllocateFrame(payload.size());
  std::memcpy(FramePayload(frame), payload.data(), payload.size());
  const uint32_t crc = Crc32c(payload);
  const FrameHeader draft{.type = FrameType::kControllerCommand,
                          .flags = kFrameControl,
                          .payload_size = static_cast<uint32_t>(payload.size()),
                          .append_time_ms = clock_->WallMs(),
                          .payload_crc = crc,
                          .stored_crc = crc};
  const Result<LogIndex> index = host_->Propose(kControllerGroup, draft, std::move(frame));
  if (!index.ok()) {
    done(index.status());
    return;
  }
  for (const auto& record : decision->records()) speculative_->Apply(record);
  Pending& pending = pending_.emplace_back();
  pending.index = *index;
  pending.waiting.push_back(std::move(done));
}

Status Controller::Restore(Bytes state) {
  // The controller's log is kept whole in this version; its segments carry no state.
  if (!state.empty()) return DataLoss("the controller's segment carries a state");
  return {};
}

Bytes Controller::Snapshot() const { return {}; }

Status Controller::Apply(const raft::core::Entry& entry) {
  const Result<FrameHeader> header = ParseFrameHeader(entry.frame.view());
  CHECK(header.ok()) << header.status();
  last_append_time_ms_ = header->append_time_ms;
  if (entry.type == raft::core::EntryType::kCommand) {
    CHECK(header->type == FrameType::kControllerCommand) << "index=" << entry.index;
    ControllerRecords records;
    const Bytes payload = FramePayloadOf(entry.frame, *header);
    CHECK(records.ParseFromArray(payload.data(), static_cast<int>(payload.size())))
        << "index=" << entry.index;
    for (const auto& record : records.records()) {
      std::optional<TopicInfo> deleted;
      if (record.has_topic_deleted()) {
        deleted = *image_.FindTopic(TopicId(record.topic_deleted().topic_id()));
      }
      image_.Apply(record);
      if (listener_) listener_(record, deleted.has_value() ? &*deleted : nullptr);
    }
  }
  while (!pending_.empty() && pending_.front().index <= entry.index) {
    CHECK_EQ(leadership_.term, entry.term) << "index=" << entry.index;
    std::vector<Done> waiting = std::move(pending_.front().waiting);
    pending_.pop_front();
    for (Done& done : waiting) done(Status::Ok());
  }
  return {};
}

void Controller::OnLeadership(const raft::Leadership& leadership) {
  const bool was_ready = leadership_.is_ready;
  const bool same_term = leadership_.term == leadership.term;
  leadership_ = leadership;
  if (leadership_listener_) leadership_listener_(leadership);
  if (leadership.is_ready && !(was_ready && same_term)) speculative_ = image_;
  if (leadership.is_ready) return;
  speculative_.reset();
  std::deque<Pending> lost = std::exchange(pending_, {});
  for (Pending& pending : lost) {
    for (Done& done : pending.waiting) {
      done(Unavailable("the controller lost its leadership; the change may yet take effect",
                       Reason::kNotLeader));
    }
  }
}

}  // namespace millrace::broker
