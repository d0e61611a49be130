// What the journal may let go of: which file is needed by whom, whatever becomes of groups and of
// their entries.
#include "storage/journal/ledger.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "raft/runtime/random.h"

namespace millrace::storage::journal {
namespace {

constexpr RaftGroupId kGroup{2};
constexpr RaftGroupId kOther{3};

raft::ReplicaRecord Replica(RaftGroupId group, uint32_t number = 1) {
  raft::ReplicaRecord record{.group = group, .number = ReplicaNumber(number)};
  record.configuration.voters = {{BrokerId(1), Incarnation(11), ReplicaNumber(number)}};
  return record;
}

// Told apart by what came before it, as chains are.
uint32_t ChainAfter(uint32_t chain) { return chain * 31 + 1; }

// A place in `file`, so large.
EntryPlace In(uint64_t file, uint64_t size = 10) {
  return {.file = file, .offset = 0, .size = size};
}

// The group's next entry, to `place`.
void Append(Ledger& ledger, RaftGroupId group, const EntryPlace& place) {
  const GroupLedger& state = ledger.at(group);
  raft::core::Entry entry;
  entry.term = Term(1);
  entry.index = state.last_index + 1;
  entry.chain = ChainAfter(state.last_chain);
  ledger.Append(group, entry, state.epoch, place);
}

// The group's log as it is, but that segments hold it up to `end`.
LogRecord SyncedTo(const Ledger& ledger, RaftGroupId group, uint64_t end) {
  LogRecord log = ledger.at(group).log;
  log.end = {.index = LogIndex(end), .term = Term(1)};
  log.end.chain = ledger.at(group).entries.at(LogIndex(end)).chain;
  return log;
}

TruncationRecord Cut(uint32_t epoch, uint64_t from, uint64_t file) {
  return {.epoch = TruncationEpoch(epoch), .from = LogIndex(from), .file_sequence = file};
}

class LedgerTest : public testing::Test {
 protected:
  void SetUp() override {
    ledger_.Create(Replica(kGroup));
    ledger_.Create(Replica(kOther));
  }
  void TearDown() override { ledger_.CheckInvariants(); }
  LogIndex last_index() const { return ledger_.at(kGroup).last_index; }

