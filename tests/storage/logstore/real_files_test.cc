// The log store, and the journal alone, on real files and on threads of their own, as in
// production: written, stopped, opened again, read.
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "raft/runtime/loop_thread.h"
#include "storage/file/freeing.h"
#include "storage/file/real_file_system.h"
#include "storage/journal/journal.h"
#include "storage/logstore/log_store.h"
#include "storage/segment/format.h"
#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

constexpr RaftGroupId kGroup{2};

// An empty directory as long as it lives.
class Directory {
 public:
  Directory()
      : path_(std::filesystem::temp_directory_path() /
              ("millrace_logstore_test_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  std::string path() const { return path_.string(); }

 private:
  const std::filesystem::path path_;
};

// One life of a broker's storage.
class Life {
 public:
  explicit Life(const std::string& root)
      : journal_files_(journal_.executor(), root),
        segment_files_(segment_.executor(), root, syncs_.executors()) {}

  std::vector<raft::RecoveredReplica> Open() {
    LogStoreOptions options;
    options.journal.key = 99;
    options.journal.file_bytes = 1 << 20;
    options.segment_size_bytes = 64 << 10;
    auto opened = std::make_shared<std::promise<Result<JournalLogStore::Opened>>>();
    shard_.executor().Post([this, options, opened] {
      JournalLogStore::Open(options,
                            {.shard = shard_.executor(),
                             .journal_executor = journal_.executor(),
                             .journal_files = journal_files_,
                             .segment_executor = segment_.executor(),
                             .segment_files = segment_files_,
                             .fail_stop = [](const Status& why) { LOG(FATAL) << why; }},
                            [opened](Result<JournalLogStore::Opened> result) {
                              opened->set_value(std::move(result));
                            });
    });
    JournalLogStore::Opened result = opened->get_future().get().value();
    store_ = std::move(result.store);
    return std::move(result.replicas);
  }

  void Make(const raft::ReplicaId& replica) {
    Await([&](JournalLogStore& store, Task done) {
      store.CreateReplica({.group = replica.group, .number = replica.number}, std::move(done));
    });
  }

  void Write(const raft::ReplicaId& replica, const std::vector<Entry>& entries) {
    Await([&](JournalLogStore& store, Task done) {
      raft::ReplicaWrite write{.replica = replica, .write = {}};
      write.write.hard_state = raft::core::HardState{.term = Term(1)};
      write.write.entries = entries;
      std::vector<raft::ReplicaWrite> writes;
      writes.push_back(std::move(write));
      store.SetDurableListener(
          [done = std::move(done)](const std::vector<raft::DurableWrite>& durable) mutable {
            EXPECT_EQ(durable.size(), 1U);
            done();
          });
      store.Write(std::move(writes));
    });
  }

  // Commits up to `end` and ends the segment there.
  void Seal(RaftGroupId group, LogIndex end) {
    Await([&](JournalLogStore& store, Task done) {
      auto shared = std::make_shared<Task>(std::move(done));
      store.SetSegmentListener([shared, end](RaftGroupId, LogIndex reached) {
        if (reached == end) (*shared)();
      });
      store.Commit(group, end);
      ASSERT_TRUE(store.WantsRoll(group, {}));
      store.Roll(group, end, [] { return Bytes::CopyOf("state"); });
    });
  }

  // Until the segments' files that nobody uses any more are closed.
  void AwaitClosed() {
    segment_.RunAndWait([] {});  // whoever used one is gone
    segment_.RunAndWait([] {});  // and it is with a thread for syncs
    for (Executor* syncs : syncs_.executors()) {
      std::promise<void> done;
      syncs->Post([&done] { done.set_value(); });
      done.get_future().get();
    }
  }

  // Runs `work` on the shard and waits until it calls its argument.
  void Await(MoveFunction<void(JournalLogStore&, Task)> work) {
    auto done = std::make_shared<std::promise<void>>();
    shard_.executor().Post([this, done, work = std::move(work)]() mutable {
      work(*store_, [done] { done->set_value(); });
    });
    done->get_future().get();
  }

  void Stop() {
    Await([](JournalLogStore& store, Task done) { store.Stop(std::move(done)); });
    shard_.RunAndWait([this] { store_.reset(); });
    syncs_.Stop();
    segment_.Stop();
    journal_.RunAndWait([] {});
    journal_.Stop();
    shard_.Stop();
  }

 private:
  LoopThread shard_{"shard"};
  LoopThread journal_{"journal"};
  LoopThread segment_{"segment"};
  LoopThreads syncs_{2, "syncs"};
  RealFileSystem journal_files_;
  RealFileSystem segment_files_;
  std::unique_ptr<JournalLogStore> store_;
};

TEST(LogStoreOnRealFiles, WhatWasWritten_IsThereInTheNextLife) {
  const Directory root;
  EntryMaker maker(kGroup);
  std::vector<Entry> entries;
  for (int i = 0; i < 200; ++i) entries.push_back(maker.Batch(2, 1000));
  {
    Life life(root.path());
    EXPECT_TRUE(life.Open().empty());
    life.Make({kGroup, ReplicaNumber(1)});
    life.Write({kGroup, ReplicaNumber(1)}, entries);
    life.Seal(kGroup, LogIndex(100));
    life.Await([&](JournalLogStore& store, Task done) {
      store.Read(kGroup, LogIndex(50), 3000,
                 [&, done = std::move(done)](Result<std::vector<Entry>> read) mutable {
                   EXPECT_EQ(read.value().size(), 2U);
                   EXPECT_EQ(read.value()[0].frame.view(), entries[49].frame.view());
                   done();
                 });
    });
    life.Stop();
  }
  {
    Life life(root.path());
    const std::vector<raft::RecoveredReplica> replicas = life.Open();
    ASSERT_EQ(replicas.size(), 1U);
    ASSERT_TRUE(replicas[0].health.ok()) << replicas[0].health;
    EXPECT_EQ(replicas[0].initial.hard_state.term, Term(1));
    EXPECT_EQ(replicas[0].initial.log.last_index(), LogIndex(200));
    EXPECT_EQ(replicas[0].initial.log.last_chain(), maker.end().chain);
    life.Stop();
  }
}

struct stat FactsOf(int fd) {
  struct stat facts{};
  EXPECT_EQ(fstat(fd, &facts), 0);
  return facts;
}

// A disk that is told of a large file at once keeps all that is synced waiting.
TEST(LogStoreOnRealFiles, FileThatARewrittenOneTakesThePlaceOf_IsFreedInPieces) {
  const Directory root;
  const raft::ReplicaId replica{kGroup, ReplicaNumber(1)};
  EntryMaker maker(kGroup);
  std::vector<Entry> entries;
  for (int i = 0; i < 100; ++i) entries.push_back(maker.Batch(1, 50'000));
  Life life(root.path());
  life.Open();
  life.Make(replica);
  life.Write(replica, entries);
  life.Seal(kGroup, entries.back().index);
  const SegmentFolder folder{.group = kGroup, .number = replica.number};
  const std::string path = root.path() + "/" + SegmentPath(folder, LogIndex(1));
  const int former = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GT(FactsOf(former).st_size, 2 * static_cast<off_t>(kFreedAtOnce));
  life.Await([&](JournalLogStore& store, Task done) {
    auto rewritten = [done = std::move(done)](const Status& status) mutable {
      EXPECT_TRUE(status.ok()) << status;
      done();
    };
    store.BeginRewrite(replica, LogIndex(),
                       [](const Status& status) { EXPECT_TRUE(status.ok()) << status; });
    store.AppendRewritten(replica, entries, [](const Status&) {});
    store.FinishRewrite(replica, 0, std::move(rewritten));
  });
  life.AwaitClosed();
  EXPECT_EQ(FactsOf(former).st_nlink, 0U);
  EXPECT_LE(FactsOf(former).st_size, static_cast<off_t>(kFreedAtOnce));
  close(former);
  life.Stop();
}

// One life of a journal, with one replica.
class JournalLife {
 public:
  static constexpr raft::ReplicaId kReplica{kGroup, ReplicaNumber(1)};

  explicit JournalLife(const std::string& root) : files_(thread_.executor(), root) {}
  ~JournalLife() {
    thread_.RunAndWait([this] { journal_.reset(); });
  }
  JournalLife(const JournalLife&) = delete;
  JournalLife& operator=(const JournalLife&) = delete;

  journal::JournalState Open() {
    std::promise<Result<journal::OpenedJournal>> opened;
    thread_.executor().Post([this, &opened] {
      journal::Journal::Open(
          {.key = 99, .file_bytes = 8 << 20},
          {thread_.executor(), files_, [](const Status& why) { LOG(FATAL) << why; }},
          [&opened](Result<journal::OpenedJournal> result) {
            opened.set_value(std::move(result));
          });
    });
    journal::OpenedJournal result = opened.get_future().get().value();
    journal_ = std::move(result.journal);
    return std::move(result.state);
  }

  void Submit(decltype(journal::GroupRecord::body) body) {
    std::promise<void> done;
    std::vector<journal::GroupRecord> records;
    records.push_back({.replica = kReplica, .body = std::move(body)});
    journal_->client().Submit(std::move(records), done_on_.executor(),
                              [&done] { done.set_value(); });
    done.get_future().get();
  }

  // Up to `bytes_max` from `first` on.
  Result<std::vector<Entry>> ReadBack(LogIndex first, uint64_t bytes_max) {
    std::promise<Result<std::vector<Entry>>> read;
    journal_->client().ReadBack(
        {.replica = kReplica, .first = first, .bytes_max = bytes_max}, done_on_.executor(),
        [&read](Result<std::vector<Entry>> entries) { read.set_value(std::move(entries)); });
    return read.get_future().get();
  }

 private:
  LoopThread thread_{"journal"};
  LoopThread done_on_{"done"};
  RealFileSystem files_;
  std::unique_ptr<journal::Journal> journal_;
};

void ExpectReadBack(JournalLife& life, const std::vector<Entry>& entries) {
  for (size_t at = 0; at < entries.size();) {
    const Result<std::vector<Entry>> read = life.ReadBack(entries[at].index, 200000);
    ASSERT_TRUE(read.ok()) << read.status();
    ASSERT_FALSE(read->empty());
    for (const Entry& entry : *read) {
      ASSERT_LT(at, entries.size());
      EXPECT_TRUE(entry.frame.view() == entries[at].frame.view()) << entries[at].index;
      ++at;
    }
  }
}

// Their places and sizes are no multiples of anything that a disk has, and some are larger than
// what is written to it at a time.
TEST(JournalOnRealFiles, EntriesOfAnySize_AreReadBack_InThisLifeAndTheNext) {
  const Directory root;
  EntryMaker maker(kGroup);
  std::vector<Entry> entries;
  const auto add = [&](JournalLife& life, uint32_t count, uint32_t payload_bytes) {
    journal::LogWrite write;
    for (uint32_t i = 0; i < count; ++i) write.entries.push_back(maker.Batch(1, payload_bytes + i));
    entries.insert(entries.end(), write.entries.begin(), write.entries.end());
    life.Submit(std::move(write));
  };
  {
    JournalLife life(root.path());
    EXPECT_TRUE(life.Open().groups.empty());
    life.Submit(journal::ReplicaCreated{{.group = kGroup, .number = ReplicaNumber(1)}});
    add(life, 50, 1);
    add(life, 20, 4000);
    add(life, 1, 3 << 20);
    add(life, 3, 1 << 20);
    add(life, 10, 70000);
    ExpectReadBack(life, entries);
  }
  JournalLife life(root.path());
  const journal::JournalState state = life.Open();
  EXPECT_TRUE(state.damage.empty());
  ASSERT_TRUE(state.groups.contains(kGroup));
  ExpectReadBack(life, entries);
  add(life, 5, 100);
  ExpectReadBack(life, entries);
}

}  // namespace
}  // namespace millrace::storage
