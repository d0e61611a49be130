// The operating system's files behind the interface, in a temporary directory.
#include "storage/file/real_file_system.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/file/freeing.h"
#include "storage/file/real_file.h"
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

TEST_F(RealFileSystemTest, WhatIsNoRegularFile_IsRefusedByName_AndKeepsNobodyWaiting) {
  ASSERT_EQ(mkfifo((root_ / "pipe").c_str(), 0600), 0);
  ASSERT_EQ(mknod((root_ / "socket").c_str(), S_IFSOCK | 0600, 0), 0);
  std::filesystem::create_directory(root_ / "directory");
  for (const std::string name : {"pipe", "socket", "directory"}) {
    for (const OpenMode mode : {OpenMode::kRead, OpenMode::kReadWrite}) {
      for (const Caching caching : {Caching::kPageCache, Caching::kDirect}) {
        const Status refused = Open(name, mode, caching).status();
        EXPECT_EQ(refused.code(), Code::kFailedPrecondition) << refused;
        EXPECT_NE(refused.message().find((root_ / name).string() + ": it is no regular file"),
                  std::string::npos)
            << refused;
      }
    }
    EXPECT_EQ(Open(name, OpenMode::kCreate).status().code(), Code::kAlreadyExists) << name;
  }
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
  files_ = std::make_unique<RealFileSystem>(process_.executor(), root_.string(),
                                            std::vector<Executor*>{&syncs.executor()});
  std::unique_ptr<File> file = Create("a");
  ASSERT_TRUE(Write(*file, 0, {Bytes::CopyOf("content")}).ok());
  syncs.Pause();
  std::optional<Status> written_back;
  std::optional<Status> synced;
  std::optional<Status> named;
  file->WriteBack([&](Status status) { written_back = std::move(status); });
  file->Sync([&](Status status) { synced = std::move(status); });
  files_->SyncDirectory("", [&](Status status) { named = std::move(status); });
  EXPECT_EQ(Read(*file, 0, 100)->view(), "content");
  file.reset();
  world_.RunFor(std::chrono::seconds(1));
  EXPECT_FALSE(written_back.has_value() || synced.has_value() || named.has_value());
  syncs.Resume();
  EXPECT_TRUE(Wait(written_back).ok());
  EXPECT_TRUE(Wait(synced).ok());
  EXPECT_TRUE(Wait(named).ok());
}

// A file system may take some milliseconds for each.
TEST_F(RealFileSystemTest, ReadsAndWrites_DoNotWaitForAFileThatGoes) {
  sim::SimProcess& syncs = world_.AddProcess("syncs");
  files_ = std::make_unique<RealFileSystem>(process_.executor(), root_.string(),
                                            std::vector<Executor*>{&syncs.executor()});
  const std::unique_ptr<File> file = Create("a");
  Create("b");
  syncs.Pause();
  std::optional<Status> removed;
  std::optional<Status> missing;
  files_->Remove("b", [&](Status status) { removed = std::move(status); });
  files_->Remove("c", [&](Status status) { missing = std::move(status); });
  ASSERT_TRUE(Write(*file, 0, {Bytes::CopyOf("content")}).ok());
  EXPECT_EQ(Read(*file, 0, 100)->view(), "content");
  EXPECT_FALSE(removed.has_value());
  syncs.Resume();
  EXPECT_TRUE(Wait(removed).ok());
  EXPECT_EQ(Wait(missing).code(), Code::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(root_ / "b"));
}

// Large files whose names go while somebody has them open.
class FilesThatGoTest : public RealFileSystemTest {
 protected:
  static constexpr uint64_t kBytes = 2 * kFreedAtOnce + 1000;

  FilesThatGoTest() {
    files_ = std::make_unique<RealFileSystem>(process_.executor(), root_.string(),
                                              std::vector<Executor*>{&syncs_.executor()});
    file_ = Create("a");
    EXPECT_TRUE(Write(*file_, kBytes - 1, {Bytes::CopyOf("x")}).ok());
    kernel_ = open((root_ / "a").c_str(), O_RDONLY | O_CLOEXEC);
  }
  ~FilesThatGoTest() override { close(kernel_); }

  // The file's, whether it has a name or not.
  uint64_t SizeBytes() const {
    struct stat facts{};
    EXPECT_EQ(fstat(kernel_, &facts), 0);
    return static_cast<uint64_t>(facts.st_size);
  }
  void RemoveName() { std::filesystem::remove(root_ / "a"); }
  void Run() { world_.RunFor(std::chrono::seconds(1)); }

  sim::SimProcess& syncs_ = world_.AddProcess("syncs");
  std::unique_ptr<File> file_;
  int kernel_ = -1;
};

