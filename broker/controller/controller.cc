#include "broker/controller/controller.h"

#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "proto/frame/frame.h"
#include "raft/ports/propose_control.h"

namespace millrace::broker {

using internal::v1::ControllerRecords;

namespace {

// The same bytes for equal messages: their maps are in order.
std::string InOrder(const google::protobuf::MessageLite& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    CHECK(message.SerializeToCodedStream(&coded));
  }
  return bytes;
}

}  // namespace

void Controller::Execute(Decisions::Decide decide, Decisions::Done done) {
  if (decisions_.is_ready()) return decisions_.Execute(std::move(decide), std::move(done));
  done(raft_ != nullptr
           ? raft_->NotLeader()
           : Unavailable("this broker is none of the controllers", Reason::kNotLeader));
}

Result<LogIndex> Controller::Propose(const Image& image, const ControllerRecords& records) {
  if (!raft_->tail().has_value()) return raft_->NotLeader();  // the host has stopped
  return raft::ProposeControl(
      *raft_, {.type = FrameType::kControllerCommand, .feature_level = image.entry_level()},
      InOrder(records), clock_->WallMs());
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

raft::StateEncoder Controller::TakeSnapshot() const {
  return [image = MILLRACE_MUTANT(kSnapshotWithoutState) ? Image() : image_,
          last_append_time_ms = last_append_time_ms_] {
    internal::v1::ControllerImage saved;
    image.SaveTo(&saved);
    saved.set_last_append_time_ms(last_append_time_ms);
    return Bytes::Own(InOrder(saved));
  };
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
  decisions_.OnApplied(entry.index, entry.term);
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
  if (record.has_topic_altered()) change.topic = TopicId(record.topic_altered().topic_id());
  if (record.has_partitions_added()) change.topic = TopicId(record.partitions_added().topic_id());
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
  leadership_ = leadership;
  if (leadership_listener_) leadership_listener_(leadership);
  MILLRACE_SOMETIMES_IF("the controller was restored from a snapshot and led afterwards",
                        leadership.is_ready && was_restored_);
  decisions_.OnLeadership(leadership);
}

}  // namespace millrace::broker
