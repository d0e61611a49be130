#include "storage/file/bounded_files.h"

#include <deque>
#include <list>
#include <map>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/base/mutants.h"

namespace millrace::storage {

// A file as its caller has it; open or not.
struct BoundedFiles::State {
  // What is to be done with the file once it is open, or the error that keeps it from that. Holds
  // no State: those that wait are held by one.
  using Use = MoveFunction<void(const std::shared_ptr<State>&, Result<File*>)>;

  std::string path;
  OpenMode mode = OpenMode::kRead;  // to open it again
  Caching caching = Caching::kPageCache;
  std::unique_ptr<File> file;  // null: closed
  uint64_t size = 0;           // as it was when last open
  uint64_t changes = 0;        // asked for
  uint64_t synced_changes = 0;
  size_t uses = 0;  // operations under way
  std::deque<Use> waiting;
  bool is_opening = false;
  bool is_closing = false;
  bool is_gone = false;     // its name is no more, or another file's
  bool is_dropped = false;  // its caller has no use for it any more
  Status error;             // the first of a change or sync
  std::list<std::shared_ptr<State>>::iterator idle;
  bool is_idle = false;
};

struct BoundedFiles::Core : std::enable_shared_from_this<BoundedFiles::Core> {
  using StatePtr = std::shared_ptr<State>;

  Core(Executor& e, FileSystem& f, const Options& o) : executor(e), files(f), options(o) {}

  // Runs `task`, which takes an open file's place, now or once there is one.
  void TakePlace(Task task) {
    if (is_closed) return;
    if (open_count < options.open_files_max) {
      ++open_count;
      return task();
    }
    places_wanted.push_back(std::move(task));
    MakePlace();
  }

  void GivePlaceBack() {
    CHECK_GT(open_count, 0U);
    --open_count;
    if (places_wanted.empty() || is_closed) return;
    ++open_count;
    Task next = std::move(places_wanted.front());
    places_wanted.pop_front();
    next();
  }

  // Closes a file that is not in use, if places are wanted that nobody is about to give back.
  void MakePlace() {
    while (closing_count < places_wanted.size() && !idle.empty()) {
      MILLRACE_SOMETIMES("an open file made room for another");
      StatePtr oldest = idle.front();
      SetBusy(*oldest);
      ++closing_count;
      oldest->is_closing = true;
      const bool is_dirty = oldest->changes != oldest->synced_changes && oldest->error.ok();
      if (!is_dirty) {
        Close(oldest);
        continue;
      }
      oldest->file->Sync([self = shared_from_this(), oldest](Status status) {
        if (status.ok()) oldest->synced_changes = oldest->changes;
        if (oldest->error.ok()) oldest->error = std::move(status);
        self->Close(oldest);
      });
    }
  }

  void Close(const StatePtr& state) {
    state->size = state->file->size();
    state->file.reset();
    state->is_closing = false;
    --closing_count;
    GivePlaceBack();
    if (!state->waiting.empty()) OpenAgain(state);
  }

  void SetIdle(const StatePtr& state) {
    if (state->is_dropped) {
      state->file.reset();
      return GivePlaceBack();
    }
    state->idle = idle.insert(idle.end(), state);
    state->is_idle = true;
    MakePlace();
  }

  void SetBusy(State& state) {
    if (!std::exchange(state.is_idle, false)) return;
    idle.erase(state.idle);
  }

  void Use(const StatePtr& state, State::Use use) {
    const bool is_ready = state->file != nullptr && !state->is_closing;
    if (!is_ready) {
      state->waiting.push_back(std::move(use));
      if (!state->is_closing && !state->is_opening) OpenAgain(state);
      return;
    }
    SetBusy(*state);
    ++state->uses;
    use(state, state->file.get());
  }

  void EndUse(const StatePtr& state) {
    CHECK_GT(state->uses, 0U);
    if (--state->uses == 0) SetIdle(state);
  }

  void OpenAgain(const StatePtr& state) {
    state->is_opening = true;
    if (state->is_gone) {
      const Status gone = NotFound("open " + state->path + ": the file was removed");
      executor.Post([self = shared_from_this(), state, gone] { self->OnOpened(state, gone); });
      return;
    }
    TakePlace([self = shared_from_this(), state] {
      self->files.Open(state->path, state->mode, state->caching,
                       [self, state](Result<std::unique_ptr<File>> file) {
                         if (!file.ok()) self->GivePlaceBack();
                         self->OnOpened(state, std::move(file));
                       });
    });
  }

