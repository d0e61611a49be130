// A member of a group, as its client sees it: a Join stream at some broker, another one wherever
// that breaks, and what the member has meanwhile. One that is not heard of for its session's time,
// or is told that it is none any more, has nothing, whatever it works on, and joins anew.
//
// Made from a Client, which outlives it; one owner; everything, the listener too, on the client's
// executor, and the listener never from within a call into this. May be destroyed in it; then
// nothing is called any more.
//
//   GroupSession session(client, {.group = "billing", .subscription = topics}, listener);
//   session.Start();
//   listener.assigned -> read from there;   listener.revoked -> stop, commit, session.GaveUp(...)
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "client/core/client.h"
#include "client/core/connector.h"
#include "client/core/retry.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/lifetime.h"

namespace millrace::client {

struct GroupSessionOptions {
  std::string group;
  // Drawn if it is empty: no two members have the same one.
  std::string member_id = {};
  std::string instance_id = {};
  v1::Subscription subscription = {};
  std::string rack = {};
  std::string assignor = {};
  Duration session_timeout = std::chrono::seconds(30);
  Duration revoke_timeout = std::chrono::seconds(60);
  std::optional<v1::MemberProducer> producer = {};
};

// A partition that the member has got.
struct GroupPartition {
  TopicPartition partition;
  std::string topic;
  uint32_t fencing_token = 0;
  std::optional<Offset> committed = {};
  uint64_t leader_epoch = 0;
  bool is_later = false;  // AssignedPartition.is_later
};

class GroupSession {
 public:
  struct Listener {
    std::function<void(const std::vector<GroupPartition>&)> assigned;
    // Let go of these, then say so (GaveUp).
    std::function<void(const std::vector<TopicPartition>&)> revoked;
    // These are others' by now, or may be.
    std::function<void(const std::vector<TopicPartition>&, const Status& why)> lost;
    // It cannot be a member. Nothing follows.
    std::function<void(const Status& why)> failed;
  };
  using Commits = google::protobuf::RepeatedPtrField<v1::TopicCommit>;
  using Refused = google::protobuf::RepeatedPtrField<v1::RefusedOffset>;

  GroupSession(Client& client, GroupSessionOptions options, Listener listener);
  ~GroupSession();
  GroupSession(const GroupSession&) = delete;
  GroupSession& operator=(const GroupSession&) = delete;

  void Start();
  void SetSubscription(const v1::Subscription& subscription);
  // Whose transactions the member commits in: where the member is taken out, brokers fence it. In a
  // new stream, if it was another one before.
  void SetProducer(const v1::MemberProducer& producer);
  // What it would commit, as a request of its own; ABORTED (MEMBER_FENCED) if it is no member.
  Result<v1::CommitOffsetsRequest> RequestOf(const Commits& topics) const;
  // It works on these no more, and has asked for the last commit of them.
  void GaveUp(const std::vector<TopicPartition>& partitions);
  // `done`: what was not taken; ABORTED (MEMBER_FENCED) if it was lost before that was known. In
  // order, and asked again on the next stream.
  void Commit(const Commits& topics, MoveFunction<void(Result<Refused>)> done);
  // Goes once all commits are answered; `done` also if nobody can be told within the session's
  // time. Nothing else is called after it.
  void Leave(bool will_be_back, Task done);

  const std::string& member_id() const { return options_.member_id; }
  bool is_member() const { return epoch_ > 0; }

 private:
  class Stream;
  struct Waiting {
    uint64_t id = 0;
    Commits topics;
    MoveFunction<void(Result<Refused>)> done;
    bool is_sent = false;
  };

  void Connect();
  void Say(const v1::JoinRequest& request);
  void SayWhatIsOwned();
  void SayCommits();
  void SayLeave();
  void Ping();
  void OnMessage(const Bytes& message);
  void OnClosed(const Status& why);
  void OnHeard();
  void OnJoined(const v1::Joined& joined);
  void OnAssignment(const v1::Assignment& assignment);
  void OnCommitted(const v1::CommitResult& result);
  // A broker that says nothing is left; after the session's time the member has nothing any more.
  void Watch();
  Duration patience() const;
  void Lose(const Status& why);
  void Fail(const Status& why);
  void FailCommits(const Status& why);
  void FinishLeave();
  void Owned(google::protobuf::RepeatedPtrField<v1::OwnedPartitions>* out) const;
  template <typename Call>
  void Post(Call call);
  // Unless it has left by then.
  template <typename Call>
  void Tell(Call call);

  Client& client_;
  GroupSessionOptions options_;
  const Listener listener_;
  Random random_;
  std::unique_ptr<Stream> stream_;
  size_t next_address_ = 0;
  RetryState retry_;
  bool is_over_ = false;
  bool has_left_ = false;

  uint64_t number_ = 0;  // of the newest stream
  int32_t epoch_ = 0;    // 0: it is no member
  uint64_t version_ = 0;
  bool is_joined_ = false;  // on this stream
  Duration interval_ = std::chrono::seconds(3);
  std::set<TopicPartition> owned_;
  std::set<TopicPartition> giving_up_;  // of these
  // Sent and not answered, when; and when what was answered last was sent.
  std::deque<MonotonicTime> pings_;
  MonotonicTime heard_{};
  uint64_t next_commit_ = 1;
  std::deque<Waiting> commits_;
  std::optional<bool> leaves_;  // whether it will be back
  Task left_;
  Lifetime lifetime_;
};

}  // namespace millrace::client
