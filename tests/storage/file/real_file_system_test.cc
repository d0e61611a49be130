// The operating system's files behind the interface, in a temporary directory.
#include "storage/file/real_file_system.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::storage {
namespace {

class RealFileSystemTest : public testing::Test {
 protected:
  RealFileSystemTest()
      : world_(1),
        process_(world_.AddProcess("here")),
        root_(std::filesystem::temp_directory_path() /
              ("millrace_file_test_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
    files_ = std::make_unique<RealFileSystem>(process_.executor(), root_.string());
  }
  ~RealFileSystemTest() override { std::filesystem::remove_all(root_); }

  template <typename T>
  T Wait(std::optional<T>& outcome) {
    world_.RunUntil([&] { return outcome.has_value(); }, std::chrono::seconds(1));
    return std::move(outcome).value();
  }
  std::unique_ptr<File> Create(const std::string& path) {
    std::optional<Result<std::unique_ptr<File>>> outcome;
    files_->Open(path, OpenMode::kCreate, Caching::kPageCache,
                 [&](Result<std::unique_ptr<File>> file) { outcome = std::move(file); });
    return Wait(outcome).value();
  }
  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode,
                                     Caching caching = Caching::kPageCache) {
    std::optional<Result<std::unique_ptr<File>>> outcome;
    files_->Open(path, mode, caching,
                 [&](Result<std::unique_ptr<File>> file) { outcome = std::move(file); });
    return Wait(outcome);
  }
  Status Write(File& file, uint64_t offset, std::vector<Bytes> pieces) {
    std::optional<Status> outcome;
    file.Write(offset, std::move(pieces), [&](Status status) { outcome = std::move(status); });
    return Wait(outcome);
  }
  Result<Bytes> Read(File& file, uint64_t offset, uint64_t size) {
    std::optional<Result<Bytes>> outcome;
    file.Read(offset, size, [&](Result<Bytes> bytes) { outcome = std::move(bytes); });
    return Wait(outcome);
  }

  sim::SimWorld world_;
  sim::SimProcess& process_;
  std::filesystem::path root_;
  std::unique_ptr<RealFileSystem> files_;
};

TEST_F(RealFileSystemTest, ManyPieces_AreWrittenOneAfterTheOther) {
  const std::unique_ptr<File> file = Create("a");
  std::vector<Bytes> pieces;
  std::string expected;
  for (int i = 0; i < 1500; ++i) {
    const std::string text(static_cast<size_t>(i % 7), static_cast<char>('a' + i % 26));
    expected += text;
    pieces.push_back(Bytes::CopyOf(text));
  }
  ASSERT_TRUE(Write(*file, 5, std::move(pieces)).ok());
  EXPECT_EQ(file->size(), expected.size() + 5);
  EXPECT_EQ(Read(*file, 5, expected.size() + 100)->view(), expected);
}

TEST_F(RealFileSystemTest, CompletionsNeverRunInsideTheCall) {
  const std::unique_ptr<File> file = Create("a");
  bool is_done = false;
  file->Sync([&](Status) { is_done = true; });
  EXPECT_FALSE(is_done);
  world_.RunFor(std::chrono::seconds(1));
  EXPECT_TRUE(is_done);
}

TEST_F(RealFileSystemTest, ReadsAndTheEndOfAFile_DoNotWaitForASyncOnAnotherThread) {
  sim::SimProcess& syncs = world_.AddProcess("syncs");
  files_ = std::make_unique<RealFileSystem>(process_.executor(), root_.string(), syncs.executor());
  std::unique_ptr<File> file = Create("a");
  ASSERT_TRUE(Write(*file, 0, {Bytes::CopyOf("content")}).ok());
  syncs.Pause();
  std::optional<Status> synced;
  std::optional<Status> named;
  file->Sync([&](Status status) { synced = std::move(status); });
  files_->SyncDirectory("", [&](Status status) { named = std::move(status); });
  EXPECT_EQ(Read(*file, 0, 100)->view(), "content");
  file.reset();
  world_.RunFor(std::chrono::seconds(1));
  EXPECT_FALSE(synced.has_value() || named.has_value());
  syncs.Resume();
  EXPECT_TRUE(Wait(synced).ok());
  EXPECT_TRUE(Wait(named).ok());
}

TEST_F(RealFileSystemTest, DirectReads_SeeWhatWasWrittenThroughThePageCache) {
  const std::unique_ptr<File> file = Create("a");
  const std::string content(10000, 'x');
  ASSERT_TRUE(Write(*file, 0, {Bytes::CopyOf(content)}).ok());
  const Result<std::unique_ptr<File>> direct = Open("a", OpenMode::kRead, Caching::kDirect);
  ASSERT_TRUE(direct.ok());
  EXPECT_EQ(Read(**direct, 0, 12288)->view(), content);
}

TEST_F(RealFileSystemTest, Errors_NameThePathAndTheReason) {
  const Status missing = Open("no/such", OpenMode::kRead).status();
  EXPECT_EQ(missing.code(), Code::kNotFound);
  EXPECT_NE(missing.message().find("no/such: No such file"), std::string::npos) << missing;
  (void)Create("there");
  EXPECT_EQ(Open("there", OpenMode::kCreate).status().code(), Code::kAlreadyExists);
}

TEST_F(RealFileSystemTest, NamesAreListedSorted) {
  (void)Create("b");
  (void)Create("a");
  std::optional<Result<std::vector<std::string>>> names;
  files_->List("", [&](Result<std::vector<std::string>> found) { names = std::move(found); });
  EXPECT_EQ(*Wait(names), (std::vector<std::string>{"a", "b"}));
}

TEST_F(RealFileSystemTest, FullDevice_IsResourceExhausted) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP();
  std::filesystem::create_symlink("/dev/full", root_ / "full");
  const Result<std::unique_ptr<File>> file = Open("full", OpenMode::kReadWrite);
  ASSERT_TRUE(file.ok()) << file.status();
  const Status status = Write(**file, 0, {Bytes::CopyOf("x")});
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status;
  EXPECT_EQ(status.reason(), Reason::kDiskFull);
}

