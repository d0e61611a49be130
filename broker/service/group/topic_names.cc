#include "broker/service/group/topic_names.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "broker/api/request_limits.h"
#include "broker/controller/decide.h"
#include "broker/coordinator/requests.h"

namespace millrace::broker {
namespace {

template <typename Topics>
Status CheckCounts(const Topics& topics) {
  RETURN_IF_ERROR(CheckCount(static_cast<size_t>(topics.size()), "topics"));
  size_t partitions = 0;
  for (const auto& topic : topics) partitions += static_cast<size_t>(topic.partitions_size());
  return CheckCount(partitions, "partitions");
}

// Each partition that is refused says the name again: one of megabytes would be ten thousand times.
Status CheckNameLength(const std::string& topic) {
  if (topic.size() <= kTopicNameBytesMax) return {};
  return InvalidArgument("a topic's name of " + std::to_string(topic.size()) +
                         " bytes is longer than " + std::to_string(kTopicNameBytesMax));
}

Status ResolveTopic(const ClusterView& view, v1::TopicPartitions* topic) {
  ASSIGN_OR_RETURN(const TopicInfo* info, view.FindLog(topic->topic(), TopicId(topic->topic_id())));
  topic->set_topic_id(info->id.value());
  std::set<uint32_t> named;
  for (const uint32_t partition : topic->partitions()) {
    if (!named.insert(partition).second) {
      return InvalidArgument("partition " + std::to_string(partition) + " of topic \"" +
                             info->name + "\" is named twice");
    }
    RETURN_IF_ERROR(
        view.FindPartition({.topic = "", .topic_id = info->id, .partition = PartitionId(partition)})
            .status());
  }
  return {};
}

}  // namespace

Status ResolveTopics(const ClusterView& view, NamedPartitions* topics) {
  RETURN_IF_ERROR(CheckCounts(*topics));
  std::set<uint64_t> named;
  for (v1::TopicPartitions& topic : *topics) {
    RETURN_IF_ERROR(ResolveTopic(view, &topic));
    if (!named.insert(topic.topic_id()).second) {
      return InvalidArgument("topic_id " + std::to_string(topic.topic_id()) + " is named twice");
    }
  }
  return {};
}

Status ResolveCommits(const ClusterView& view, v1::CommitOffsetsRequest* request,
                      v1::CommitOffsetsResponse* response) {
  RETURN_IF_ERROR(CheckCounts(request->topics()));
  for (v1::TopicCommit& topic : *request->mutable_topics()) {
    RETURN_IF_ERROR(CheckNameLength(topic.topic()));
    const Result<const TopicInfo*> info = view.FindLog(topic.topic(), TopicId(topic.topic_id()));
    if (info.ok()) topic.set_topic_id((*info)->id.value());
    auto& partitions = *topic.mutable_partitions();
    const auto is_refused = [&](const v1::PartitionCommit& commit) {
      const Status found = info.ok()
                               ? view.FindPartition({.topic = "",
                                                     .topic_id = (*info)->id,
                                                     .partition = PartitionId(commit.partition())})
                                     .status()
                               : info.status();
      if (!found.ok()) AddRefused(topic, commit.partition(), found, response);
      return !found.ok();
    };
    partitions.erase(std::remove_if(partitions.begin(), partitions.end(), is_refused),
                     partitions.end());
  }
  auto& topics = *request->mutable_topics();
  topics.erase(
      std::remove_if(topics.begin(), topics.end(),
                     [](const v1::TopicCommit& topic) { return topic.partitions().empty(); }),
      topics.end());
  return {};
}

void NameTopics(const ClusterView& view, v1::FetchOffsetsResponse* response) {
  auto& topics = *response->mutable_topics();
  const auto is_gone = [&view](const v1::TopicOffsets& topic) {
    return view.image().FindTopic(TopicId(topic.topic_id())) == nullptr;
  };
  topics.erase(std::remove_if(topics.begin(), topics.end(), is_gone), topics.end());
  for (v1::TopicOffsets& topic : topics) {
    topic.set_topic(view.image().FindTopic(TopicId(topic.topic_id()))->name);
  }
}

}  // namespace millrace::broker