  Ledger ledger_;
};

using Groups = std::vector<RaftGroupId>;
using Entries = std::vector<std::pair<RaftGroupId, LogIndex>>;

TEST_F(LedgerTest, AGroupWithoutEntries_PinsNothing) {
  EXPECT_EQ(ledger_.OldestPinned(), std::nullopt);
  EXPECT_EQ(ledger_.PinnedBytes(7), 0u);
  EXPECT_TRUE(ledger_.PinningGroups(100).empty());
}

TEST_F(LedgerTest, EntriesPinTheFilesThatTheyLieIn_ForTheirGroups) {
  Append(ledger_, kGroup, In(7, 10));
  Append(ledger_, kOther, In(7, 20));
  Append(ledger_, kGroup, In(8, 30));
  EXPECT_EQ(ledger_.OldestPinned(), 7u);
  EXPECT_EQ(ledger_.PinnedBytes(7), 30u);
  EXPECT_EQ(ledger_.PinnedBytes(8), 30u);
  EXPECT_EQ(ledger_.PinningGroups(6), Groups{});
  EXPECT_EQ(ledger_.PinningGroups(7), (Groups{kGroup, kOther}));
  EXPECT_EQ(ledger_.EntriesIn(8), (Entries{{kGroup, LogIndex(2)}}));
  EXPECT_EQ(ledger_.EntriesIn(7), (Entries{{kGroup, LogIndex(1)}, {kOther, LogIndex(1)}}));
}

TEST_F(LedgerTest, WhatSegmentsHold_IsPinnedNoMore) {
  for (const uint64_t file : {7, 7, 8}) Append(ledger_, kGroup, In(file));
  ledger_.MoveLog(kGroup, SyncedTo(ledger_, kGroup, 1));
  EXPECT_EQ(ledger_.EntriesIn(7), (Entries{{kGroup, LogIndex(2)}}));
  ledger_.MoveLog(kGroup, SyncedTo(ledger_, kGroup, 2));
  EXPECT_EQ(ledger_.OldestPinned(), 8u);
  EXPECT_EQ(ledger_.PinnedBytes(7), 0u);
  EXPECT_EQ(last_index(), LogIndex(3));
  ledger_.MoveLog(kGroup, SyncedTo(ledger_, kGroup, 3));
  EXPECT_EQ(ledger_.OldestPinned(), std::nullopt);
  Append(ledger_, kGroup, In(9));
  EXPECT_EQ(last_index(), LogIndex(4)) << "the log goes on where segments end";
}

// Large writes went into segments; the journal was given none of their entries.
TEST_F(LedgerTest, AWrittenEnd_IsWhereTheLogGoesOn) {
  for (const uint64_t file : {7, 7, 8}) Append(ledger_, kGroup, In(file));
  LogRecord log = ledger_.at(kGroup).log;
  log.SetWritten(LogIndex(2));
  ledger_.MoveLog(kGroup, log);
  EXPECT_EQ(ledger_.OldestPinned(), 8u);
  EXPECT_EQ(last_index(), LogIndex(3));
  log.SetWritten(LogIndex(9));
  ledger_.MoveLog(kGroup, log);
  EXPECT_EQ(ledger_.OldestPinned(), std::nullopt);
  EXPECT_EQ(last_index(), LogIndex(9));
  EXPECT_EQ(ledger_.HardStateOf(kGroup).last_chain, 0u) << "the segment has it";
  Append(ledger_, kGroup, In(9));
  EXPECT_EQ(last_index(), LogIndex(10));
  // What is committed follows, up to anywhere there.
  log.end = {.index = LogIndex(5), .term = Term(1), .chain = 55};
  log.SetWritten(LogIndex(9));
  ledger_.MoveLog(kGroup, log);
  EXPECT_EQ(ledger_.at(kGroup).log.end.index, LogIndex(5));
  EXPECT_EQ(last_index(), LogIndex(10));
}

TEST_F(LedgerTest, ATruncation_CutsTheWrittenEnd) {
  LogRecord log = ledger_.at(kGroup).log;
  log.SetWritten(LogIndex(9));
  ledger_.MoveLog(kGroup, log);
  Append(ledger_, kGroup, In(7));
  ledger_.Truncate(kGroup, Cut(1, 6, 7));
  EXPECT_EQ(ledger_.at(kGroup).log.written, LogIndex(5));
  EXPECT_EQ(last_index(), LogIndex(5));
  EXPECT_EQ(ledger_.OldestPinned(), std::nullopt);
  Append(ledger_, kGroup, In(7));
  EXPECT_EQ(last_index(), LogIndex(6));
}

TEST_F(LedgerTest, ACopiedEntry_PinsItsNewFileAlone) {
  Append(ledger_, kGroup, In(7));
  Append(ledger_, kGroup, In(8));
  ledger_.Move(kGroup, LogIndex(1), In(9));
  EXPECT_EQ(ledger_.OldestPinned(), 8u);
  EXPECT_EQ(ledger_.EntriesIn(9), (Entries{{kGroup, LogIndex(1)}}));
}

TEST_F(LedgerTest, WhatATruncationCuts_IsPinnedNoMore_AndTheLogEndsBeforeIt) {
  for (const uint64_t file : {7, 8, 9}) Append(ledger_, kGroup, In(file));
  const uint32_t chain = ledger_.at(kGroup).entries.at(LogIndex(1)).chain;
  ledger_.Truncate(kGroup, Cut(1, 2, 9));
  EXPECT_EQ(ledger_.PinningGroups(100), Groups{kGroup});
  EXPECT_EQ(ledger_.PinnedBytes(8) + ledger_.PinnedBytes(9), 0u);
  EXPECT_EQ(last_index(), LogIndex(1));
  EXPECT_EQ(ledger_.HardStateOf(kGroup).last_chain, chain);
  ledger_.Truncate(kGroup, Cut(2, 1, 9));
  EXPECT_EQ(ledger_.OldestPinned(), std::nullopt);
  EXPECT_EQ(ledger_.HardStateOf(kGroup).last_chain, 0u);
}

// What it cut was never written: a later write overtook it.
TEST_F(LedgerTest, ATruncationPastTheEnd_CutsNothing) {
  Append(ledger_, kGroup, In(7));
  ledger_.Truncate(kGroup, Cut(1, 5, 7));
  EXPECT_EQ(last_index(), LogIndex(1));
  EXPECT_EQ(ledger_.at(kGroup).epoch, TruncationEpoch(1));
}

TEST_F(LedgerTest, OnlyTruncationsThatMayStillVoidSomething_AreKept) {
  for (int i = 0; i < 4; ++i) Append(ledger_, kGroup, In(7));
  const auto kept = [this] {
    std::vector<LogIndex> cuts;
    for (const TruncationRecord& one : ledger_.at(kGroup).truncations) cuts.push_back(one.from);
    return cuts;
  };
  ledger_.Truncate(kGroup, Cut(1, 3, 7));
  Append(ledger_, kGroup, In(8));
  Append(ledger_, kGroup, In(8));
  ledger_.Truncate(kGroup, Cut(2, 4, 8));
  EXPECT_EQ(kept(), (std::vector{LogIndex(3), LogIndex(4)}));
  ledger_.ForgetTruncationsBefore(8);
  EXPECT_EQ(kept(), (std::vector{LogIndex(4)}));
  ledger_.Truncate(kGroup, Cut(3, 2, 9));
  EXPECT_EQ(kept(), (std::vector{LogIndex(2)})) << "it voids all that the ones after it did";
}

TEST_F(LedgerTest, AReplicaThatIsRemoved_PinsNothing_AndIsGone) {
  Append(ledger_, kGroup, In(7));
  ledger_.Remove({kGroup, ReplicaNumber(1)}, LogIndex(30));
  EXPECT_EQ(ledger_.OldestPinned(), std::nullopt);
  EXPECT_TRUE(ledger_.IsKnown(kGroup));
  EXPECT_FALSE(ledger_.IsLive(kGroup));
  EXPECT_TRUE(ledger_.IsGone({kGroup, ReplicaNumber(1)}));
  EXPECT_FALSE(ledger_.IsGone({kGroup, ReplicaNumber(2)}));
  EXPECT_EQ(ledger_.controller_floor(), LogIndex(30));
  ledger_.Remove({kOther, ReplicaNumber(1)}, LogIndex(20));
  EXPECT_EQ(ledger_.controller_floor(), LogIndex(30)) << "it does not go back";
}

TEST_F(LedgerTest, TheNextReplica_TakesThePlaceOfTheOneBefore_WithNothingOfIt) {
  Append(ledger_, kGroup, In(7));
  ledger_.Create(Replica(kGroup, 2));
  EXPECT_EQ(ledger_.OldestPinned(), std::nullopt);
  EXPECT_EQ(last_index(), LogIndex(0));
  EXPECT_TRUE(ledger_.IsGone({kGroup, ReplicaNumber(1)}));
  EXPECT_FALSE(ledger_.IsLive({kGroup, ReplicaNumber(1)}));
  EXPECT_TRUE(ledger_.IsLive({kGroup, ReplicaNumber(2)}));
  ledger_.Remove({kGroup, ReplicaNumber(2)}, LogIndex());
  ledger_.Create(Replica(kGroup, 3));
  EXPECT_TRUE(ledger_.IsLive(kGroup));
}

TEST_F(LedgerTest, AFaultyReplica_PinsNothing_AndKeepsWhatItPromised) {
  Append(ledger_, kGroup, In(7));
  ledger_.SetHardState(kGroup, {.term = Term(5)});
  ledger_.MarkFaulty(kGroup, {FaultCause::kRot, "entry 1 is rotten"});
  EXPECT_EQ(ledger_.OldestPinned(), std::nullopt);
  EXPECT_TRUE(ledger_.IsKnown(kGroup));
  EXPECT_FALSE(ledger_.IsLive(kGroup));
  EXPECT_FALSE(ledger_.IsGone({kGroup, ReplicaNumber(1)}));
  EXPECT_EQ(ledger_.HardStateOf(kGroup).hard_state.term, Term(5));
  EXPECT_EQ(ledger_.HardStateOf(kGroup).last_index, LogIndex(1));
}

TEST_F(LedgerTest, ALogThatAnotherTakesThePlaceOf_PinsNothing) {
  Append(ledger_, kGroup, In(7));
  ledger_.Truncate(kGroup, Cut(1, 5, 7));
  LogRecord other;
  other.begin = {.index = LogIndex(40), .term = Term(3), .chain = 4};
  other.end = other.begin;
  other.reset_epoch = TruncationEpoch(2);
  other.generation = 1;
  const LogRecord before = SyncedTo(ledger_, kGroup, 1);
  ledger_.ResetLog(kGroup, other);
  EXPECT_EQ(ledger_.OldestPinned(), std::nullopt);
  EXPECT_EQ(last_index(), LogIndex(40));
  EXPECT_EQ(ledger_.at(kGroup).epoch, TruncationEpoch(2));
  EXPECT_TRUE(ledger_.at(kGroup).truncations.empty());
  ledger_.MoveLog(kGroup, before);  // composed before that, and late
  EXPECT_EQ(ledger_.at(kGroup).log, other);
}

TEST_F(LedgerTest, BeginEndAndConfigurationOfALog_MoveEachByItself_AndNeverBack) {
  for (int i = 0; i < 4; ++i) Append(ledger_, kGroup, In(7));
  LogRecord early = SyncedTo(ledger_, kGroup, 2);
  early.configuration_index = LogIndex(2);
  early.configuration.voters = {{BrokerId(9), Incarnation(9), ReplicaNumber(9)}};
  LogRecord late = SyncedTo(ledger_, kGroup, 4);
  late.begin = {.index = LogIndex(1), .term = Term(1)};
  ledger_.MoveLog(kGroup, late);
  ledger_.MoveLog(kGroup, early);
  const LogRecord& log = ledger_.at(kGroup).log;
  EXPECT_EQ(log.begin.index, LogIndex(1));
  EXPECT_EQ(log.end.index, LogIndex(4));
  EXPECT_EQ(log.configuration_index, LogIndex(2));
  EXPECT_EQ(log.configuration, early.configuration);
}

// A repair puts entries into the log that have had fewer.
TEST_F(LedgerTest, ThePassOfALog_IsTheLastRecords) {
  Append(ledger_, kGroup, In(7));
  LogRecord log = SyncedTo(ledger_, kGroup, 1);
  for (const uint32_t pass : {5, 3}) {
    log.pass = pass;
    ledger_.MoveLog(kGroup, log);
    EXPECT_EQ(ledger_.at(kGroup).log.pass, pass);
  }
}

TEST_F(LedgerTest, WhatIsRestored_PinsItsFiles_UnlessItIsFaulty) {
  for (const bool is_faulty : {false, true}) {
    GroupLedger state;
    state.record = Replica(kGroup);
    state.entries[LogIndex(1)] = {Term(1), ChainAfter(0), TruncationEpoch(), In(7)};
    state.last_index = LogIndex(1);
    if (is_faulty) state.fault = Fault{FaultCause::kDoubt, "a block was lost"};
    Ledger restored;
    restored.Restore(kGroup, state);
    EXPECT_EQ(restored.OldestPinned().has_value(), !is_faulty);
    EXPECT_EQ(restored.IsLive(kGroup), !is_faulty);
    restored.CheckInvariants();
  }
}

TEST_F(LedgerTest, AGroupWhoseCreationIsLost_IsKnown_UntilItIsRemoved) {
  Ledger restored;
  restored.RestoreNameless(kGroup);
  EXPECT_TRUE(restored.IsKnown(kGroup));
  EXPECT_FALSE(restored.IsLive(kGroup));
  restored.Remove({kGroup, ReplicaNumber(4)}, LogIndex());
  EXPECT_TRUE(restored.IsGone({kGroup, ReplicaNumber(4)}));
}

// Against the plainest model: where each entry lies, by group and index.
class ModelledLedger {
 public:
  static constexpr uint64_t kGroups = 4;

