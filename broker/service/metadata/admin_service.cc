#include "broker/service/metadata/admin_service.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "broker/api/parse_request.h"
#include "broker/api/unknown_fields.h"
#include "broker/service/metadata/describe_topic.h"
#include "millrace/v1/admin_service.pb.h"

namespace millrace::broker {
namespace {

// Where a call has no deadline of its own; else a little before that, so that the client hears what
// was waited for and not just that time is up.
constexpr Duration kDefaultDeadline = std::chrono::seconds(30);

// What a person should know who asked for an even number of replicas; empty otherwise.
std::string NoteOn(uint32_t replication_factor) {
  if (replication_factor % 2 != 0) return "";
  const uint32_t survived = (replication_factor - 1) / 2;
  return std::to_string(replication_factor) + " replicas need " +
         std::to_string(replication_factor / 2 + 1) +
         " of them for every write: the topic survives the failure of " + std::to_string(survived) +
         " of them, no more than " + std::to_string(replication_factor - 1) + " replicas would";
}

// Answers a call once a change that the controller made can be used here.
class ChangeWait : public std::enable_shared_from_this<ChangeWait> {
 public:
  enum class LacksStill { kNothing, kImage, kLeaders };
  struct Change {
    std::function<LacksStill()> lacks;
    std::function<Result<Bytes>()> response;  // once nothing is lacking
    Status too_late;                          // what the call fails with when its time is up
  };

  ChangeWait(const AdminService::Environment& environment, Change change,
             std::shared_ptr<Call> call, const LifeWatch& service)
      : environment_(environment),
        service_(service),
        change_(std::move(change)),
        call_(std::move(call)) {}

  void Start(Duration limit) {
    timer_ = environment_.executor.RunAfter(limit, [self = shared_from_this()] {
      if (self->IsOver()) return;
      std::exchange(self->call_, nullptr)->Fail(self->change_.too_late);
    });
    Check();
  }

 private:
  bool IsOver() const { return call_ == nullptr || !service_; }

  void Check() {
    if (IsOver()) return;
    auto again = [self = shared_from_this()] { self->Check(); };
    switch (change_.lacks()) {
      case LacksStill::kImage:
        return environment_.view.OnceImageChanged(std::move(again));
      case LacksStill::kLeaders:
        environment_.view.OnceLeadersChanged(std::move(again));
        return;
      case LacksStill::kNothing:
        environment_.executor.Cancel(timer_);
        const std::shared_ptr<Call> call = std::exchange(call_, nullptr);
        Result<Bytes> response = change_.response();
        if (!response.ok()) return call->Fail(response.status());
        call->Reply(*std::move(response));
    }
  }

