#include "tests/simulation/core/replica.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"

namespace millrace::simulation::core {
namespace {

using raft::core::Entry;
using raft::core::EntryType;

Entry Seal(const raft::core::Log& log, Term term, EntryType type, std::string_view payload) {
  FrameHeader header{.type = FrameType::kRecordBatch,
                     .payload_size = static_cast<uint32_t>(payload.size()),
                     .term = term,
                     .index = log.last_index() + 1,
                     .payload_crc = Crc32c(payload)};
  header.stored_crc = header.payload_crc;
  header.chain = FrameChain(log.last_chain(), header);
  Buffer frame = AllocateFrame(payload.size());
  std::memcpy(FramePayload(frame), payload.data(), payload.size());
  return {.term = term,
          .index = header.index,
          .type = type,
          .chain = header.chain,
          .frame = SealFrame(header, std::move(frame)),
          .configuration = nullptr};
}

raft::core::Configuration AllVoters(uint32_t count) {
  raft::core::Configuration configuration;
  for (size_t at = 0; at < count; ++at) configuration.voters.push_back(VoterAt(at));
  return configuration;
}

// What the disk holds, as a boot gives it to the core: the tail from the segments' end on.
raft::core::Log RecoveredLog(const DiskImage& image) {
  using raft::core::Log;
  const uint64_t split = image.segment_end.value();
  Log::Prefix prefix{
      .index = image.begin.index, .term = image.begin.term, .chain = image.begin.chain};
  std::vector<raft::core::TermStart> starts;
  for (uint64_t at = image.begin.index.value(); at < split; ++at) {
    const Entry& entry = image.entries[at];
    if (starts.empty() || starts.back().term != entry.term) {
      starts.push_back({.term = entry.term, .first_index = entry.index});
    }
    prefix = {.index = entry.index, .term = entry.term, .chain = entry.chain};
  }
  const auto tail = image.entries.begin() + static_cast<std::ptrdiff_t>(split);
  return {image.begin, prefix, std::move(starts), std::vector<Entry>(tail, image.entries.end())};
}

}  // namespace

Voter VoterAt(size_t at) {
  const auto place = static_cast<uint32_t>(at);
  return {.broker = BrokerId(place + 1),
          .incarnation = Incarnation(100 + at),
          .number = ReplicaNumber(place + 1)};
}

SimReplica::SimReplica(size_t place, World* world, Random random)
    : place_(place),
      self_(VoterAt(place)),
      world_(world),
      random_(random),
      disk_(&world->queue, random_.Fork()) {}

void SimReplica::Boot() {
  CHECK(!is_up());
  ++boot_;
  const DiskImage& image = disk_.image();
  raft::core::Options options{.self = self_};
  options.inflight_bytes_max = 12'000;
  options.append_bytes_max = 3'000;
  options.uncommitted_bytes_max = 60'000;
  options.random_seed = random_.Next();
  raft_ = std::make_unique<raft::core::Raft>(
      options, raft::core::InitialState{.hard_state = image.hard_state,
                                        .log = RecoveredLog(image),
                                        .epoch = image.epoch,
                                        .commit_index = image.segment_end,
                                        .configuration = AllVoters(world_->voters)});
  commit_seen_ = raft_->commit_index();
  tick_us_ = kTickUs + static_cast<int64_t>(random_.Below(3'000)) - 1'500;
  ScheduleTick();
}

void SimReplica::Crash() {
  CHECK(is_up());
  raft_.reset();
  ++boot_;
  held_.clear();
  is_resuming_ = false;
  paused_until_us_ = 0;
  reads_.clear();
  disk_.Crash();
  world_->statistics.Count("crashes");
}

void SimReplica::Do(std::function<void()> input) {
  if (!is_up()) return;
  const bool is_paused = world_->queue.now_us() < paused_until_us_;
  if (!is_paused && held_.empty()) {
    input();
    return Pump();
  }
  held_.push_back(std::move(input));
  if (std::exchange(is_resuming_, true)) return;
  world_->queue.At(paused_until_us_, [this, boot = boot_] {
    if (boot != boot_) return;
    is_resuming_ = false;
    std::deque<std::function<void()>> held = std::exchange(held_, {});
    for (std::function<void()>& late : held) Do(std::move(late));
  });
}

void SimReplica::ScheduleTick() {
  world_->queue.After(tick_us_, [this, boot = boot_] {
    if (boot != boot_) return;
    // A timer that fired while the process stood still fires once.
    if (world_->queue.now_us() >= paused_until_us_) Do([this] { raft_->Tick(); });
    ScheduleTick();
  });
}

void SimReplica::Receive(size_t from, raft::core::Message message) {
  Do([this, from, m = std::move(message)] { raft_->Step(VoterAt(from), m); });
}

void SimReplica::PeerConnected(size_t peer) {
  Do([this, peer] {
    const auto delay = static_cast<uint32_t>(random_.Below(3));
    raft_->PeerConnected(VoterAt(peer).holder(), delay);
  });
}

void SimReplica::PeerDisconnected(size_t peer) {
  Do([this, peer] {
    const auto delay = static_cast<uint32_t>(random_.Below(3));
    raft_->PeerDisconnected(VoterAt(peer).broker, delay);
  });
}

void SimReplica::Campaign() {
  Do([this] { raft_->Campaign(); });
}

void SimReplica::StepDown() {
  Do([this] { raft_->StepDown(); });
}

bool SimReplica::Propose(size_t bytes) {
  // A leader first appends its no-op; the host holds proposals back until then.
  if (!is_leader() || raft_->log().last_term() != raft_->term()) return false;
  if (world_->queue.now_us() < paused_until_us_) return false;
  ProposeSealed(EntryType::kCommand, bytes);
  Pump();
  return true;
}

void SimReplica::ProposeSealed(EntryType type, size_t bytes) {
  std::string payload(bytes, 'x');
  for (size_t at = 0; at < std::min<size_t>(bytes, 8); ++at) {
    payload[at] = static_cast<char>(random_.Below(256));
  }
  const Status proposed = raft_->Propose(Seal(raft_->log(), raft_->term(), type, payload));
  world_->statistics.Count(proposed.ok() ? "proposals" : "proposals refused");
}

void SimReplica::Read() {
  Do([this] {
    const uint64_t id = ++next_read_;
    if (raft_->ReadIndex(id).ok()) reads_[id] = world_->oracle->committed();
  });
}

void SimReplica::TrimTail() {
  if (!is_up()) return;
  const LogIndex index = std::min(raft_->commit_index(), disk_.image().last_index());
  // Only what is the same in memory and on the disk may move.
  if (!raft_->log().InTail(index) || !disk_.image().Holds(raft_->log().At(index))) return;
  disk_.MoveToSegments(index);
  raft_->TrimTail(index);
  world_->statistics.Count("trims");
}

void SimReplica::MoveBegin() {
  if (!is_up()) return;
  const LogIndex index = std::min(world_->oracle->HeldByAll(), raft_->log().prefix().index);
  if (index <= raft_->log().begin().index) return;
  const Entry& last = disk_.image().entries[index.value() - 1];
  const raft::core::LogPoint begin{.index = index, .term = last.term, .chain = last.chain};
  disk_.MoveBegin(begin);
  raft_->MoveBeginTo(begin);
  world_->statistics.Count("moved begins");
}

void SimReplica::Pump() {
  raft_->CheckInvariants();
  while (raft_->HasReady() && world_->oracle->ok()) {
    CarryOut(raft_->TakeReady());
    raft_->CheckInvariants();
  }
}

void SimReplica::CarryOut(raft::core::Ready ready) {
  Observe(ready);
  if (!ready.fault.ok()) {
    return world_->oracle->Report("replica fault",
                                  std::to_string(place_ + 1) + ": " + ready.fault.ToString());
  }
  for (raft::core::OutgoingMessage& outgoing : ready.messages) {
    world_->oracle->OnSent(*raft_, self_, outgoing, disk_.image());
    const size_t to = outgoing.to.broker.value() - 1;
    world_->network->Send(place_, to, std::move(outgoing.message));
  }
  if (ready.write) {
    disk_.Write(std::move(*ready.write), [this](const raft::core::DurablePoint& point) {
      Do([this, point] {
        if (point.epoch < raft_->epoch()) world_->statistics.Count("late completions");
        raft_->OnDurable(point);
      });
    });
  }
  for (const raft::core::EntriesWanted& wanted : ready.wanted) ReadForPeer(wanted);
  // Nothing is dropped that somebody lacks, so that only an old answer says so; it must not count
  // for ever.
  world_->statistics.Count("followers that seemed to need what was dropped", ready.behind.size());
  for (const auto& read : ready.read_states) {
    auto asked = reads_.extract(read.request_id);
    CHECK(!asked.empty());
    world_->oracle->OnRead(self_, asked.mapped(), read.index);
    world_->statistics.Count("reads");
  }
  if (ready.wants_no_op && raft_->is_leader()) ProposeSealed(EntryType::kNoOp, 40);
}

void SimReplica::Observe(const raft::core::Ready& ready) {
  Statistics& statistics = world_->statistics;
  if (ready.leadership_changed) {
    if (ready.wants_no_op) {
      statistics.Count("elections won");
      world_->oracle->OnBecameLeader(self_, raft_->term(), raft_->log());
    }
    if (raft_->role() == raft::core::Role::kCandidate) statistics.Count("candidacies");
    if (raft_->role() == raft::core::Role::kPreCandidate) statistics.Count("pre-votes");
  }
  if (ready.write) {
    for (const Entry& entry : ready.write->entries) world_->oracle->OnAppended(self_, entry);
    if (ready.write->truncate_from) statistics.Count("truncations");
  }
  world_->oracle->OnCommitted(self_, *raft_, commit_seen_, ready.commit_index);
  commit_seen_ = ready.commit_index;
  statistics.Mix(static_cast<uint64_t>(world_->queue.now_us()) * 8 + place_);
  statistics.Mix(raft_->term().value() * 4 + static_cast<uint64_t>(raft_->role()));
  statistics.Mix(raft_->log().last_chain());
  statistics.Mix(raft_->commit_index().value() * 1024 + ready.messages.size());
}

void SimReplica::ReadForPeer(const raft::core::EntriesWanted& wanted) {
  world_->statistics.Count("reads for followers");
  const int64_t delay = static_cast<int64_t>(random_.Between(100, 20'000));
  world_->queue.After(delay, [this, wanted, boot = boot_, fails = random_.OneIn(10)] {
    if (boot != boot_) return;
    std::vector<Entry> entries;
    uint64_t bytes = 0;
    const DiskImage& image = disk_.image();
    for (LogIndex at = wanted.first_index; !fails && at <= image.segment_end; ++at) {
      const Entry& entry = image.entries[at.value() - 1];
      bytes += entry.size_bytes();
      if (!entries.empty() && bytes > wanted.bytes_max) break;
      entries.push_back(entry);
    }
    Do([this, wanted, read = std::move(entries)] {
      raft_->OnEntriesRead(wanted.peer, wanted.first_index, read);
    });
  });
}

}  // namespace millrace::simulation::core
