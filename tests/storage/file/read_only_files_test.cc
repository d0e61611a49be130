// Everything can be read through it, and nothing changed.
#include "storage/file/read_only_files.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/sim_file/sim_disk.h"
#include "tests/support/sim_file/sim_file_system.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::storage {
namespace {

class ReadOnlyFilesTest : public testing::Test {
 protected:
  ReadOnlyFilesTest()
      : world_(5),
        process_(world_.AddProcess("reader")),
        below_(disk_, process_.executor(), process_.Fork()),
        files_(process_.executor(), below_) {
    disk_.PutFile("folder/file", "content");
  }

  template <typename T>
  T Wait(const std::function<void(MoveFunction<void(T)>)>& begin) {
    auto outcome = std::make_shared<std::optional<T>>();
    begin([outcome](T value) { *outcome = std::move(value); });
    EXPECT_FALSE(outcome->has_value()) << "completed inside the call";
    world_.RunUntil([&] { return outcome->has_value(); }, std::chrono::seconds(10));
    CHECK(outcome->has_value()) << "an operation did not end";
    return std::move(**outcome);
  }
  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) {
    return Wait<Result<std::unique_ptr<File>>>(
        [&](auto done) { files_.Open(path, mode, Caching::kPageCache, std::move(done)); });
  }
  void ExpectRefused(const std::function<void(StatusDone)>& change) {
    EXPECT_EQ(Wait<Status>(change).code(), Code::kFailedPrecondition);
  }

  sim::SimWorld world_;
  sim::SimDisk disk_;
  sim::SimProcess& process_;
  sim::SimFileSystem below_;
  ReadOnlyFiles files_;
};

TEST_F(ReadOnlyFilesTest, Reads) {
  const auto names = Wait<Result<std::vector<std::string>>>(
      [&](auto done) { files_.List("folder", std::move(done)); });
  ASSERT_TRUE(names.ok()) << names.status();
  EXPECT_EQ(*names, std::vector<std::string>{"file"});
  const Result<std::unique_ptr<File>> file = Open("folder/file", OpenMode::kRead);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->size(), 7U);
  const auto bytes =
      Wait<Result<Bytes>>([&](auto done) { (*file)->Read(0, 100, std::move(done)); });
  EXPECT_EQ(bytes->view(), "content");
  EXPECT_EQ(Open("absent", OpenMode::kRead).status().code(), Code::kNotFound);
}

TEST_F(ReadOnlyFilesTest, RefusesEveryChange) {
  const Result<std::unique_ptr<File>> file = Open("folder/file", OpenMode::kRead);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(Open("folder/file", OpenMode::kReadWrite).status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(Open("new", OpenMode::kCreate).status().code(), Code::kFailedPrecondition);
  ExpectRefused([&](auto done) { files_.MakeDirectory("other", std::move(done)); });
  ExpectRefused([&](auto done) { files_.Rename("folder/file", "other", std::move(done)); });
  ExpectRefused([&](auto done) { files_.Remove("folder/file", std::move(done)); });
  ExpectRefused([&](auto done) { files_.SyncDirectory("", std::move(done)); });
  ExpectRefused([&](auto done) { (*file)->Write(0, {Bytes::CopyOf("x")}, std::move(done)); });
  ExpectRefused([&](auto done) { (*file)->Sync(std::move(done)); });
  ExpectRefused([&](auto done) { (*file)->WriteBack(std::move(done)); });
  ExpectRefused([&](auto done) { (*file)->Truncate(0, std::move(done)); });
  EXPECT_EQ(disk_.operations(), 0U) << "one of them reached the disk";
  EXPECT_EQ(disk_.Paths(), std::vector<std::string>{"folder/file"});
}

}  // namespace
}  // namespace millrace::storage