  const AdminService::Environment environment_;
  const LifeWatch service_;
  const Change change_;
  std::shared_ptr<Call> call_;  // null once answered
  TimerId timer_;
};

// Whether this broker knows who leads each of the topic's partitions from `first` on.
bool AreAllLed(const ClusterView& view, const TopicInfo& topic, size_t first) {
  return std::all_of(topic.partitions.begin() + static_cast<std::ptrdiff_t>(first),
                     topic.partitions.end(), [&view](const PartitionInfo& info) {
                       return view.LeaderOf(info.group).leader != BrokerId();
                     });
}

// A created topic is in this broker's image, and each of its partitions has a leader.
ChangeWait::Change Creation(const ClusterView& view, const v1::CreateTopicRequest& request,
                            const v1::CreateTopicResponse&) {
  using LacksStill = ChangeWait::LacksStill;
  const std::string& name = request.name();
  return {.lacks =
              [&view, name] {
                const TopicInfo* topic = view.image().FindTopic(name);
                if (topic == nullptr) return LacksStill::kImage;
                return AreAllLed(view, *topic, 0) ? LacksStill::kNothing : LacksStill::kLeaders;
              },
          .response =
              [&view, name] {
                v1::CreateTopicResponse response;
                DescribeTopic(view, *view.image().FindTopic(name), response.mutable_topic());
                const std::string note = NoteOn(response.topic().replication_factor());
                if (!note.empty()) response.add_notes(note);
                return Bytes::Own(response.SerializeAsString());
              },
          .too_late = DeadlineExceeded("topic \"" + name +
                                       "\" is created, but not every partition has a leader yet")};
}

// The topic as the reply says that it is, or would be.
TopicInfo Altered(const TopicInfo& topic, const internal::v1::AlterTopicReply& reply) {
  TopicInfo altered = topic;
  altered.settings = {reply.settings().begin(), reply.settings().end()};
  for (const auto& placement : reply.added().partitions()) {
    if (placement.partition() < topic.partitions.size()) continue;
    // As it would be: it is of no group yet, that somebody could lead.
    PartitionInfo& partition = altered.partitions.emplace_back();
    partition.partition = PartitionId(placement.partition());
    for (const auto& replica : placement.replicas()) {
      partition.replicas.push_back({BrokerId(replica.broker_id()),
                                    Incarnation(replica.incarnation()),
                                    ReplicaNumber(replica.number())});
    }
  }
  return altered;
}

// An altered topic is in this broker's image as it is now, and what it got has leaders.
ChangeWait::Change Alteration(const ClusterView& view, const v1::AlterTopicRequest& request,
                              const internal::v1::AlterTopicReply& reply) {
  using LacksStill = ChangeWait::LacksStill;
  const std::string name = "topic \"" + request.name() + "\"";
  const bool grows = !request.is_dry_run() && !reply.added().partitions().empty();
  return {.lacks =
              [&view, reply, grows] {
                if (view.image().applied_index() < LogIndex(reply.image_index())) {
                  return LacksStill::kImage;
                }
                const TopicInfo* topic = view.image().FindTopic(TopicId(reply.added().topic_id()));
                if (!grows || topic == nullptr) return LacksStill::kNothing;
                return AreAllLed(view, *topic, reply.added().partitions(0).partition())
                           ? LacksStill::kNothing
                           : LacksStill::kLeaders;
              },
          .response = [&view, name = request.name(), reply]() -> Result<Bytes> {
            ASSIGN_OR_RETURN(const TopicInfo* topic, view.FindTopic(name, TopicId()));
            v1::AlterTopicResponse response;
            DescribeTopic(view, Altered(*topic, reply), response.mutable_topic());
            *response.mutable_changed() = reply.changed();
            response.set_partitions_added(static_cast<uint32_t>(reply.added().partitions_size()));
            return Bytes::Own(response.SerializeAsString());
          },
          .too_late = DeadlineExceeded(
              name + (grows ? " is altered, but not every new partition has a leader yet"
                            : " is altered, but this broker does not know it yet"))};
}

// A deleted topic is not in this broker's image any more: who was answered is served nothing of it.
ChangeWait::Change Deletion(const ClusterView& view, const v1::DeleteTopicRequest& request,
                            const v1::DeleteTopicResponse& response) {
  const TopicId id(response.topic_id());
  return {.lacks =
              [&view, id] {
                return view.image().IsDeleted(id) ? ChangeWait::LacksStill::kNothing
                                                  : ChangeWait::LacksStill::kImage;
              },
          .response = [response] { return Bytes::Own(response.SerializeAsString()); },
          .too_late = DeadlineExceeded("topic \"" + request.name() +
                                       "\" is deleted, but this broker does not know it yet")};
}

}  // namespace

void AdminService::Register(ServiceRegistry* registry) {
  registry->AddCall("/millrace.v1.AdminService/CreateTopic", [this](std::shared_ptr<Call> call) {
    Change(std::move(call), &ControllerClient::CreateTopic, Creation);
  });
  registry->AddCall("/millrace.v1.AdminService/AlterTopic", [this](std::shared_ptr<Call> call) {
    Change(std::move(call), &ControllerClient::AlterTopic, Alteration);
  });
  registry->AddCall("/millrace.v1.AdminService/DeleteTopic", [this](std::shared_ptr<Call> call) {
    Change(std::move(call), &ControllerClient::DeleteTopic, Deletion);
  });
  registry->AddCall("/millrace.v1.AdminService/DeleteRecords",
                    [this](std::shared_ptr<Call> call) { DeleteRecords(std::move(call)); });
}

template <typename Request, typename Reply, typename ChangeOf>
void AdminService::Change(std::shared_ptr<Call> call, Ask<Request, Reply> ask, ChangeOf change_of) {
  const auto request = ParseRequest<Request>(call->request());
  if (!request.ok()) return call->Fail(request.status());
  if (Status status = CheckUnderstood(*request); !status.ok()) return call->Fail(status);
  const Duration limit = TimeFor(environment_.clock, *call, kDefaultDeadline);
  const MonotonicTime deadline = environment_.clock.Now() + limit;
  (environment_.controllers.*ask)(
      {.principal = call->principal(), .timeout = limit}, *request,
      [this, call, deadline, change_of, request = *request](const Result<Reply>& reply) {
        if (!reply.ok()) {
          return call->Fail(environment_.view.WithLeader(reply.status(), kControllerGroup));
        }
        std::make_shared<ChangeWait>(environment_, change_of(environment_.view, request, *reply),
                                     call, lifetime_.watch())
            ->Start(TimeLeft(environment_.clock, deadline));
      });
}

}  // namespace millrace::broker
