// The simulated disk is as unkind as promised, and no more.
#include "tests/support/sim_file/sim_disk.h"

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/sim_file/sim_file_system.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::sim {
namespace {

using storage::Caching;
using storage::File;
using storage::OpenMode;

class SimDiskTest : public testing::Test {
 protected:
  SimDiskTest() : world_(7), random_(world_.Fork()), process_(world_.AddProcess("broker")) {
    files_ = std::make_unique<SimFileSystem>(disk_, process_.executor(), process_.Fork());
  }

  Status Run(const std::function<void(storage::StatusDone)>& operation) {
    std::optional<Status> outcome;
    operation([&](Status status) { outcome = std::move(status); });
    world_.RunUntil([&] { return outcome.has_value(); }, std::chrono::seconds(1));
    return outcome.value_or(Unavailable("not done"));
  }
  std::unique_ptr<File> Open(const std::string& path, OpenMode mode = OpenMode::kCreate,
                             Caching caching = Caching::kPageCache) {
    std::unique_ptr<File> opened;
    (void)Run([&](storage::StatusDone done) {
      files_->Open(path, mode, caching,
                   [&, done = std::move(done)](Result<std::unique_ptr<File>> file) mutable {
                     if (file.ok()) opened = std::move(file).value();
                     done(Status::Ok());
                   });
    });
    return opened;
  }
  Status Write(File& file, uint64_t offset, const std::string& bytes) {
    return Run([&](storage::StatusDone done) {
      file.Write(offset, {Bytes::CopyOf(bytes)}, std::move(done));
    });
  }
  Status Sync(File& file) {
    return Run([&](storage::StatusDone done) { file.Sync(std::move(done)); });
  }
  Status SyncRoot() {
    return Run([&](storage::StatusDone done) { files_->SyncDirectory("", std::move(done)); });
  }
  std::string Read(File& file, uint64_t size) {
    std::string content;
    (void)Run([&](storage::StatusDone done) {
      file.Read(0, size, [&, done = std::move(done)](Result<Bytes> bytes) mutable {
        content = bytes->view();
        done(Status::Ok());
      });
    });
    return content;
  }

  SimWorld world_;
  Random random_;
  SimDisk disk_;
  SimProcess& process_;
  std::unique_ptr<SimFileSystem> files_;
};

TEST_F(SimDiskTest, SyncedBytesUnderASyncedName_AlwaysSurvive) {
  const auto file = Open("a");
  ASSERT_TRUE(Write(*file, 0, "kept").ok());
  ASSERT_TRUE(Sync(*file).ok());
  EXPECT_EQ(disk_.DurableImage("a"), std::nullopt);
  ASSERT_TRUE(SyncRoot().ok());
  EXPECT_EQ(disk_.DurableImage("a"), "kept");
  disk_.PowerLoss(random_);
  EXPECT_EQ(disk_.Content("a"), "kept");
}

TEST_F(SimDiskTest, BytesThatAreWrittenBack_AreNotDurable) {
  const auto file = Open("a");
  ASSERT_TRUE(SyncRoot().ok());
  ASSERT_TRUE(Write(*file, 0, "perhaps").ok());
  ASSERT_TRUE(Run([&](storage::StatusDone done) { file->WriteBack(std::move(done)); }).ok());
  EXPECT_EQ(disk_.DurableImage("a"), "");
  ASSERT_TRUE(Sync(*file).ok());
  EXPECT_EQ(disk_.DurableImage("a"), "perhaps");
}

TEST_F(SimDiskTest, UnsyncedWrites_AreKeptLostAndTorn) {
  std::set<std::string> kinds;
  for (int i = 0; i < 200; ++i) {
    const std::string path = "f" + std::to_string(i);
    const auto file = Open(path);
    ASSERT_TRUE(Write(*file, 0, std::string(2048, 'o')).ok());
    ASSERT_TRUE(Sync(*file).ok());
    ASSERT_TRUE(SyncRoot().ok());
    ASSERT_TRUE(Write(*file, 0, std::string(2048, 'n')).ok());
    disk_.PowerLoss(random_);
    const std::string content = disk_.Content(path).value();
    ASSERT_EQ(content.size(), 2048U);
    for (size_t at = 0; at < content.size(); at += SimDisk::kSectorBytes) {
      ASSERT_EQ(content.substr(at, 512), std::string(512, content[at])) << "torn within a sector";
    }
    const bool has_old = content.find('o') != std::string::npos;
    const bool has_new = content.find('n') != std::string::npos;
    kinds.insert(has_old && has_new ? "torn" : has_new ? "kept" : "lost");
  }
  EXPECT_EQ(kinds, (std::set<std::string>{"kept", "lost", "torn"}));
}

TEST_F(SimDiskTest, UnsyncedNames_AreKeptOrLost) {
  std::set<bool> fates;
  for (int i = 0; i < 50; ++i) {
    const std::string path = "f" + std::to_string(i);
    const auto file = Open(path);
    ASSERT_TRUE(Sync(*file).ok());
    disk_.PowerLoss(random_);
    fates.insert(disk_.Content(path).has_value());
  }
  EXPECT_EQ(fates.size(), 2U);
}

TEST_F(SimDiskTest, AfterAFailedSync_LaterOnesSayOkWithTheDataLost) {
  const auto file = Open("a");
  ASSERT_TRUE(SyncRoot().ok());
  ASSERT_TRUE(Write(*file, 0, std::string(4096, 'x')).ok());
  disk_.FailNextSync("a");
  EXPECT_EQ(Sync(*file).code(), Code::kUnavailable);
  EXPECT_TRUE(Sync(*file).ok());
  EXPECT_EQ(Read(*file, 4096), std::string(4096, 'x')) << "the page cache still shows it";
  const auto direct = Open("a", OpenMode::kRead, Caching::kDirect);
  EXPECT_EQ(Read(*direct, 4096), std::string(4096, '\0')) << "the medium never held it";
  disk_.PowerLoss(random_);
  EXPECT_EQ(disk_.Content("a"), std::string(4096, '\0'));
}

TEST_F(SimDiskTest, ASpoiltSector_IsReadByNobody_AndTheRestIs) {
  const auto file = Open("a");
  ASSERT_TRUE(SyncRoot().ok());
  ASSERT_TRUE(Write(*file, 0, std::string(4096, 'x')).ok());
  ASSERT_TRUE(Sync(*file).ok());
  disk_.SpoilSector("a", 700);
  EXPECT_EQ(Read(*file, 512), std::string(512, 'x'));
  const Status over_it = Run([&](storage::StatusDone done) {
    file->Read(0, 513, [done = std::move(done)](const Result<Bytes>& bytes) mutable {
      done(bytes.status());
    });
  });
  EXPECT_EQ(over_it.message(), "read a: Input/output error");
}

TEST_F(SimDiskTest, CrashAtAnOperation_CompletesNothingAfterIt) {
  const auto file = Open("a");
  disk_.CrashAtOperation(2, [this] { process_.Kill(); });
  EXPECT_TRUE(Write(*file, 0, "one").ok());
  EXPECT_EQ(Write(*file, 3, "two").code(), Code::kUnavailable);
  EXPECT_FALSE(process_.is_alive());
}

TEST_F(SimDiskTest, FullDisk_RefusesToGrowFilesButNotToOverwrite) {
  const auto file = Open("a");
  disk_.SetCapacity(4096);
  ASSERT_TRUE(Write(*file, 0, std::string(4096, 'x')).ok());
  EXPECT_EQ(Write(*file, 4096, "x").code(), Code::kResourceExhausted);
  EXPECT_TRUE(Write(*file, 0, "y").ok());
}

TEST_F(SimDiskTest, Reads_MayOvertakeASync) {
  const std::unique_ptr<File> file = Open("a");
  ASSERT_TRUE(Write(*file, 0, "content").ok());
  std::optional<Status> synced;
  file->Sync([&](Status status) { synced = std::move(status); });
  EXPECT_EQ(Read(*file, 100), "content");
  EXPECT_FALSE(synced.has_value());  // it takes longer than any read
  EXPECT_TRUE(Sync(*file).ok());
}

TEST_F(SimDiskTest, Stall_HoldsOperationsUntilResume) {
  const auto file = Open("a");
  disk_.Stall();
  bool is_done = false;
  file->Write(0, {Bytes::CopyOf("x")}, [&](Status) { is_done = true; });
  world_.RunFor(std::chrono::seconds(1));
  EXPECT_FALSE(is_done);
  disk_.Resume();
  world_.RunFor(std::chrono::seconds(1));
  EXPECT_TRUE(is_done);
}

}  // namespace
}  // namespace millrace::sim
