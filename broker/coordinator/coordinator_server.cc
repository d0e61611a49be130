#include "broker/coordinator/coordinator_server.h"

#include <set>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "broker/coordinator/description.h"
#include "broker/coordinator/member_requests.h"
#include "broker/coordinator/slot.h"
#include "proto/base/coverage.h"

namespace millrace::broker {

using internal::v1::CoordinatorRecords;

// A commit whose offsets are held against where partitions end; those past it are not decided on.
class CoordinatorServer::Commit : public std::enable_shared_from_this<Commit> {
 public:
  Commit(Asked<v1::CommitOffsetsRequest> request,
         CoordinatorReplied<v1::CommitOffsetsResponse> done)
      : request_(std::move(request)), done_(std::move(done)) {}

  using Checked = MoveFunction<void(const std::shared_ptr<Commit>& self)>;

  // Calls `then` once it is known of each offset. Pre: `then` does not hold this.
  void CheckEnds(const Image& image, PartitionEnds& ends, Checked then) {
    then_ = std::move(then);
    missing_ = 1;
    for (int topic = 0; topic < request_->topics_size(); ++topic) {
      const TopicInfo* info = image.FindTopic(TopicId(request_->topics(topic).topic_id()));
      for (int place = 0; place < request_->topics(topic).partitions_size(); ++place) {
        CheckEnd(info, ends, {topic, place});
      }
    }
    OnOne();
  }

  const v1::CommitOffsetsRequest& request() const { return *request_; }
  bool is_staged() const { return request_->has_transaction(); }
  TransactionName transaction() const { return NameFrom(request_->transaction()); }
  // In which the shard was registered: what a later leader was told of how the transaction ended,
  // this one was not.
  void BeginIn(Term term) { term_ = term; }
  Term term() const { return term_; }
  // That is known by now.
  void SetEnded() { has_ended_ = true; }
  bool has_ended() const { return has_ended_; }
  v1::CommitOffsetsResponse* response() { return &response_; }
  void Finish(const Status& status) {
    if (!status.ok()) return done_(status);
    done_(std::move(response_));
  }

 private:
  struct Place {
    int topic;
    int place;
    auto operator<=>(const Place&) const = default;
  };

  const v1::PartitionCommit& At(const Place& at) const {
    return request_->topics(at.topic).partitions(at.place);
  }

  void CheckEnd(const TopicInfo* topic, PartitionEnds& ends, const Place& at) {
    // The decision says what is deleted.
    if (topic == nullptr) return;
    const uint32_t number = At(at).partition();
    if (number >= topic->partitions.size()) {
      return Refuse(
          at, Unavailable("the coordinator does not know partition " + std::to_string(number) +
                          " of topic \"" + topic->name + "\" yet"));
    }
    const RaftGroupId group = topic->partitions[number].group;
    if (ends.Reaches(group, Offset(At(at).offset()))) return;
    ++missing_;
    ends.Ask(group, [self = shared_from_this(), at, name = topic->name](const Result<Offset>& end) {
      self->OnEnd(at, name, end);
    });
  }

  void OnEnd(const Place& at, const std::string& topic, const Result<Offset>& end) {
    if (!end.ok()) {
      Refuse(at, end.status());
    } else if (Offset(At(at).offset()) > *end) {
      Refuse(at, OutOfRange("offset " + std::to_string(At(at).offset()) +
                                " is past the end of "
                                "partition " +
                                std::to_string(At(at).partition()) + " of topic \"" + topic +
                                "\", which is " + std::to_string(end->value()),
                            Reason::kOffsetOutOfRange)
                     .AddMetadata("end_offset", std::to_string(end->value())));
    }
    OnOne();
  }

  void Refuse(const Place& at, const Status& why) {
    AddRefused(request_->topics(at.topic), At(at).partition(), why, &response_);
    refused_.insert(at);
  }

  void OnOne() {
    if (--missing_ > 0) return;
    if (!refused_.empty()) TakeOutRefused();
    std::exchange(then_, {})(shared_from_this());
  }