  explicit ModelledLedger(uint64_t seed) : random_(seed) {
    for (uint64_t group = 1; group <= kGroups; ++group) CreateNext(RaftGroupId(group));
  }

  void Step() {
    const RaftGroupId group(random_.Between(1, kGroups));
    auto& places = places_[group];
    if (!ledger_.IsLive(group) || random_.OneIn(50)) return CreateNext(group);
    const uint64_t dice = random_.Below(20);
    if (dice == 0) {
      ledger_.Remove(ledger_.at(group).id(), LogIndex(random_.Below(100)));
      places.clear();
    } else if (dice == 1) {
      ledger_.MarkFaulty(group, {FaultCause::kRot, std::string(random_.Below(40), 'r')});
      places.clear();
    } else if (dice < 5) {
      Truncate(group);
    } else if (dice < 8 && !places.empty()) {
      const LogIndex end = AnyOf(places);
      ledger_.MoveLog(group, SyncedTo(ledger_, group, end.value()));
      places.erase(places.begin(), places.upper_bound(end));
    } else if (dice < 10 && !places.empty()) {
      const LogIndex index = AnyOf(places);
      places[index] = NewPlace();
      ledger_.Move(group, index, places[index]);
    } else {
      const EntryPlace place = NewPlace();
      Append(ledger_, group, place);
      places[ledger_.at(group).last_index] = place;
    }
  }