TEST_F(FilesThatGoTest, TheLastOneThatClosesIt_HasItCutWhereSyncsAre) {
  RemoveName();
  syncs_.Pause();
  file_.reset();
  Run();
  EXPECT_EQ(SizeBytes(), kBytes);
  syncs_.Resume();
  Run();
  EXPECT_EQ(SizeBytes(), kBytes % kFreedAtOnce);
}

TEST_F(FilesThatGoTest, WhoeverHasItOpen_ReadsOn) {
  const std::unique_ptr<File> reader = std::move(Open("a", OpenMode::kRead)).value();
  std::optional<Status> removed;
  files_->Remove("a", [&](Status status) { removed = std::move(status); });
  EXPECT_TRUE(Wait(removed).ok());
  file_.reset();
  Run();
  EXPECT_EQ(Read(*reader, kBytes - 1, 10)->view(), "x");
}

TEST_F(FilesThatGoTest, OneThatIsRemovedWhileNobodyHasItOpen_IsCut) {
  file_.reset();
  Run();
  EXPECT_EQ(SizeBytes(), kBytes);
  std::optional<Status> removed;
  files_->Remove("a", [&](Status status) { removed = std::move(status); });
  EXPECT_TRUE(Wait(removed).ok());
  EXPECT_EQ(SizeBytes(), kBytes % kFreedAtOnce);
}

TEST_F(FilesThatGoTest, OneThatIsBeingCut_IsHeldByNobody) {
  const int late = open((root_ / "a").c_str(), O_RDONLY | O_CLOEXEC);
  file_.reset();
  RemoveName();
  ASSERT_TRUE(FreesLargeFile(kernel_));
  EXPECT_FALSE(HoldFile(late));
  close(late);
}

TEST_F(FilesThatGoTest, OneThatAnotherProgramHasLocked_IsOpened) {
  file_.reset();
  ASSERT_EQ(flock(kernel_, LOCK_EX | LOCK_NB), 0);
  EXPECT_TRUE(Open("a", OpenMode::kRead).ok());
}

TEST_F(RealFileSystemTest, DirectReads_SeeWhatWasWrittenThroughThePageCache) {
  const std::unique_ptr<File> file = Create("a");
  const std::string content(10000, 'x');
  ASSERT_TRUE(Write(*file, 0, {Bytes::CopyOf(content)}).ok());
  const Result<std::unique_ptr<File>> direct = Open("a", OpenMode::kRead, Caching::kDirect);
  ASSERT_TRUE(direct.ok());
  EXPECT_EQ(Read(**direct, 0, 12288)->view(), content);
}

// Every byte says where it is.
std::string Content(size_t size) {
  std::string content(size, '\0');
  for (size_t i = 0; i < size; ++i) content[i] = static_cast<char>((i * 31 + i / 4096 * 7) % 251);
  return content;
}

TEST_F(RealFileSystemTest, DirectReads_BeginAndEndAnywhere) {
  const std::string content = Content(10000);
  ASSERT_TRUE(Write(*Create("a"), 0, {Bytes::CopyOf(content)}).ok());
  const Result<std::unique_ptr<File>> direct = Open("a", OpenMode::kRead, Caching::kDirect);
  ASSERT_TRUE(direct.ok());
  const struct {
    size_t offset;
    size_t size;
  } kSpans[] = {
      {0, 0},     {0, 1},      {0, 4096},     {1, 4095},     {4095, 1},     {4095, 2},
      {4096, 1},  {100, 9000}, {4096, 4096},  {8191, 1808},  {8192, 1808},  {8192, 1809},
      {9999, 1},  {9999, 2},   {0, 20000},    {5000, 20000}, {10000, 1},    {10001, 5},
      {12287, 2}, {12288, 1},  {50000, 9000}, {7, 0},        {10000, 4096}, {4090, 1 << 20},
  };
  for (const auto& span : kSpans) {
    const Result<Bytes> read = Read(**direct, span.offset, span.size);
    ASSERT_TRUE(read.ok()) << read.status();
    const size_t from = std::min(span.offset, content.size());
    EXPECT_EQ(read->view(), content.substr(from, span.size))
        << "offset=" << span.offset << " size=" << span.size;
  }
}

// Pieces of any size that make `content` together.
std::vector<Bytes> PiecesOf(const std::string& content) {
  std::vector<Bytes> pieces;
  size_t size = 1;
  for (size_t at = 0; at < content.size(); at += pieces.back().size()) {
    pieces.push_back(Bytes::CopyOf(std::string_view(content).substr(at, size)));
    size = size * 5 % 600011;
    if (size % 3 == 0) pieces.insert(pieces.end() - 1, Bytes());
  }
  return pieces;
}

