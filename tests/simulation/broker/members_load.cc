#include "tests/simulation/broker/members_load.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>
#include <utility>

#include <glog/logging.h>

#include "millrace/v1/group_service.pb.h"
#include "proto/base/coverage.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kGroups = 2;
constexpr size_t kMembers = 4;  // of each
constexpr milliseconds kSession{5'000};
constexpr milliseconds kRevoke{4'000};
constexpr milliseconds kPing{1'000};

}  // namespace

// One process that is a member again and again.
class MembersLoad::Member {
 public:
  Member(MembersLoad& load, Shared& group, size_t number, Random random)
      : load_(&load), group_(&group), number_(number), random_(random) {}

  const Shared& group() const { return *group_; }
  Shared& group() { return *group_; }
  std::string name() const { return group_->name + " " + Id(); }

  void Begin() {
    Connect();
    Act();
    CommitRegularly();
    PingRegularly();
  }

  // Somebody else was given what it works on: it must have been taken out, and never hears anything
  // else.
  void MustBeOut(uint32_t partition, const std::string& heir) {
    outlived_.push_back({.since = Now(), .partition = partition, .heir = heir});
  }

 private:
  // A stream of it, the newest or one that it has left behind.
  struct Session final : client::RpcStreamHandler {
    explicit Session(Member& of) : member(&of) {}
    void OnMessage(Bytes message) override {
      if (member->current_.get() != this) return OnLateMessage(message);
      member->OnMessage(message);
    }
    void OnClosed(const Status& status) override {
      if (member->current_.get() == this) member->OnClosed(status);
    }
    // It was left behind, and says that it owns nothing.
    void OnLateMessage(const Bytes& message) {
      v1::JoinResponse response;
      CHECK(response.ParseFromArray(message.data(), static_cast<int>(message.size())));
      if (!response.has_assignment()) return;
      v1::JoinRequest request;
      request.mutable_done()->set_version(response.assignment().version());
      Send(request);
    }
    void Send(const v1::JoinRequest& request) {
      if (stream != nullptr) stream->Write({Bytes::Own(request.SerializeAsString())});
    }
    Member* member;
    std::unique_ptr<client::RpcStream> stream;
  };
  struct Owned {
    uint32_t token = 0;
    int64_t next = 0;
  };
  struct Outlived {
    MonotonicTime since{};
    uint32_t partition = 0;
    std::string heir;
  };
  struct Commit {
    std::map<uint32_t, Owned> offsets;
  };

  std::string Id() const { return "m" + std::to_string(number_) + "-" + std::to_string(life_); }
  MonotonicTime Now() const { return load_->process_.clock().Now(); }
  void After(Duration delay, Task task) {
    load_->process_.executor().RunAfter(delay, std::move(task));
  }

  void Send(const v1::JoinRequest& request) {
    if (current_ != nullptr) current_->Send(request);
  }

  void Connect() {
    const std::vector<std::string> addresses = load_->cluster_.addresses();
    ++session_;
    pings_.clear();
    commits_.clear();
    current_ = std::make_shared<Session>(*this);
    current_->stream =
        load_->connector_.OpenStream(addresses[random_.Below(addresses.size())],
                                     "/millrace.v1.GroupService/Join", current_.get());
    v1::JoinRequest request;
    v1::JoinInit& init = *request.mutable_init();
    init.set_group(group_->name);
    init.set_member_id(Id());
    init.set_session(session_);
    init.set_member_epoch(epoch_);
    if (epoch_ > 0) AddOwned(init.mutable_owned());
    if (number_ == 0) init.set_instance_id("static");
    init.mutable_subscription()->add_topics("t");
    init.set_session_timeout_ms(kSession.count());
    init.set_revoke_timeout_ms(kRevoke.count());
    pings_.push_back(Now());
    Send(request);
  }

  void AddOwned(google::protobuf::RepeatedPtrField<v1::OwnedPartitions>* out) const {
    if (owned_.empty()) return;
    v1::OwnedPartitions& topic = *out->Add();
    topic.set_topic_id(topic_id_);
    for (const auto& [partition, owned] : owned_) topic.add_partitions(partition);
  }

  // In a turn of its own: a session may be what is running.
  void Disconnect() {
    load_->process_.executor().Post([gone = std::exchange(current_, nullptr)] {});
  }

  // What it has is not its own any more, and it knows.
  void StopAll() {
    for (const auto& [partition, owned] : owned_) group_->partitions[partition].working.erase(this);
    owned_.clear();
    outlived_.clear();
    told_to_give_up_.clear();
    given_up_.clear();
  }

  // Comes back as somebody new.
  void BeginAnew(Duration after) {
    Disconnect();
    StopAll();
    epoch_ = 0;
    session_ = 0;
    is_dead_ = true;
    After(after, [this] {
      ++life_;
      is_dead_ = false;
      is_silent_ = false;
      Connect();
    });
  }

  void OnMessage(const Bytes& message) {
    v1::JoinResponse response;
    CHECK(response.ParseFromArray(message.data(), static_cast<int>(message.size())));
    if (response.has_joined()) {
      OnHeard();
      if (epoch_ == 0) epoch_ = response.joined().member_epoch();
    } else if (response.has_assignment()) {
      OnAssignment(response.assignment());
    } else if (response.has_pong()) {
      OnHeard();
    } else if (response.has_commit()) {
      OnCommitted(response.commit());
    }
  }

  // Whoever answers a ping heard it, no sooner than it was sent.
  void OnHeard() {
    if (pings_.empty()) return;
    const MonotonicTime said = pings_.front();
    pings_.pop_front();
    for (const Outlived& one : outlived_) {
      if (said <= one.since) continue;
      load_->history_.SawMember(one.heir + " was given partition " + std::to_string(one.partition) +
                                ", on which " + name() + " works");
    }
  }

  void OnAssignment(const v1::Assignment& assignment) {
    epoch_ = assignment.member_epoch();
    version_ = assignment.version();
    std::map<uint32_t, v1::AssignedPartition> assigned;
    for (const v1::AssignedTopic& topic : assignment.topics()) {
      topic_id_ = topic.topic_id();
      for (const auto& one : topic.partitions()) assigned[one.partition()] = one;
    }
    std::vector<uint32_t> revoked;
    for (const v1::OwnedPartitions& topic : assignment.revoked()) {
      revoked.insert(revoked.end(), topic.partitions().begin(), topic.partitions().end());
    }
    for (const uint32_t partition : revoked) {
      if (owned_.contains(partition)) told_to_give_up_.try_emplace(partition, Now());
    }
    for (const auto& [partition, owned] : owned_) {
      if (assigned.contains(partition) || told_to_give_up_.contains(partition)) continue;
      load_->history_.SawMember(name() + " was not told to give up partition " +
                                std::to_string(partition));
    }
    for (const auto& [partition, one] : assigned) {
      if (owned_.contains(partition)) continue;
      owned_[partition] = {.token = one.fencing_token(), .next = one.offset()};
      given_up_.erase(partition);
      load_->OnHanded(this, partition, one.fencing_token(), one.offset());
    }
    // It finishes what it is at first; now and then it takes too long for that.
    const bool takes_long = !revoked.empty() && !load_->is_stopped_ && random_.OneIn(15);
    const Duration delay = takes_long ? kRevoke * 2 : milliseconds(random_.Below(200));
    After(delay, [this, life = life_, version = version_] {
      if (life == life_ && version == version_ && !is_dead_) GiveUp();
    });
  }

  void GiveUp() {
    for (const auto& [partition, since] : std::exchange(told_to_give_up_, {})) {
      given_up_[partition] = owned_[partition];
      owned_.erase(partition);
      group_->partitions[partition].working.erase(this);
      MILLRACE_SOMETIMES("a member gave up a partition that it was told to");
    }
    v1::JoinRequest request;
    request.mutable_done()->set_version(version_);
    AddOwned(request.mutable_done()->mutable_owned());
    Send(request);
  }

  void PingRegularly() {
    After(kPing, [this] {
      if (!is_silent_ && current_ != nullptr) {
        v1::JoinRequest request;
        request.mutable_ping();
        pings_.push_back(Now());
        Send(request);
      }
      PingRegularly();
    });
  }

  void CommitRegularly() {
    After(milliseconds(random_.Between(50, 400)), [this] {
      CommitSome();
      CommitRegularly();
    });
  }

  // Also, now and then, for what it has given up, as somebody does who is late.
  void CommitSome() {
    if (current_ == nullptr) return;
    const std::vector<Offset> ends = load_->ends_();
    v1::JoinRequest request;
    v1::OffsetCommit& commit = *request.mutable_commit();
    v1::TopicCommit& topic = *commit.add_topics();
    topic.set_topic("t");
    Commit sent;
    const auto add = [&](uint32_t partition, Owned* owned) {
      if (partition >= ends.size()) return;
      owned->next = std::max(
          owned->next, std::min(owned->next + int64_t(random_.Below(4)), ends[partition].value()));
      auto& one = *topic.add_partitions();
      one.set_partition(partition);
      one.set_offset(owned->next);
      sent.offsets[partition] = *owned;
    };
    for (auto& [partition, owned] : owned_) add(partition, &owned);
    if (random_.OneIn(10)) {
      for (auto& [partition, owned] : given_up_) add(partition, &owned);
    }
    if (topic.partitions().empty()) return;
    commit.set_commit_id(++last_commit_);
    commits_.emplace(last_commit_, std::move(sent));
    Send(request);
  }

  void OnCommitted(const v1::CommitResult& result) {
    const auto sent = commits_.extract(result.commit_id());
    if (sent.empty() || result.has_error()) return;
    std::map<uint32_t, Owned> taken = sent.mapped().offsets;
    for (const v1::RefusedOffset& refused : result.refused()) taken.erase(refused.partition());
    for (const auto& [partition, owned] : taken) {
      // One that was late may have come when it had the partition again.
      const auto now = owned_.find(partition);
      const uint32_t token = now == owned_.end() ? owned.token : now->second.token;
      load_->OnAcknowledged(*this, partition, token, owned.next);
    }
  }

  void Act() {
    After(milliseconds(random_.Between(500, 6'000)), [this] {
      if (!load_->is_stopped_ && !is_dead_ && current_ != nullptr) ActOnce();
      Act();
    });
  }

  void ActOnce() {
    switch (random_.Below(6)) {
      case 0:
        return GoAway();
      case 1:  // its process dies
        return BeginAnew(milliseconds(random_.Between(10, 8'000)));
      case 2:  // the connection breaks
        Disconnect();
        return After(milliseconds(random_.Below(500)), [this, life = life_] {
          if (life == life_ && current_ == nullptr && !is_dead_) Connect();
        });
      case 3:  // it hangs, and what it works on goes on
        is_silent_ = true;
        return After(kSession * 2, [this, life = life_] {
          if (life == life_) is_silent_ = false;
        });
      case 4:
        return OpenTwin();
      default:
        return;
    }
  }

  void GoAway() {
    StopAll();
    v1::JoinRequest request;
    request.mutable_leave()->set_will_be_back(number_ == 0 && random_.OneIn(2));
    Send(request);
    BeginAnew(milliseconds(random_.Between(10, 3'000)));
  }

  // The stream before this one is heard of for a while.
  void OpenTwin() {
    MILLRACE_SOMETIMES("a member had two streams");
    std::shared_ptr<Session> twin = std::exchange(current_, nullptr);
    Connect();
    After(kSession, [twin = std::move(twin)] {});
  }

  void OnClosed(const Status& status) {
    Disconnect();
    const bool is_out = status.code() == Code::kAborted;
    MILLRACE_SOMETIMES_IF("a member was told that it is none any more", is_out);
    if (is_out) return BeginAnew(milliseconds(random_.Between(10, 1'000)));
    After(milliseconds(random_.Between(10, 300)), [this, life = life_] {
      if (life == life_ && current_ == nullptr && !is_dead_) Connect();
    });
  }

  MembersLoad* load_;
  Shared* group_;
  const size_t number_;
  Random random_;
  uint64_t life_ = 0;
  uint64_t session_ = 0;
  int32_t epoch_ = 0;
  uint64_t version_ = 0;
  uint64_t topic_id_ = 0;
  bool is_dead_ = false;
  bool is_silent_ = false;
  std::shared_ptr<Session> current_;
  std::map<uint32_t, Owned> owned_;
  std::map<uint32_t, Owned> given_up_;
  std::map<uint32_t, MonotonicTime> told_to_give_up_;
  std::deque<MonotonicTime> pings_;  // sent, not answered yet
  std::vector<Outlived> outlived_;
  std::map<uint64_t, Commit> commits_;
  uint64_t last_commit_ = 0;
};

MembersLoad::MembersLoad(SimWorld& world, SimCluster& cluster, History& history, Random random,
                         std::function<std::vector<Offset>()> ends)
    : world_(world),
      cluster_(cluster),
      history_(history),
      random_(random),
      ends_(std::move(ends)),
      process_(world.AddProcess("members")),
      connector_(cluster.edge(), process_) {}

MembersLoad::~MembersLoad() = default;

void MembersLoad::Start() {
  groups_.resize(kGroups);
  for (size_t i = 0; i < kGroups; ++i) {
    groups_[i].name = "shared" + std::to_string(i);
    for (size_t number = 0; number < kMembers; ++number) {
      groups_[i].members.push_back(
          std::make_unique<Member>(*this, groups_[i], number, random_.Fork()));
    }
  }
  for (Shared& group : groups_) {
    for (const auto& member : group.members) {
      process_.executor().RunAfter(milliseconds(random_.Below(3'000)),
                                   [&member] { member->Begin(); });
    }
  }
}

void MembersLoad::OnHanded(Member* member, uint32_t partition, uint32_t token, int64_t offset) {
  Work& work = member->group().partitions[partition];
  const std::string name = "partition " + std::to_string(partition);
  const auto [owner, is_new] = work.owners.try_emplace(token, member);
  if (owner->second != member) {
    history_.SawMember(name + " was given to " + member->name() + " and " + owner->second->name() +
                       " with token " + std::to_string(token));
  }
  if (is_new) work.handed[token] = offset;
  for (const auto& [other, other_token] : work.working) {
    const bool is_older = other_token < token;
    (is_older ? other : member)->MustBeOut(partition, (is_older ? member : other)->name());
  }
  work.working[member] = token;
  CheckOffsets(member->group(), partition);
  MILLRACE_SOMETIMES("a member was given a partition");
}

void MembersLoad::OnAcknowledged(const Member& member, uint32_t partition, uint32_t token,
                                 int64_t offset) {
  Shared& group = *std::ranges::find(groups_, member.group().name, &Shared::name);
  int64_t& largest = group.partitions[partition].acknowledged[token];
  largest = std::max(largest, offset);
  CheckOffsets(group, partition);
}

// What an owner was told is committed lies before what a later one was handed.
void MembersLoad::CheckOffsets(const Shared& group, uint32_t partition) {
  const Work& work = group.partitions.at(partition);
  int64_t committed = 0;
  for (const auto& [token, offset] : work.handed) {
    for (const auto& [other, acknowledged] : work.acknowledged) {
      if (other < token) committed = std::max(committed, acknowledged);
    }
    if (offset >= committed) continue;
    history_.SawMember(group.name + " partition " + std::to_string(partition) + " was handed at " +
                       std::to_string(offset) + " with token " + std::to_string(token) + ", and " +
                       std::to_string(committed) + " was committed before");
  }
}

bool MembersLoad::IsSettled() {
  const size_t partitions = ends_().size();
  return std::ranges::all_of(groups_, [&](Shared& group) {
    for (uint32_t partition = 0; partition < partitions; ++partition) {
      if (group.partitions[partition].working.size() != 1) return false;
    }
    return true;
  });
}

}  // namespace millrace::sim