  // As the ledger says it, against the model.
  void Compare() {
    ledger_.CheckInvariants();
    std::map<uint64_t, uint64_t> bytes;
    std::map<uint64_t, Entries> entries;
    for (const auto& [group, places] : places_) {
      for (const auto& [index, place] : places) {
        bytes[place.file] += place.size;
        entries[place.file].emplace_back(group, index);
      }
    }
    ASSERT_EQ(ledger_.OldestPinned(),
              bytes.empty() ? std::nullopt : std::optional(bytes.begin()->first));
    std::set<RaftGroupId> groups;
    for (uint64_t file = 0; file <= newest_file_; ++file) {
      ASSERT_EQ(ledger_.PinnedBytes(file), bytes[file]) << "file=" << file;
      ASSERT_EQ(ledger_.EntriesIn(file), entries[file]) << "file=" << file;
      for (const auto& [group, index] : entries[file]) groups.insert(group);
      ASSERT_EQ(ledger_.PinningGroups(file), Groups(groups.begin(), groups.end()));
    }
  }

  // A roll makes so much room, and not more.
  void CompareCheckpoint() const {
    BlockWriter writer({.header = {}, .position = 0, .block_bytes = 1 << 30});
    ledger_.WriteCheckpoint({}, &writer);
    ASSERT_EQ(std::move(writer).Finish().size,
              BlockSize(kBlockHeaderSize + static_cast<uint32_t>(ledger_.CheckpointBytes())));
  }

