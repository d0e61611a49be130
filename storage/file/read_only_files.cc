#include "storage/file/read_only_files.h"

#include <memory>
#include <utility>
#include <vector>

namespace millrace::storage {
namespace {

Status Refused(const std::string& what, const std::string& path) {
  return FailedPrecondition("cannot " + what + " " + path + ": it is only read here");
}

// Not before the call has ended, as every completion.
template <typename Done>
void Refuse(Executor& executor, Done done, Status why) {
  executor.Post([done = std::move(done), why = std::move(why)]() mutable { done(std::move(why)); });
}

class ReadOnlyFile final : public File {
 public:
  ReadOnlyFile(Executor& executor, std::string path, std::unique_ptr<File> file)
      : executor_(executor), path_(std::move(path)), file_(std::move(file)) {}

  void Read(uint64_t offset, uint64_t size, ReadDone done) override {
    file_->Read(offset, size, std::move(done));
  }
  void Write(uint64_t, std::vector<Bytes>, StatusDone done) override {
    Refuse(executor_, std::move(done), Refused("write", path_));
  }
  void Sync(StatusDone done) override {
    Refuse(executor_, std::move(done), Refused("sync", path_));
  }
  void WriteBack(StatusDone done) override {
    Refuse(executor_, std::move(done), Refused("write back", path_));
  }
  void Truncate(uint64_t, StatusDone done) override {
    Refuse(executor_, std::move(done), Refused("truncate", path_));
  }
  uint64_t size() const override { return file_->size(); }

 private:
  Executor& executor_;
  const std::string path_;
  const std::unique_ptr<File> file_;
};

}  // namespace

void ReadOnlyFiles::Open(const std::string& path, OpenMode mode, Caching caching, OpenDone done) {
  if (mode != OpenMode::kRead) {
    return Refuse(executor_, std::move(done), Refused("open for writing", path));
  }
  files_.Open(path, mode, caching,
              [executor = &executor_, path,
               done = std::move(done)](Result<std::unique_ptr<File>> file) mutable {
                if (!file.ok()) return done(file.status());
                done(std::unique_ptr<File>(
                    std::make_unique<ReadOnlyFile>(*executor, path, std::move(*file))));
              });
}

void ReadOnlyFiles::List(const std::string& directory, ListDone done) {
  files_.List(directory, std::move(done));
}

void ReadOnlyFiles::MakeDirectory(const std::string& directory, StatusDone done) {
  Refuse(executor_, std::move(done), Refused("make directory", directory));
}

void ReadOnlyFiles::Rename(const std::string& from, const std::string&, StatusDone done) {
  Refuse(executor_, std::move(done), Refused("rename", from));
}

void ReadOnlyFiles::Remove(const std::string& path, StatusDone done) {
  Refuse(executor_, std::move(done), Refused("remove", path));
}

void ReadOnlyFiles::SyncDirectory(const std::string& directory, StatusDone done) {
  Refuse(executor_, std::move(done), Refused("sync directory", directory));
}

void ReadOnlyFiles::FreeBytes(MoveFunction<void(Result<uint64_t>)> done) {
  files_.FreeBytes(std::move(done));
}

}  // namespace millrace::storage
