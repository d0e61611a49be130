#include "tests/support/sim_file/sim_disk.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace millrace::sim {
namespace {

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

// How a power cut treats what is not synced: mixed mostly, but the extremes find bugs of their own.
enum class Loss { kMixed, kAllLost, kAllKept };

Loss DrawLoss(Random& random) {
  switch (random.Below(6)) {
    case 0:
      return Loss::kAllLost;
    case 1:
      return Loss::kAllKept;
    default:
      return Loss::kMixed;
  }
}

}  // namespace

SimDisk::SimDisk() {
  current_.directories.insert("");
  durable_.directories.insert("");
}

void SimDisk::Names::Apply(const NameChange& change) {
  if (!change.removed.empty()) {
    files.erase(change.removed);
    directories.erase(change.removed);
  }
  if (change.added.empty()) return;
  if (change.node == nullptr) {
    directories.insert(change.added);
  } else {
    files[change.added] = change.node;
  }
}

void SimDisk::ApplyTo(std::string& content, const Change& change) {
  if (change.is_truncate) {
    content.resize(change.offset, '\0');
    return;
  }
  const uint64_t end = change.offset + change.bytes.size();
  if (content.size() < end) content.resize(end, '\0');
  content.replace(change.offset, change.bytes.size(), change.bytes);
}

void SimDisk::ApplyTorn(std::string& content, const Change& change, Random& random) {
  if (change.is_truncate) {
    if (random.OneIn(2)) ApplyTo(content, change);
    return;
  }
  // A prefix of the sectors, or each by itself: devices do both.
  const bool is_prefix = random.OneIn(2);
  const uint64_t sectors = (change.bytes.size() + kSectorBytes - 1) / kSectorBytes;
  const uint64_t prefix = random.Below(sectors + 1);
  for (uint64_t i = 0; i < sectors; ++i) {
    const bool is_kept = is_prefix ? i < prefix : random.OneIn(2);
    if (!is_kept) continue;
    ApplyTo(content, {.offset = change.offset + i * kSectorBytes,
                      .bytes = change.bytes.substr(i * kSectorBytes, kSectorBytes)});
  }
}

void SimDisk::PowerLoss(Random& random) {
  const Loss loss = DrawLoss(random);
  const auto is_kept = [&] {
    return loss == Loss::kAllKept || (loss == Loss::kMixed && random.OneIn(2));
  };
  for (const NameChange& change : name_changes_) {
    if (is_kept()) durable_.Apply(change);
  }
  name_changes_.clear();
  // A name whose directory's own name is lost can't be reached; parents sort before children.
  std::erase_if(durable_.directories, [this](const std::string& directory) {
    return !durable_.directories.contains(ParentOf(directory));
  });
  std::erase_if(durable_.files, [this](const auto& file) {
    return !durable_.directories.contains(ParentOf(file.first));
  });
  for (const std::weak_ptr<Node>& weak : nodes_) {
    const NodePtr node = weak.lock();
    if (node == nullptr) continue;
    for (const Change& change : node->changes) {
      if (loss == Loss::kMixed && random.Below(10) < 3) {
        ApplyTorn(node->durable, change, random);
      } else if (is_kept()) {
        ApplyTo(node->durable, change);
      }
    }
    node->changes.clear();
    node->current = node->durable;
    node->cache.reset();
  }
  current_ = durable_;
  std::erase_if(nodes_, [](const auto& node) { return node.expired(); });
  waiting_.clear();
  is_stalled_ = false;
}

void SimDisk::CrashAtOperation(uint64_t count, std::function<void()> on_crash) {
  CHECK_GT(count, 0U);
  crash_at_ = operations_ + count;
  on_crash_ = std::move(on_crash);
}

void SimDisk::FailOperation(uint64_t count, Status error) {
  CHECK_GT(count, 0U);
  CHECK(!error.ok());
  fail_at_ = operations_ + count;
  fail_with_ = std::move(error);
}

void SimDisk::FailCall(uint64_t count, Status error, FaultGiven given) {
  CHECK_GT(count, 0U);
  CHECK(!error.ok());
  fail_call_at_ = calls_ + count;
  fail_call_with_ = std::move(error);
  on_fail_call_ = std::move(given);
}

