// However many files are kept, few are open; and nobody notices, but for an error that closing one
// brought to light.
#include "storage/file/bounded_files.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/sim_file/sim_disk.h"
#include "tests/support/sim_file/sim_file_system.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::storage {
namespace {

constexpr size_t kOpenMax = 3;

class BoundedFilesTest : public testing::Test {
 protected:
  BoundedFilesTest() : world_(5), random_(world_.Fork()), process_(world_.AddProcess("broker")) {
    below_ = std::make_unique<sim::SimFileSystem>(disk_, process_.executor(), process_.Fork());
    files_ = std::make_unique<BoundedFiles>(process_.executor(), *below_,
                                            BoundedFiles::Options{.open_files_max = kOpenMax});
  }

  template <typename T>
  T Wait(const std::function<void(MoveFunction<void(T)>)>& begin) {
    auto outcome = std::make_shared<std::optional<T>>();
    begin([outcome](T value) { *outcome = std::move(value); });
    EXPECT_FALSE(outcome->has_value()) << "completed inside the call";
    world_.RunUntil([&] { return outcome->has_value(); }, std::chrono::seconds(10));
    CHECK(outcome->has_value()) << "an operation did not end";
    EXPECT_LE(files_->open_files(), kOpenMax);
    return std::move(**outcome);
  }
  Result<std::unique_ptr<File>> TryOpen(const std::string& path, OpenMode mode) {
    return Wait<Result<std::unique_ptr<File>>>(
        [&](auto done) { files_->Open(path, mode, Caching::kPageCache, std::move(done)); });
  }
  std::unique_ptr<File> Make(const std::string& path) {
    return TryOpen(path, OpenMode::kCreate).value();
  }
  Status Write(File& file, uint64_t offset, const std::string& bytes) {
    return Wait<Status>(
        [&](StatusDone done) { file.Write(offset, {Bytes::CopyOf(bytes)}, std::move(done)); });
  }
  Status Sync(File& file) {
    return Wait<Status>([&](StatusDone done) { file.Sync(std::move(done)); });
  }
  Status WriteBack(File& file) {
    return Wait<Status>([&](StatusDone done) { file.WriteBack(std::move(done)); });
  }
  Result<Bytes> TryRead(File& file) {
    return Wait<Result<Bytes>>([&](ReadDone done) { file.Read(0, 100, std::move(done)); });
  }
  std::string Read(File& file) { return std::string(TryRead(file).value().view()); }
  // Files that are used after the others, so that these are closed.
  void UseOthers() {
    for (size_t i = 0; i < kOpenMax; ++i) {
      others_.push_back(Make("other" + std::to_string(others_.size())));
    }
  }

  sim::SimWorld world_;
  Random random_;
  sim::SimDisk disk_;
  sim::SimProcess& process_;
  std::unique_ptr<sim::SimFileSystem> below_;
  std::unique_ptr<BoundedFiles> files_;
  std::vector<std::unique_ptr<File>> others_;
};

TEST_F(BoundedFilesTest, ManyFiles_AreUsedInTurn_WithFewOpen) {
  std::vector<std::unique_ptr<File>> files;
  for (int i = 0; i < 20; ++i) {
    files.push_back(Make("f" + std::to_string(i)));
    ASSERT_TRUE(Write(*files.back(), 0, "begin " + std::to_string(i)).ok());
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Read(*files[i]), "begin " + std::to_string(i));
    EXPECT_EQ(files[i]->size(), 6 + std::to_string(i).size());
    ASSERT_TRUE(Write(*files[i], 0, "went on").ok());
  }
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Read(*files[i]).substr(0, 7), "went on");
  EXPECT_EQ(files_->open_files(), kOpenMax);
  files.clear();
  EXPECT_EQ(files_->open_files(), 0U);
}

TEST_F(BoundedFilesTest, OperationsAtOnce_OnMoreFilesThanMayBeOpen_AllEnd) {
  std::vector<std::unique_ptr<File>> files;
  for (int i = 0; i < 20; ++i) files.push_back(Make("f" + std::to_string(i)));
  int ended = 0;
  for (int round = 0; round < 3; ++round) {
    for (auto& file : files) {
      file->Write(static_cast<uint64_t>(round), {Bytes::CopyOf(std::to_string(round))},
                  [&](const Status& status) { ended += status.ok() ? 1 : 0; });
      file->Sync([&](const Status& status) { ended += status.ok() ? 1 : 0; });
    }
  }
  while (ended < 120) {
    ASSERT_TRUE(
        world_.RunUntil([&, before = ended] { return ended > before; }, std::chrono::seconds(10)));
    ASSERT_LE(files_->open_files(), kOpenMax);
  }
  for (auto& file : files) EXPECT_EQ(Read(*file), "012");
}

TEST_F(BoundedFilesTest, UnsyncedFile_IsSyncedBeforeItIsClosed) {
  const auto file = Make("a");
  ASSERT_TRUE(Write(*file, 0, "kept").ok());
  UseOthers();
  ASSERT_TRUE(
      Wait<Status>([&](StatusDone done) { files_->SyncDirectory("", std::move(done)); }).ok());
  EXPECT_EQ(disk_.DurableImage("a"), "kept");
}

