// A simulated disk: what survives a crash and what does not. It outlives the processes that use it
// (through SimFileSystem) and is where a test injects faults and damage.
//
// It keeps three contents of each file: what certainly survives a power cut (durable), what the
// medium and the dirty pages hold together (current), and what the page cache shows. They differ
// after writes that are not synced, and after a failed sync: then the page cache shows bytes that
// the medium will never hold, and later syncs say OK (as ext4 does). Names have the same two lives:
// creations, renames and removals survive after SyncDirectory only.
//
// Owned by the test; one thread. Deterministic: chance comes from the Random of each call.
//
//   SimDisk disk;
//   disk.CrashAtOperation(17, [&] { process.Kill(); });
//   ...
//   disk.PowerLoss(random);                       // each unsynced write is lost, kept or torn
//   disk.FlipBit("journal/00000001", 4100, 3);    // rot
//   std::optional<std::string> image = disk.DurableImage("journal/00000001");
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/status.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/random.h"

namespace millrace::sim {

class SimDisk {
 public:
  static constexpr uint64_t kSectorBytes = 512;
  // What FreeBytes is called where calls go by paths.
  static constexpr const char* kRoom = "statvfs";

  SimDisk();
  SimDisk(const SimDisk&) = delete;
  SimDisk& operator=(const SimDisk&) = delete;

  // Crashes ------------------------------------------------------------------------------------

  // Power is cut. Each unsynced write and directory change is kept, lost or (a write) torn at
  // sector boundaries, independently. A killed process alone loses nothing here. Pre: no process
  // uses the disk, or what uses it is not called again.
  void PowerLoss(Random& random);
  // Calls `on_crash` in the middle of the `count`-th operation from now (1 is the next), which has
  // happened or not, as its Random says, and never completes. Operations are those that change the
  // disk or make changes durable; reads are none.
  void CrashAtOperation(uint64_t count, std::function<void()> on_crash);
  void ForgetCrash() { crash_at_ = 0; }
  uint64_t operations() const { return operations_; }
  // Bytes that were read of files, by whoever.
  uint64_t bytes_read() const { return bytes_read_; }

  // Faults -------------------------------------------------------------------------------------

  enum class Kind { kRead, kChange, kSync };
  // The `count`-th operation from now fails with `error`; a write then wrote any part of its bytes,
  // and a sync has dropped what was dirty.
  void FailOperation(uint64_t count, Status error);
  // The `count`-th call of any kind from now, reads and listings too, fails. `given` is told which
  // it was, before it has any effect.
  using FaultGiven = std::function<void(Kind, const std::string& path)>;
  void FailCall(uint64_t count, Status error, FaultGiven given = nullptr);
  uint64_t calls() const { return calls_; }
  // The next call of that kind on a path that begins with `prefix` fails.
  void FailNext(Kind kind, std::string prefix, Status error);
  void FailNextSync(std::string prefix);
  // From now on every `every`-th call of any kind on a path that begins with `prefix` fails.
  void FailEvery(uint64_t every, std::string prefix, Status error);
  // Faults that were planned and have not happened will not.
  void ForgetFaults();
  uint64_t faults_given() const { return faults_given_; }
  // Every call takes longer by a time drawn from these.
  void SetSlowness(Duration low, Duration high) { slow_min_ = low, slow_max_ = high; }
  // Operations wait until Resume.
  void Stall() { is_stalled_ = true; }
  void Resume();
  // Those that wait never happen, and nobody is told: their process is dead.
  void ForgetWaiting() { waiting_.clear(); }
  bool is_stalled() const { return is_stalled_; }
  // Writes that would make all files together larger fail with RESOURCE_EXHAUSTED.
  void SetCapacity(uint64_t bytes) { capacity_ = bytes; }
  uint64_t FreeBytes() const;

  // What is on it ------------------------------------------------------------------------------

  // The content that `path` certainly has after a crash now; nullopt if the name may be gone.
  // Writes under way may still overwrite a part of it.
  std::optional<std::string> DurableImage(const std::string& path) const;
  // The same without a copy, nullptr if the name may be gone; valid until the disk is used again.
  const std::string* DurableBytes(const std::string& path) const;
  // All paths that certainly survive a crash, sorted.
  std::vector<std::string> DurablePaths() const { return DurablePaths(""); }
  // Those that begin with `prefix`.
  std::vector<std::string> DurablePaths(std::string_view prefix) const;
  // The content now, as the medium and dirty pages have it.
  std::optional<std::string> Content(const std::string& path) const;
  std::vector<std::string> Paths() const;
  bool HasDirectory(const std::string& path) const { return current_.directories.contains(path); }
  // Which file `path` names now: two files are never told alike, whatever their names. 0 if none.
  uint64_t Identity(const std::string& path) const;

