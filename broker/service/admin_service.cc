#include "broker/service/admin_service.h"

#include <algorithm>
#include <utility>

#include "broker/controller/decide.h"
#include "broker/service/unknown_fields.h"

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
MonotonicTime DeadlineOf(const ServiceContext& context, const Call& call) {
  return context.clock.Now() + context.TimeFor(call, kDefaultDeadline);
}

// Waits until a created topic is in this broker's image and each of its partitions has a leader.
class LeaderWait : public std::enable_shared_from_this<LeaderWait> {
 public:
  LeaderWait(ServiceContext& context, std::string name, std::shared_ptr<Call> call)
      : context_(&context), name_(std::move(name)), call_(std::move(call)) {}

  void Start(Duration limit) {
    timer_ = context_->executor.RunAfter(limit, [self = shared_from_this()] {
      self->Finish(DeadlineExceeded("topic \"" + self->name_ +
                                    "\" is created, but not every partition has a leader yet"));
    });
    Check();
  }

 private:
  void Check() {
    if (call_ == nullptr) return;
    const TopicInfo* topic = context_->image().FindTopic(name_);
    if (topic == nullptr) {
      context_->once_image_changed([self = shared_from_this()] { self->Check(); });
      return;
    }
    const bool all_led = std::all_of(
        topic->partitions.begin(), topic->partitions.end(),
        [this](const PartitionInfo& info) { return context_->LeaderOf(info.group) != BrokerId(); });
    if (!all_led) {
      context_->leaders.OnceChanged([self = shared_from_this()] { self->Check(); });
      return;
    }
    Finish(Status::Ok());
  }

  void Finish(const Status& status) {
    if (call_ == nullptr) return;
    context_->executor.Cancel(timer_);
    const std::shared_ptr<Call> call = std::exchange(call_, nullptr);
    if (!status.ok()) return call->Fail(status);
    v1::CreateTopicResponse response;
    context_->Describe(*context_->image().FindTopic(name_), response.mutable_topic());
    const std::string note = NoteOn(response.topic().replication_factor());
    if (!note.empty()) response.add_notes(note);
    call->Reply(Bytes::Own(response.SerializeAsString()));
  }

  ServiceContext* context_;
  const std::string name_;
  std::shared_ptr<Call> call_;  // null once answered
  TimerId timer_;
};

}  // namespace

// A create request at the controller, which may wait there for brokers to register.
struct AdminService::PendingCreate {
  v1::CreateTopicRequest request;
  ForwardDone done;  // empty once answered
  TimerId timer;
};

void AdminService::Register(ServiceRegistry* registry) {
  registry->AddCall("/millrace.v1.AdminService/CreateTopic",
                    [this](std::shared_ptr<Call> call) { CreateTopic(std::move(call)); });
  registry->AddCall("/millrace.v1.AdminService/DeleteTopic",
                    [this](std::shared_ptr<Call> call) { DeleteTopic(std::move(call)); });
  context_->forwarder.Serve(
      kForwardCreateTopic, [this](Bytes body, Duration timeout, ForwardDone done) {
        v1::CreateTopicRequest request;
        if (!request.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
          return done(InvalidArgument("the request is not a CreateTopicRequest"));
        }
        ServeCreate(std::move(request), timeout, std::move(done));
      });
  context_->forwarder.Serve(kForwardDeleteTopic, [this](Bytes body, Duration, ForwardDone done) {
    ServeDelete(body, std::move(done));
  });
}

void AdminService::CreateTopic(std::shared_ptr<Call> call) {
  v1::CreateTopicRequest request;
  if (!request.ParseFromArray(call->request().data(), static_cast<int>(call->request().size()))) {
    return call->Fail(InvalidArgument("the request is not a CreateTopicRequest"));
  }
  if (Status status = CheckUnderstood(request); !status.ok()) return call->Fail(status);
  const MonotonicTime deadline = DeadlineOf(*context_, *call);
  context_->AskController(
      kForwardCreateTopic, call->request(), TimeLeft(context_->clock, deadline),
      [this, call, deadline, name = request.name()](Result<Bytes> reply) {
        if (!reply.ok()) {
          return call->Fail(context_->WithLeader(reply.status(), kControllerGroup));
        }
        std::make_shared<LeaderWait>(*context_, name, call)
            ->Start(TimeLeft(context_->clock, deadline));
      });
}

void AdminService::ServeCreate(v1::CreateTopicRequest request, Duration timeout, ForwardDone done) {
  auto pending = std::make_shared<PendingCreate>();
  pending->request = std::move(request);
  pending->done = std::move(done);
  // A little earlier than whoever asked, perhaps over another broker, stops waiting.
  pending->timer = context_->executor.RunAfter(timeout - timeout / 10, [this, pending] {
    if (!pending->done) return;
    std::exchange(pending->done, {})(
        DeadlineExceeded("topic \"" + pending->request.name() +
                         "\" is not created: it needs more brokers than the " +
                         std::to_string(context_->image().brokers().size()) + " of " +
                         std::to_string(context_->cluster_size) + " that are registered"));
  });
  TryCreate(pending);
}

// Decides; while too few brokers are registered, again whenever the image changes.
void AdminService::TryCreate(const std::shared_ptr<PendingCreate>& pending) {
  if (!pending->done) return;
  context_->controller.Execute(
      [this, pending](const Image& image) {
        return DecideCreateTopic(
            image, pending->request,
            {.cluster_size = context_->cluster_size, .now_ms = context_->clock.WallMs()});
      },
      [this, pending](Status status) {
        if (!pending->done) return;
        if (status.code() == Code::kUnavailable && status.reason() == Reason::kNone) {
          context_->once_image_changed([this, pending] { TryCreate(pending); });
          return;
        }
        context_->executor.Cancel(pending->timer);
        auto answer = std::exchange(pending->done, {});
        if (!status.ok()) return answer(std::move(status));
        answer(Bytes());
      });
}

void AdminService::DeleteTopic(std::shared_ptr<Call> call) {
  v1::DeleteTopicRequest request;
  if (!request.ParseFromArray(call->request().data(), static_cast<int>(call->request().size()))) {
    return call->Fail(InvalidArgument("the request is not a DeleteTopicRequest"));
  }
  if (Status status = CheckUnderstood(request); !status.ok()) return call->Fail(status);
  const MonotonicTime deadline = DeadlineOf(*context_, *call);
  context_->AskController(kForwardDeleteTopic, call->request(), TimeLeft(context_->clock, deadline),
                          [this, call](Result<Bytes> reply) {
                            if (reply.ok()) return call->Reply(*reply);
                            call->Fail(context_->WithLeader(reply.status(), kControllerGroup));
                          });
}

void AdminService::ServeDelete(const Bytes& body, ForwardDone done) {
  auto request = std::make_shared<v1::DeleteTopicRequest>();
  if (!request->ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return done(InvalidArgument("the request is not a DeleteTopicRequest"));
  }
  auto response = std::make_shared<v1::DeleteTopicResponse>();
  context_->controller.Execute(
      [this, request, response](const Image& image) {
        Decision decision = DecideDeleteTopic(image, *request, [this](RaftGroupId group) {
          return context_->leaders.Find(group).term;
        });
        if (!decision.ok()) return decision;
        response->set_topic_id(decision->records().empty()
                                   ? image.DeletedBy(request->request_id()).value()
                                   : decision->records(0).topic_deleted().topic_id());
        return decision;
      },
      [response, done = std::move(done)](Status status) mutable {
        if (!status.ok()) return done(std::move(status));
        done(Bytes::Own(response->SerializeAsString()));
      });
}

}  // namespace millrace::broker