// The kernel would tell nobody of it any more.
TEST_F(BoundedFilesTest, ErrorOfTheSyncBeforeClosing_IsToldToWhoSyncsNext_AndNotTriedAgain) {
  const auto file = Make("a");
  ASSERT_TRUE(Write(*file, 0, "lost").ok());
  disk_.FailNextSync("a");
  UseOthers();
  EXPECT_EQ(disk_.faults_given(), 1U);
  EXPECT_FALSE(Sync(*file).ok());
  EXPECT_FALSE(Write(*file, 4, "more").ok());
  EXPECT_FALSE(Sync(*file).ok());
  EXPECT_EQ(Read(*file), "lost") << "reading goes on, for what it is worth";
}

TEST_F(BoundedFilesTest, ErrorOfAWriteBack_IsToldToWhoSyncsNext_AndNotTriedAgain) {
  const auto file = Make("a");
  ASSERT_TRUE(Write(*file, 0, "lost").ok());
  disk_.FailNextSync("a");
  EXPECT_FALSE(WriteBack(*file).ok());
  EXPECT_FALSE(WriteBack(*file).ok());
  EXPECT_FALSE(Sync(*file).ok());
  UseOthers();
  EXPECT_EQ(disk_.faults_given(), 1U);
}

TEST_F(BoundedFilesTest, FileThatIsWrittenBack_IsSyncedBeforeItIsClosed) {
  const auto file = Make("a");
  ASSERT_TRUE(Write(*file, 0, "kept").ok());
  ASSERT_TRUE(WriteBack(*file).ok());
  UseOthers();
  ASSERT_TRUE(
      Wait<Status>([&](StatusDone done) { files_->SyncDirectory("", std::move(done)); }).ok());
  EXPECT_EQ(disk_.DurableImage("a"), "kept");
}

TEST_F(BoundedFilesTest, FailedSync_IsNotFollowedByAnotherWhenTheFileIsClosed) {
  const auto file = Make("a");
  ASSERT_TRUE(Write(*file, 0, "lost").ok());
  disk_.FailNextSync("a");
  EXPECT_FALSE(Sync(*file).ok());
  const uint64_t before = disk_.operations();
  UseOthers();
  EXPECT_EQ(disk_.operations(), before + kOpenMax) << "only the others were made";
}

TEST_F(BoundedFilesTest, FileThatCannotBeOpenedAgain_FailsThatOperation_AndNotTheNext) {
  const auto file = Make("a");
  ASSERT_TRUE(Write(*file, 0, "text").ok());
  UseOthers();
  disk_.FailNext(sim::SimDisk::Kind::kRead, "a", ResourceExhausted("Too many open files"));
  EXPECT_EQ(TryRead(*file).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(Read(*file), "text");
}

TEST_F(BoundedFilesTest, RenamedFile_IsOpenedAgainByItsNewName_AndNeverTheOneThatItReplaced) {
  const auto old_file = Make("name");
  ASSERT_TRUE(Write(*old_file, 0, "old").ok());
  const auto new_file = Make("name.new");
  ASSERT_TRUE(Write(*new_file, 0, "new").ok());
  ASSERT_TRUE(Wait<Status>([&](StatusDone done) {
                files_->Rename("name.new", "name", std::move(done));
              }).ok());
  UseOthers();
  EXPECT_EQ(Read(*new_file), "new");
  EXPECT_EQ(TryRead(*old_file).status().code(), Code::kNotFound);
}

TEST_F(BoundedFilesTest, RemovedFile_IsNotMistakenForOneMadeUnderItsName) {
  const auto removed = Make("a");
  ASSERT_TRUE(Wait<Status>([&](StatusDone done) { files_->Remove("a", std::move(done)); }).ok());
  const auto made = Make("a");
  ASSERT_TRUE(Write(*made, 0, "another").ok());
  UseOthers();
  EXPECT_EQ(TryRead(*removed).status().code(), Code::kNotFound);
  EXPECT_EQ(Read(*made), "another");
}

TEST_F(BoundedFilesTest, FileThatIsNotThere_TakesNoPlace) {
  for (size_t i = 0; i < 2 * kOpenMax; ++i) {
    EXPECT_EQ(TryOpen("nothing", OpenMode::kRead).status().code(), Code::kNotFound);
  }
  EXPECT_EQ(files_->open_files(), 0U);
}

TEST_F(BoundedFilesTest, FileGivenUpWhileItIsUsed_IsClosedWhenThatEnds) {
  auto file = Make("a");
  std::optional<Status> written;
  file->Write(0, {Bytes::CopyOf("x")}, [&](Status status) { written = std::move(status); });
  file.reset();
  world_.RunUntil([&] { return written.has_value(); }, std::chrono::seconds(1));
  ASSERT_TRUE(written.has_value());
  EXPECT_TRUE(written->ok());
  EXPECT_EQ(files_->open_files(), 0U);
}

}  // namespace
}  // namespace millrace::storage
