// The superblock under crashes at every disk operation, rot of either copy, and directories that
// are not ours.
#include "storage/superblock/superblock.h"

#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "proto/base/checksum.h"
#include "tests/support/sim_file/sim_disk.h"
#include "tests/support/sim_file/sim_file_system.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::storage {
namespace {

constexpr char kPath[] = "SUPERBLOCK";

class SuperblockTest : public testing::Test {
 protected:
  explicit SuperblockTest(uint64_t seed = 1)
      : world_(seed), random_(world_.Fork()), process_(world_.AddProcess("broker")) {}
  ~SuperblockTest() override {
    superblock_.reset();
    files_.reset();
  }

  Status Open(const std::string& cluster = "demo", uint32_t broker = 1) {
    if (!process_.is_alive()) process_.Restart();
    files_ = std::make_unique<sim::SimFileSystem>(disk_, process_.executor(), process_.Fork());
    std::optional<Status> outcome;
    Superblock::Open(*files_, {cluster, BrokerId(broker)}, process_.Fork(),
                     [&](Result<std::unique_ptr<Superblock>> opened) {
                       outcome = opened.ok() ? Status::Ok() : opened.status();
                       if (opened.ok()) superblock_ = std::move(opened).value();
                     });
    world_.RunUntil([&] { return outcome.has_value() || !process_.is_alive(); },
                    std::chrono::seconds(5));
    return outcome.value_or(Aborted("the machine died"));
  }

  Result<FoundSuperblock> Read() {
    if (!process_.is_alive()) process_.Restart();
    sim::SimFileSystem files(disk_, process_.executor(), process_.Fork());
    std::optional<Result<FoundSuperblock>> outcome;
    Superblock::Read(files,
                     [&](Result<FoundSuperblock> found) { outcome.emplace(std::move(found)); });
    world_.RunUntil([&] { return outcome.has_value(); }, std::chrono::seconds(5));
    return *outcome;
  }

  Status Update(const SuperblockFacts& facts) {
    std::optional<Status> outcome;
    superblock_->Update(facts, [&](Status status) { outcome = std::move(status); });
    world_.RunUntil([&] { return outcome.has_value() || !process_.is_alive(); },
                    std::chrono::seconds(5));
    return outcome.value_or(Aborted("the machine died"));
  }

  void Crash() {
    disk_.ForgetCrash();
    if (process_.is_alive()) process_.Kill();
    superblock_.reset();
    files_.reset();
    disk_.PowerLoss(random_);
  }

  SuperblockFacts Initialized() {
    SuperblockFacts facts = superblock_->facts();
    facts.stage = BootstrapStage::kInitialized;
    facts.cluster_uuid = 77;
    facts.controllers = {{BrokerId(1), facts.incarnation}, {BrokerId(2), Incarnation(9)}};
    return facts;
  }

  sim::SimWorld world_;
  Random random_;
  sim::SimDisk disk_;
  sim::SimProcess& process_;
  std::unique_ptr<sim::SimFileSystem> files_;
  std::unique_ptr<Superblock> superblock_;
};

TEST_F(SuperblockTest, Fresh_HasAnIncarnationAndCountsBoots) {
  ASSERT_TRUE(Open().ok());
  const SuperblockFacts first = superblock_->facts();
  EXPECT_EQ(first.stage, BootstrapStage::kFresh);
  EXPECT_EQ(first.boot_epoch, BootEpoch(1));
  EXPECT_NE(first.incarnation, Incarnation());
  Crash();
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(superblock_->facts().incarnation, first.incarnation);
  EXPECT_EQ(superblock_->facts().boot_epoch, BootEpoch(2));
}

TEST_F(SuperblockTest, AnotherClustersOrBrokersDirectory_IsRefusedByName) {
  ASSERT_TRUE(Open("demo", 1).ok());
  Crash();
  const Status other_cluster = Open("prod", 1);
  EXPECT_EQ(other_cluster.code(), Code::kFailedPrecondition);
  EXPECT_NE(other_cluster.message().find("\"demo\""), std::string::npos) << other_cluster;
  const Status other_broker = Open("demo", 2);
  EXPECT_EQ(other_broker.code(), Code::kFailedPrecondition);
  EXPECT_NE(other_broker.message().find("broker 1"), std::string::npos) << other_broker;
}

TEST_F(SuperblockTest, DirectoryWithDataAndNoSuperblock_IsCorruptNotFresh) {
  disk_.PutFile("journal/00000001.journal", "x");
  EXPECT_EQ(Open().code(), Code::kDataLoss);
}

TEST_F(SuperblockTest, Read_TellsWhatIsThereAndChangesNothing) {
  EXPECT_EQ(Read().status().code(), Code::kNotFound);
  ASSERT_TRUE(Open().ok());
  const SuperblockFacts facts = superblock_->facts();
  Crash();
  const std::optional<std::string> before = disk_.Content(kPath);
  const uint64_t operations = disk_.operations();
  for (const std::optional<size_t> damaged : {std::optional<size_t>(), {0}, {1}}) {
    if (damaged.has_value()) disk_.FlipBit(kPath, *damaged * 4096 + 100, 1);
    const Result<FoundSuperblock> found = Read();
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->newest.facts, facts);
    EXPECT_EQ(found->damaged_copy, damaged);
    if (damaged.has_value()) disk_.FlipBit(kPath, *damaged * 4096 + 100, 1);
  }
  EXPECT_EQ(disk_.Content(kPath), before);
  EXPECT_EQ(disk_.operations(), operations);
  disk_.RemoveFile(kPath);
  disk_.PutFile("groups/1/1.0/x", "x");
  EXPECT_EQ(Read().status().code(), Code::kDataLoss);
}

