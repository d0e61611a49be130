// Replay as a pure function: every bit of a small journal flipped, every length, and bytes that are
// no journal at all.
#include "storage/journal/replay.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "tests/storage/journal/journal_rig.h"

namespace millrace::storage::journal {
namespace {

// What Bytes let go of in this thread while it lives, in order: they alone take aligned memory
// (operator delete below).
class FreedMemory {
 public:
  FreedMemory() { watching_ = this; }
  ~FreedMemory() { watching_ = nullptr; }
  FreedMemory(const FreedMemory&) = delete;
  FreedMemory& operator=(const FreedMemory&) = delete;

  static void Note(const void* at) {
    if (watching_ != nullptr) watching_->freed_.push_back(at);
  }
  std::vector<const void*> Among(const std::vector<const void*>& wanted) const {
    std::vector<const void*> found;
    for (const void* at : freed_) {
      const bool is_known = std::ranges::find(found, at) != found.end();  // it was used again
      if (!is_known && std::ranges::find(wanted, at) != wanted.end()) found.push_back(at);
    }
    return found;
  }

 private:
  static thread_local FreedMemory* watching_;
  std::vector<const void*> freed_;
};
thread_local FreedMemory* FreedMemory::watching_ = nullptr;

class ReplayTest : public testing::Test {
 protected:
  // Two files: one that is over, and one with a commit and its marker.
  void SetUp() override {
    JournalRig rig(21, {.file_bytes = 32 << 10});
    ASSERT_TRUE(rig.Start().ok());
    rig.CreateGroup(1);
    rig.Append(1, 3, 200);
    rig.SetHardState(1, 5, 2);
    rig.Settle();
    rig.CreateGroup(2);
    rig.Append(2, 1, 900);
    rig.Rewrite(1, 2, 2);
    rig.Settle();
    rig.PowerLoss();
    ASSERT_TRUE(rig.Start().ok());
    rig.CreateGroup(3);
    rig.Append(3, 2, 50);
    rig.Append(1, 1, 50);
    rig.Settle();
    rig.RunFor(std::chrono::milliseconds(100));
    for (const std::string& path : rig.Files()) {
      files_.push_back({.name = path,
                        .made_bytes = rig.options().file_bytes,
                        .bytes = Bytes::CopyOf(*rig.disk().Content(path))});
    }
    uuid_ = rig.options().key;
    whole_ = Run();
    ASSERT_EQ(whole_.groups.size(), 3U);
    ASSERT_TRUE(whole_.damage.empty());
  }

  Replayed Run() {
    Result<Replayed> replayed = Replay(uuid_, files_);
    CHECK(replayed.ok()) << replayed.status();
    return std::move(replayed).value();
  }

  // "" if no group is sound and yet another than it was, else what is wrong.
  std::string Judge(const Replayed& replayed) const {
    for (const auto& [id, was] : whole_.groups) {
      const auto found = replayed.groups.find(id);
      if (found == replayed.groups.end()) {
        if (replayed.may_lack_groups || replayed.nameless.contains(id)) continue;
        return "a group is gone without a word";
      }
      if (!found->second.doubt.empty()) {
        if (replayed.damage.empty()) return "in doubt, but no damage is named";
        continue;
      }
      const GroupLedger& now = found->second.ledger;
      const bool is_same = now.last_index == was.ledger.last_index &&
                           now.last_chain == was.ledger.last_chain &&
                           now.hard_state == was.ledger.hard_state &&
                           now.epoch == was.ledger.epoch && now.record == was.ledger.record;
      if (!is_same) return "a group has changed and is not in doubt";
    }
    return "";
  }

