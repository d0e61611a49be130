#include "broker/controller/decide.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "broker/config/topic_settings.h"
#include "proto/frame/frame.h"

namespace millrace::broker {
namespace {

using internal::v1::BrokerRegistered;
using internal::v1::ControllerRecords;
using internal::v1::TopicCreated;

bool IsTopicNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

// Brokers by the number of replicas that they hold, fewest first, then by id.
std::vector<BrokerIncarnation> BrokersByLoad(const Image& image) {
  std::map<BrokerId, size_t> load;
  for (const auto& [id, broker] : image.brokers()) load[id] = 0;
  for (const auto& [id, topic] : image.topics()) {
    for (const PartitionInfo& partition : topic->partitions) {
      for (const Voter& replica : partition.replicas) ++load[replica.broker];
    }
  }
  std::vector<BrokerIncarnation> brokers;
  for (const auto& [id, broker] : image.brokers()) brokers.push_back({id, broker.incarnation});
  std::stable_sort(brokers.begin(), brokers.end(),
                   [&load](const BrokerIncarnation& a, const BrokerIncarnation& b) {
                     return load[a.broker] < load[b.broker];
                   });
  return brokers;
}

// The brokers in the order in which the topic's partitions go round them, as those that it has show
// it; then those that hold nothing of it.
std::vector<BrokerIncarnation> RoundOf(const Image& image, const TopicInfo& topic) {
  std::map<BrokerId, size_t> places;
  for (const PartitionInfo& partition : topic.partitions) {
    for (const Voter& replica : partition.replicas) {
      places.try_emplace(replica.broker, places.size());
    }
  }
  std::vector<BrokerIncarnation> brokers = BrokersByLoad(image);
  const auto place_of = [&places](const BrokerIncarnation& broker) {
    const auto found = places.find(broker.broker);
    return found == places.end() ? places.size() : found->second;
  };
  std::stable_sort(brokers.begin(), brokers.end(),
                   [&](const BrokerIncarnation& a, const BrokerIncarnation& b) {
                     return place_of(a) < place_of(b);
                   });
  return brokers;
}

// `partition` has its replicas on `factor` of the brokers, from the one at `place` on, round and
// round.
void Place(const std::vector<BrokerIncarnation>& brokers, size_t place, size_t factor,
           internal::v1::PartitionPlacement* partition) {
  CHECK_LE(factor, brokers.size());
  partition->set_first_configuration_stands(true);
  for (size_t replica = 0; replica < factor; ++replica) {
    const BrokerIncarnation& broker = brokers[(place + replica) % brokers.size()];
    auto& placement = *partition->add_replicas();
    placement.set_broker_id(broker.broker.value());
    placement.set_incarnation(broker.incarnation.value());
    placement.set_number(static_cast<uint32_t>(replica + 1));
  }
}

// That which has TopicAltered and PartitionsAdded.
constexpr uint32_t kAlterLevel = 2;

Status UnknownTopic(const std::string& name) {
  return NotFound("topic \"" + name + "\" does not exist", Reason::kUnknownTopic);
}

Status IsInternal(const TopicInfo& topic) {
  return InvalidArgument("topic \"" + topic.name + "\" is Millrace's own and cannot be changed");
}

Status ValidateFactor(uint32_t factor, size_t cluster_size) {
  const std::string text = std::to_string(factor);
  constexpr uint32_t kFactorMax = 5;
  if (factor == 0 || factor > kFactorMax) {
    return InvalidArgument("replication_factor " + text + " is not 1 to " +
                           std::to_string(kFactorMax));
  }
  if (factor > cluster_size) {
    return InvalidArgument("replication_factor " + text + " is more than the cluster's " +
                           std::to_string(cluster_size) + " broker(s)");
  }
  return {};
}

// Whether what a broker tells of itself, which every broker then holds, is right.
Status CheckRegistration(const BrokerRegistered& broker) {
  RETURN_IF_ERROR(CheckUnderstood(broker));
  constexpr size_t kRegistrationBytesMax = 4096;
  if (broker.ByteSizeLong() > kRegistrationBytesMax) {
    return InvalidArgument("a broker's registration is larger than " +
                           std::to_string(kRegistrationBytesMax) + " bytes");
  }
  if (!broker.supersedes().empty()) {
    return InvalidArgument("a broker cannot say by itself that it supersedes another");
  }
  if (broker.level_min() > broker.level_max()) {
    return InvalidArgument("a broker's feature levels are the wrong way round");
  }
  return {};
}

// What a registration that tells nothing of levels means.
uint32_t LevelMinOf(const BrokerRegistered& broker) {
  return std::max<uint32_t>(broker.level_min(), kFirstFeatureLevel);
}
uint32_t LevelMaxOf(const BrokerRegistered& broker) {
  return std::max<uint32_t>(broker.level_max(), kFirstFeatureLevel);
}

Status CheckKnowsClusterLevel(const Image& image, const BrokerRegistered& broker) {
  const uint32_t level = image.level();
  if (level == 0 || (LevelMinOf(broker) <= level && level <= LevelMaxOf(broker))) return {};
  return FailedPrecondition("the cluster is of feature level " + std::to_string(level) +
                            ", and broker " + std::to_string(broker.broker_id()) + " (version \"" +
                            broker.software_version() + "\") knows " +
                            std::to_string(LevelMinOf(broker)) + " to " +
                            std::to_string(LevelMaxOf(broker)));
}

// The highest level that every broker knows, and whoever decides, once `joining` is one of them.
uint32_t LevelOfAll(const Image& image, const BrokerRegistered& joining) {
  uint32_t level = std::min<uint32_t>(KnownFeatureLevel(), LevelMaxOf(joining));
  for (const auto& [id, broker] : image.brokers()) {
    if (id.value() != joining.broker_id()) level = std::min(level, LevelMaxOf(broker.registration));
  }
  return level;
}

// Whether the broker would tell what is known of it already.
bool IsRegisteredAs(const BrokerInfo& known, BrokerRegistered broker) {
  *broker.mutable_supersedes() = known.registration.supersedes();
  return broker.SerializeAsString() == known.registration.SerializeAsString();
}

// How many partitions the request adds to the topic; INVALID_ARGUMENT with both numbers.
Result<uint32_t> CountOfAdded(const TopicInfo& topic, const v1::AlterTopicRequest& request) {
  const uint32_t wanted = request.partition_count();
  const auto count = static_cast<uint32_t>(topic.partitions.size());
  const bool is_done =
      wanted == count && request.request_id() != 0 && request.request_id() == topic.grown_by;
  if (wanted == 0 || is_done) return 0;  // done: by this very request, whose answer was lost
  const std::string text = "topic \"" + topic.name + "\" has " + std::to_string(count) +
                           " partition(s), and partition_count is " + std::to_string(wanted);
  if (wanted > kPartitionCountMax) {
    return InvalidArgument(text + ", more than " + std::to_string(kPartitionCountMax));
  }
  if (wanted <= count) {
    return InvalidArgument(text + ": a topic can only get more than it has");
  }
  return wanted - count;
}

// The topic with its id, and its partitions on the brokers that hold least.
ControllerRecords Creation(const Image& image, TopicCreated created, uint32_t partitions,
                           size_t factor) {
  const std::vector<BrokerIncarnation> brokers = BrokersByLoad(image);
  created.set_topic_id(image.next_topic_id().value());
  uint64_t group = image.next_group_id().value();
  for (uint32_t number = 0; number < partitions; ++number) {
    auto& partition = *created.add_partitions();
    partition.set_partition(number);
    partition.set_group_id(group++);
    Place(brokers, number, factor, &partition);
  }
  ControllerRecords records;
  *records.add_records()->mutable_topic_created() = std::move(created);
  return records;
}

internal::v1::PartitionsAdded Growth(const Image& image, const TopicInfo& topic, uint32_t added,
                                     uint64_t request_id) {
  const std::vector<BrokerIncarnation> brokers = RoundOf(image, topic);
  internal::v1::PartitionsAdded growth;
  growth.set_topic_id(topic.id.value());
  growth.set_request_id(request_id);
  for (uint32_t i = 0; i < added; ++i) {
    const auto number = static_cast<uint32_t>(topic.partitions.size()) + i;
    auto& partition = *growth.add_partitions();
    partition.set_partition(number);
    partition.set_group_id(image.next_group_id().value() + i);
    Place(brokers, number, topic.partitions.front().replicas.size(), &partition);
  }
  return growth;
}

}  // namespace

bool IsReservedTopicName(std::string_view name) {
  return name == kCoordinatorTopic || name == "__audit" || name.starts_with("__millrace");
}

Status ValidateTopicName(std::string_view name) {
  if (name.empty()) return InvalidArgument("topic name is empty");
  if (name.size() > kTopicNameBytesMax) {
    return InvalidArgument("topic name of " + std::to_string(name.size()) +
                           " bytes is longer than 249");
  }
  if (name == "." || name == "..") {
    return InvalidArgument("topic name \"" + std::string(name) + "\" is not allowed");
  }
  if (IsReservedTopicName(name)) {
    return InvalidArgument("topic name \"" + std::string(name) +
                           "\" is reserved for Millrace's own topics");
  }
  if (!std::all_of(name.begin(), name.end(), IsTopicNameCharacter)) {
    return InvalidArgument("topic name has a character other than a-z, A-Z, 0-9, '.', '_' and '-'");
  }
  return {};
}

Decision DecideCreateTopic(const Image& image, const v1::CreateTopicRequest& request,
                           const Circumstances& now) {
  RETURN_IF_ERROR(ValidateTopicName(request.name()));
  if (const TopicInfo* topic = image.FindTopic(request.name())) {
    if (request.request_id() != 0 && request.request_id() == topic->request_id) {
      return ControllerRecords();  // this very request made it, and its answer was lost
    }
    return AlreadyExists("topic \"" + request.name() + "\" already exists");
  }
  const uint32_t partitions = request.partition_count() == 0 ? 1 : request.partition_count();
  if (partitions > kPartitionCountMax) {
    return InvalidArgument("partition_count " + std::to_string(partitions) + " is more than " +
                           std::to_string(kPartitionCountMax));
  }
  const uint32_t default_factor = now.cluster_size >= 3 ? 3 : 1;
  const uint32_t factor =
      request.replication_factor() == 0 ? default_factor : request.replication_factor();
  RETURN_IF_ERROR(ValidateFactor(factor, now.cluster_size));
  ASSIGN_OR_RETURN(
      const config::TopicTexts settings,
      config::CanonicalTopicSettings({request.settings().begin(), request.settings().end()}));
  RETURN_IF_ERROR(config::CheckTopicSettings(settings));
  if (image.brokers().size() < factor) {
    return Unavailable("only " + std::to_string(image.brokers().size()) + " of the " +
                       std::to_string(factor) + " brokers needed are registered yet");
  }
  const uint32_t end = image.EpochEndOf(request.name());
  if (end >= kLeaderEpochBaseMax) {
    return ResourceExhausted("topic \"" + request.name() +
                             "\" was deleted and made again too often: its leader epochs are used "
                             "up; take another name");
  }
  TopicCreated created;
  created.set_name(request.name());
  created.mutable_settings()->insert(settings.begin(), settings.end());
  created.set_request_id(request.request_id());
  created.set_kind(TopicCreated::KIND_PARTITION_LOG);
  created.set_leader_epoch_base(std::max(LeaderEpochBaseAt(now.now_ms), end + 1));
  return Creation(image, std::move(created), partitions, factor);
}

Decision DecideCreateCoordinator(const Image& image, uint32_t shards, const Circumstances& now) {
  constexpr size_t kCoordinatorFactor = 3;
  const size_t factor = std::min(kCoordinatorFactor, now.cluster_size);
  const bool is_time = image.level() >= kCoordinatorLevel && image.brokers().size() >= factor;
  if (!is_time || image.FindTopic(kCoordinatorTopic) != nullptr) return ControllerRecords();
  CHECK_GT(shards, 0U);
  TopicCreated created;
  created.set_name(std::string(kCoordinatorTopic));
  created.set_kind(TopicCreated::KIND_COORDINATOR);
  created.set_slot_count(kCoordinatorSlots);
  created.set_leader_epoch_base(LeaderEpochBaseAt(now.now_ms));
  return Creation(image, std::move(created), shards, factor);
}

bool MustWaitForBrokers(const Status& status) {
  return status.code() == Code::kUnavailable && status.reason() == Reason::kNone;
}

Result<TopicChange> ChangeOf(const Image& image, const v1::AlterTopicRequest& request) {
  const TopicInfo* topic = image.FindTopic(request.name());
  if (topic == nullptr) return UnknownTopic(request.name());
  if (topic->is_internal()) return IsInternal(*topic);
  ASSIGN_OR_RETURN(const config::TopicTexts set,
                   config::CanonicalTopicSettings({request.set().begin(), request.set().end()}));
  const size_t known = config::TopicSettingTable().size();
  if (static_cast<size_t>(request.unset_size()) > known) {
    return InvalidArgument("unset names " + std::to_string(request.unset_size()) +
                           " settings, and there are " + std::to_string(known));
  }
  TopicChange change{.settings = topic->settings, .changed = {}, .added = {}};
  for (const std::string& key : request.unset()) {
    RETURN_IF_ERROR(config::CheckIsTopicSetting(key));
    if (set.contains(key)) {
      return InvalidArgument("topic setting " + key + " is both set and unset");
    }
    change.settings.erase(key);
  }
  for (const auto& [key, value] : set) change.settings[key] = value;
  RETURN_IF_ERROR(config::CheckTopicSettings(change.settings));
  for (const config::TopicSetting& setting : config::TopicSettingTable()) {
    const auto before = topic->settings.find(std::string(setting.key));
    const auto after = change.settings.find(std::string(setting.key));
    const bool was_set = before != topic->settings.end();
    const bool is_set = after != change.settings.end();
    if (was_set != is_set || (is_set && before->second != after->second)) {
      change.changed.emplace_back(setting.key);
    }
  }
  ASSIGN_OR_RETURN(const uint32_t added, CountOfAdded(*topic, request));
  if (added > 0) change.added = Growth(image, *topic, added, request.request_id());
  return change;
}

Decision DecideAlterTopic(const Image& image, const v1::AlterTopicRequest& request,
                          const TopicChange& change) {
  RETURN_IF_ERROR(CheckLevel(image, kAlterLevel, "topics can be altered"));
  ControllerRecords records;
  if (request.is_dry_run()) return records;
  if (!change.added.partitions().empty()) {
    *records.add_records()->mutable_partitions_added() = change.added;
  }
  if (change.changed.empty()) return records;
  auto& altered = *records.add_records()->mutable_topic_altered();
  altered.set_topic_id(image.FindTopic(request.name())->id.value());
  altered.mutable_settings()->insert(change.settings.begin(), change.settings.end());
  return records;
}

Decision DecideDeleteTopic(const Image& image, const v1::DeleteTopicRequest& request,
                           const TermOf& term_of) {
  if (image.DeletedBy(request.request_id()) != TopicId()) {
    return ControllerRecords();  // this very request deleted it, and its answer was lost
  }
  const TopicInfo* topic = image.FindTopic(request.name());
  if (topic == nullptr) return UnknownTopic(request.name());
  if (topic->is_internal()) return IsInternal(*topic);
  if (config::TopicSettings(topic->settings).is_protected != 0) {
    return FailedPrecondition("topic \"" + request.name() +
                              "\" is protected; unset its setting `protected` first");
  }
  ControllerRecords records;
  auto& deleted = *records.add_records()->mutable_topic_deleted();
  deleted.set_topic_id(topic->id.value());
  deleted.set_request_id(request.request_id());
  Term last;
  for (const PartitionInfo& partition : topic->partitions) {
    last = std::max(last, term_of(partition.group));
  }
  const LeaderEpoch end = LeaderEpochOf(LeaderEpochOf(topic->leader_epoch_base, last).value(),
                                        Term(kUnreportedElections));
  deleted.set_epoch_end(end.value());
  return records;
}

Decision DecideRegister(const Image& image, const internal::v1::BrokerRegistered& broker,
                        std::string_view drawn_key) {
  CHECK_EQ(drawn_key.size(), kProducerIdKeyBytes);
  RETURN_IF_ERROR(CheckRegistration(broker));
  ControllerRecords records;
  const BrokerInfo* known = image.FindBroker(BrokerId(broker.broker_id()));
  if (known != nullptr && known->incarnation.value() != broker.incarnation()) {
    return FailedPrecondition("broker " + std::to_string(broker.broker_id()) +
                              " is registered with another incarnation: its data directory was "
                              "replaced or wiped");
  }
  RETURN_IF_ERROR(CheckKnowsClusterLevel(image, broker));
  if (image.producer_id_key().empty()) {
    records.add_records()->mutable_producer_id_key_drawn()->set_key(std::string(drawn_key));
  }
  if (known == nullptr || !IsRegisteredAs(*known, broker)) {
    *records.add_records()->mutable_broker_registered() = broker;
  }
  const uint32_t level = LevelOfAll(image, broker);
  if (level > image.level()) {
    records.add_records()->mutable_level_raised()->set_level(level);
  }
  return records;
}

Decision DecideAllocateProducerIds(const Image& image) {
  const uint64_t end = image.next_producer_number() + kProducerIdBlock;
  if (end > kProducerNumberEnd) return ResourceExhausted("all producer ids have been given");
  ControllerRecords records;
  records.add_records()->mutable_producer_ids_allocated()->set_end(end);
  return records;
}

}  // namespace millrace::broker