  // Damage, at once durable. Pre: the path exists and is long enough.
  void FlipBit(const std::string& path, uint64_t offset, unsigned bit);
  void Overwrite(const std::string& path, uint64_t offset, std::string_view bytes);
  void TruncateFile(const std::string& path, uint64_t size);
  // Reads of a byte of that sector of the file fail from now on, whatever name the file gets.
  void SpoilSector(const std::string& path, uint64_t offset);
  void RemoveFile(const std::string& path);
  // Puts a file there, durable, with its directories.
  void PutFile(const std::string& path, std::string content);
  void WipeAll();

 private:
  friend class SimFile;
  friend class SimFileSystem;

  struct Change {  // of a file's bytes, not yet synced
    uint64_t offset = 0;
    std::string bytes;
    bool is_truncate = false;  // to `offset`
  };
  struct Node {
    uint64_t identity = 0;
    std::string durable;
    std::string current;
    std::vector<Change> changes;       // from durable to current
    std::optional<std::string> cache;  // set once a failed sync made it differ from current
    std::set<uint64_t> spoilt;         // where sectors begin that cannot be read
    bool IsSpoilt(uint64_t offset, uint64_t size) const {
      const auto next = spoilt.lower_bound(offset / kSectorBytes * kSectorBytes);
      return next != spoilt.end() && *next < offset + size;
    }
  };
  // Shared by the names, durable and not, and the open files of one node.
  using NodePtr = std::shared_ptr<Node>;
  // A change of names, not yet synced: `added` (if any) now names node, or a directory if node is
  // null; `removed` (if any) names nothing.
  struct NameChange {
    std::string added;
    NodePtr node;
    std::string removed;
  };
  struct Names {
    std::map<std::string, NodePtr> files;
    std::set<std::string> directories;
    void Apply(const NameChange& change);
  };

  // What an operation is told when it begins.
  enum class Verdict { kProceed, kFail, kCrashBefore, kCrashAfter };
  Verdict Begin(Random& random, const std::string& path, bool is_sync, Status* error);
  // Counts a call, and says whether it is one that fails.
  bool IsTrapped(Kind kind, const std::string& path, Status* error);
  void Crash();

  NodePtr NewNode();
  void Write(Node& node, uint64_t offset, std::string_view bytes);
  void Resize(Node& node, uint64_t size);
  void SyncNode(Node& node);
  void FailSync(Node& node);
  void ChangeNames(NameChange change);
  void SyncNames(const std::string& directory);
  static void ApplyTo(std::string& content, const Change& change);
  static void ApplyTorn(std::string& content, const Change& change, Random& random);
  void WriteThrough(const std::string& path, const std::function<void(std::string&)>& edit);

  Names current_;
  Names durable_;
  std::vector<NameChange> name_changes_;
  // Every node that may have unsynced bytes, in order of creation; pruned at PowerLoss.
  std::vector<std::weak_ptr<Node>> nodes_;
  uint64_t next_identity_ = 1;
  uint64_t capacity_ = UINT64_MAX;

  uint64_t operations_ = 0;
  uint64_t bytes_read_ = 0;
  uint64_t crash_at_ = 0;
  std::function<void()> on_crash_;
  uint64_t fail_at_ = 0;
  Status fail_with_;
  uint64_t calls_ = 0;
  uint64_t fail_call_at_ = 0;
  Status fail_call_with_;
  FaultGiven on_fail_call_;
  struct Trap {
    Kind kind;
    std::string prefix;
    Status error;
  };
  std::vector<Trap> traps_;
  struct Flakiness {
    uint64_t every = 0;  // 0: none
    uint64_t calls = 0;
    std::string prefix;
    Status error;
  };
  Flakiness flakiness_;
  uint64_t faults_given_ = 0;
  Duration slow_min_{0};
  Duration slow_max_{0};
  bool is_stalled_ = false;
  std::vector<std::function<void()>> waiting_;  // for Resume
};

}  // namespace millrace::sim