 private:
  using Places = std::map<LogIndex, EntryPlace>;

  void CreateNext(RaftGroupId group) {
    ledger_.Create(Replica(group, ++numbers_[group]));
    places_[group].clear();
  }
  void Truncate(RaftGroupId group) {
    const GroupLedger& state = ledger_.at(group);
    const uint64_t from =
        random_.Between(state.log.end.index.value() + 1, state.last_index.value() + 2);
    ledger_.Truncate(group, Cut(state.epoch.value() + 1, from, newest_file_));
    auto& places = places_[group];
    places.erase(places.lower_bound(LogIndex(from)), places.end());
  }
  EntryPlace NewPlace() {
    if (random_.OneIn(5)) ++newest_file_;
    return In(newest_file_, random_.Between(1, 100));
  }
  LogIndex AnyOf(const Places& places) {
    return std::next(places.begin(), static_cast<ptrdiff_t>(random_.Below(places.size())))->first;
  }

  Random random_;
  Ledger ledger_;
  std::map<RaftGroupId, Places> places_;
  std::map<RaftGroupId, uint32_t> numbers_;
  uint64_t newest_file_ = 1;
};

TEST(LedgerProperty, FilesArePinnedByExactlyTheEntriesThatAreNowhereElse) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    ModelledLedger modelled(seed);
    for (int step = 0; step < 200; ++step) {
      modelled.Step();
      modelled.Compare();
      modelled.CompareCheckpoint();
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace millrace::storage::journal