TEST_F(RealFileSystemTest, DirectWrites_OfAnySizeAndOfSeveralFiles_AreWhole) {
  for (const char* path : {"a", "b"}) {
    const Result<std::unique_ptr<File>> file = Open(path, OpenMode::kCreate, Caching::kDirect);
    ASSERT_TRUE(file.ok()) << file.status();
    std::string expected;
    for (const unsigned pages : {1U, 0U, 2U, 768U, 511U, 257U, 1U}) {
      const std::string content = (path + Content(pages * 4096U)).substr(0, pages * 4096U);
      ASSERT_TRUE(Write(**file, expected.size(), PiecesOf(content)).ok());
      expected += content;
      EXPECT_EQ((*file)->size(), expected.size());
    }
    ASSERT_TRUE(Write(**file, 4096, PiecesOf(std::string(4096, 'x'))).ok());
    expected.replace(4096, 4096, std::string(4096, 'x'));
    EXPECT_TRUE(Read(**file, 0, 16 << 20)->view() == expected) << path;
    EXPECT_TRUE(Read(**Open(path, OpenMode::kRead), 0, 16 << 20)->view() == expected) << path;
  }
}

TEST_F(RealFileSystemTest, ReadsThroughThePageCache_SeeDirectWrites) {
  const Result<std::unique_ptr<File>> direct = Open("a", OpenMode::kCreate, Caching::kDirect);
  ASSERT_TRUE(direct.ok()) << direct.status();
  ASSERT_TRUE(Write(**direct, 0, {Bytes::CopyOf(std::string(8192, 'o'))}).ok());
  const Result<std::unique_ptr<File>> cached = Open("a", OpenMode::kRead);
  ASSERT_EQ(Read(**cached, 0, 8192)->view(), std::string(8192, 'o'));
  ASSERT_TRUE(Write(**direct, 4096, {Bytes::CopyOf(std::string(4096, 'n'))}).ok());
  EXPECT_EQ(Read(**cached, 0, 8192)->view(), std::string(4096, 'o') + std::string(4096, 'n'));
}

TEST_F(RealFileSystemTest, FileThatIsRefusedDirectly_GoesThroughThePageCache) {
  // What a core dump of this process would hold: text of the kernel's, on no disk.
  const std::string refusing = "/proc/self/coredump_filter";
  const int fd = open(refusing.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  if (fd >= 0) close(fd);
  if (fd >= 0 || errno != EINVAL) GTEST_SKIP() << "nothing here refuses O_DIRECT";
  std::filesystem::create_symlink(refusing, root_ / "refusing");
  const Result<std::unique_ptr<File>> file =
      Open("refusing", OpenMode::kReadWrite, Caching::kDirect);
  ASSERT_TRUE(file.ok()) << file.status();
  const std::string before(Read(**file, 0, 100)->view());
  const Status written = Write(**file, 0, {Bytes::CopyOf("0x21")});
  EXPECT_TRUE(written.ok()) << written;
  EXPECT_EQ(Read(**file, 0, 100)->view(), "00000021\n");
  EXPECT_EQ(Read(**file, 5, 3)->view(), "021");
  EXPECT_TRUE(Write(**file, 0, {Bytes::CopyOf("0x" + before)}).ok());
}

// Kernels before 6.6 refuse O_DIRECT there, and only once the file was made.
TEST_F(RealFileSystemTest, FileInMemory_IsMadeDirectly) {
  const std::filesystem::path root = "/dev/shm/millrace_file_test_" + std::to_string(getpid());
  std::error_code error;
  if (!std::filesystem::create_directory(root, error)) GTEST_SKIP() << error.message();
  files_ = std::make_unique<RealFileSystem>(process_.executor(), root.string());
  {
    const Result<std::unique_ptr<File>> file = Open("a", OpenMode::kCreate, Caching::kDirect);
    ASSERT_TRUE(file.ok()) << file.status();
    const std::string content = Content(12288);
    EXPECT_TRUE(Write(**file, 0, PiecesOf(content)).ok());
    EXPECT_EQ(Read(**file, 4000, 200)->view(), content.substr(4000, 200));
    EXPECT_EQ(Read(**file, 12000, 4096)->view(), content.substr(12000));
    EXPECT_EQ(Open("a", OpenMode::kCreate, Caching::kDirect).status().code(), Code::kAlreadyExists);
  }
  std::filesystem::remove_all(root);
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
  const int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
  if (fd < 0) GTEST_SKIP();
  // Past the file system, which opens no devices.
  RealFile file(process_.executor(),
                std::make_shared<SyncRunner>(process_.executor(), std::vector<Executor*>{}),
                std::make_shared<Buffer>(), {.path = "/dev/full", .fd = fd});
  const Status status = Write(file, 0, {Bytes::CopyOf("x")});
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
  RealFileSystem files(process_.executor(), directory.string(), {}, {"journal"});
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
