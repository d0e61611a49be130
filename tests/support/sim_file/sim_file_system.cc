#include "tests/support/sim_file/sim_file_system.h"

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "proto/base/coverage.h"

namespace millrace::sim {

using storage::Caching;
using storage::File;
using storage::ListDone;
using storage::OpenDone;
using storage::OpenMode;
using storage::ReadDone;
using storage::StatusDone;

namespace {

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

}  // namespace

namespace {

// What holds operations that hold it: they must go when the process does.
struct Closable {
  virtual ~Closable() = default;
  virtual void Close() = 0;
};

}  // namespace

struct SimFileSystem::Core : std::enable_shared_from_this<SimFileSystem::Core> {
  Core(SimDisk& d, Executor& e, Random r, const SimFileOptions& o)
      : disk(d), executor(e), random(r), options(o) {}

  Duration Delay(bool is_sync) {
    const auto draw = [this](Duration low, Duration high) {
      return Duration(static_cast<int64_t>(
          random.Between(static_cast<uint64_t>(low.count()), static_cast<uint64_t>(high.count()))));
    };
    Duration delay = draw(options.delay_min, options.delay_max);
    if (is_sync) delay += draw(options.sync_delay_min, options.sync_delay_max);
    const bool is_slow = disk.slow_max_ > Duration(0);
    MILLRACE_SOMETIMES_IF("a disk was slow", is_slow);
    if (is_slow) delay += draw(disk.slow_min_, disk.slow_max_);
    return delay;
  }

  // Runs `task` once the drawn time has passed and the disk is not stalled, unless the file system
  // is gone by then.
  void Later(bool is_sync, Task task) {
    executor.RunAfter(Delay(is_sync),
                      [self = shared_from_this(), task = std::move(task)]() mutable {
                        self->RunUnlessStalled(std::move(task));
                      });
  }

  void RunUnlessStalled(Task task) {
    if (!is_open) return;
    if (!disk.is_stalled_) return task();
    MILLRACE_SOMETIMES("a disk stalled");
    auto held = std::make_shared<Task>(std::move(task));
    disk.waiting_.push_back([self = shared_from_this(), held] {
      if (!self->is_open) return;
      self->executor.Post([self, held]() mutable { self->RunUnlessStalled(std::move(*held)); });
    });
  }

  // Runs an operation that changes the disk: counted, and subject to faults and crashes. `fail` (if
  // set) is what a failure leaves behind.
  void Operate(const std::string& path, bool is_sync, const std::function<Status()>& effect,
               const std::function<void()>& fail, StatusDone done) {
    Status error;
    switch (disk.Begin(random, path, is_sync, &error)) {
      case SimDisk::Verdict::kProceed:
        return done(effect());
      case SimDisk::Verdict::kFail:
        if (fail) fail();
        return done(error);
      case SimDisk::Verdict::kCrashAfter:
        (void)effect();
        return disk.Crash();
      case SimDisk::Verdict::kCrashBefore:
        return disk.Crash();
    }
  }

  void Track(const std::shared_ptr<Closable>& file) {
    std::erase_if(open_files, [](const auto& other) { return other.expired(); });
    open_files.push_back(file);
  }

  void Close() {
    is_open = false;
    for (const std::weak_ptr<Closable>& weak : open_files) {
      if (const std::shared_ptr<Closable> file = weak.lock()) file->Close();
    }
  }

  SimDisk& disk;
  Executor& executor;
  Random random;
  const SimFileOptions options;
  std::vector<std::weak_ptr<Closable>> open_files;
  bool is_open = true;  // until the SimFileSystem is destroyed: then nothing of it happens any more
};

// One open file: its operations wait for each other, but not for its syncs.
class SimFile final : public File {
 public:
  SimFile(std::shared_ptr<SimFileSystem::Core> core, std::string path, SimDisk::NodePtr node,
          Caching caching)
      : state_(std::make_shared<State>()) {
    state_->core = std::move(core);
    state_->path = std::move(path);
    state_->node = std::move(node);
    state_->caching = caching;
    state_->core->Track(state_);
  }

  void Read(uint64_t offset, uint64_t size, ReadDone done) override {
    Enqueue(false, [state = state_.get(), offset, size, done = std::move(done)]() mutable {
      Status error;
      if (state->core->disk.IsTrapped(SimDisk::Kind::kRead, state->path, &error)) {
        return done(error);
      }
      const SimDisk::Node& node = *state->node;
      const bool sees_cache = state->caching == Caching::kPageCache && node.cache.has_value();
      const std::string& content = sees_cache ? *node.cache : node.current;
      if (offset >= content.size()) return done(Bytes());
      if (node.IsSpoilt(offset, size)) {
        return done(Unavailable("read " + state->path + ": Input/output error"));
      }
      const Bytes bytes = Bytes::CopyOf(std::string_view(content).substr(offset, size));
      state->core->disk.bytes_read_ += bytes.size();
      done(bytes);
    });
  }