TEST_F(RealFileSystemTest, DirectoryThatWasRemovedOrReplaced_IsSeen) {
  const std::filesystem::path directory = root_ / "data";
  Result<DirectoryLock> lock = DirectoryLock::Acquire(directory.string());
  ASSERT_TRUE(lock.ok()) << lock.status();
  RealFileSystem files(process_.executor(), directory.string());
  const auto look = [&] {
    std::optional<Result<uint64_t>> outcome;
    files.FreeBytes([&](Result<uint64_t> free) { outcome = std::move(free); });
    return Wait(outcome).status();
  };
  EXPECT_TRUE(look().ok());
  std::filesystem::rename(directory, root_ / "away");
  EXPECT_EQ(look().code(), Code::kFailedPrecondition);
  EXPECT_NE(look().message().find(directory.string()), std::string::npos) << look();
  ASSERT_TRUE(DirectoryLock::Acquire(directory.string()).ok());
  EXPECT_EQ(look().code(), Code::kFailedPrecondition) << "another one lies there";
  std::filesystem::remove_all(directory);
  std::filesystem::rename(root_ / "away", directory);
  EXPECT_TRUE(look().ok());
}

TEST_F(RealFileSystemTest, WatchedDirectoryThatWasReplaced_IsSeen) {
  const std::filesystem::path directory = std::filesystem::path(root_) / "watched";
  Result<DirectoryLock> lock = DirectoryLock::Acquire(directory.string());
  ASSERT_TRUE(lock.ok());
  RealFileSystem files(process_.executor(), directory.string(), process_.executor(), {"journal"});
  const auto look = [&] {
    Result<uint64_t> outcome = Unavailable("no answer");
    files.FreeBytes([&](Result<uint64_t> free) { outcome = std::move(free); });
    world_.RunFor(std::chrono::milliseconds(1));
    return outcome.status();
  };
  EXPECT_TRUE(look().ok()) << "it is not there yet";
  std::filesystem::create_directory(directory / "journal");
  EXPECT_TRUE(look().ok());
  EXPECT_TRUE(look().ok());
  std::filesystem::rename(directory / "journal", directory / "elsewhere");
  EXPECT_EQ(look().code(), Code::kFailedPrecondition);
  std::filesystem::create_directory(directory / "journal");
  const Status replaced = look();
  EXPECT_EQ(replaced.code(), Code::kFailedPrecondition);
  EXPECT_NE(replaced.message().find("watched/journal was removed"), std::string::npos) << replaced;
}

TEST_F(RealFileSystemTest, SecondLock_NamesTheDirectoryAndItsOwner) {
  const std::string directory = (root_ / "data").string();
  Result<DirectoryLock> first = DirectoryLock::Acquire(directory);
  ASSERT_TRUE(first.ok()) << first.status();
  const Status second = DirectoryLock::Acquire(directory).status();
  EXPECT_EQ(second.code(), Code::kFailedPrecondition);
  EXPECT_NE(second.message().find(directory), std::string::npos) << second;
  EXPECT_NE(second.message().find(std::to_string(getpid())), std::string::npos) << second;
}

