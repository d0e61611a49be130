#include "storage/segment/folders.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace millrace::storage {
namespace {

class FolderRemoval : public std::enable_shared_from_this<FolderRemoval> {
 public:
  FolderRemoval(FileSystem& files, RaftGroupId group,
                MoveFunction<bool(const SegmentFolder&)> is_left_over, StatusDone done)
      : files_(&files),
        group_(group),
        is_left_over_(std::move(is_left_over)),
        done_(std::move(done)) {}

  void Start() {
    files_->List(GroupDirectory(group_),
                 [self = shared_from_this()](Result<std::vector<std::string>> names) {
                   if (names.status().code() == Code::kNotFound) return self->done_(Status::Ok());
                   if (!names.ok()) return self->done_(names.status());
                   for (const std::string& name : *names) {
                     const auto folder = ParseFolderName(self->group_, name);
                     const bool goes = folder.has_value() && self->is_left_over_(*folder);
                     if (goes) {
                       self->folders_.push_back(SegmentDirectory(*folder));
                     } else {
                       self->is_emptied_ = false;
                     }
                   }
                   self->NextFolder();
                 });
  }

 private:
  StatusDone Then(void (FolderRemoval::*next)()) {
    return [self = shared_from_this(), next](Status status) {
      if (!status.ok()) return self->done_(std::move(status));
      ((*self).*next)();
    };
  }

  void NextFolder() {
    if (folders_.empty()) {
      if (!is_emptied_) return done_(Status::Ok());
      return files_->Remove(GroupDirectory(group_), std::move(done_));
    }
    files_->List(folders_.back(),
                 [self = shared_from_this()](Result<std::vector<std::string>> names) {
                   if (!names.ok()) return self->done_(names.status());
                   self->names_ = std::move(*names);
                   self->NextFile();
                 });
  }

  void NextFile() {
    if (names_.empty()) {
      const std::string folder = std::move(folders_.back());
      folders_.pop_back();
      return files_->Remove(folder, Then(&FolderRemoval::NextFolder));
    }
    const std::string path = folders_.back() + "/" + names_.back();
    names_.pop_back();
    files_->Remove(path, Then(&FolderRemoval::NextFile));
  }

  FileSystem* files_;
  const RaftGroupId group_;
  MoveFunction<bool(const SegmentFolder&)> is_left_over_;
  StatusDone done_;
  std::vector<std::string> folders_;  // to be removed, the last one now
  std::vector<std::string> names_;    // in that one
  bool is_emptied_ = true;            // nothing stays in the group's own
};

}  // namespace

void RemoveFolders(FileSystem& files, RaftGroupId group,
                   MoveFunction<bool(const SegmentFolder&)> is_left_over, StatusDone done) {
  std::make_shared<FolderRemoval>(files, group, std::move(is_left_over), std::move(done))->Start();
}

}  // namespace millrace::storage