  uint64_t uuid_ = 0;
  std::vector<FileImage> files_;
  Replayed whole_;
};

TEST_F(ReplayTest, AnyFlippedBit_IsHarmlessOrNamed) {
  uint64_t named = 0;
  for (FileImage& file : files_) {
    const Bytes before = file.bytes;
    for (uint64_t at = 0; at < before.size(); at += at % 4096 < 1200 ? 1 : 256) {
      std::string bytes(before.view());
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
      file.bytes = Bytes::Own(std::move(bytes));
      const Replayed replayed = Run();
      ASSERT_EQ(Judge(replayed), "") << file.name << " at " << at;
      named += replayed.damage.empty() ? 0 : 1;
    }
    file.bytes = before;
  }
  EXPECT_GT(named, 1000U);
}

TEST_F(ReplayTest, AnyCut_IsHarmlessOrNamed) {
  for (FileImage& file : files_) {
    const Bytes before = file.bytes;
    for (uint64_t size = 0; size < before.size(); size += 61) {
      file.bytes = before.Slice(0, size);
      ASSERT_EQ(Judge(Run()), "") << file.name << " cut at " << size;
    }
    file.bytes = before;
  }
}

TEST_F(ReplayTest, WriteThatDidNotEnd_IsToldAndIsNoDamage) {
  ASSERT_FALSE(whole_.torn_write.has_value());
  const Replayed::LiveFile& newest = whole_.live.rbegin()->second;
  const uint64_t marker_at = newest.filled_bytes - kBlockAlignment;
  for (FileImage& file : files_) {
    if (file.name != newest.name) continue;
    std::string bytes(file.bytes.view());
    bytes[marker_at + 20] ^= 1;
    file.bytes = Bytes::Own(std::move(bytes));
  }
  const Replayed replayed = Run();
  EXPECT_TRUE(replayed.damage.empty());
  ASSERT_TRUE(replayed.torn_write.has_value());
  EXPECT_EQ(replayed.torn_write->name, newest.name);
  EXPECT_EQ(replayed.torn_write->offset, marker_at);
}

TEST_F(ReplayTest, MissingOlderFile_IsNamed) {
  files_.erase(files_.begin());
  const Replayed replayed = Run();
  EXPECT_FALSE(replayed.damage.empty());
  EXPECT_EQ(Judge(replayed), "");
}

TEST_F(ReplayTest, SameBytes_GiveTheSameStateInAnyOrderOfFiles) {
  std::swap(files_.front(), files_.back());
  const Replayed replayed = Run();
  EXPECT_EQ(Judge(replayed), "");
  EXPECT_EQ(replayed.end_lsn, whole_.end_lsn);
  EXPECT_TRUE(replayed.damage.empty());
}

// A start has the memory for its journal, and not for it and all that it needs of it.
TEST_F(ReplayTest, AFilesBytesGo_BeforeTheNextFileIsReplayed) {
  // The newest one first: so they would go if they went all at once.
  std::vector<FileImage> images;
  std::vector<const void*> oldest_first;
  for (const auto& [sequence, live] : whole_.live) {
    const FileImage& file = *std::ranges::find(files_, live.name, &FileImage::name);
    images.insert(images.begin(), {.name = file.name, .bytes = Bytes::CopyOf(file.bytes.view())});
    oldest_first.push_back(images.front().bytes.data());
  }
  ASSERT_EQ(images.size(), 2U);
  const FreedMemory freed;
  const Result<Replayed> replayed = Replay(uuid_, std::move(images));
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_EQ(freed.Among(oldest_first), oldest_first);
  const auto& entries = replayed->groups.at(RaftGroupId(1)).ledger.entries;
  EXPECT_EQ(entries.begin()->second.place.file, whole_.live.begin()->first)
      << "nothing of the first file is needed";
}

// A group that was called faulty without a word came back sound, with whatever entries it had left.
TEST(Replay, GroupCalledFaultyWithoutAReason_IsInDoubtAllTheSame) {
  constexpr uint64_t kUuid = 5;
  constexpr uint64_t kFileBytes = 32 << 10;
  constexpr RaftGroupId kGroup{7};
  BlockWriter writer(
      {.header =
           {.flags = kHeadBlock, .key = kUuid, .file_sequence = 1, .oldest_file = 1, .lsn = 1},
       .block_bytes = 256 << 10});
  const raft::ReplicaId replica{kGroup, ReplicaNumber(1)};
  writer.Add({.type = RecordType::kHead, .replica = {}},
             EncodeHead({.file_bytes = kFileBytes, .group_count = 1}));
  writer.Add({.type = RecordType::kReplica, .replica = replica},
             EncodeReplica({.group = kGroup, .number = replica.number}));
  writer.Add({.type = RecordType::kHardState, .replica = replica}, EncodeHardState({}));
  writer.Add({.type = RecordType::kFaulty, .replica = replica}, EncodeFault({}));
  std::string file;
  const BlockWriter::Blocks blocks = std::move(writer).Finish();
  for (const Bytes& piece : blocks.pieces) file += piece.view();
  file.resize(kFileBytes);
  const Result<Replayed> replayed =
      Replay(kUuid, {{.name = "1.journal", .bytes = Bytes::Own(std::move(file))}});
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_NE(replayed->groups.at(kGroup).doubt, "");
}

// A journal of one file: a head, and then a block that a test changes.
class ReplayOfAnotherBuild : public testing::Test {
 protected:
  static constexpr uint64_t kKey = 5;
  static constexpr uint64_t kFileBytes = 32 << 10;
  static constexpr raft::ReplicaId kReplica{RaftGroupId(7), ReplicaNumber(1)};

  ReplayOfAnotherBuild() {
    BlockWriter head({.header = header_, .block_bytes = 256 << 10});
    head.Add({.type = RecordType::kHead, .replica = {}},
             EncodeHead({.file_bytes = kFileBytes, .group_count = 0}));
    Take(std::move(head).Finish());
    header_.flags = 0;
    header_.durable_lsn = 1;
  }