  void TakeOutRefused() {
    auto rest = std::make_shared<v1::CommitOffsetsRequest>(*request_);
    // From behind, so that what is left keeps its places.
    for (auto at = refused_.rbegin(); at != refused_.rend(); ++at) {
      rest->mutable_topics(at->topic)->mutable_partitions()->DeleteSubrange(at->place, 1);
    }
    refused_.clear();
    request_ = std::move(rest);
  }

  Asked<v1::CommitOffsetsRequest> request_;
  v1::CommitOffsetsResponse response_;
  CoordinatorReplied<v1::CommitOffsetsResponse> done_;
  std::set<Place> refused_;
  Term term_;
  bool has_ended_ = false;
  size_t missing_ = 0;
  Checked then_;
};

Result<CoordinatorShard*> CoordinatorServer::FindLed(RaftGroupId shard) const {
  CoordinatorShard* found = environment_.find_shard(shard);
  if (found == nullptr || !found->is_ready()) return environment_.not_leader(shard);
  return found;
}

Result<CoordinatorShard*> CoordinatorServer::FindLed(RaftGroupId shard,
                                                     const std::string& group) const {
  const TopicInfo* coordinator = environment_.image.FindTopic(kCoordinatorTopic);
  const bool is_its = coordinator != nullptr && ShardOf(*coordinator, SlotOf(group)).group == shard;
  if (!is_its) {
    return Unavailable("group \"" + group + "\" is of another shard of the coordinator",
                       Reason::kNotLeader);
  }
  return FindLed(shard);
}

CoordinatorCircumstances CoordinatorServer::now() const {
  return {.image = environment_.image, .is_memory_full = environment_.memory.is_full()};
}

void CoordinatorServer::CommitOffsets(RaftGroupId shard, Asked<v1::CommitOffsetsRequest> request,
                                      CoordinatorReplied<v1::CommitOffsetsResponse> done) {
  const Result<CoordinatorShard*> led = FindLed(shard, request->group());
  if (!led.ok()) return done(led.status());
  if (Status checked = CheckCommit(*request); !checked.ok()) return done(std::move(checked));
  auto commit = std::make_shared<Commit>(std::move(request), std::move(done));
  commit->CheckEnds(environment_.image, environment_.ends,
                    lifetime_.Guard([this, shard](const std::shared_ptr<Commit>& checked) {
                      if (checked->is_staged()) return Stage(shard, checked);
                      DecideCommitted(shard, checked);
                    }));
}

void CoordinatorServer::Stage(RaftGroupId shard, const std::shared_ptr<Commit>& commit) {
  const Result<CoordinatorShard*> led = FindLed(shard);
  if (!led.ok()) return commit->Finish(led.status());
  if (Status level = CheckHasTransactions(environment_.image); !level.ok()) {
    return commit->Finish(level);
  }
  commit->BeginIn((*led)->leadership().term);
  staging_[{shard, commit->transaction().producer}].insert(commit);
  environment_.registrar.Register(shard, commit->transaction(),
                                  lifetime_.Guard([this, shard, commit](const Status& registered) {
                                    if (registered.ok()) return DecideCommitted(shard, commit);
                                    Finish(shard, commit, registered);
                                  }));
}

// What is staged alone: nobody is to get the partitions by a decision that does not know of it.
void CoordinatorServer::DecideCommitted(RaftGroupId shard, const std::shared_ptr<Commit>& commit) {
  const Result<CoordinatorShard*> led = FindLed(shard);
  if (!led.ok()) return Finish(shard, commit, led.status());
  (*led)->Execute(
      {.key = commit->request().group(),
       .is_alone = commit->is_staged(),
       .bytes = commit->request().ByteSizeLong(),
       .decide = [this, shard, commit](const ShardState& state) -> Result<CoordinatorRecords> {
         if (commit->is_staged()) RETURN_IF_ERROR(CheckIsRegistered(shard, *commit));
         return DecideCommit(state, now(), commit->request(), commit->response());
       },
       .done = lifetime_.Guard(
           [this, shard, commit](const Status& status) { Finish(shard, commit, status); })});
}

// The answer to the registration may be older than how the transaction ended.
Status CoordinatorServer::CheckIsRegistered(RaftGroupId shard, const Commit& commit) const {
  if (commit.has_ended()) return TransactionHasEnded(commit.transaction());
  ASSIGN_OR_RETURN(const CoordinatorShard* led, FindLed(shard));
  if (led->leadership().term == commit.term()) return {};
  return Unavailable("the coordinator was led by another broker meanwhile", Reason::kNotLeader);
}

void CoordinatorServer::Finish(RaftGroupId shard, const std::shared_ptr<Commit>& commit,
                               const Status& status) {
  if (commit->is_staged()) {
    const auto of_producer = staging_.find({shard, commit->transaction().producer});
    CHECK(of_producer != staging_.end()) << commit->transaction();
    of_producer->second.erase(commit);
    if (of_producer->second.empty()) staging_.erase(of_producer);
  }
  commit->Finish(status);
}

void CoordinatorServer::EndTransaction(RaftGroupId shard, const TransactionEnd& end,
                                       raft::StatusDone done) {
  const Result<CoordinatorShard*> led = FindLed(shard);
  if (!led.ok()) return done(led.status());
  if (const auto found = staging_.find({shard, end.name.producer}); found != staging_.end()) {
    for (const std::shared_ptr<Commit>& commit : found->second) {
      if (commit->transaction() > end.name) continue;
      MILLRACE_SOMETIMES("a transaction ended while its offsets were on their way");
      commit->SetEnded();
    }
  }
  // Also where nothing is staged: it may be on its way, in an entry before this one.
  (*led)->Execute({.kind = CoordinatorShard::KeyKind::kProducer,
                   .key = std::to_string(end.name.producer.value()),
                   .is_alone = false,
                   .decide = [end](const ShardState&) -> Result<CoordinatorRecords> {
                     CoordinatorRecords records;
                     auto& ended = *records.add_records()->mutable_staged_offsets_ended();
                     Fill(end.name, ended.mutable_transaction());
                     ended.set_outcome(end.is_committed
                                           ? internal::v1::TRANSACTION_OUTCOME_COMMITTED
                                           : internal::v1::TRANSACTION_OUTCOME_ABORTED);
                     return records;
                   },
                   .done = std::move(done)});
}

template <typename Request, typename Reply, typename Decide>
void CoordinatorServer::Change(RaftGroupId shard, Asked<Request> request, Decide decide,
                               CoordinatorReplied<Reply> done) {
  const Result<CoordinatorShard*> led = FindLed(shard, request->group());
  if (!led.ok()) return done(led.status());
  auto reply = std::make_shared<Reply>();
  (*led)->Execute(
      {.key = request->group(),
       .is_alone = true,
       .bytes = request->ByteSizeLong(),
       .decide = [request, reply,
                  decide](const ShardState& state) { return decide(state, *request, &*reply); },
       .done =
           [reply, done = std::move(done)](const Status& status) mutable {
             if (!status.ok()) return done(status);
             done(std::move(*reply));
           }});
}

void CoordinatorServer::MoveOffsets(RaftGroupId shard, Asked<v1::CommitOffsetsRequest> request,
                                    CoordinatorReplied<v1::CommitOffsetsResponse> done) {
  if (Status checked = CheckCommit(*request); !checked.ok()) return done(std::move(checked));
  Change<v1::CommitOffsetsRequest, v1::CommitOffsetsResponse>(
      shard, request,
      [this](const ShardState& state, const v1::CommitOffsetsRequest& asked,
             v1::CommitOffsetsResponse*) { return DecideMove(state, now(), asked); },
      std::move(done));
}

void CoordinatorServer::DeleteOffsets(RaftGroupId shard, Asked<v1::DeleteOffsetsRequest> request,
                                      CoordinatorReplied<v1::DeleteOffsetsResponse> done) {
  Change<v1::DeleteOffsetsRequest, v1::DeleteOffsetsResponse>(shard, request, DecideDeleteOffsets,
                                                              std::move(done));
}

void CoordinatorServer::DeleteGroup(RaftGroupId shard, Asked<v1::DeleteGroupRequest> request,
                                    CoordinatorReplied<v1::DeleteGroupResponse> done) {
  Change<v1::DeleteGroupRequest, v1::DeleteGroupResponse>(
      shard, request,
      [](const ShardState& state, const v1::DeleteGroupRequest& asked, v1::DeleteGroupResponse*) {
        return DecideDeleteGroup(state, asked);
      },
      std::move(done));
}

void CoordinatorServer::Member(RaftGroupId shard, Asked<internal::v1::MemberRequest> request,
                               CoordinatorReplied<internal::v1::MemberReply> done) {
  const Result<CoordinatorShard*> led = FindLed(shard, request->group());
  if (!led.ok()) return done(led.status());
  if (Status checked = CheckMember(*request); !checked.ok()) return done(std::move(checked));
  environment_.members.Ask(shard, *request, std::move(done));
}

template <typename Request, typename Reply, typename Answer>
void CoordinatorServer::Read(const Result<CoordinatorShard*>& led, Asked<Request> request,
                             Answer answer, CoordinatorReplied<Reply> done) {
  if (!led.ok()) return done(led.status());
  (*led)->Confirm(lifetime_.Guard([this, shard = (*led)->group(), request, answer,
                                   done = std::move(done)](const Status& confirmed) mutable {
    if (!confirmed.ok()) return done(confirmed);
    const CoordinatorShard* found = environment_.find_shard(shard);
    if (found == nullptr) return done(environment_.not_leader(shard));
    Reply reply;
    Status status = answer(found->state(), *request, &reply);
    if (!status.ok()) return done(std::move(status));
    done(std::move(reply));
  }));
}

void CoordinatorServer::FetchOffsets(RaftGroupId shard, Asked<v1::FetchOffsetsRequest> request,
                                     CoordinatorReplied<v1::FetchOffsetsResponse> done) {
  Read<v1::FetchOffsetsRequest, v1::FetchOffsetsResponse>(FindLed(shard, request->group()), request,
                                                          AnswerFetch, std::move(done));
}

void CoordinatorServer::ListGroups(RaftGroupId shard, Asked<v1::ListGroupsRequest> request,
                                   CoordinatorReplied<v1::ListGroupsResponse> done) {
  Read<v1::ListGroupsRequest, v1::ListGroupsResponse>(FindLed(shard), request, AnswerList,
                                                      std::move(done));
}

void CoordinatorServer::DescribeGroup(RaftGroupId shard, Asked<v1::DescribeGroupRequest> request,
                                      CoordinatorReplied<v1::DescribeGroupResponse> done) {
  Read<v1::DescribeGroupRequest, v1::DescribeGroupResponse>(
      FindLed(shard, request->group()), request,
      [this](const ShardState& state, const v1::DescribeGroupRequest& asked,
             v1::DescribeGroupResponse* response) {
        return AnswerDescribe(state, environment_.image, asked, response);
      },
      std::move(done));
}

void CoordinatorServer::DescribeLag(RaftGroupId shard, Asked<v1::DescribeLagRequest> request,
                                    CoordinatorReplied<v1::DescribeLagResponse> done) {
  const Result<CoordinatorShard*> led = FindLed(shard, request->group());
  if (!led.ok()) return done(led.status());
  (*led)->Confirm(lifetime_.Guard(
      [this, shard, request, done = std::move(done)](const Status& confirmed) mutable {
        if (!confirmed.ok()) return done(confirmed);
        environment_.lags.Describe(shard, request, std::move(done));
      }));
}

}  // namespace millrace::broker
