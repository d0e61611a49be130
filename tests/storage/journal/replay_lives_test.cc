// What replay makes of a group's replicas that followed one another, and of logs that took another
// one's place: by blocks made by hand, so that each may rot. The sequences S3 to S8 are those of
// docs/formats.md, "Sequences that formats must get right".
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "proto/frame/frame.h"
#include "storage/journal/block_writer.h"
#include "storage/journal/replay.h"

namespace millrace::storage::journal {
namespace {

constexpr uint64_t kKey = 5;
constexpr uint64_t kFileBytes = 128 << 10;
constexpr RaftGroupId kGroup{7};
constexpr raft::ReplicaId kFirst{kGroup, ReplicaNumber(1)};
constexpr raft::ReplicaId kSecond{kGroup, ReplicaNumber(2)};
constexpr LogPoint kNowhere{};

// A journal of one file: a head, and then a block for each record that is added.
class ReplayOfLives : public testing::Test {
 protected:
  ReplayOfLives() { AddHead({}); }

  void AddHead(const std::vector<std::pair<RecordHeader, std::string>>& records) {
    header_.flags = kHeadBlock;
    BlockWriter head({.header = header_, .position = file_.size(), .block_bytes = 256 << 10});
    head.Add({.type = RecordType::kHead, .replica = {}},
             EncodeHead({.file_bytes = kFileBytes, .group_count = 1}));
    for (const auto& [header, payload] : records) head.Add(header, payload);
    Take(std::move(head).Finish());
    header_.flags = 0;
  }
  void Add(const RecordHeader& header, const std::string& payload, const Bytes& frame = {}) {
    BlockWriter block({.header = header_, .position = file_.size(), .block_bytes = 256 << 10});
    block.Add(header, payload, frame);
    Take(std::move(block).Finish());
  }
  void Take(const BlockWriter::Blocks& blocks) {
    for (const Bytes& piece : blocks.pieces) file_ += piece.view();
    header_.durable_lsn = blocks.last_lsn;
    header_.lsn = blocks.last_lsn + 1;
    header_.previous_crc = blocks.last_crc;
  }
  void RotLastBlock() { file_[file_.size() - kBlockAlignment + 30] ^= 1; }

  void Create(const raft::ReplicaId& replica) {
    Add({.type = RecordType::kReplica, .replica = replica},
        EncodeReplica({.group = replica.group,
                       .number = replica.number,
                       .controller_index = LogIndex(replica.number.value() * 10),
                       .configuration = {.voters = {{BrokerId(1), Incarnation(1), replica.number}},
                                         .outgoing = {},
                                         .learners = {}}}));
  }
  void Remove(const raft::ReplicaId& replica) {
    Add({.type = RecordType::kTombstone, .replica = replica},
        EncodeTombstone({.number = replica.number, .controller_index = LogIndex(15)}));
  }
  // Adds a hard state of `term`, which names the last entry of the log as it was appended.
  void StateHardState(const raft::ReplicaId& replica, uint64_t term) {
    Add({.type = RecordType::kHardState, .replica = replica}, HardStateOf(term));
  }
  std::string HardStateOf(uint64_t term) const {
    return EncodeHardState({.hard_state = {.term = Term(term), .vote = {}},
                            .epoch = epoch_,
                            .last_index = last_.index,
                            .last_chain = last_.chain});
  }
  void Append(const raft::ReplicaId& replica, int count) {
    for (; count > 0; --count) {
      FrameHeader header{.type = FrameType::kNoOp,
                         .group = replica.group,
                         .term = Term(1),
                         .index = last_.index + 1};
      header.chain = FrameChain(last_.chain, header);
      last_ = {.index = header.index, .term = header.term, .chain = header.chain};
      ends_.push_back(last_);
      Add({.type = RecordType::kEntry, .replica = replica}, EncodeEntryPrefix(epoch_),
          SealFrame(header, AllocateFrame(0)).bytes());
    }
  }
  void MoveLog(const raft::ReplicaId& replica, const LogRecord& log, uint8_t flags = 0) {
    Add({.type = RecordType::kLog, .flags = flags, .replica = replica}, EncodeLog(log));
  }
  Replayed Run() {
    std::string bytes = file_;
    bytes.resize(kFileBytes);
    Result<Replayed> replayed =
        Replay(kKey, {{.name = "1.journal", .bytes = Bytes::Own(std::move(bytes))}});
    EXPECT_TRUE(replayed.ok()) << replayed.status();
    return std::move(replayed).value();
  }
  // The group as it was found; it must be sound.
  GroupLedger Sound() {
    Replayed replayed = Run();
    EXPECT_TRUE(replayed.groups.contains(kGroup));
    EXPECT_EQ(replayed.groups[kGroup].doubt, "");
    return replayed.groups[kGroup].ledger;
  }

