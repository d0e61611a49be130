#include "tests/raft/core/lab.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"

namespace millrace::raft::core {
namespace {

// All entries are as small as can be, and scripts give sizes in entries.
constexpr size_t kEntryBytes = kFrameHeaderSize;

uint32_t IdOf(const Voter& voter) { return voter.broker.value(); }

std::vector<Voter> VotersNamed(const std::string& list) {
  std::vector<Voter> voters;
  for (const std::string& name : Split(list, ',')) voters.push_back(VoterNamed(name));
  std::sort(voters.begin(), voters.end());
  return voters;
}

// "3@1": index 3 of term 1.
std::pair<LogIndex, Term> PlaceNamed(const std::string& text) {
  const std::vector<std::string> parts = Split(text, '@');
  CHECK_EQ(parts.size(), 2u) << text;
  return {LogIndex(std::stoull(parts[0])), Term(std::stoull(parts[1]))};
}

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kFollower:
      return "follower";
    case Role::kPreCandidate:
      return "pre-candidate";
    case Role::kCandidate:
      return "candidate";
    case Role::kLeader:
      return "leader";
  }
  return "";
}

}  // namespace

Voter VoterNamed(const std::string& name) {
  const std::vector<std::string> numbered = Split(name, '#');
  const std::vector<std::string> parts = Split(numbered.at(0), '.');
  const auto number = numbered.size() > 1 ? static_cast<uint32_t>(std::stoul(numbered[1])) : 1;
  return {.broker = BrokerId(static_cast<uint32_t>(std::stoul(parts.at(0)))),
          .incarnation = Incarnation(parts.size() > 1 ? std::stoull(parts[1]) : 1),
          .number = ReplicaNumber(number)};
}

Entry SealedEntry(uint32_t chain_before, Term term, LogIndex index) {
  FrameHeader header{.type = FrameType::kRecordBatch, .term = term, .index = index};
  header.chain = FrameChain(chain_before, header);
  return {.term = term,
          .index = index,
          .chain = header.chain,
          .frame = SealFrame(header, AllocateFrame(0)),
          .configuration = nullptr};
}

Raft& Lab::raft(uint32_t id) {
  auto found = nodes_.find(id);
  CHECK(found != nodes_.end()) << "no node " << id;
  CHECK(found->second.raft != nullptr) << "node " << id << " is down";
  return *found->second.raft;
}

std::string Lab::Run(const Command& command) {
  output_.clear();
  const std::string& name = command.name();
  const auto id = static_cast<uint32_t>(command.Number("node"));
  if (name == "cluster") {
    MakeCluster(command);
  } else if (name == "node") {
    MakeNode(command);
  } else if (name == "crash") {
    nodes_.at(id).raft.reset();
    nodes_.at(id).writes.clear();
    nodes_.at(id).role_seen.clear();
  } else if (name == "restart") {
    Restart(id);
  } else if (name == "deliver" || name == "drop") {
    Deliver(command, name == "drop");
  } else if (name == "settle") {
    Settle(command);
  } else if (name == "state" || name == "log") {
    for (const auto& [each, node] : nodes_) {
      if (id != 0 && id != each) continue;
      name == "log" ? PrintLog(each) : PrintState(each);
    }
  } else if (name == "messages") {
    for (const Envelope& envelope : messages_) output_ += Line(envelope) + "\n";
  } else {
    RunInput(command);
  }
  return output_;
}

