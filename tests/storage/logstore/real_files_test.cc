// The log store on real files and on three threads, as in production: written, stopped, opened
// again, read.
#include <filesystem>
#include <future>
#include <memory>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "raft/runtime/loop_thread.h"
#include "storage/file/real_file_system.h"
#include "storage/logstore/log_store.h"
#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

constexpr RaftGroupId kGroup{2};

// One life of a broker's storage.
class Life {
 public:
  explicit Life(const std::string& root)
      : journal_files_(journal_.executor(), root),
        segment_files_(segment_.executor(), root, syncs_.executor()) {}

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
  LoopThread syncs_{"syncs"};
  RealFileSystem journal_files_;
  RealFileSystem segment_files_;
  std::unique_ptr<JournalLogStore> store_;
};

TEST(LogStoreOnRealFiles, WhatWasWritten_IsThereInTheNextLife) {
  const std::filesystem::path root = std::filesystem::temp_directory_path() /
                                     ("millrace_logstore_test_" + std::to_string(getpid()));
  std::filesystem::remove_all(root);
  std::filesystem::create_directories(root);
  EntryMaker maker(kGroup);
  std::vector<Entry> entries;
  for (int i = 0; i < 200; ++i) entries.push_back(maker.Batch(2, 1000));
  {
    Life life(root.string());
    EXPECT_TRUE(life.Open().empty());
    life.Await([](JournalLogStore& store, Task done) {
      store.CreateReplica({.group = kGroup, .number = ReplicaNumber(1)}, std::move(done));
    });
    life.Await([&](JournalLogStore& store, Task done) {
      raft::ReplicaWrite write{.replica = {kGroup, ReplicaNumber(1)}, .write = {}};
      write.write.hard_state = raft::core::HardState{.term = Term(1)};
      write.write.entries = entries;
      std::vector<raft::ReplicaWrite> writes;
      writes.push_back(std::move(write));
      store.Write(std::move(writes), std::move(done));
    });
    life.Await([&](JournalLogStore& store, Task done) {
      auto shared = std::make_shared<Task>(std::move(done));
      store.SetSegmentListener([shared](RaftGroupId, LogIndex end) {
        if (end == LogIndex(100)) (*shared)();
      });
      store.HandOver(kGroup, {entries.begin(), entries.begin() + 100});
      ASSERT_TRUE(store.WantsRoll(kGroup));
      store.Roll(kGroup, LogIndex(100), [] { return Bytes::CopyOf("state"); });
    });
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
    Life life(root.string());
    const std::vector<raft::RecoveredReplica> replicas = life.Open();
    ASSERT_EQ(replicas.size(), 1U);
    ASSERT_TRUE(replicas[0].health.ok()) << replicas[0].health;
    EXPECT_EQ(replicas[0].initial.hard_state.term, Term(1));
    EXPECT_EQ(replicas[0].initial.log.last_index(), LogIndex(200));
    EXPECT_EQ(replicas[0].initial.log.last_chain(), maker.end().chain);
    life.Stop();
  }
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace millrace::storage