  void OnOpened(const StatePtr& state, Result<std::unique_ptr<File>> file) {
    state->is_opening = false;
    std::deque<State::Use> waiting = std::exchange(state->waiting, {});
    if (!file.ok()) {
      for (State::Use& use : waiting) use(state, file.status());
      return;
    }
    state->file = std::move(*file);
    state->uses += waiting.size();
    for (State::Use& use : waiting) use(state, state->file.get());
    if (waiting.empty()) SetIdle(state);
  }

  void Drop(const StatePtr& state) {
    state->is_dropped = true;
    Forget(*state);
    if (!state->is_idle) return;  // it ends when what is under way does
    SetBusy(*state);
    state->file.reset();
    GivePlaceBack();
  }

  void Remember(const StatePtr& state) { by_path.emplace(state->path, state.get()); }
  void Forget(const State& state) {
    const auto [first, last] = by_path.equal_range(state.path);
    for (auto at = first; at != last; ++at) {
      if (at->second == &state) return void(by_path.erase(at));
    }
  }
  // `path` names none of the files any more that it named.
  void SetGone(const std::string& path) {
    const auto [first, last] = by_path.equal_range(path);
    for (auto at = first; at != last; ++at) at->second->is_gone = true;
    by_path.erase(first, last);
  }
  void SetRenamed(const std::string& from, const std::string& to) {
    SetGone(to);
    const auto [first, last] = by_path.equal_range(from);
    std::vector<State*> moved;
    for (auto at = first; at != last; ++at) moved.push_back(at->second);
    by_path.erase(first, last);
    for (State* state : moved) {
      state->path = to;
      by_path.emplace(to, state);
    }
  }

  Executor& executor;
  FileSystem& files;
  const Options options;
  bool is_closed = false;  // whoever waits for a place waits in vain
  size_t open_count = 0;   // open, being opened, being closed
  size_t closing_count = 0;
  std::deque<Task> places_wanted;
  std::list<StatePtr> idle;  // open and not in use; the one that was used last is the last
  std::multimap<std::string, State*> by_path;  // those that callers have
};

class BoundedFile final : public File {
 public:
  using Core = BoundedFiles::Core;
  using State = BoundedFiles::State;
  using StatePtr = Core::StatePtr;

  BoundedFile(std::shared_ptr<Core> core, StatePtr state)
      : core_(std::move(core)), state_(std::move(state)) {}
  ~BoundedFile() override { core_->Drop(state_); }
  BoundedFile(const BoundedFile&) = delete;
  BoundedFile& operator=(const BoundedFile&) = delete;

  void Read(uint64_t offset, uint64_t size, ReadDone done) override {
    core_->Use(state_, [core = core_, offset, size, done = std::move(done)](
                           const StatePtr& state, Result<File*> file) mutable {
      if (!file.ok()) return done(file.status());
      (*file)->Read(offset, size,
                    [core, state, done = std::move(done)](Result<Bytes> bytes) mutable {
                      core->EndUse(state);
                      done(std::move(bytes));
                    });
    });
  }

  void Write(uint64_t offset, std::vector<Bytes> pieces, StatusDone done) override {
    Run(std::move(done), [offset, pieces = std::move(pieces)](const StatePtr& state, File& file,
                                                              StatusDone ended) mutable {
      ++state->changes;
      file.Write(offset, std::move(pieces), std::move(ended));
    });
  }

  void Truncate(uint64_t size, StatusDone done) override {
    Run(std::move(done), [size](const StatePtr& state, File& file, StatusDone ended) {
      ++state->changes;
      file.Truncate(size, std::move(ended));
    });
  }

  void Sync(StatusDone done) override {
    Run(std::move(done), [](const StatePtr& state, File& file, StatusDone ended) {
      StatusDone on_synced = [state, changes = state->changes,
                              ended = std::move(ended)](Status status) mutable {
        if (status.ok()) state->synced_changes = changes;
        ended(std::move(status));
      };
      if (!MILLRACE_MUTANT(kRetriesFailedSegmentSync)) return file.Sync(std::move(on_synced));
      file.Sync([file = &file, on_synced = std::move(on_synced)](Status first) mutable {
        if (first.ok()) return on_synced(std::move(first));
        file->Sync(std::move(on_synced));
      });
    });
  }

