#include "broker/service/metadata/admin_service.h"

#include <algorithm>
#include <utility>

#include "broker/api/parse_request.h"
#include "broker/api/unknown_fields.h"
#include "broker/service/metadata/describe_topic.h"
#include "millrace/v1/admin_service.pb.h"

namespace millrace::broker {
namespace {

// Where a call has no deadline of its own.
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

// Before the client's own, so that it hears what was waited for and not just that time is up.
MonotonicTime DeadlineOf(const Clock& clock, const Call& call) {
  return clock.Now() + TimeFor(clock, call, kDefaultDeadline);
}

// Waits until a created topic is in this broker's image and each of its partitions has a leader.
class LeaderWait : public std::enable_shared_from_this<LeaderWait> {
 public:
  LeaderWait(const AdminService::Environment& environment, std::string name,
             std::shared_ptr<Call> call, const LifeWatch& service)
      : environment_(environment),
        service_(service),
        name_(std::move(name)),
        call_(std::move(call)) {}

  void Start(Duration limit) {
    timer_ = environment_.executor.RunAfter(limit, [self = shared_from_this()] {
      self->Finish(DeadlineExceeded("topic \"" + self->name_ +
                                    "\" is created, but not every partition has a leader yet"));
    });
    Check();
  }

 private:
  void Check() {
    if (call_ == nullptr || !service_) return;
    const TopicInfo* topic = environment_.view.image().FindTopic(name_);
    if (topic == nullptr) {
      environment_.view.OnceImageChanged([self = shared_from_this()] { self->Check(); });
      return;
    }
    const bool all_led = std::all_of(
        topic->partitions.begin(), topic->partitions.end(), [this](const PartitionInfo& info) {
          return environment_.view.LeaderOf(info.group).leader != BrokerId();
        });
    if (!all_led) {
      environment_.view.OnceLeadersChanged([self = shared_from_this()] { self->Check(); });
      return;
    }
    Finish(Status::Ok());
  }

  void Finish(const Status& status) {
    if (call_ == nullptr || !service_) return;
    environment_.executor.Cancel(timer_);
    const std::shared_ptr<Call> call = std::exchange(call_, nullptr);
    if (!status.ok()) return call->Fail(status);
    v1::CreateTopicResponse response;
    const TopicInfo& topic = *environment_.view.image().FindTopic(name_);
    DescribeTopic(environment_.view, topic, response.mutable_topic());
    const std::string note = NoteOn(response.topic().replication_factor());
    if (!note.empty()) response.add_notes(note);
    call->Reply(Bytes::Own(response.SerializeAsString()));
  }

  const AdminService::Environment environment_;
  const LifeWatch service_;
  const std::string name_;
  std::shared_ptr<Call> call_;  // null once answered
  TimerId timer_;
};

}  // namespace

void AdminService::Register(ServiceRegistry* registry) {
  registry->AddCall("/millrace.v1.AdminService/CreateTopic",
                    [this](std::shared_ptr<Call> call) { CreateTopic(std::move(call)); });
  registry->AddCall("/millrace.v1.AdminService/DeleteTopic",
                    [this](std::shared_ptr<Call> call) { DeleteTopic(std::move(call)); });
}

void AdminService::CreateTopic(std::shared_ptr<Call> call) {
  const auto request = ParseRequest<v1::CreateTopicRequest>(call->request());
  if (!request.ok()) return call->Fail(request.status());
  if (Status status = CheckUnderstood(*request); !status.ok()) return call->Fail(status);
  const MonotonicTime deadline = DeadlineOf(environment_.clock, *call);
  environment_.controllers.CreateTopic(
      AskerOf(*call), *request,
      [this, call, deadline,
       name = request->name()](const Result<v1::CreateTopicResponse>& created) {
        if (!created.ok()) {
          return call->Fail(environment_.view.WithLeader(created.status(), kControllerGroup));
        }
        std::make_shared<LeaderWait>(environment_, name, call, lifetime_.watch())
            ->Start(TimeLeft(environment_.clock, deadline));
      });
}

void AdminService::DeleteTopic(std::shared_ptr<Call> call) {
  const auto request = ParseRequest<v1::DeleteTopicRequest>(call->request());
  if (!request.ok()) return call->Fail(request.status());
  if (Status status = CheckUnderstood(*request); !status.ok()) return call->Fail(status);
  environment_.controllers.DeleteTopic(
      AskerOf(*call), *request, [this, call](const Result<v1::DeleteTopicResponse>& deleted) {
        if (deleted.ok()) return call->Reply(Bytes::Own(deleted->SerializeAsString()));
        call->Fail(environment_.view.WithLeader(deleted.status(), kControllerGroup));
      });
}

ControllerClient::Asker AdminService::AskerOf(const Call& call) const {
  return {.principal = call.principal(),
          .timeout = TimeFor(environment_.clock, call, kDefaultDeadline)};
}

}  // namespace millrace::broker
