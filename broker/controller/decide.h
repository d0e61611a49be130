// The controller's decisions as pure functions (image, request) -> records: no clock, no chance, no
// I/O. What they return takes effect when it is committed and applied (design D7).
//
//   ASSIGN_OR_RETURN(auto records,
//                    DecideCreateTopic(image, request, {.cluster_size = 3, .now_ms = now}));
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "broker/controller/image.h"
#include "millrace/internal/v1/controller.pb.h"
#include "millrace/v1/admin_service.pb.h"
#include "proto/base/status.h"

namespace millrace::broker {

inline constexpr size_t kTopicNameBytesMax = 249;
inline constexpr uint32_t kPartitionCountMax = 10000;

using Decision = Result<internal::v1::ControllerRecords>;

// Whether the name is of Millrace's own topics, there or to come: clients make none of that name,
// and no pattern stands for one.
bool IsReservedTopicName(std::string_view name);
// INVALID_ARGUMENT that names the rule: 1 to 249 of a-z A-Z 0-9 . _ -, neither "." nor "..", nor
// one of Millrace's own. Other names with two underscores are people's: connectors use them.
Status ValidateTopicName(std::string_view name);

// What a topic is made in.
struct Circumstances {
  size_t cluster_size = 1;
  int64_t now_ms = 0;  // by the clock of whoever decides
};
// ALREADY_EXISTS; INVALID_ARGUMENT naming the field; UNAVAILABLE while fewer brokers are registered
// than the factor asks for and the cluster is known to have as many; RESOURCE_EXHAUSTED if the name
// has used up its leader epochs.
Decision DecideCreateTopic(const Image& image, const v1::CreateTopicRequest& request,
                           const Circumstances& now);
// The slots that groups and transactional ids are spread over: the remainder of their hash. One
// number for all clusters, so that they may move between shards later.
inline constexpr uint32_t kCoordinatorSlots = 1024;
// The topic of the coordinator with so many shards, each on three brokers, or on one where the
// cluster has no more. No records if it is there, or while too few brokers are registered or one of
// them is of a build that does not know it.
Decision DecideCreateCoordinator(const Image& image, uint32_t shards, const Circumstances& now);
// Whether that is why DecideCreateTopic did not decide: too few brokers yet.
bool MustWaitForBrokers(const Status& status);
// What a request makes of a topic.
struct TopicChange {
  std::map<std::string, std::string> settings;  // all of them
  std::vector<std::string> changed;             // keys of another value than before, sorted
  internal::v1::PartitionsAdded added;          // those that it gets
};
// NOT_FOUND; INVALID_ARGUMENT naming the setting, or the topic and how many partitions it has, or
// that it is Millrace's own.
Result<TopicChange> ChangeOf(const Image& image, const v1::AlterTopicRequest& request);
// `change` is the request's on this image. No records for a dry run, or if nothing changes;
// FAILED_PRECONDITION below the feature level that has the record.
Decision DecideAlterTopic(const Image& image, const v1::AlterTopicRequest& request,
                          const TopicChange& change);
// The last term that a leader of the group has told; 0 if none has.
using TermOf = std::function<Term(RaftGroupId)>;
// FAILED_PRECONDITION if it is protected; INVALID_ARGUMENT if it is Millrace's own.
Decision DecideDeleteTopic(const Image& image, const v1::DeleteTopicRequest& request,
                           const TermOf& term_of);
// No records if nothing changes: every start registers. FAILED_PRECONDITION if the id is another
// incarnation's, or if the broker does not know the cluster's feature level; UNIMPLEMENTED if it
// tells something that this version does not know. The first broker brings what producer ids are
// marked with, `drawn_key`, a secret of kProducerIdKeyBytes, and founds the cluster at the highest
// level that it knows; whoever is the last to know a higher one raises it.
Decision DecideRegister(const Image& image, const internal::v1::BrokerRegistered& broker,
                        std::string_view drawn_key);
// The next kProducerIdBlock numbers; RESOURCE_EXHAUSTED once there are no more.
Decision DecideAllocateProducerIds(const Image& image);

}  // namespace millrace::broker
