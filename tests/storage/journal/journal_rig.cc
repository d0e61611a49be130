#include "tests/storage/journal/journal_rig.h"

#include <algorithm>
#include <cstring>
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

void JournalRig::Submit(uint64_t group, GroupRecord record) {
  const uint64_t life = life_;
  const size_t reached = models_.at(group).history.size() - 1;
  ++outstanding_;
  std::vector<GroupRecord> records;
  records.push_back(std::move(record));
  journal_->client().Submit(std::move(records), process_->executor(), [this, life, group, reached] {
    CHECK_EQ(life, life_);
    Model& model = models_.at(group);
    CHECK_GE(reached, model.acked) << "acknowledged out of order";
    model.acked = reached;
    --outstanding_;
  });
}

void JournalRig::CreateGroup(uint64_t group) {
  Model& model = models_[group];
  Snapshot next = model.history.back();
  CHECK(!next.exists && !next.is_removed);
  next.exists = true;
  model.history.push_back(next);
  const RaftGroupId id(group);
  raft::ReplicaRecord record{.group = id, .partition = {TopicId(group), PartitionId(7)}};
  record.configuration.voters = {{BrokerId(1), Incarnation(11)}, {BrokerId(2), Incarnation(22)}};
  Submit(group, {id, ReplicaCreated{record}});
  next_group_ = std::max(next_group_, group + 1);
}

void JournalRig::RemoveGroup(uint64_t group) {
  models_.at(group).history.push_back({.is_removed = true});
  Submit(group, {RaftGroupId(group), ReplicaRemoved{}});
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
  Submit(group, {RaftGroupId(group), MakeEntries(group, count, payload_bytes)});
}

void JournalRig::SetHardState(uint64_t group, uint64_t term, uint32_t vote) {
  Model& model = models_.at(group);
  Snapshot next = model.history.back();
  next.term = term;
  next.vote = vote;
  model.history.push_back(next);
  const raft::core::HardState state{Term(term), {BrokerId(vote), Incarnation(vote * 11)}};
  Submit(group, {RaftGroupId(group), LogWrite{.hard_state = state}});
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
  Submit(group, {RaftGroupId(group), std::move(write)});
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
  model.history.push_back(next);
  Submit(group, {RaftGroupId(group), SegmentSynced{{.index = LogIndex(index),
                                                    .term = Term(model.terms.at(index)),
                                                    .chain = model.chains.at(index)}}});
}

void JournalRig::MarkFaulty(uint64_t group) {
  Model& model = models_.at(group);
  Snapshot next = model.history.back();
  next.is_faulty = true;
  model.history.push_back(next);
  Submit(group, {RaftGroupId(group), ReplicaFaulty{"its segment is damaged"}});
}

void JournalRig::RandomStep() {
  std::vector<uint64_t> groups;
  for (const auto& [id, model] : models_) {
    const Snapshot& now = model.history.back();
    if (now.exists && !now.is_faulty) groups.push_back(id);
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
  if (choice < 97) {
    const uint64_t end = acked_index(group);
    if (end > now.segment_end) SyncSegment(group, random_.Between(now.segment_end + 1, end));
    return;
  }
  if (choice < 99) return groups.size() > 3 ? RemoveGroup(group) : Append(group, 1);
  if (groups.size() > 4) MarkFaulty(group);
}

JournalRig::Snapshot JournalRig::Recovered(uint64_t id) const {
  const RaftGroupId group(id);
  if (recovered_.removed.contains(group)) return {.is_removed = true};
  const auto found = recovered_.groups.find(group);
  if (found == recovered_.groups.end()) return {};
  const GroupState& state = found->second;
  Snapshot snapshot{.exists = true,
                    .is_faulty = !state.health.ok(),
                    .term = state.hard_state.term.value(),
                    .vote = state.hard_state.vote.broker.value(),
                    .epoch = state.epoch.value(),
                    .last_index = state.segment_end.index.value(),
                    .last_chain = state.segment_end.chain,
                    .segment_end = state.segment_end.index.value()};
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
  const Snapshot& acked = model.history[model.acked];
  return "group " + std::to_string(id) + " came back as exists=" + std::to_string(found.exists) +
         " term=" + std::to_string(found.term) + " epoch=" + std::to_string(found.epoch) +
         " last=" + std::to_string(found.last_index) +
         " segment_end=" + std::to_string(found.segment_end) +
         " health=" + (state == recovered_.groups.end() ? "-" : state->second.health.ToString()) +
         "; acknowledged term=" + std::to_string(acked.term) +
         " epoch=" + std::to_string(acked.epoch) + " last=" + std::to_string(acked.last_index) +
         " segment_end=" + std::to_string(acked.segment_end);
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
    model.chains[state.segment_end.index.value()] = state.segment_end.chain;
    model.terms[state.segment_end.index.value()] = state.segment_end.term.value();
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
    if (may_lack_groups_ && !now.exists && !now.is_removed) continue;
    const bool is_silent = recovered_.nameless.contains(group) ||
                           (found != recovered_.groups.end() && !found->second.health.ok());
    if (written.is_faulty && !is_silent)
      return "group " + std::to_string(id) + " is faulty no more";
    if (is_silent) {
      if (recovered_.damage.empty() && !written.is_faulty) return "silent, but no damage is named";
      continue;
    }
    // A lost segment end costs nothing: what is above the one before is in the journal still.
    if (now.segment_end < written.segment_end) now.segment_end = written.segment_end;
    if (!(now == written)) {
      return "group " + std::to_string(id) + " came back changed and not in doubt, last=" +
             std::to_string(Recovered(id).last_index) + " instead of " +
             std::to_string(written.last_index);
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
