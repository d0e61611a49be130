// What this broker knows of its cluster at the moment: the topics of its image, whether it may say
// that one does not exist, who leads which partition; and the errors that tell a client where to
// go.
//
// Owned by the Node, on the shard's thread. Knows what it was told, and asks nobody.
//
//   ASSIGN_OR_RETURN(const TopicInfo* topic, view.FindTopic(request.topic(), TopicId()));
//   call->Fail(view.WithLeader(status, group));
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "broker/controller/image.h"
#include "broker/controller/leader_epoch.h"
#include "broker/routing/leader_table.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

// One partition as a client names it.
struct PartitionName {
  std::string_view topic;  // or, where empty, `topic_id`
  TopicId topic_id;
  PartitionId partition;
};

class ClusterView {
 public:
  // How far this broker's own image can be relied on.
  struct Knowledge {
    // Whether the image is new enough to say that something does not exist.
    std::function<bool()> is_current;
    // Not ok, for clients, where this broker's replica of the controller's log is silent.
    std::function<Status()> controller_health;
  };

  ClusterView(const Image& image, LeaderTable& leaders, Knowledge knowledge)
      : image_(&image), leaders_(&leaders), knowledge_(std::move(knowledge)) {}
  ClusterView(const ClusterView&) = delete;
  ClusterView& operator=(const ClusterView&) = delete;

  const Image& image() const { return *image_; }
  Status controller_health() const { return knowledge_.controller_health(); }

  // Ok if what is not in the image does not exist, and a topic has no more partitions than there;
  // else why it may: this broker starts (NOT_INITIALIZED), or never gets to know (REPLICA_SILENT).
  Status CheckKnowsTopics() const;
  // NOT_FOUND (UNKNOWN_TOPIC or UNKNOWN_PARTITION) naming it; UNAVAILABLE while this broker starts.
  Result<const TopicInfo*> FindTopic(std::string_view name, TopicId id) const;
  // The topic that the coordinator's shards are partitions of: UNAVAILABLE (NOT_INITIALIZED) until
  // the controller has made it.
  Result<const TopicInfo*> FindCoordinator() const;
  // Which of its partitions keeps the group of this id, there or not. INVALID_ARGUMENT for an id
  // that no group can have; else as above.
  struct GroupPlace {
    uint32_t slot = 0;
    const PartitionInfo* shard = nullptr;
    uint32_t leader_epoch_base = 0;
  };
  Result<GroupPlace> FindGroup(std::string_view id) const;
  // A topic that clients have records in: INVALID_ARGUMENT for one of Millrace's own, too.
  Result<const TopicInfo*> FindLog(std::string_view name, TopicId id) const;
  Result<const PartitionInfo*> FindPartition(const PartitionName& name) const;

  // Who leads the group and in which term, as far as is known here; broker 0 if nobody is.
  LeaderHint LeaderOf(RaftGroupId group) const { return leaders_->Find(group); }
  // The epoch that outside is told of a leader's term; none where the group's topic is not known.
  std::optional<LeaderEpoch> EpochOf(RaftGroupId group, Term term) const;
  // NOT_LEADER with all that is known: leader_id, leader_address, leader_epoch.
  Status NotLeader(RaftGroupId group) const;
  // Makes a NOT_LEADER error that lacks leader_address name the partition and who leads it.
  Status WithLeader(Status status, RaftGroupId group) const;

  // Calls the task once, after the next change of the image, not from within it.
  void OnceImageChanged(Task task) { image_listeners_.push_back(std::move(task)); }
  // Calls it after each change of the image, not from within it, until UnwatchImage.
  uint64_t WatchImage(std::function<void()> on_change);
  void UnwatchImage(uint64_t watch) { image_watches_.erase(watch); }
  // Calls the task once, after any change of who leads what, unless it is forgotten before.
  uint64_t OnceLeadersChanged(Task task) { return leaders_->OnceChanged(std::move(task)); }
  void ForgetLeadersListener(uint64_t listener) { leaders_->ForgetListener(listener); }
  // From the Node.
  void NotifyImageChanged();

 private:
  // "partition 3 of topic \"t\"".
  std::string NameOf(RaftGroupId group) const;

  const Image* image_;
  LeaderTable* leaders_;
  Knowledge knowledge_;
  std::vector<Task> image_listeners_;
  std::map<uint64_t, std::function<void()>> image_watches_;
  uint64_t next_watch_ = 1;
};

}  // namespace millrace::broker