  void Write(uint64_t offset, std::vector<Bytes> pieces, StatusDone done) override {
    std::string bytes;
    for (const Bytes& piece : pieces) bytes += piece.view();
    if (state_->caching == Caching::kDirect) {
      CHECK_EQ(offset % storage::kDirectAlignment, 0U) << state_->path;
      CHECK_EQ(bytes.size() % storage::kDirectAlignment, 0U) << state_->path;
    }
    Enqueue(false,
            [state = state_, offset, bytes = std::move(bytes), done = std::move(done)]() mutable {
              SimDisk& disk = state->core->disk;
              const auto effect = [&]() -> Status {
                const uint64_t end = offset + bytes.size();
                const uint64_t have = state->node->current.size();
                if (end > have && end - have > disk.FreeBytes()) {
                  return ResourceExhausted("write " + state->path + ": No space left on device",
                                           Reason::kDiskFull);
                }
                disk.Write(*state->node, offset, bytes);
                return Status::Ok();
              };
              const auto fail = [&] {
                const uint64_t written = state->core->random.Below(bytes.size() + 1);
                disk.Write(*state->node, offset, std::string_view(bytes).substr(0, written));
              };
              state->core->Operate(state->path, false, effect, fail, std::move(done));
            });
  }

  void Sync(StatusDone done) override {
    Enqueue(true, [state = state_, done = std::move(done)]() mutable {
      SimDisk& disk = state->core->disk;
      state->core->Operate(
          state->path, true,
          [&] {
            disk.SyncNode(*state->node);
            return Status::Ok();
          },
          [&] { disk.FailSync(*state->node); }, std::move(done));
    });
  }

  // What the disk keeps in a cache goes with its power.
  void WriteBack(StatusDone done) override {
    Enqueue(true, [state = state_, done = std::move(done)]() mutable {
      SimDisk& disk = state->core->disk;
      state->core->Operate(
          state->path, true, [] { return Status::Ok(); }, [&] { disk.FailSync(*state->node); },
          std::move(done));
    });
  }

  void Truncate(uint64_t size, StatusDone done) override {
    Enqueue(false, [state = state_, size, done = std::move(done)]() mutable {
      state->core->Operate(
          state->path, false,
          [&] {
            state->core->disk.Resize(*state->node, size);
            return Status::Ok();
          },
          nullptr, std::move(done));
    });
  }

  uint64_t size() const override {
    const SimDisk::Node& node = *state_->node;
    return node.cache ? node.cache->size() : node.current.size();
  }

 private:
  // Outlives the SimFile until its operations are done.
  struct State : Closable {
    void Close() override { const std::deque<Operation> dropped = std::exchange(queue, {}); }

    struct Operation {
      bool is_sync;
      Task task;
    };
    std::shared_ptr<SimFileSystem::Core> core;
    std::string path;
    SimDisk::NodePtr node;
    Caching caching = Caching::kPageCache;
    std::deque<Operation> queue;  // the first is under way; no sync
  };

  void Enqueue(bool is_sync, Task task) {
    state_->queue.push_back({is_sync, std::move(task)});
    if (state_->queue.size() == 1) Begin(state_);
  }

  static void Begin(const std::shared_ptr<State>& state) {
    while (!state->queue.empty() && state->queue.front().is_sync) {
      Task sync = std::move(state->queue.front().task);
      state->queue.pop_front();
      state->core->Later(true, std::move(sync));
    }
    if (state->queue.empty()) return;
    state->core->Later(false, [state] {
      // The next begins before this one completes, since its completion may end the process.
      Task task = std::move(state->queue.front().task);
      const auto core = state->core;
      core->executor.Post([state, core] {
        if (!core->is_open) return;
        state->queue.pop_front();
        Begin(state);
      });
      task();
    });
  }