TEST_F(SuperblockTest, BothCopiesRotten_IsDataLossNamingTheFile) {
  ASSERT_TRUE(Open().ok());
  Crash();
  disk_.FlipBit(kPath, 100, 1);
  disk_.FlipBit(kPath, 4096 + 100, 1);
  const Status status = Open();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find("SUPERBLOCK, of which neither copy"), std::string::npos)
      << status;
}

TEST_F(SuperblockTest, ACopyThatCannotBeRead_LosesNothing_AndIsWrittenAgain) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Update(Initialized()).ok());
  for (const size_t copy : {0, 1}) {
    const SuperblockFacts facts = superblock_->facts();
    Crash();
    // Behind the list of the directory and the file's opening.
    const auto fail_its_read = [&] { disk_.FailCall(3 + copy, Unavailable("input/output error")); };
    disk_.FlipBit(kPath, copy * 4096 + 100, 1);
    fail_its_read();
    EXPECT_EQ(Read()->damaged_copy, copy);
    fail_its_read();
    ASSERT_TRUE(Open().ok());
    EXPECT_EQ(superblock_->facts().controllers, facts.controllers);
    EXPECT_EQ(superblock_->facts().boot_epoch, BootEpoch(facts.boot_epoch.value() + 1));
    EXPECT_EQ(Read()->damaged_copy, std::nullopt);
  }
  Crash();
  disk_.FailEvery(1, kPath, Unavailable("input/output error"));
  EXPECT_EQ(Open().code(), Code::kUnavailable) << "that may pass";
}

TEST_F(SuperblockTest, ZeroedSuperblock_IsDataLossNotFresh) {
  ASSERT_TRUE(Open().ok());
  Crash();
  disk_.RemoveFile(kPath);
  disk_.PutFile(kPath, std::string(8192, '\0'));
  EXPECT_EQ(Open().code(), Code::kDataLoss);
}

TEST_F(SuperblockTest, EitherCopyRotten_LosesNothing) {
  for (const uint64_t copy : {0, 1}) {
    disk_.WipeAll();
    ASSERT_TRUE(Open().ok());
    const SuperblockFacts facts = Initialized();
    ASSERT_TRUE(Update(facts).ok());
    Crash();
    disk_.FlipBit(kPath, copy * 4096 + random_.Below(400), 5);
    ASSERT_TRUE(Open().ok()) << "copy " << copy;
    EXPECT_EQ(superblock_->facts().controllers, facts.controllers);
    EXPECT_EQ(superblock_->facts().stage, BootstrapStage::kInitialized);
    EXPECT_GT(superblock_->facts().boot_epoch, facts.boot_epoch);
    Crash();
    EXPECT_EQ(Read()->damaged_copy, std::nullopt) << "it is written again";
  }
}