void SimDisk::FailNext(Kind kind, std::string prefix, Status error) {
  CHECK(!error.ok());
  traps_.push_back({.kind = kind, .prefix = std::move(prefix), .error = std::move(error)});
}

void SimDisk::FailNextSync(std::string prefix) {
  const Status error = Unavailable("sync " + prefix + ": Input/output error");
  FailNext(Kind::kSync, std::move(prefix), error);
}

void SimDisk::ForgetFaults() {
  fail_at_ = 0;
  fail_call_at_ = 0;
  traps_.clear();
  flakiness_ = {};
}

void SimDisk::FailEvery(uint64_t every, std::string prefix, Status error) {
  CHECK_GT(every, 0U);
  CHECK(!error.ok());
  flakiness_ = {.every = every, .prefix = std::move(prefix), .error = std::move(error)};
}

bool SimDisk::IsTrapped(Kind kind, const std::string& path, Status* error) {
  if (++calls_ == fail_call_at_) {
    fail_call_at_ = 0;
    *error = fail_call_with_;
    ++faults_given_;
    if (on_fail_call_) on_fail_call_(kind, path);
    return true;
  }
  for (auto at = traps_.begin(); at != traps_.end(); ++at) {
    if (at->kind != kind || !path.starts_with(at->prefix)) continue;
    *error = at->error.With(path);
    traps_.erase(at);
    ++faults_given_;
    return true;
  }
  if (flakiness_.every == 0 || !path.starts_with(flakiness_.prefix)) return false;
  if (++flakiness_.calls % flakiness_.every != 0) return false;
  *error = flakiness_.error.With(path);
  ++faults_given_;
  return true;
}

void SimDisk::Resume() {
  is_stalled_ = false;
  std::vector<std::function<void()>> waiting = std::exchange(waiting_, {});
  for (auto& go : waiting) go();
}

SimDisk::Verdict SimDisk::Begin(Random& random, const std::string& path, bool is_sync,
                                Status* error) {
  ++operations_;
  if (operations_ == crash_at_) {
    crash_at_ = 0;
    return random.OneIn(2) ? Verdict::kCrashBefore : Verdict::kCrashAfter;
  }
  const Kind kind = is_sync ? Kind::kSync : Kind::kChange;
  if (operations_ == fail_at_) {
    fail_at_ = 0;
    *error = fail_with_;
    ++faults_given_;
    return Verdict::kFail;
  }
  return IsTrapped(kind, path, error) ? Verdict::kFail : Verdict::kProceed;
}

void SimDisk::Crash() {
  const std::function<void()> on_crash = std::exchange(on_crash_, nullptr);
  CHECK(on_crash);
  on_crash();
}

uint64_t SimDisk::FreeBytes() const {
  uint64_t used = 0;
  for (const auto& [path, node] : current_.files) used += node->current.size();
  return used >= capacity_ ? 0 : capacity_ - used;
}

void SimDisk::Write(Node& node, uint64_t offset, std::string_view bytes) {
  Change change{.offset = offset, .bytes = std::string(bytes)};
  ApplyTo(node.current, change);
  if (node.cache) ApplyTo(*node.cache, change);
  node.changes.push_back(std::move(change));
}

void SimDisk::Resize(Node& node, uint64_t size) {
  const Change change{.offset = size, .is_truncate = true};
  ApplyTo(node.current, change);
  if (node.cache) ApplyTo(*node.cache, change);
  node.changes.push_back(change);
}

void SimDisk::SyncNode(Node& node) {
  for (const Change& change : node.changes) ApplyTo(node.durable, change);
  node.changes.clear();
}

void SimDisk::FailSync(Node& node) {
  if (!node.cache) node.cache = node.current;
  node.current = node.durable;
  // The file's length is metadata, which the failed write of a page leaves alone.
  node.current.resize(std::max(node.current.size(), node.cache->size()), '\0');
  node.durable = node.current;
  node.changes.clear();
}

void SimDisk::ChangeNames(NameChange change) {
  current_.Apply(change);
  name_changes_.push_back(std::move(change));
}