  void Take(const BlockWriter::Blocks& blocks) {
    for (const Bytes& piece : blocks.pieces) file_ += piece.view();
    header_.lsn = blocks.last_lsn + 1;
    header_.previous_crc = blocks.last_crc;
  }
  BlockWriter Block() const {
    return BlockWriter({.header = header_, .position = file_.size(), .block_bytes = 256 << 10});
  }
  Result<Replayed> Run() {
    std::string bytes = file_;
    bytes.resize(kFileBytes);
    return Replay(kKey, {{.name = "1.journal", .bytes = Bytes::Own(std::move(bytes))}});
  }
  void ExpectRefused(const std::string& named) {
    const Status status = Run().status();
    EXPECT_EQ(status.code(), Code::kUnimplemented) << status;
    EXPECT_NE(status.message().find("1.journal, byte 4096"), std::string::npos) << status;
    EXPECT_NE(status.message().find(named), std::string::npos) << status;
  }

  BlockHeader header_{
      .flags = kHeadBlock, .key = kKey, .file_sequence = 1, .oldest_file = 1, .lsn = 1};
  std::string file_;
};

TEST_F(ReplayOfAnotherBuild, BlockOfAnUnknownVersion_IsRefused_NeverATail) {
  header_.version = kJournalVersion + 1;
  Take(Block().Finish());
  ExpectRefused("version 2");
}

TEST_F(ReplayOfAnotherBuild, BlockWithAnUnknownFlag_IsRefused) {
  header_.flags = 1 << 9;
  Take(Block().Finish());
  ExpectRefused("flags 512");
}

// Only where the next block belongs: what was there before the file was used again says nothing.
TEST_F(ReplayOfAnotherBuild, BlockOfAnUnknownVersionElsewhere_IsNotLookedAt) {
  BlockHeader stale = header_;
  stale.version = kJournalVersion + 1;
  stale.file_sequence = 0;
  std::swap(header_, stale);
  Take(Block().Finish());
  const Result<Replayed> replayed = Run();
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_EQ(replayed->end_lsn, 1U);
  EXPECT_TRUE(replayed->damage.empty());
}

// Whoever lacks the key may still write a header with a right checksum, and any length in it.
TEST_F(ReplayOfAnotherBuild, HeaderOfAStranger_HidesNoBlockBehindIt) {
  const size_t rotten = file_.size();
  Take(Block().Finish());
  BlockHeader forged = header_;
  forged.key = kKey + 1;
  forged.version = kJournalVersion + 1;
  forged.length = 20 << 10;
  file_ += EncodeBlockHeader(forged);
  file_.resize(rotten + 2 * kBlockAlignment);
  header_.durable_lsn = header_.lsn - 1;
  Take(Block().Finish());
  file_[rotten] = 'x';
  const Result<Replayed> replayed = Run();
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_EQ(replayed->damage.size(), 1U) << "the block behind says that the rotten one was synced";
}

TEST_F(ReplayOfAnotherBuild, UnknownRecord_IsRefused_AndNoDamage) {
  BlockWriter block = Block();
  block.Add({.type = static_cast<RecordType>(9), .replica = kReplica}, "of a newer build");
  Take(std::move(block).Finish());
  ExpectRefused("type 9");
}

TEST_F(ReplayOfAnotherBuild, UnknownFlagOfARecord_IsRefused) {
  BlockWriter block = Block();
  block.Add({.type = RecordType::kTombstone, .flags = 4, .replica = kReplica}, EncodeTombstone({}));
  Take(std::move(block).Finish());
  ExpectRefused("flags 4");
}

TEST_F(ReplayOfAnotherBuild, RecordOfAnotherLength_IsRefused) {
  BlockWriter block = Block();
  block.Add({.type = RecordType::kHardState, .replica = kReplica}, std::string(48, 'x'));
  Take(std::move(block).Finish());
  ExpectRefused("");
}

TEST(Replay, Garbage_IsNoJournal) {
  Random random(5);
  for (int round = 0; round < 200; ++round) {
    std::string bytes(random.Below(20000), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random.Next());
    if (random.OneIn(2) && bytes.size() > 8) bytes.replace(0, 8, "MRLJ\x01\0\x01\0", 8);
    const Result<Replayed> replayed =
        Replay(1, {{.name = "x.journal", .bytes = Bytes::Own(bytes)}});
    ASSERT_TRUE(replayed.ok());
    EXPECT_EQ(replayed->end_lsn, 0U);
    EXPECT_TRUE(replayed->groups.empty());
  }
}

}  // namespace
}  // namespace millrace::storage::journal

void* operator new(size_t size, std::align_val_t alignment) {
  const auto unit = static_cast<size_t>(alignment);
  void* memory = std::aligned_alloc(unit, (size + unit - 1) / unit * unit);
  CHECK(memory != nullptr) << size;
  return memory;
}

void operator delete(void* at, std::align_val_t) noexcept {
  millrace::storage::journal::FreedMemory::Note(at);
  std::free(at);
}

void operator delete(void* at, size_t, std::align_val_t alignment) noexcept {
  ::operator delete(at, alignment);
}