TEST_F(SuperblockTest, CrashInAnyOperation_KeepsTheOldOrTheNewFacts) {
  for (uint64_t at = 1; at <= 12; ++at) {
    for (int round = 0; round < 20; ++round) {
      disk_.WipeAll();
      disk_.CrashAtOperation(at, [this] { process_.Kill(); });
      Status opened = Open();
      std::optional<SuperblockFacts> before;
      std::optional<SuperblockFacts> wanted;
      bool is_acknowledged = false;
      if (opened.ok()) {
        before = superblock_->facts();
        wanted = Initialized();
        is_acknowledged = Update(*wanted).ok();
      }
      Crash();
      ASSERT_TRUE(Open().ok()) << "operation " << at << " round " << round;
      if (!before) continue;
      const SuperblockFacts& now = superblock_->facts();
      EXPECT_EQ(now.incarnation, before->incarnation);
      EXPECT_GT(now.boot_epoch, before->boot_epoch);
      if (is_acknowledged) {
        EXPECT_EQ(now.controllers, wanted->controllers) << "operation " << at;
      }
      Crash();
    }
  }
}

// What the internal port tells of a broker must not be what its journal's blocks are known by.
TEST_F(SuperblockTest, JournalKey_IsDrawnOnce_AndIsNotTheIncarnation) {
  ASSERT_TRUE(Open().ok());
  const SuperblockFacts first = superblock_->facts();
  EXPECT_NE(first.journal_key, 0U);
  EXPECT_NE(first.journal_key, first.incarnation.value());
  Crash();
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(superblock_->facts().journal_key, first.journal_key);
}

constexpr size_t kVersionAt = 8;
constexpr size_t kCrcAt = 12;
constexpr size_t kSequenceAt = 16;
constexpr size_t kStageAt = 52;
constexpr size_t kIncompatibleAt = 568;

// One copy with the number at `at` changed and its checksum right again.
template <typename Number>
std::string With(const SuperblockFacts& facts, uint64_t sequence, size_t at, Number value) {
  std::string copy(EncodeSuperblock(facts, sequence).view());
  std::memcpy(copy.data() + at, &value, sizeof(value));
  std::memset(copy.data() + kCrcAt, 0, sizeof(uint32_t));
  const uint32_t crc = Crc32c(copy);
  std::memcpy(copy.data() + kCrcAt, &crc, sizeof(crc));
  return copy;
}

TEST_F(SuperblockTest, WhatThisBuildDoesNotKnow_IsRefusedByName_AndLeftAsItIs) {
  ASSERT_TRUE(Open().ok());
  const SuperblockFacts facts = Initialized();
  Crash();
  struct Case {
    std::string copy;
    std::string named;
  };
  for (const Case& unknown : {Case{With(facts, 100, kVersionAt, uint32_t{1}), "version 1"},
                              Case{With(facts, 100, kVersionAt, uint32_t{3}), "version 3"},
                              Case{With(facts, 100, kStageAt, uint32_t{9}), "stage 9"},
                              Case{With(facts, 100, kIncompatibleAt, uint64_t{4}), "bits 4"}}) {
    // Beside an older copy that this build could read: the directory has left it behind.
    const std::string older = With(facts, 99, kSequenceAt, uint64_t{99});
    for (const std::string& bytes : {unknown.copy + older, older + unknown.copy}) {
      disk_.RemoveFile(kPath);
      disk_.PutFile(kPath, bytes);
      const Status status = Open();
      EXPECT_EQ(status.code(), Code::kFailedPrecondition) << unknown.named;
      EXPECT_NE(status.message().find(unknown.named), std::string::npos) << status;
      Crash();
      EXPECT_EQ(disk_.Content(kPath), bytes);
    }
  }
}

TEST_F(SuperblockTest, CompatibleFeatures_AreKept) {
  ASSERT_TRUE(Open().ok());
  SuperblockFacts facts = Initialized();
  Crash();
  facts.compatible_features = 0x8000;
  disk_.RemoveFile(kPath);
  disk_.PutFile(kPath, std::string(EncodeSuperblock(facts, 1).view()) +
                           std::string(EncodeSuperblock(facts, 2).view()));
  ASSERT_TRUE(Open().ok());
  Crash();
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(superblock_->facts().compatible_features, 0x8000U);
}

}  // namespace
}  // namespace millrace::storage