void SimDisk::SyncNames(const std::string& directory) {
  std::vector<NameChange> left;
  for (NameChange& change : name_changes_) {
    const std::string& name = change.added.empty() ? change.removed : change.added;
    if (ParentOf(name) == directory) {
      durable_.Apply(change);
    } else {
      left.push_back(std::move(change));
    }
  }
  name_changes_ = std::move(left);
}

std::optional<std::string> SimDisk::DurableImage(const std::string& path) const {
  const std::string* bytes = DurableBytes(path);
  if (bytes == nullptr) return std::nullopt;
  return *bytes;
}

const std::string* SimDisk::DurableBytes(const std::string& path) const {
  const auto found = durable_.files.find(path);
  if (found == durable_.files.end()) return nullptr;
  for (std::string parent = ParentOf(path); !parent.empty(); parent = ParentOf(parent)) {
    if (!durable_.directories.contains(parent)) return nullptr;
  }
  // A removal or replacement that is not synced may survive.
  for (const NameChange& change : name_changes_) {
    if (change.removed == path) return nullptr;
  }
  return &found->second->durable;
}

std::vector<std::string> SimDisk::DurablePaths(std::string_view prefix) const {
  std::vector<std::string> paths;
  for (auto at = durable_.files.lower_bound(std::string(prefix));
       at != durable_.files.end() && at->first.starts_with(prefix); ++at) {
    if (DurableBytes(at->first) != nullptr) paths.push_back(at->first);
  }
  return paths;
}

std::optional<std::string> SimDisk::Content(const std::string& path) const {
  const auto found = current_.files.find(path);
  if (found == current_.files.end()) return std::nullopt;
  return found->second->current;
}

std::vector<std::string> SimDisk::Paths() const {
  std::vector<std::string> paths;
  for (const auto& [path, node] : current_.files) paths.push_back(path);
  return paths;
}

void SimDisk::WriteThrough(const std::string& path, const std::function<void(std::string&)>& edit) {
  const auto found = current_.files.find(path);
  CHECK(found != current_.files.end()) << path << " is not on the disk";
  Node& node = *found->second;
  edit(node.current);
  edit(node.durable);
  if (node.cache) edit(*node.cache);
}

void SimDisk::FlipBit(const std::string& path, uint64_t offset, unsigned bit) {
  CHECK_LT(bit, 8U);
  WriteThrough(path, [&](std::string& content) {
    if (offset >= content.size()) return;  // durable may still be shorter
    content[offset] = static_cast<char>(content[offset] ^ (1 << bit));
  });
}

void SimDisk::SpoilSector(const std::string& path, uint64_t offset) {
  current_.files.at(path)->spoilt.insert(offset / kSectorBytes * kSectorBytes);
}

void SimDisk::Overwrite(const std::string& path, uint64_t offset, std::string_view bytes) {
  WriteThrough(path, [&](std::string& content) {
    ApplyTo(content, {.offset = offset, .bytes = std::string(bytes)});
  });
}

void SimDisk::TruncateFile(const std::string& path, uint64_t size) {
  WriteThrough(path, [&](std::string& content) { content.resize(std::min(content.size(), size)); });
}

void SimDisk::RemoveFile(const std::string& path) {
  CHECK(current_.files.contains(path)) << path;
  current_.files.erase(path);
  durable_.files.erase(path);
}

void SimDisk::PutFile(const std::string& path, std::string content) {
  for (std::string parent = ParentOf(path); !parent.empty(); parent = ParentOf(parent)) {
    current_.directories.insert(parent);
    durable_.directories.insert(parent);
  }
  const NodePtr node = NewNode();
  node->durable = content;
  node->current = std::move(content);
  current_.files[path] = node;
  durable_.files[path] = node;
}

SimDisk::NodePtr SimDisk::NewNode() {
  NodePtr node = std::make_shared<Node>();
  node->identity = next_identity_++;
  nodes_.push_back(node);
  return node;
}

uint64_t SimDisk::Identity(const std::string& path) const {
  const auto found = current_.files.find(path);
  return found == current_.files.end() ? 0 : found->second->identity;
}

void SimDisk::WipeAll() {
  current_ = Names{{}, {""}};
  durable_ = current_;
  name_changes_.clear();
  nodes_.clear();
}

}  // namespace millrace::sim