void Lab::RunInput(const Command& command) {
  const std::string& name = command.name();
  const auto id = static_cast<uint32_t>(command.Number("node"));
  if (name == "campaign") {
    raft(id).Campaign();
  } else if (name == "step_down") {
    raft(id).StepDown();
  } else if (name == "propose") {
    Propose(command);
  } else if (name == "read") {
    const Status asked = raft(id).ReadIndex(command.Number("id"));
    if (!asked.ok()) output_ += std::to_string(id) + ": " + asked.ToString() + "\n";
  } else if (name == "trim") {
    Trim(id, LogIndex(command.Number("index")));
  } else if (name == "begin") {
    MoveBegin(id, LogIndex(command.Number("index")));
  } else if (name == "give_entries") {
    GiveEntries(id);
  } else if (name == "sync") {
    Sync(id, command.Number("writes", 1'000));
  } else if (name == "time_out") {
    TimeOut(id);
  } else if (name == "inject") {
    Inject(command);
  } else if (name == "disconnect") {
    raft(id).PeerDisconnected(BrokerId(static_cast<uint32_t>(command.Number("peer"))),
                              static_cast<uint32_t>(command.Number("delay")));
  } else if (name == "connect") {
    raft(id).PeerConnected(VoterNamed(command.Text("peer")).holder(),
                           static_cast<uint32_t>(command.Number("delay")));
  } else if (name == "tick") {
    for (uint64_t count = command.Number("count", 1); count > 0; --count) {
      for (auto& [each, node] : nodes_) {
        if (node.raft == nullptr || (id != 0 && id != each)) continue;
        node.raft->Tick();
        Pump(each);
      }
    }
  } else {
    LOG(FATAL) << "unknown command " << name;
  }
  if (id != 0) Pump(id);
}

void Lab::MakeCluster(const Command& command) {
  nodes_.clear();
  messages_.clear();
  options_ = Options{};
  options_.inflight_bytes_max =
      kEntryBytes * command.Number("inflight", options_.inflight_bytes_max / kEntryBytes);
  options_.append_bytes_max =
      kEntryBytes * command.Number("append", options_.append_bytes_max / kEntryBytes);
  options_.uncommitted_bytes_max =
      kEntryBytes * command.Number("uncommitted", options_.uncommitted_bytes_max / kEntryBytes);
  is_disk_manual_ = command.Text("disk") == "manual";
  configuration_ = Configuration{};
  const uint64_t voters = command.Number("voters");
  for (uint64_t id = 1; id <= voters; ++id) {
    configuration_.voters.push_back(VoterNamed(std::to_string(id)));
  }
  for (uint64_t id = 1; id <= voters; ++id) MakeNode(Command("node id=" + std::to_string(id)));
}

void Lab::MakeNode(const Command& command) {
  const uint32_t id = IdOf(VoterNamed(command.Text("id")));
  Node& node = nodes_[id] = Node{};
  node.self = VoterNamed(command.Text("id"));
  node.disk.configuration = configuration_;
  if (command.Has("voters")) node.disk.configuration.voters = VotersNamed(command.Text("voters"));
  if (command.Has("outgoing")) {
    node.disk.configuration.outgoing = VotersNamed(command.Text("outgoing"));
  }
  uint32_t chain = 0;
  for (uint64_t term : command.Numbers("log")) {
    const LogIndex index(node.entries.size() + 1);
    node.entries.push_back(SealedEntry(chain, Term(term), index));
    chain = node.entries.back().chain;
  }
  const Term last = node.entries.empty() ? Term() : node.entries.back().term;
  node.disk.hard_state.term = Term(command.Number("term", last.value()));
  if (command.Has("vote")) node.disk.hard_state.vote = VoterNamed(command.Text("vote"));
  node.disk.commit_index = LogIndex(command.Number("commit"));
  if (command.Has("begin")) {
    const Entry& dropped = node.entries.at(command.Number("begin") - 1);
    node.begin = {.index = dropped.index, .term = dropped.term, .chain = dropped.chain};
  }
  Restart(id);
  if (command.Has("trimmed")) Trim(id, LogIndex(command.Number("trimmed")));
}

void Lab::Restart(uint32_t id) {
  Node& node = nodes_.at(id);
  InitialState initial = node.disk;
  const auto first = static_cast<std::ptrdiff_t>(node.begin.index.value());
  initial.log = Log(node.begin,
                    {.index = node.begin.index, .term = node.begin.term, .chain = node.begin.chain},
                    {}, std::vector<Entry>(node.entries.begin() + first, node.entries.end()));
  Options options = options_;
  options.self = node.self;
  options.random_seed = id;
  node.raft = std::make_unique<Raft>(options, std::move(initial));
  node.role_seen = RoleName(Role::kFollower);
  node.commit_seen = node.raft->commit_index();
  node.segment.clear();
}

void Lab::Propose(const Command& command) {
  const auto id = static_cast<uint32_t>(command.Number("node"));
  for (uint64_t count = command.Number("count", 1); count > 0; --count) {
    Raft& leader = raft(id);
    Entry entry =
        SealedEntry(leader.log().last_chain(), leader.term(), leader.log().last_index() + 1);
    if (command.Has("voters") || command.Has("learners")) {
      entry.type = EntryType::kConfiguration;
      Configuration next = leader.configuration();
      if (command.Has("voters")) next.voters = VotersNamed(command.Text("voters"));
      next.outgoing = VotersNamed(command.Text("outgoing"));
      if (command.Has("learners")) next.learners = VotersNamed(command.Text("learners"));
      entry.configuration = std::make_shared<const Configuration>(std::move(next));
    }
    const Status proposed = leader.Propose(std::move(entry));
    if (!proposed.ok()) output_ += std::to_string(id) + ": " + proposed.ToString() + "\n";
  }
}

// kind=append prev=I@T [entries=I@T,I@T!] [commit=I]   ("!": its chain is not what it should be)
// kind=heartbeat [commit=I]      kind=vote|pre-vote last=I@T [transfer=1]
// kind=vote-reply|pre-vote-reply granted=0|1      kind=append-reply durable=I | refused=I hint=I@T
// kind=behind begin=I
void Lab::Inject(const Command& command) {
  const std::string kind = command.Text("kind");
  const Term term(command.Number("term"));
  const auto to = static_cast<uint32_t>(command.Number("to"));
  const LogIndex commit(command.Number("commit"));
  Message message;
  if (kind == "append") {
    const auto [prev_index, prev_term] = PlaceNamed(command.Text("prev", "0@0"));
    AppendRequest append{.term = term,
                         .prev_index = prev_index,
                         .prev_term = prev_term,
                         .commit_index = commit,
                         .entries = {}};
    const Log& log = raft(to).log();
    uint32_t chain = log.InTail(prev_index) ? log.At(prev_index).chain : 0;
    for (const std::string& place : Split(command.Text("entries"), ',')) {
      const auto [index, entry_term] = PlaceNamed(place);
      append.entries.push_back(SealedEntry(chain, entry_term, index));
      if (place.ends_with('!')) ++append.entries.back().chain;
      chain = append.entries.back().chain;
    }
    message = std::move(append);
  } else if (kind == "heartbeat") {
    message = Heartbeat{.term = term, .commit_index = commit};
  } else if (kind == "vote" || kind == "pre-vote") {
    const auto [last_index, last_term] = PlaceNamed(command.Text("last", "0@0"));
    message = VoteRequest{.term = term,
                          .is_pre_vote = kind == "pre-vote",
                          .last_log_term = last_term,
                          .last_log_index = last_index,
                          .is_transfer = command.Number("transfer") != 0};
  } else if (kind == "vote-reply" || kind == "pre-vote-reply") {
    message = VoteReply{.term = term,
                        .is_pre_vote = kind == "pre-vote-reply",
                        .granted = command.Number("granted") != 0};
  } else if (kind == "behind") {
    message = Behind{.term = term, .begin = LogIndex(command.Number("begin"))};
  } else {
    CHECK_EQ(kind, "append-reply");
    const bool is_refusal = command.Has("refused");
    const auto [hint_index, hint_term] = PlaceNamed(command.Text("hint", "0@0"));
    message = AppendReply{.term = term,
                          .success = !is_refusal,
                          .index = LogIndex(command.Number(is_refusal ? "refused" : "durable")),
                          .hint_index = hint_index,
                          .hint_term = hint_term};
  }
  raft(to).Step(VoterNamed(command.Text("from")), std::move(message));
  Pump(to);
}

void Lab::Trim(uint32_t id, LogIndex index) {
  Node& node = nodes_.at(id);
  for (LogIndex at = raft(id).log().prefix().index + 1; at <= index; ++at) {
    node.segment[at] = raft(id).log().At(at);
  }
  raft(id).TrimTail(index);
}

void Lab::MoveBegin(uint32_t id, LogIndex index) {
  Node& node = nodes_.at(id);
  const Entry& last = node.segment.at(index);
  node.begin = {.index = last.index, .term = last.term, .chain = last.chain};
  // A read that is under way still finds what is dropped, so it stays in the segment.
  raft(id).MoveBeginTo(node.begin);
}

void Lab::GiveEntries(uint32_t id) {
  Node& node = nodes_.at(id);
  for (const EntriesWanted& wanted : std::exchange(node.wanted, {})) {
    std::vector<Entry> entries;
    uint64_t bytes = 0;
    for (auto at = node.segment.find(wanted.first_index); at != node.segment.end(); ++at) {
      bytes += at->second.size_bytes();
      if (!entries.empty() && bytes > wanted.bytes_max) break;
      entries.push_back(at->second);
    }
    raft(id).OnEntriesRead(wanted.peer, wanted.first_index, std::move(entries));
  }
}

void Lab::Sync(uint32_t id, uint64_t writes) {
  Node& node = nodes_.at(id);
  for (; writes > 0 && !node.writes.empty() && node.raft != nullptr; --writes) {
    const StorageWrite write = std::move(node.writes.front());
    node.writes.pop_front();
    if (write.hard_state) node.disk.hard_state = *write.hard_state;
    if (write.truncate_from && write.truncate_from->value() <= node.entries.size()) {
      node.entries.resize(write.truncate_from->value() - 1);
    }
    node.disk.epoch = write.epoch;
    node.entries.insert(node.entries.end(), write.entries.begin(), write.entries.end());
    node.raft->OnDurable(write.durable_point);
    Pump(id);
  }
}

void Lab::TimeOut(uint32_t id) {
  for (uint32_t ticks = 0; ticks <= 2 * options_.election_timeout_ticks; ++ticks) {
    raft(id).Tick();
    if (raft(id).role() != Role::kFollower) return Pump(id);
    Pump(id);
  }
}

bool Lab::Matches(const Envelope& envelope, const Command& command) const {
  const uint32_t to = IdOf(envelope.outgoing.to);
  if (command.Has("from") && command.Number("from") != envelope.from) return false;
  if (command.Has("to") && command.Number("to") != to) return false;
  for (uint64_t without : command.Numbers("without")) {
    if (without == to || without == envelope.from) return false;
  }
  if (!command.Has("kind")) return true;
  return Split(Describe(envelope.outgoing.message), ' ').front() == command.Text("kind");
}

void Lab::Deliver(const Command& command, bool is_dropped) {
  // Answers to what is delivered wait for the next command.
  uint64_t count = command.Number("count", messages_.size());
  std::deque<Envelope> waiting = std::exchange(messages_, {});
  std::deque<Envelope> left;
  for (Envelope& envelope : waiting) {
    if (count == 0 || !Matches(envelope, command)) {
      left.push_back(std::move(envelope));
      continue;
    }
    --count;
    if (is_dropped) continue;
    output_ += Line(envelope) + "\n";
    Receive(envelope);
  }
  messages_.insert(messages_.begin(), left.begin(), left.end());
}

void Lab::Settle(const Command& command) {
  for (bool has_moved = true; std::exchange(has_moved, false);) {
    for (auto& [id, node] : nodes_) Sync(id, 1'000);
    for (Envelope& envelope : std::exchange(messages_, {})) {
      // What is for or of those left out is lost.
      if (!Matches(envelope, command)) continue;
      has_moved = true;
      Receive(envelope);
    }
  }
}

void Lab::Receive(const Envelope& envelope) {
  const uint32_t to = IdOf(envelope.outgoing.to);
  auto found = nodes_.find(to);
  if (found == nodes_.end() || found->second.raft == nullptr) return;
  // As the host does: to another life of the replica.
  if (found->second.self != envelope.outgoing.to) return;
  found->second.raft->Step(envelope.sender, envelope.outgoing.message);
  Pump(to);
}

void Lab::Pump(uint32_t id) {
  Node& node = nodes_.at(id);
  if (node.raft == nullptr) return;
  node.raft->CheckInvariants();
  while (node.raft->HasReady()) {
    Ready ready = node.raft->TakeReady();
    Observe(id, ready);
    if (!ready.fault.ok()) {
      node.raft.reset();
      return;
    }
    for (OutgoingMessage& outgoing : ready.messages) {
      messages_.push_back({id, node.self, std::move(outgoing)});
    }
    for (EntriesWanted& wanted : ready.wanted) node.wanted.push_back(wanted);
    if (ready.write) node.writes.push_back(std::move(*ready.write));
    if (ready.wants_no_op && node.raft->is_leader()) {
      Entry no_op = SealedEntry(node.raft->log().last_chain(), node.raft->term(),
                                node.raft->log().last_index() + 1);
      no_op.type = EntryType::kNoOp;
      CHECK(node.raft->Propose(std::move(no_op)).ok());
    }
    if (!is_disk_manual_) Sync(id, 1'000);
  }
}

void Lab::Observe(uint32_t id, const Ready& ready) {
  Node& node = nodes_.at(id);
  std::ostringstream out;
  const std::string role(RoleName(node.raft->role()));
  if (role != node.role_seen) out << id << ": " << role << " in term " << node.raft->term() << "\n";
  node.role_seen = role;
  if (ready.commit_index != node.commit_seen) {
    out << id << ": commits up to " << ready.commit_index << "\n";
  }
  node.commit_seen = ready.commit_index;
  for (const EntriesWanted& wanted : ready.wanted) {
    out << id << ": wants entries from " << wanted.first_index << " for " << IdOf(wanted.peer)
        << "\n";
  }
  for (const FollowerBehind& follower : ready.behind) {
    out << id << ": " << IdOf(follower.peer) << " needs entry " << follower.needed
        << ", below the begin\n";
  }
  if (ready.left_behind_by.has_value()) {
    out << id << ": is left behind by " << IdOf(*ready.left_behind_by) << "\n";
  }
  for (const ReadState& read : ready.read_states) {
    out << id << ": read " << read.request_id << " at " << read.index << "\n";
  }
  if (!ready.fault.ok()) out << id << ": stops, " << ready.fault << "\n";
  output_ += out.str();
}

std::string Lab::Line(const Envelope& envelope) const {
  return std::to_string(envelope.from) + "->" + std::to_string(IdOf(envelope.outgoing.to)) + " " +
         Describe(envelope.outgoing.message);
}

void Lab::PrintState(uint32_t id) {
  const Node& node = nodes_.at(id);
  std::ostringstream out;
  out << id << ": ";
  if (node.raft == nullptr) {
    out << "down\n";
  } else {
    out << RoleName(node.raft->role()) << " term=" << node.raft->term()
        << " leader=" << node.raft->leader().broker << " last=" << node.raft->log().last_index()
        << "@" << node.raft->log().last_term() << " commit=" << node.raft->commit_index() << "\n";
  }
  output_ += out.str();
}

void Lab::PrintLog(uint32_t id) {
  const Log& log = raft(id).log();
  std::ostringstream out;
  out << id << ":";
  if (log.begin().index != LogIndex()) {
    out << " begin=" << log.begin().index << "@" << log.begin().term;
  }
  for (LogIndex at = log.first_index(); at <= log.last_index(); ++at) {
    out << " " << at << "@" << *log.TermAt(at);
  }
  const Configuration& in_force = raft(id).configuration();
  out << " voters=";
  for (const Voter& voter : in_force.voters) out << IdOf(voter) << ",";
  if (in_force.is_joint()) out << " outgoing=";
  for (const Voter& voter : in_force.outgoing) out << IdOf(voter) << ",";
  if (!in_force.learners.empty()) out << " learners=";
  for (const Voter& voter : in_force.learners) out << IdOf(voter) << ",";
  output_ += out.str() + "\n";
}

}  // namespace millrace::raft::core