  void WriteBack(StatusDone done) override {
    Run(std::move(done),
        [](const StatePtr&, File& file, StatusDone ended) { file.WriteBack(std::move(ended)); });
  }

  uint64_t size() const override {
    return state_->file != nullptr ? state_->file->size() : state_->size;
  }

 private:
  // Begins what changes the file or hands it to the disk, whose first error is that of all that
  // follows.
  template <typename Begin>
  void Run(StatusDone done, Begin begin) {
    core_->Use(state_, [core = core_, done = std::move(done), begin = std::move(begin)](
                           const StatePtr& state, Result<File*> file) mutable {
      if (!file.ok()) return done(file.status());
      if (!state->error.ok()) return Refuse(core, state, std::move(done));
      begin(state, **file, [core, state, done = std::move(done)](Status status) mutable {
        if (state->error.ok()) state->error = status;
        core->EndUse(state);
        done(std::move(status));
      });
    });
  }

  static void Refuse(const std::shared_ptr<Core>& core, const StatePtr& state, StatusDone done) {
    core->executor.Post([core, state, done = std::move(done)]() mutable {
      core->EndUse(state);
      done(state->error);
    });
  }

  const std::shared_ptr<Core> core_;
  const StatePtr state_;  // with what is under way
};

BoundedFiles::BoundedFiles(Executor& executor, FileSystem& files, const Options& options)
    : core_(std::make_shared<Core>(executor, files, options)) {
  CHECK_GT(options.open_files_max, 0U);
}

BoundedFiles::~BoundedFiles() {
  core_->is_closed = true;
  // These hold the core, and what waits for a file to be open again holds who has the file.
  const std::deque<Task> dropped = std::exchange(core_->places_wanted, {});
  std::vector<std::deque<State::Use>> unserved;
  for (const auto& [path, state] : core_->by_path) {
    unserved.push_back(std::exchange(state->waiting, {}));
  }
}

size_t BoundedFiles::open_files() const { return core_->open_count; }

void BoundedFiles::Open(const std::string& path, OpenMode mode, Caching caching, OpenDone done) {
  core_->TakePlace([core = core_, path, mode, caching, done = std::move(done)]() mutable {
    core->files.Open(path, mode, caching,
                     [core, path, mode, caching,
                      done = std::move(done)](Result<std::unique_ptr<File>> file) mutable {
                       if (!file.ok()) {
                         core->GivePlaceBack();
                         return done(file.status());
                       }
                       const auto state = std::make_shared<State>();
                       state->path = path;
                       state->mode =
                           mode == OpenMode::kRead ? OpenMode::kRead : OpenMode::kReadWrite;
                       state->caching = caching;
                       state->file = std::move(*file);
                       core->Remember(state);
                       auto opened = std::make_unique<BoundedFile>(core, state);
                       core->SetIdle(state);
                       done(std::unique_ptr<File>(std::move(opened)));
                     });
  });
}

void BoundedFiles::List(const std::string& directory, ListDone done) {
  core_->files.List(directory, std::move(done));
}

void BoundedFiles::MakeDirectory(const std::string& directory, StatusDone done) {
  core_->files.MakeDirectory(directory, std::move(done));
}

void BoundedFiles::Rename(const std::string& from, const std::string& to, StatusDone done) {
  core_->files.Rename(from, to,
                      [core = core_, from, to, done = std::move(done)](Status status) mutable {
                        if (status.ok()) core->SetRenamed(from, to);
                        done(std::move(status));
                      });
}

void BoundedFiles::Remove(const std::string& path, StatusDone done) {
  core_->files.Remove(path, [core = core_, path, done = std::move(done)](Status status) mutable {
    if (status.ok()) core->SetGone(path);
    done(std::move(status));
  });
}

void BoundedFiles::SyncDirectory(const std::string& directory, StatusDone done) {
  core_->files.SyncDirectory(directory, std::move(done));
}

void BoundedFiles::FreeBytes(MoveFunction<void(Result<uint64_t>)> done) {
  core_->files.FreeBytes(std::move(done));
}

}  // namespace millrace::storage
