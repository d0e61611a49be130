#include "broker/controller/controller.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include <glog/logging.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "proto/base/checksum.h"
#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "proto/frame/frame.h"

namespace millrace::broker {

using internal::v1::ControllerRecords;

void Controller::Execute(Decide decide, Done done) {
  if (!speculative_.has_value()) {
    done(raft_ != nullptr
             ? raft_->NotLeader()
             : Unavailable("this broker is none of the controllers", Reason::kNotLeader));
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
  const FrameHeader draft{
      .type = FrameType::kControllerCommand,
      .feature_level = speculative_->entry_level(),
      .flags = kFrameControl,
      .payload_size = static_cast<uint32_t>(payload.size()),
      // Clocks jump, and leaders differ in theirs.
      .append_time_ms = std::max(clock_->WallMs(), raft_->last_append_time_ms()),
      .payload_crc = crc,
      .stored_crc = crc};
  const Result<LogIndex> index =
      raft_->Propose(raft::ProposalClass::kBulk, draft, std::move(frame));
  if (!index.ok()) {
    done(index.status());
    return;
  }
  for (const auto& record : decision->records()) {
    const Status applied = speculative_->Apply(record);
    CHECK(applied.ok()) << applied;  // it was decided on this very image
  }
  Pending& pending = pending_.emplace_back();
  pending.index = *index;
  pending.waiting.push_back(std::move(done));
}

Status Controller::Restore(Bytes state) {
  internal::v1::ControllerImage saved;
  if (!saved.ParseFromArray(state.data(), static_cast<int>(state.size()))) {
    return DataLoss("the controller's image in its segment cannot be read");
  }
  ASSIGN_OR_RETURN(image_, Image::LoadFrom(saved));
  last_append_time_ms_ = saved.last_append_time_ms();
  MILLRACE_SOMETIMES("the controller was restored from a snapshot");
  was_restored_ = true;
  if (listener_) listener_({.is_whole = true});
  return {};
}

Bytes Controller::Snapshot() const {
  internal::v1::ControllerImage saved;
  (MILLRACE_MUTANT(kSnapshotWithoutState) ? Image() : image_).SaveTo(&saved);
  saved.set_last_append_time_ms(last_append_time_ms_);
  // In a fixed order, so that equal controllers have equal states.
  std::string state;
  {
    google::protobuf::io::StringOutputStream stream(&state);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    CHECK(saved.SerializeToCodedStream(&coded));
  }
  return Bytes::Own(std::move(state));
}

Status Controller::Apply(const raft::core::Entry& entry) {
  const FrameHeader header = entry.frame.header();
  std::vector<ImageChange> changes;
  if (entry.type == raft::core::EntryType::kCommand) {
    if (header.type != FrameType::kControllerCommand) {
      return DataLoss("it is no command of a controller");
    }
    ASSIGN_OR_RETURN(changes, ApplyRecords(entry.frame.payload()));
  }
  RETURN_IF_ERROR(image_.NoteApplied(entry.index));
  last_append_time_ms_ = std::max(last_append_time_ms_, header.append_time_ms);
  // Also of an entry that changes nothing: the image is newer than it was.
  if (changes.empty()) changes.emplace_back();
  if (listener_) {
    for (const ImageChange& change : changes) listener_(change);
  }
  while (!pending_.empty() && pending_.front().index <= entry.index) {
    CHECK_EQ(leadership_.term, entry.term) << "index=" << entry.index;
    std::vector<Done> waiting = std::move(pending_.front().waiting);
    pending_.pop_front();
    for (Done& done : waiting) done(Status::Ok());
  }
  return {};
}

Result<std::vector<ImageChange>> Controller::ApplyRecords(const Bytes& payload) {
  ControllerRecords records;
  if (!records.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    return DataLoss("its records cannot be read");
  }
  std::vector<ImageChange> changes;
  for (const auto& record : records.records()) {
    changes.push_back(ChangeBy(record));
    RETURN_IF_ERROR(image_.Apply(record));
  }
  return changes;
}

// What applying the record will change.
ImageChange Controller::ChangeBy(const internal::v1::ControllerRecord& record) const {
  ImageChange change;
  if (record.has_topic_created()) change.topic = TopicId(record.topic_created().topic_id());
  if (!record.has_topic_deleted()) return change;
  change.topic = TopicId(record.topic_deleted().topic_id());
  const TopicInfo* topic = image_.FindTopic(change.topic);
  if (topic == nullptr) return change;
  for (const PartitionInfo& partition : topic->partitions) {
    change.removed.push_back(partition.group);
  }
  return change;
}

void Controller::OnLeadership(const raft::Leadership& leadership) {
  const bool was_ready = leadership_.is_ready;
  const bool same_term = leadership_.term == leadership.term;
  leadership_ = leadership;
  if (leadership_listener_) leadership_listener_(leadership);
  if (leadership.is_ready && !(was_ready && same_term)) {
    speculative_ = image_;
    MILLRACE_SOMETIMES_IF("the controller was restored from a snapshot and led afterwards",
                          was_restored_);
  }
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