  BlockHeader header_{.key = kKey, .file_sequence = 1, .oldest_file = 1, .lsn = 1};
  std::string file_;
  TruncationEpoch epoch_;
  LogPoint last_;                         // of the log that is appended to
  std::vector<LogPoint> ends_{kNowhere};  // by index
};

TEST_F(ReplayOfLives, LaterReplica_BeginsWithNothingOfTheOneBefore) {
  Create(kFirst);
  Append(kFirst, 3);
  StateHardState(kFirst, 9);
  Create(kSecond);
  const GroupLedger ledger = Sound();
  EXPECT_EQ(ledger.record.number, kSecond.number);
  EXPECT_EQ(ledger.hard_state.term, Term());
  EXPECT_TRUE(ledger.entries.empty());
  EXPECT_EQ(ledger.log.configuration.voters.front().number, kSecond.number);
  EXPECT_EQ(Run().controller_floor, LogIndex(20));
}

TEST_F(ReplayOfLives, RemovedReplica_IsGone_AndTheNextOneIsNot) {
  Create(kFirst);
  Remove(kFirst);
  EXPECT_EQ(Run().removed.at(kGroup).number, kFirst.number);
  EXPECT_EQ(Run().controller_floor, LogIndex(15));
  Create(kSecond);
  Append(kSecond, 2);
  EXPECT_EQ(Sound().entries.size(), 2U);
  EXPECT_TRUE(Run().removed.empty());
}

// An old creation that comes again, as out of a controller's log that is applied anew.
TEST_F(ReplayOfLives, CreationOfAReplicaThatIsGone_SaysNothing) {
  Create(kFirst);
  Remove(kFirst);
  Create(kFirst);
  EXPECT_TRUE(Run().groups.empty());
}

TEST_F(ReplayOfLives, S3_LogThatWasReset_KnowsNothingOfTheOneBefore) {
  Create(kFirst);
  Append(kFirst, 8);
  const std::vector<LogPoint> deposed = ends_;
  LogRecord log{.end = deposed[3]};
  MoveLog(kFirst, log);
  // To an end below what the journal still holds.
  const LogPoint restored{.index = LogIndex(5), .term = Term(2), .chain = 555};
  log = {.begin = {.index = LogIndex(4), .term = Term(2), .chain = 444},
         .end = restored,
         .reset_epoch = TruncationEpoch(1),
         .generation = 1};
  MoveLog(kFirst, log, kReset);
  EXPECT_EQ(Sound().log, log);
  EXPECT_TRUE(Sound().entries.empty());
  EXPECT_EQ(Sound().epoch, TruncationEpoch(1));
  // A sync of the old log ends late, and an old entry is copied forward.
  MoveLog(kFirst, {.end = deposed[7]});
  EXPECT_EQ(Sound().log, log);
  // The new log goes on.
  epoch_ = TruncationEpoch(1);
  last_ = restored;
  Append(kFirst, 2);
  EXPECT_EQ(Sound().entries.size(), 2U);
  EXPECT_EQ(Sound().last_index, LogIndex(7));
}

TEST_F(ReplayOfLives, S3_ResetThatWasLost_IsToldByTheNextHead) {
  Create(kFirst);
  Append(kFirst, 8);
  LogRecord log{.end = {.index = LogIndex(5), .term = Term(2), .chain = 555},
                .reset_epoch = TruncationEpoch(1),
                .generation = 1};
  MoveLog(kFirst, log, kReset);
  RotLastBlock();
  epoch_ = TruncationEpoch(1);
  last_ = log.end;
  AddHead({{{.type = RecordType::kReplica, .replica = kFirst},
            EncodeReplica({.group = kGroup, .number = kFirst.number})},
           {{.type = RecordType::kLog, .replica = kFirst}, EncodeLog(log)},
           {{.type = RecordType::kHardState, .replica = kFirst}, HardStateOf(2)}});
  EXPECT_EQ(Sound().log, log);
  EXPECT_TRUE(Sound().entries.empty());
}

// Entries 1 to 3 in the journal, 4 to 8 in a segment alone.
TEST_F(ReplayOfLives, WrittenEnd_IsWhereTheJournalGoesOn) {
  Create(kFirst);
  Append(kFirst, 3);
  LogRecord log;
  log.SetWritten(LogIndex(8));
  MoveLog(kFirst, log);
  EXPECT_TRUE(Sound().entries.empty());
  EXPECT_EQ(Sound().last_index, LogIndex(8));
  last_ = {.index = LogIndex(8), .term = Term(1), .chain = 88};
  Append(kFirst, 2);
  EXPECT_EQ(Sound().entries.size(), 2U);
  EXPECT_EQ(Sound().entries.begin()->first, LogIndex(9));
  EXPECT_EQ(Sound().last_index, LogIndex(10));
}

TEST_F(ReplayOfLives, WrittenEnd_IsCutByATruncation_AndNotByOneThatIsToldAgain) {
  Create(kFirst);
  LogRecord log;
  log.SetWritten(LogIndex(8));
  MoveLog(kFirst, log);
  Add({.type = RecordType::kTruncation, .replica = kFirst},
      EncodeTruncation({.epoch = TruncationEpoch(1), .from = LogIndex(5)}));
  EXPECT_EQ(Sound().log.written, LogIndex(4));
  EXPECT_EQ(Sound().last_index, LogIndex(4));
  epoch_ = TruncationEpoch(1);
  last_ = {.index = LogIndex(4), .term = Term(1), .chain = 44};
  Append(kFirst, 1);
  log.SetWritten(LogIndex(9));
  log.cut_epoch = TruncationEpoch(1);
  MoveLog(kFirst, log);
  Add({.type = RecordType::kTruncation, .replica = kFirst},
      EncodeTruncation({.epoch = TruncationEpoch(1), .from = LogIndex(5), .file_sequence = 1}));
  EXPECT_EQ(Sound().log.written, LogIndex(9));
  EXPECT_EQ(Sound().log.cut_epoch, TruncationEpoch(1));
}

// The truncation that cut it is among what was lost.
TEST_F(ReplayOfLives, WrittenEnd_IsWhatTheNextHeadSays) {
  Create(kFirst);
  LogRecord log;
  log.SetWritten(LogIndex(8));
  MoveLog(kFirst, log);
  Append(kFirst, 1);
  RotLastBlock();
  log.SetWritten(LogIndex(4));
  last_ = {.index = LogIndex(4)};  // whose chain the journal does not know
  AddHead({{{.type = RecordType::kReplica, .replica = kFirst},
            EncodeReplica({.group = kGroup, .number = kFirst.number})},
           {{.type = RecordType::kLog, .replica = kFirst}, EncodeLog(log)},
           {{.type = RecordType::kHardState, .replica = kFirst}, HardStateOf(2)}});
  EXPECT_EQ(Sound().log.written, LogIndex(4));
  EXPECT_EQ(Sound().last_index, LogIndex(4));
}

TEST_F(ReplayOfLives, EntryBehindAWrittenEndThatWasNotTold_IsAGap) {
  Create(kFirst);
  Append(kFirst, 3);
  last_.index = LogIndex(8);
  Append(kFirst, 1);
  EXPECT_NE(Run().groups[kGroup].doubt, "");
}

TEST_F(ReplayOfLives, RestoreThatIsUnderWay_ChangesNothingYet) {
  Create(kFirst);
  Append(kFirst, 2);
  MoveLog(kFirst,
          {.end = {.index = LogIndex(50), .term = Term(2), .chain = 5},
           .reset_epoch = TruncationEpoch(1),
           .generation = 1},
          kPending);
  EXPECT_EQ(Sound().log.end, kNowhere);
  EXPECT_EQ(Sound().entries.size(), 2U);
}

TEST_F(ReplayOfLives, S4_ReplicaWhoseSuccessorsCreationIsLost_IsInDoubt) {
  for (const bool is_removed : {false, true}) {
    ReplayOfLives::file_.clear();
    header_ = {.key = kKey, .file_sequence = 1, .oldest_file = 1, .lsn = 1};
    last_ = {};
    AddHead({});
    Create(kFirst);
    if (is_removed) Remove(kFirst);
    Create(kSecond);
    RotLastBlock();
    // Both logs are empty, so that nothing but the number tells whose vote this is.
    StateHardState(kSecond, 4);
    const Replayed replayed = Run();
    EXPECT_EQ(replayed.damage.size(), 1U);
    EXPECT_EQ(replayed.nameless.contains(kGroup), is_removed);
    if (is_removed) continue;
    EXPECT_NE(replayed.groups.at(kGroup).doubt, "");
    EXPECT_NE(replayed.groups.at(kGroup).ledger.hard_state.term, Term(4));
  }
}

TEST_F(ReplayOfLives, S4_TombstoneAndCreationLostTogether_IsNoSecondVote) {
  Create(kFirst);
  BlockWriter both({.header = header_, .position = file_.size(), .block_bytes = 256 << 10});
  both.Add({.type = RecordType::kTombstone, .replica = kFirst},
           EncodeTombstone({.number = kFirst.number, .controller_index = LogIndex(3)}));
  both.Add({.type = RecordType::kReplica, .replica = kSecond},
           EncodeReplica({.group = kGroup, .number = kSecond.number}));
  Take(std::move(both).Finish());
  RotLastBlock();
  StateHardState(kSecond, 4);
  EXPECT_NE(Run().groups.at(kGroup).doubt, "");
}

TEST_F(ReplayOfLives, S5_TombstoneRestatedLater_EndsNoLaterReplica) {
  Create(kSecond);
  Append(kSecond, 3);
  Remove(kFirst);
  EXPECT_EQ(Sound().entries.size(), 3U);
  EXPECT_EQ(Sound().record.number, kSecond.number);
}

TEST_F(ReplayOfLives, S6_BeginEndAndConfiguration_GrowEachByItself) {
  Create(kFirst);
  Append(kFirst, 9);
  const raft::core::Configuration later{
      .voters = {{BrokerId(4), Incarnation(4), ReplicaNumber(8)}}, .outgoing = {}, .learners = {}};
  MoveLog(kFirst, {.begin = ends_[4], .end = ends_[6]});
  // Composed before, and later on disk.
  MoveLog(kFirst, {.end = ends_[8], .configuration_index = LogIndex(7), .configuration = later});
  MoveLog(kFirst, {.begin = ends_[2], .end = ends_[5]});
  const GroupLedger ledger = Sound();
  EXPECT_EQ(ledger.log.begin, ends_[4]);
  EXPECT_EQ(ledger.log.end, ends_[8]);
  EXPECT_EQ(ledger.log.configuration_index, LogIndex(7));
  EXPECT_EQ(ledger.log.configuration, later);
  EXPECT_EQ(ledger.entries.size(), 1U);
}

// What a checkpoint says of the replica has no voters, so that nobody can take the first ones.
TEST_F(ReplayOfLives, ConfigurationInForce_OutlivesTheCreation) {
  const raft::core::Configuration later{
      .voters = {{BrokerId(4), Incarnation(4), ReplicaNumber(8)}}, .outgoing = {}, .learners = {}};
  last_ = {.index = LogIndex(9), .term = Term(1), .chain = 99};
  const LogRecord log{.end = last_, .configuration_index = LogIndex(7), .configuration = later};
  AddHead({{{.type = RecordType::kReplica, .replica = kFirst},
            EncodeReplica({.group = kGroup, .number = kFirst.number})},
           {{.type = RecordType::kLog, .replica = kFirst}, EncodeLog(log)},
           {{.type = RecordType::kHardState, .replica = kFirst}, HardStateOf(1)}});
  EXPECT_EQ(Sound().log, log);
  EXPECT_TRUE(Sound().record.configuration.voters.empty());
}

TEST_F(ReplayOfLives, UnknownKindOrCause_IsRefused) {
  std::string replica = EncodeReplica({.group = kGroup, .number = kFirst.number});
  replica[16] = 9;
  std::string fault = EncodeFault({});
  fault[0] = 9;
  for (const auto& [type, payload] :
       {std::pair{RecordType::kReplica, replica}, std::pair{RecordType::kFaulty, fault}}) {
    const std::string whole = file_;
    const BlockHeader next = header_;
    Add({.type = type, .replica = kFirst}, payload);
    std::string bytes = std::exchange(file_, whole);
    header_ = next;
    bytes.resize(kFileBytes);
    EXPECT_EQ(Replay(kKey, {{.name = "1.journal", .bytes = Bytes::Own(std::move(bytes))}})
                  .status()
                  .code(),
              Code::kUnimplemented);
  }
}

}  // namespace
}  // namespace millrace::storage::journal