  std::shared_ptr<State> state_;  // with the operations under way
};

SimFileSystem::SimFileSystem(SimDisk& disk, Executor& executor, Random random,
                             const SimFileOptions& options)
    : core_(std::make_shared<Core>(disk, executor, random, options)) {}

SimFileSystem::~SimFileSystem() { core_->Close(); }

void SimFileSystem::Open(const std::string& path, OpenMode mode, Caching caching, OpenDone done) {
  core_->Later(false, [core = core_, path, mode, caching, done = std::move(done)]() mutable {
    SimDisk& disk = core->disk;
    const auto found = disk.current_.files.find(path);
    const bool is_there = found != disk.current_.files.end();
    if (mode != OpenMode::kCreate) {
      Status error;
      if (disk.IsTrapped(SimDisk::Kind::kRead, path, &error)) return done(error);
      if (!is_there) return done(NotFound("open " + path + ": No such file or directory"));
      return done(
          std::unique_ptr<File>(std::make_unique<SimFile>(core, path, found->second, caching)));
    }
    if (is_there) return done(AlreadyExists("open " + path + ": File exists"));
    SimDisk::NodePtr node;
    const auto effect = [&]() -> Status {
      if (!disk.current_.directories.contains(ParentOf(path))) {
        return NotFound("open " + path + ": No such file or directory");
      }
      node = disk.NewNode();
      disk.ChangeNames({.added = path, .node = node, .removed = ""});
      return Status::Ok();
    };
    core->Operate(path, false, effect, nullptr, [&](Status status) {
      if (!status.ok()) return done(status);
      done(std::unique_ptr<File>(std::make_unique<SimFile>(core, path, node, caching)));
    });
  });
}

void SimFileSystem::List(const std::string& directory, ListDone done) {
  core_->Later(false, [core = core_, directory, done = std::move(done)]() mutable {
    Status error;
    if (core->disk.IsTrapped(SimDisk::Kind::kRead, directory, &error)) return done(error);
    const SimDisk::Names& names = core->disk.current_;
    if (!names.directories.contains(directory)) {
      return done(NotFound("list " + directory + ": No such file or directory"));
    }
    std::vector<std::string> found;
    const auto take = [&](const std::string& path) {
      if (path.empty() || ParentOf(path) != directory) return;
      found.push_back(directory.empty() ? path : path.substr(directory.size() + 1));
    };
    for (const auto& [path, node] : names.files) take(path);
    for (const std::string& path : names.directories) take(path);
    std::sort(found.begin(), found.end());
    done(std::move(found));
  });
}

void SimFileSystem::MakeDirectory(const std::string& directory, StatusDone done) {
  core_->Later(false, [core = core_, directory, done = std::move(done)]() mutable {
    const auto effect = [&] {
      std::vector<std::string> missing;
      for (std::string at = directory; !at.empty() && !core->disk.current_.directories.contains(at);
           at = ParentOf(at)) {
        missing.push_back(at);
      }
      for (auto at = missing.rbegin(); at != missing.rend(); ++at) {
        core->disk.ChangeNames({.added = *at, .node = nullptr, .removed = ""});
      }
      return Status::Ok();
    };
    core->Operate(directory, false, effect, nullptr, std::move(done));
  });
}

void SimFileSystem::Rename(const std::string& from, const std::string& to, StatusDone done) {
  core_->Later(false, [core = core_, from, to, done = std::move(done)]() mutable {
    const auto effect = [&]() -> Status {
      const auto found = core->disk.current_.files.find(from);
      if (found == core->disk.current_.files.end()) {
        return NotFound("rename " + from + ": No such file or directory");
      }
      core->disk.ChangeNames({.added = to, .node = found->second, .removed = from});
      return Status::Ok();
    };
    core->Operate(from, false, effect, nullptr, std::move(done));
  });
}

void SimFileSystem::Remove(const std::string& path, StatusDone done) {
  core_->Later(false, [core = core_, path, done = std::move(done)]() mutable {
    const auto effect = [&]() -> Status {
      const SimDisk::Names& names = core->disk.current_;
      if (!names.files.contains(path) && !names.directories.contains(path)) {
        return NotFound("remove " + path + ": No such file or directory");
      }
      const auto is_in_it = [&path](const auto& other) { return ParentOf(other) == path; };
      if (std::ranges::any_of(names.files, is_in_it, [](const auto& file) { return file.first; }) ||
          std::ranges::any_of(names.directories, is_in_it)) {
        return FailedPrecondition("remove " + path + ": Directory not empty");
      }
      core->disk.ChangeNames({.added = "", .node = nullptr, .removed = path});
      return Status::Ok();
    };
    core->Operate(path, false, effect, nullptr, std::move(done));
  });
}

void SimFileSystem::SyncDirectory(const std::string& directory, StatusDone done) {
  core_->Later(true, [core = core_, directory, done = std::move(done)]() mutable {
    const auto effect = [&]() -> Status {
      if (!core->disk.current_.directories.contains(directory)) {
        return NotFound("sync " + directory + ": No such file or directory");
      }
      core->disk.SyncNames(directory);
      return Status::Ok();
    };
    core->Operate(directory, true, effect, nullptr, std::move(done));
  });
}

void SimFileSystem::FreeBytes(MoveFunction<void(Result<uint64_t>)> done) {
  core_->Later(false, [core = core_, done = std::move(done)]() mutable {
    Status error;
    if (core->disk.IsTrapped(SimDisk::Kind::kRead, SimDisk::kRoom, &error)) return done(error);
    done(core->disk.FreeBytes());
  });
}

}  // namespace millrace::sim
