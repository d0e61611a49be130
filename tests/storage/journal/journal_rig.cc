#include "tests/storage/journal/journal_rig.h"

#include <algorithm>
#include <cstring>
#include <sstream>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "proto/frame/frame.h"

namespace millrace::storage::journal {
namespace {

constexpr Duration kLong = std::chrono::seconds(30);

}  // namespace

JournalRig::JournalRig(uint64_t seed, const Options& options)
    : options_(options),
      world_(seed),
      random_(world_.Fork()),
      process_(&world_.AddProcess("broker")) {}

JournalRig::~JournalRig() {
  journal_.reset();
  files_.reset();
}

Status JournalRig::Start() {
  CHECK(journal_ == nullptr);
  if (!process_->is_alive()) process_->Restart();
  ++life_;
  failure_.clear();
  outstanding_ = 0;
  files_ = std::make_unique<sim::SimFileSystem>(disk_, process_->executor(), process_->Fork());
  journal::Options options{.key = options_.key,
                           .must_exist = options_.must_exist,
                           .file_bytes = options_.file_bytes,
                           .live_files_max = options_.live_files_max,
                           .block_bytes = options_.block_bytes};
  std::optional<Status> outcome;
  Journal::Open(options,
                {process_->executor(), *files_,
                 [this](const Status& status) { failure_ = status.ToString(); }},
                [&](Result<OpenedJournal> opened) {
                  outcome = opened.ok() ? Status::Ok() : opened.status();
                  if (!opened.ok()) return;
                  journal_ = std::move(opened->journal);
                  recovered_ = std::move(opened->state);
                });
  world_.RunUntil([&] { return outcome.has_value() || !process_->is_alive(); }, kLong);
  if (!outcome) return Aborted("the machine died while the journal was opened");
  return *outcome;
}

void JournalRig::Settle() {
  world_.RunUntil(
      [this] { return outstanding_ == 0 || !process_->is_alive() || !failure_.empty(); }, kLong);
}

void JournalRig::Crash(bool power) {
  disk_.ForgetCrash();
  if (process_->is_alive()) process_->Kill();
  journal_.reset();
  files_.reset();
  if (power) disk_.PowerLoss(random_);
}

bool JournalRig::StopCleanly() {
  bool is_stopped = false;
  process_->executor().Post([&] { journal_->Stop([&] { is_stopped = true; }); });
  world_.RunUntil([&] { return is_stopped || !process_->is_alive(); }, kLong);
  return is_stopped;
}

void JournalRig::Submit(uint64_t group, decltype(GroupRecord::body) body) {
  const uint64_t life = life_;
  const Model& model = models_.at(group);
  const size_t reached = model.history.size() - 1;
  ++outstanding_;
  std::vector<GroupRecord> records;
  records.push_back(
      {{RaftGroupId(group), ReplicaNumber(model.history.back().number)}, std::move(body)});
  journal_->client().Submit(std::move(records), process_->executor(), [this, life, group, reached] {
    CHECK_EQ(life, life_);
    Model& acknowledged = models_.at(group);
    CHECK_GE(reached, acknowledged.acked) << "acknowledged out of order";
    acknowledged.acked = reached;
    --outstanding_;
  });
}

// By the entry that makes it; 0 for the first one.
raft::core::Configuration JournalRig::ConfigurationOf(uint64_t index) {
  raft::core::Configuration configuration;
  configuration.voters = {
      {BrokerId(1), Incarnation(11), ReplicaNumber(1)},
      {BrokerId(2), Incarnation(22), ReplicaNumber(static_cast<uint32_t>(2 + index))}};
  if (index % 3 == 1) configuration.outgoing = {configuration.voters.front()};
  if (index % 3 == 2) configuration.learners = {{BrokerId(3), Incarnation(33), ReplicaNumber(9)}};
  return configuration;
}

LogRecord JournalRig::LogOf(const Snapshot& now, const Model& model) const {
  const auto point = [&model](uint64_t index) {
    return LogPoint{.index = LogIndex(index),
                    .term = Term(model.terms.at(index)),
                    .chain = model.chains.at(index),
                    .next_offset = Offset(static_cast<int64_t>(index) * 2)};
  };
  return {.begin = point(now.begin),
          .end = point(now.segment_end),
          .reset_epoch = TruncationEpoch(now.reset_epoch),
          .generation = now.reset_epoch,
          .configuration_index = LogIndex(now.configuration_index),
          .configuration = ConfigurationOf(now.configuration_index)};
}

void JournalRig::CreateGroup(uint64_t group) {
  Model& model = models_[group];
  const uint32_t number = model.history.back().number + 1;
  model.history.push_back({.exists = true, .number = number});
  model.chains = {0};
  model.terms = {0};
  const raft::ReplicaRecord record{.group = RaftGroupId(group),
                                   .number = ReplicaNumber(number),
                                   .partition = {TopicId(group), PartitionId(7)},
                                   .controller_index = LogIndex(group * 10 + number),
                                   .configuration = ConfigurationOf(0)};
  Submit(group, ReplicaCreated{record});
  next_group_ = std::max(next_group_, group + 1);
}

void JournalRig::RemoveGroup(uint64_t group) {
  Model& model = models_.at(group);
  model.history.push_back({.number = model.history.back().number, .is_removed = true});
  Submit(group, ReplicaRemoved{LogIndex(group * 10 + 9)});
}

raft::core::Entry JournalRig::MakeEntry(uint64_t group, uint64_t term, uint64_t payload_bytes) {
  Model& model = models_.at(group);
  Snapshot next = model.history.back();
  Buffer buffer = AllocateFrame(payload_bytes);
  for (uint64_t i = 0; i < payload_bytes; ++i) {
    FramePayload(buffer)[i] = static_cast<char>(random_.Next());
  }
  FrameHeader header{.type = FrameType::kRecordBatch,
                     .payload_size = static_cast<uint32_t>(payload_bytes),
                     .group = RaftGroupId(group),
                     .term = Term(term),
                     .index = LogIndex(next.last_index + 1)};
  header.payload_crc = Crc32c({FramePayload(buffer), payload_bytes});
  header.stored_crc = header.payload_crc;
  header.chain = FrameChain(next.last_chain, header);
  next.last_index += 1;
  next.last_chain = header.chain;
  model.history.push_back(next);
  model.chains.resize(next.last_index);
  model.chains.push_back(header.chain);
  model.terms.resize(next.last_index);
  model.terms.push_back(term);
  return {.term = header.term,
          .index = header.index,
          .type = raft::core::EntryType::kCommand,
          .chain = header.chain,
          .frame = SealFrame(header, std::move(buffer))};
}

LogWrite JournalRig::MakeEntries(uint64_t group, uint64_t count, uint64_t payload_bytes) {
  const Snapshot& now = models_.at(group).history.back();
  LogWrite write{.epoch = TruncationEpoch(now.epoch)};
  const uint64_t term = std::max<uint64_t>(now.term, 1);
  for (uint64_t i = 0; i < count; ++i) {
    write.entries.push_back(MakeEntry(group, term, payload_bytes));
  }
  return write;
}

void JournalRig::Append(uint64_t group, uint64_t count, uint64_t payload_bytes) {
  Submit(group, MakeEntries(group, count, payload_bytes));
}

void JournalRig::SetHardState(uint64_t group, uint64_t term, uint32_t vote) {
  Model& model = models_.at(group);
  Snapshot next = model.history.back();
  next.term = term;
  next.vote = vote;
  model.history.push_back(next);
  const raft::core::HardState state{
      Term(term), {BrokerId(vote), Incarnation(vote * 11), ReplicaNumber(vote * 5)}};
  Submit(group, LogWrite{.hard_state = state});
}

void JournalRig::Rewrite(uint64_t group, uint64_t from, uint64_t count) {
  Model& model = models_.at(group);
  Snapshot next = model.history.back();
  CHECK_GT(from, next.segment_end);
  next.term += 1;
  next.vote = 0;
  model.history.push_back(next);
  next.epoch += 1;
  next.last_index = std::min(next.last_index, from - 1);
  next.last_chain = model.chains.at(next.last_index);
  model.history.push_back(next);
  LogWrite write = MakeEntries(group, count, 60);
  write.hard_state = raft::core::HardState{Term(next.term), {}};
  write.truncate_from = LogIndex(from);
  write.epoch = TruncationEpoch(next.epoch);
  Submit(group, std::move(write));
}

uint64_t JournalRig::acked_index(uint64_t group) const {
  const Model& model = models_.at(group);
  // What a truncation under way may take is not known to be durable.
  uint64_t index = model.history[model.acked].last_index;
  for (size_t i = model.acked; i < model.history.size(); ++i) {
    index = std::min(index, model.history[i].last_index);
  }
  return index;
}

void JournalRig::SyncSegment(uint64_t group, uint64_t index) {
  Model& model = models_.at(group);
  Snapshot next = model.history.back();
  CHECK_LE(index, acked_index(group));
  if (index <= next.segment_end) return;
  next.segment_end = index;
  if (index > next.configuration_index && index % 4 < 2)
    next.configuration_index = index - index % 4;
  next.configuration_index =
      std::max(next.configuration_index, model.history.back().configuration_index);
  model.history.push_back(next);
  Submit(group, LogMoved{.log = LogOf(next, model)});
}

void JournalRig::MoveBegin(uint64_t group, uint64_t index) {
  Model& model = models_.at(group);
  Snapshot next = model.history.back();
  CHECK_LE(index, next.segment_end);
  if (index <= next.begin) return;
  next.begin = index;
  model.history.push_back(next);
  // As if composed before a sync that has become durable since.
  LogRecord log = LogOf(next, model);
  log.end = {.index = log.begin.index,
             .term = log.begin.term,
             .chain = log.begin.chain,
             .next_offset = log.begin.next_offset};
  log.configuration_index = LogIndex();
  log.configuration = ConfigurationOf(0);
  Submit(group, LogMoved{.log = log});
}

void JournalRig::ResetLog(uint64_t group, uint64_t end) {
  Model& model = models_.at(group);
  Snapshot next = model.history.back();
  next.epoch += 1;
  next.reset_epoch = next.epoch;
  next.segment_end = end;
  next.last_index = end;
  next.begin = end / 2;
  next.configuration_index = end;
  next.term += 1;  // so that entries of the log before are of a lower one
  model.chains.assign(end + 1, 0);
  model.terms.assign(end + 1, 0);
  for (const uint64_t at : {next.begin, end}) {
    model.chains[at] = at == 0 ? 0 : static_cast<uint32_t>(random_.Next());
    model.terms[at] = at == 0 ? 0 : next.term;
  }
  next.last_chain = model.chains[end];
  Snapshot before = model.history.back();
  before.term = next.term;
  before.vote = next.vote = 0;
  model.history.push_back(before);
  Submit(group, LogWrite{.hard_state = raft::core::HardState{Term(next.term), {}},
                         .epoch = TruncationEpoch(before.epoch)});
  model.history.push_back(next);
  Submit(group, LogMoved{.log = LogOf(next, model), .is_reset = true});
}

void JournalRig::SubmitStale(uint64_t group) {
  const Snapshot& now = models_.at(group).history.back();
  if (now.reset_epoch > 0) {
    LogRecord log;
    log.reset_epoch = TruncationEpoch(now.reset_epoch - 1);
    log.end = {.index = LogIndex(now.last_index + 3), .term = Term(9), .chain = 9};
    Submit(group, LogMoved{.log = log});
  }
  if (now.number < 2) return;
  std::vector<GroupRecord> records;
  records.push_back({{RaftGroupId(group), ReplicaNumber(now.number - 1)},
                     LogWrite{.hard_state = raft::core::HardState{Term(99), {}}}});
  journal_->client().Submit(std::move(records), process_->executor(), [] {});
}

void JournalRig::MarkFaulty(uint64_t group) {
  Model& model = models_.at(group);
  Snapshot next = model.history.back();
  next.is_faulty = true;
  model.history.push_back(next);
  Submit(group, ReplicaFaulty{{.cause = FaultCause::kRot, .why = "its segment is damaged"}});
}

void JournalRig::RandomStep() {
  std::vector<uint64_t> groups;
  for (const auto& [id, model] : models_) {
    const Snapshot& now = model.history.back();
    if (now.exists && !now.is_faulty) groups.push_back(id);
    if (now.is_removed && random_.OneIn(30)) return CreateGroup(id);
  }
  if (groups.empty() || (groups.size() < 6 && random_.OneIn(12))) return CreateGroup(next_group_);
  const uint64_t group = groups[random_.Below(groups.size())];
  const Snapshot& now = models_.at(group).history.back();
  const uint64_t choice = random_.Below(100);
  if (choice < 50) {
    const uint64_t bytes = random_.OneIn(10) ? random_.Below(20000) : random_.Below(600);
    return Append(group, random_.Between(1, 4), bytes);
  }
  if (choice < 62)
    return SetHardState(group, now.term + 1, static_cast<uint32_t>(random_.Below(4)));
  if (choice < 76) {
    return Rewrite(group, random_.Between(now.segment_end, now.last_index) + 1, random_.Below(4));
  }
  if (choice < 91) {
    const uint64_t end = acked_index(group);
    if (end > now.segment_end) SyncSegment(group, random_.Between(now.segment_end + 1, end));
    return;
  }
  if (choice < 93) return MoveBegin(group, random_.Between(now.begin, now.segment_end));
  if (choice < 94) return ResetLog(group, random_.Below(now.last_index + 20));
  if (choice < 96) return SubmitStale(group);
  if (choice < 97) return CreateGroup(group);
  if (choice < 99) return groups.size() > 3 ? RemoveGroup(group) : Append(group, 1);
  if (groups.size() > 4) MarkFaulty(group);
}

JournalRig::Snapshot JournalRig::Recovered(uint64_t id) const {
  const RaftGroupId group(id);
  const auto removed = recovered_.removed.find(group);
  if (removed != recovered_.removed.end()) {
    return {.number = removed->second.value(), .is_removed = true};
  }
  const auto found = recovered_.groups.find(group);
  if (found == recovered_.groups.end()) return {};
  const GroupState& state = found->second;
  Snapshot snapshot{.exists = true,
                    .number = state.record.number.value(),
                    .is_faulty = !state.health.ok(),
                    .term = state.hard_state.term.value(),
                    .vote = state.hard_state.vote.broker.value(),
                    .epoch = state.epoch.value(),
                    .last_index = state.log.end.index.value(),
                    .last_chain = state.log.end.chain,
                    .segment_end = state.log.end.index.value(),
                    .begin = state.log.begin.index.value(),
                    .reset_epoch = state.log.reset_epoch.value(),
                    .configuration_index = state.log.configuration_index.value()};
  if (state.health.ok()) {
    CHECK_EQ(state.log.generation, snapshot.reset_epoch);
    CHECK_EQ(state.hard_state.vote.number.value(), snapshot.vote * 5);
    // Two configurations of one index never are.
    if (state.log.configuration != ConfigurationOf(snapshot.configuration_index)) {
      snapshot.configuration_index = UINT64_MAX;
    }
  }
  for (const raft::core::Entry& entry : state.entries) {
    const Result<FrameHeader> header = ParseFrame(entry.frame.view());
    CHECK(header.ok()) << header.status();
    CHECK_EQ(header->chain, FrameChain(snapshot.last_chain, *header));
    CHECK_EQ(entry.index.value(), snapshot.last_index + 1);
    snapshot.last_index = entry.index.value();
    snapshot.last_chain = entry.chain;
  }
  return snapshot;
}

std::string JournalRig::Compare(uint64_t id, Model& model) {
  const Snapshot found = Recovered(id);
  for (size_t i = model.acked; i < model.history.size(); ++i) {
    const Snapshot& candidate = model.history[i];
    const bool is_same = candidate.is_faulty ? found.is_faulty : found == candidate;
    if (!is_same) continue;
    Snapshot now = candidate;
    if (candidate.is_faulty) now = found;
    model.history = {now};
    model.acked = 0;
    return "";
  }
  const auto state = recovered_.groups.find(RaftGroupId(id));
  return "group " + std::to_string(id) + " came back as " + Text(found) +
         " health=" + (state == recovered_.groups.end() ? "-" : state->second.health.ToString()) +
         "; acknowledged " + Text(model.history[model.acked]);
}

std::string JournalRig::Text(const Snapshot& at) {
  std::ostringstream out;
  out << "exists=" << at.exists << " number=" << at.number << " removed=" << at.is_removed
      << " term=" << at.term << " vote=" << at.vote << " epoch=" << at.epoch
      << " last=" << at.last_index << " end=" << at.segment_end << " begin=" << at.begin
      << " reset=" << at.reset_epoch << " configuration=" << at.configuration_index;
  return out.str();
}

std::string JournalRig::CompareWithModel() {
  for (const auto& [id, state] : recovered_.groups) {
    if (!models_.contains(id.value())) return "group " + std::to_string(id.value()) + " is new";
  }
  if (!recovered_.nameless.empty()) return "a group came back without its record";
  for (auto& [id, model] : models_) {
    std::string wrong = Compare(id, model);
    if (!wrong.empty()) return wrong;
    // The log that the model goes on with.
    const auto found = recovered_.groups.find(RaftGroupId(id));
    if (found == recovered_.groups.end()) continue;
    const GroupState& state = found->second;
    if (!state.health.ok()) continue;
    model.chains.resize(model.history.back().last_index + 1);
    model.terms.resize(model.history.back().last_index + 1);
    model.chains[state.log.end.index.value()] = state.log.end.chain;
    model.terms[state.log.end.index.value()] = state.log.end.term.value();
    for (const raft::core::Entry& entry : state.entries) {
      model.chains[entry.index.value()] = entry.chain;
      model.terms[entry.index.value()] = entry.term.value();
    }
  }
  return "";
}

void JournalRig::ForgiveLoss() {
  for (auto& [id, model] : models_) model.acked = 0;
}

std::string JournalRig::CompareAfterDamage() {
  may_lack_groups_ = may_lack_groups_ || recovered_.may_lack_groups;
  for (const auto& [id, model] : models_) {
    const RaftGroupId group(id);
    const Snapshot& written = model.history.back();
    const auto found = recovered_.groups.find(group);
    Snapshot now = Recovered(id);
    // No replica is made here any more, so that the one without a trace cannot be made anew.
    const bool is_without_trace = !now.exists && now.number < written.number;
    if (may_lack_groups_ && is_without_trace) continue;
    const bool is_silent = recovered_.nameless.contains(group) ||
                           (found != recovered_.groups.end() && !found->second.health.ok());
    if (written.is_faulty && !is_silent)
      return "group " + std::to_string(id) + " is faulty no more";
    if (is_silent) {
      if (recovered_.damage.empty() && !written.is_faulty) return "silent, but no damage is named";
      continue;
    }
    // A lost segment end costs nothing: what is above the one before is in the journal still.
    if (now.segment_end < written.segment_end) {
      now.segment_end = written.segment_end;
      now.configuration_index = written.configuration_index;
    }
    if (now.begin < written.begin) now.begin = written.begin;
    if (!(now == written)) {
      return "group " + std::to_string(id) +
             " came back changed and not in doubt: " + Text(Recovered(id)) + " instead of " +
             Text(written);
    }
  }
  return "";
}

uint64_t JournalRig::healthy_groups() const {
  uint64_t count = 0;
  for (const auto& [id, state] : recovered_.groups) count += state.health.ok() ? 1 : 0;
  return count;
}

std::vector<std::string> JournalRig::Files() const {
  std::vector<std::string> files;
  for (const std::string& path : disk_.Paths()) {
    if (path.ends_with(".journal")) files.push_back(path);
  }
  return files;
}

}  // namespace millrace::storage::journal
