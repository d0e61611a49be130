#include "tests/simulation/broker/readers_load.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kReaders = 3;
constexpr Duration kSession = seconds(5);
constexpr Duration kRevoke = seconds(4);

}  // namespace

// One process that is a member again and again.
class ReadersLoad::Reader {
 public:
  Reader(ReadersLoad& load, size_t number, Random random)
      : load_(load),
        name_("group reader " + std::to_string(number)),
        is_static_(number == 0),
        random_(random),
        own_(load.world_, load.cluster_.edge(), load.cluster_.addresses(), name_) {
    After(milliseconds(random_.Below(2'000)), [this] {
      Join();
      Act();
    });
  }

  void Wake() { own_.process.Resume(); }

 private:
  // A partition, since it was assigned.
  struct Tenure {
    uint32_t token = 0;
    std::optional<Offset> next;  // to be read; not known before the first batch
  };
  struct InHand {
    client::OwnedPartition partition;
    Offset end;
  };

  template <typename Call>
  void After(Duration delay, Call call) {
    own_.process.executor().RunAfter(delay, std::move(call));
  }
  // Unless it is another life by then.
  template <typename Call>
  void AfterInThisLife(Duration delay, Call call) {
    After(delay, [this, life = life_, call = std::move(call)] {
      if (life == life_) call();
    });
  }

  void Join() {
    ++life_;
    client::GroupConsumerOptions options;
    options.session.group = "readers";
    options.session.subscription.add_topics("t");
    options.session.session_timeout = kSession;
    options.session.revoke_timeout = kRevoke;
    if (is_static_) options.session.instance_id = "static reader";
    options.commit_interval = milliseconds(random_.Between(50, 2'000));
    options.tuning.below_log_start = client::StartAt::Earliest();
    reader_ = std::make_unique<client::GroupConsumer>(
        own_.client, options,
        client::GroupConsumer::Listener{
            .ready = [this] { TakeOne(); },
            .assigned = [this](const auto& partitions) { OnAssigned(partitions); },
            .revoked = [this](const auto& partitions) { OnRevoked(partitions); },
            .lost =
                [this](const auto& partitions, const Status&) {
                  for (const TopicPartition& one : partitions) tenures_.erase(one);
                  MILLRACE_SOMETIMES("a group's reader lost its partitions");
                },
            .failed =
                [this](const Status& why) {
                  load_.history_.SawMember(name_ + " failed: " + why.ToString());
                }});
    reader_->Start();
  }

  // Dies, and is somebody else after a while.
  void End() {
    tenures_.clear();
    in_hand_.reset();
    // In a turn of its own: it may be what is running.
    own_.process.executor().Post(
        [gone = std::shared_ptr<client::GroupConsumer>(std::move(reader_))] {});
    ++life_;
    AfterInThisLife(milliseconds(random_.Below(2'000)), [this] { Join(); });
  }

  void Act() {
    After(milliseconds(random_.Between(500, 6'000)), [this] { Act(); });
    if (load_.is_stopped_ || reader_ == nullptr) return;
    switch (random_.Below(4)) {
      case 0:
        End();
        return;
      case 1:
        tenures_.clear();
        in_hand_.reset();
        reader_->Leave(is_static_, [this] { End(); });
        return;
      case 2:
        own_.process.Pause();
        load_.world_.After(milliseconds(random_.Between(100, 9'000)), [this] { Wake(); });
        return;
      default:
        is_slow_ = !is_slow_;
    }
  }

  void OnAssigned(const std::vector<client::GroupPartition>& partitions) {
    for (const client::GroupPartition& one : partitions) {
      tenures_[one.partition] = {.token = one.fencing_token, .next = one.committed};
      if (one.committed) load_.OnBegins(name_, one.partition, *one.committed);
    }
    MILLRACE_SOMETIMES("a group's reader was given partitions");
  }

  void OnRevoked(const std::vector<TopicPartition>& partitions) {
    AfterInThisLife(milliseconds(random_.Below(1'000)), [this, partitions] {
      if (reader_ == nullptr) return;
      reader_->GaveUp(partitions);
      for (const TopicPartition& one : partitions) tenures_.erase(one);
      MILLRACE_SOMETIMES("a group's reader gave partitions up");
    });
  }

  // One batch after the other.
  void TakeOne() {
    if (in_hand_ || reader_ == nullptr) return;
    const std::optional<client::FetchedChunk> chunk = reader_->Next();
    if (!chunk) return;
    const auto tenure = tenures_.find(chunk->partition);
    if (tenure == tenures_.end()) return TakeOne();  // it leaves, or gives it up
    if (!chunk->status.ok()) {
      load_.history_.SawMember(name_ + " cannot read: " + chunk->status.ToString());
      return TakeOne();
    }
    if (chunk->has_moved) {
      tenure->second.next.reset();
      return TakeOne();
    }
    CheckOrder(*chunk, &tenure->second);
    in_hand_ = {.partition = {.partition = chunk->partition, .fencing_token = tenure->second.token},
                .end = chunk->end_wanted};
    const bool is_slow = is_slow_ && !load_.is_stopped_;
    AfterInThisLife(milliseconds(random_.Below(is_slow ? 200 : 10)), [this] { Finish(); });
  }

  void CheckOrder(const client::FetchedChunk& chunk, Tenure* tenure) {
    const Offset first = chunk.first_wanted;
    if (tenure->next && *tenure->next != first) {
      load_.history_.SawMember(name_ + " read offset " + std::to_string(first.value()) + " where " +
                               std::to_string(tenure->next->value()) + " was next");
    }
    if (!tenure->next) load_.OnBegins(name_, chunk.partition, first);
    tenure->next = chunk.end_wanted;
  }

  void Finish() {
    const InHand done = *std::exchange(in_hand_, std::nullopt);
    const auto tenure = tenures_.find(done.partition.partition);
    if (tenure != tenures_.end() && tenure->second.token == done.partition.fencing_token) {
      load_.OnWorkedOn(done.partition.partition, done.end);
      reader_->MarkDone({.partition = done.partition, .next = done.end});
    }
    TakeOne();
  }

  ReadersLoad& load_;
  const std::string name_;
  const bool is_static_;
  Random random_;
  SimClient own_;
  std::unique_ptr<client::GroupConsumer> reader_;
  std::map<TopicPartition, Tenure> tenures_;
  std::optional<InHand> in_hand_;
  uint64_t life_ = 0;
  bool is_slow_ = false;
};

ReadersLoad::ReadersLoad(SimWorld& world, SimCluster& cluster, History& history, Random random)
    : world_(world), cluster_(cluster), history_(history), random_(random) {}

ReadersLoad::~ReadersLoad() = default;

void ReadersLoad::Start(bool may_lose) {
  may_lose_ = may_lose;
  for (size_t number = 0; number < kReaders; ++number) {
    readers_.push_back(std::make_unique<Reader>(*this, number, random_.Fork()));
  }
}

void ReadersLoad::Stop() {
  is_stopped_ = true;
  for (const auto& reader : readers_) reader->Wake();
}

void ReadersLoad::OnBegins(const std::string& name, const TopicPartition& partition,
                           Offset offset) {
  const Offset worked_on = worked_on_[partition];
  MILLRACE_SOMETIMES_IF("a group's reader went on where another was", offset > Offset(0));
  if (offset <= worked_on || may_lose_) return;
  history_.SawMember(name + " begins partition " + std::to_string(partition.partition.value()) +
                     " at " + std::to_string(offset.value()) + ", and the group has worked on " +
                     std::to_string(worked_on.value()) + " of it");
}

void ReadersLoad::OnWorkedOn(const TopicPartition& partition, Offset end) {
  Offset& worked_on = worked_on_[partition];
  worked_on = std::max(worked_on, end);
}

bool ReadersLoad::HasWorkedOn(const std::vector<Offset>& ends) const {
  // Where everything went that was there, nobody hears of the end.
  if (readers_.empty() || may_lose_) return true;
  size_t reached = 0;
  for (const auto& [partition, offset] : worked_on_) {
    const size_t number = partition.partition.value();
    if (number < ends.size() && offset >= ends[number] && ends[number] > Offset(0)) ++reached;
  }
  const auto has_any = [](Offset end) { return end > Offset(0); };
  return reached == static_cast<size_t>(std::ranges::count_if(ends, has_any));
}

}  // namespace millrace::sim
