// Who this data directory belongs to: cluster, broker, incarnation, boot epoch, format, and how far
// the bootstrap went (design D3, "Identity"; docs/formats.md, "Superblock"). A directory that holds
// data but no readable superblock is corrupt, never fresh.
//
// Two copies in one file, written one after the other, so that one is always whole and either can
// be lost. Used on one Executor; every change is durable before it is reported.
//
//   Superblock::Open(files, {.cluster_name = "demo", .broker = BrokerId(1)}, random, done);
//   superblock->Update(facts, done);
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/random.h"
#include "raft/runtime/task.h"
#include "storage/file/file_system.h"

namespace millrace::storage {

inline constexpr uint32_t kStorageFormatVersion = 2;

enum class BootstrapStage : uint32_t { kFresh = 0, kListed = 1, kInitialized = 2 };

struct SuperblockFacts {
  std::string cluster_name;  // at most 249 bytes
  BrokerId broker;
  Incarnation incarnation;
  BootEpoch boot_epoch;
  BootstrapStage stage = BootstrapStage::kFresh;
  uint64_t cluster_uuid = 0;
  std::vector<Voter> controllers;  // at most 15
  bool was_stopped_cleanly = false;
  // Random, and told to nobody: the journal's blocks carry it, so that nothing that a producer
  // sends can pose as one of them.
  uint64_t journal_key = 0;
  // What newer builds may mark here without a new version. A directory with an incompatible bit
  // that this build does not know is refused; compatible ones are kept as they are.
  uint64_t incompatible_features = 0;
  uint64_t compatible_features = 0;
  // The feature level that the cluster's entries and records may have, as last known here.
  uint32_t cluster_level = 0;
  bool operator==(const SuperblockFacts&) const = default;
};

// One copy's bytes, 4096 of them; the copy with the larger sequence counts.
Bytes EncodeSuperblock(const SuperblockFacts& facts, uint64_t sequence);
struct ParsedSuperblock {
  SuperblockFacts facts;
  uint64_t sequence = 0;
};
// DATA_LOSS if magic or checksum are wrong; FAILED_PRECONDITION naming what this build does not
// know: a format version, a stage, an incompatible feature.
Result<ParsedSuperblock> ParseSuperblock(std::string_view bytes);
// The sequence of a copy with right magic and checksum, whatever else it says; nullopt otherwise.
std::optional<uint64_t> SuperblockSequence(std::string_view bytes);

// What the bytes of a SUPERBLOCK say. The newer of the intact copies decides, also when it is to
// refuse the directory: the older one is of a build that this directory has left behind. DATA_LOSS
// if neither is intact.
struct FoundSuperblock {
  ParsedSuperblock newest;
  // 0 or 1: that copy is damaged, by a power cut in its write or by the disk.
  std::optional<size_t> damaged_copy;
};
Result<FoundSuperblock> FindSuperblock(std::string_view file);

class Superblock {
 public:
  struct Expectation {
    std::string cluster_name;
    BrokerId broker;
  };
  using OpenedDone = MoveFunction<void(Result<std::unique_ptr<Superblock>>)>;

  // Reads it, or makes one in an empty directory; counts the boot. FAILED_PRECONDITION if it
  // belongs to another cluster or broker; DATA_LOSS if it is unreadable, or missing beside data.
  static void Open(FileSystem& files, const Expectation& expectation, Random random,
                   OpenedDone done);

  using ReadDone = MoveFunction<void(Result<FoundSuperblock>)>;
  // Reads it and changes nothing. NOT_FOUND if the directory has none and holds no data either;
  // DATA_LOSS if it is unreadable, or missing beside data.
  static void Read(FileSystem& files, ReadDone done);

  const SuperblockFacts& facts() const { return facts_; }
  // Makes `facts` durable. One at a time.
  void Update(const SuperblockFacts& facts, StatusDone done);

 private:
  class Opener;
  void WriteCopy(StatusDone done);
  Superblock(std::unique_ptr<File> file, SuperblockFacts facts, uint64_t sequence)
      : file_(std::move(file)), facts_(std::move(facts)), sequence_(sequence) {}

  std::unique_ptr<File> file_;
  SuperblockFacts facts_;
  uint64_t sequence_;
};

}  // namespace millrace::storage