TEST_F(RealFileSystemTest, Lock_IsGivenUpWhenItsOwnerGoes) {
  const std::string directory = (root_ / "data").string();
  {
    ASSERT_TRUE(DirectoryLock::Acquire(directory).ok());
  }
  EXPECT_TRUE(DirectoryLock::Acquire(directory).ok());
}

TEST_F(RealFileSystemTest, LockOfAReader_LetsReadersInAndNoOwner) {
  const std::string directory = (root_ / "data").string();
  ASSERT_TRUE(DirectoryLock::Acquire(directory).ok());
  const Result<DirectoryLock> first = DirectoryLock::AcquireForReading(directory);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(first->is_held());
  EXPECT_TRUE(DirectoryLock::AcquireForReading(directory).ok());
  const Status owner = DirectoryLock::Acquire(directory).status();
  EXPECT_EQ(owner.code(), Code::kFailedPrecondition);
  EXPECT_NE(owner.message().find("is being read"), std::string::npos) << owner;
}

TEST_F(RealFileSystemTest, LockOfAReader_IsRefusedNamingTheOwner) {
  const std::string directory = (root_ / "data").string();
  const Result<DirectoryLock> owner = DirectoryLock::Acquire(directory);
  ASSERT_TRUE(owner.ok()) << owner.status();
  const Status reader = DirectoryLock::AcquireForReading(directory).status();
  EXPECT_EQ(reader.code(), Code::kFailedPrecondition);
  EXPECT_NE(reader.message().find("by process " + std::to_string(getpid())), std::string::npos)
      << reader;
}

TEST_F(RealFileSystemTest, LockOfAReader_MakesNothing) {
  const std::filesystem::path directory = root_ / "copy";
  EXPECT_EQ(DirectoryLock::AcquireForReading(directory.string()).status().code(), Code::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(directory));
  std::filesystem::create_directory(directory);
  const Result<DirectoryLock> lock = DirectoryLock::AcquireForReading(directory.string());
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_FALSE(lock->is_held());
  EXPECT_TRUE(std::filesystem::is_empty(directory));
  std::ofstream(directory / "file") << "x";
  const Status of_file = DirectoryLock::AcquireForReading((directory / "file").string()).status();
  EXPECT_EQ(of_file.code(), Code::kFailedPrecondition);
}

std::filesystem::perms ModeOf(const std::filesystem::path& path) {
  return std::filesystem::status(path).permissions();
}

TEST_F(RealFileSystemTest, WhatIsMade_IsForThisUserAlone) {
  constexpr auto kOwnerAll = std::filesystem::perms::owner_all;
  constexpr auto kOwnerFile =
      std::filesystem::perms::owner_read | std::filesystem::perms::owner_write;
  const std::string directory = (root_ / "missing" / "data").string();
  const Result<DirectoryLock> lock = DirectoryLock::Acquire(directory);
  ASSERT_TRUE(lock.ok()) << lock.status();
  std::optional<Status> made;
  files_->MakeDirectory("groups/1", [&](Status status) { made = std::move(status); });
  ASSERT_TRUE(Wait(made).ok());
  Create("groups/1/segment");
  ASSERT_TRUE(Open("plain", OpenMode::kCreate, Caching::kDirect).ok());
  for (const char* path : {"missing", "missing/data", "groups", "groups/1"}) {
    EXPECT_EQ(ModeOf(root_ / path), kOwnerAll) << path;
  }
  for (const char* path : {"missing/data/LOCK", "groups/1/segment", "plain"}) {
    EXPECT_EQ(ModeOf(root_ / path), kOwnerFile) << path;
  }
}

TEST_F(RealFileSystemTest, DirectoryThatCannotBeMade_IsNamed) {
  Create("file");
  for (const char* path : {"file", "file/below"}) {
    const Status status = MakeDirectories((root_ / path).string());
    EXPECT_FALSE(status.ok());
    EXPECT_NE(status.message().find((root_ / path).string()), std::string::npos) << status;
  }
  EXPECT_TRUE(MakeDirectories((root_ / "a" / "b").string() + "/").ok());
  EXPECT_TRUE(std::filesystem::is_directory(root_ / "a" / "b"));
}

}  // namespace
}  // namespace millrace::storage
