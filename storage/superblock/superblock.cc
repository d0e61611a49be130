#include "storage/superblock/superblock.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kMagic = 0x4B4F4C4252535241;
constexpr uint64_t kCopySize = 4096;
constexpr size_t kNameMax = 249;
constexpr size_t kControllersMax = 15;
constexpr char kFile[] = "SUPERBLOCK";
constexpr char kNewFile[] = "SUPERBLOCK.new";

bool Has(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Of a directory without a superblock.
Status CheckHoldsNoData(const std::vector<std::string>& names) {
  for (const char* const name : {"journal", "groups", "aside", "views"}) {
    if (Has(names, name)) return DataLoss("the data directory holds data but no SUPERBLOCK");
  }
  return {};
}

struct Layout {
  uint64_t magic;
  uint32_t version;
  uint32_t crc;  // of the whole copy with this field zero
  uint64_t sequence;
  uint64_t cluster_uuid;
  uint64_t incarnation;
  uint64_t boot_epoch;
  uint32_t broker;
  uint32_t stage;
  uint32_t was_stopped_cleanly;
  uint32_t controller_count;
  struct {
    uint64_t incarnation;
    uint32_t broker;
    uint32_t number;
  } controllers[kControllersMax];
  uint32_t name_size;
  char name[kNameMax + 3];
  uint64_t journal_key;
  uint64_t incompatible_features;
  uint64_t compatible_features;
  uint32_t cluster_level;
};
static_assert(sizeof(Layout) <= kCopySize);
static_assert(offsetof(Layout, journal_key) == 560);

// Those that this build knows: none yet.
constexpr uint64_t kIncompatibleFeatures = 0;

uint32_t CopyCrc(std::string_view copy) {
  std::string zeroed(copy.substr(0, kCopySize));
  std::memset(zeroed.data() + offsetof(Layout, crc), 0, sizeof(uint32_t));
  return Crc32c(zeroed);
}

}  // namespace

Bytes EncodeSuperblock(const SuperblockFacts& facts, uint64_t sequence) {
  CHECK_LE(facts.cluster_name.size(), kNameMax);
  CHECK_LE(facts.controllers.size(), kControllersMax);
  Layout layout{};
  layout.magic = kMagic;
  layout.version = kStorageFormatVersion;
  layout.sequence = sequence;
  layout.cluster_uuid = facts.cluster_uuid;
  layout.incarnation = facts.incarnation.value();
  layout.boot_epoch = facts.boot_epoch.value();
  layout.broker = facts.broker.value();
  layout.stage = static_cast<uint32_t>(facts.stage);
  layout.was_stopped_cleanly = facts.was_stopped_cleanly ? 1 : 0;
  layout.controller_count = static_cast<uint32_t>(facts.controllers.size());
  for (size_t i = 0; i < facts.controllers.size(); ++i) {
    layout.controllers[i].broker = facts.controllers[i].broker.value();
    layout.controllers[i].incarnation = facts.controllers[i].incarnation.value();
    layout.controllers[i].number = facts.controllers[i].number.value();
  }
  layout.name_size = static_cast<uint32_t>(facts.cluster_name.size());
  std::memcpy(layout.name, facts.cluster_name.data(), facts.cluster_name.size());
  layout.journal_key = facts.journal_key;
  layout.incompatible_features = facts.incompatible_features;
  layout.compatible_features = facts.compatible_features;
  layout.cluster_level = facts.cluster_level;
  Buffer copy = Buffer::Allocate(kCopySize);
  std::memset(copy.data(), 0, kCopySize);
  std::memcpy(copy.data(), &layout, sizeof(layout));
  const uint32_t crc = CopyCrc({copy.data(), kCopySize});
  std::memcpy(copy.data() + offsetof(Layout, crc), &crc, sizeof(crc));
  return std::move(copy).Freeze();
}

namespace {

// Magic, version, crc and sequence lie where they do in every version.
Result<Layout> IntactCopy(std::string_view bytes) {
  Layout layout;
  if (bytes.size() < kCopySize) return DataLoss("the superblock is cut off");
  std::memcpy(&layout, bytes.data(), sizeof(layout));
  if (layout.magic != kMagic) return DataLoss("the superblock has a wrong magic number");
  if (CopyCrc(bytes) != layout.crc) return DataLoss("the superblock's checksum does not match");
  return layout;
}

Status CheckKnown(const Layout& layout) {
  if (layout.version != kStorageFormatVersion) {
    return FailedPrecondition("the data directory has format version " +
                              std::to_string(layout.version) + ", and this build reads version " +
                              std::to_string(kStorageFormatVersion) + " alone");
  }
  if (const uint64_t unknown = layout.incompatible_features & ~kIncompatibleFeatures) {
    return FailedPrecondition("the data directory uses features of a newer build (bits " +
                              std::to_string(unknown) + ")");
  }
  if (layout.stage > static_cast<uint32_t>(BootstrapStage::kInitialized)) {
    return FailedPrecondition("the data directory is in the bootstrap stage " +
                              std::to_string(layout.stage) + ", which this build does not know");
  }
  return Status::Ok();
}

}  // namespace

std::optional<uint64_t> SuperblockSequence(std::string_view bytes) {
  const Result<Layout> layout = IntactCopy(bytes);
  return layout.ok() ? std::optional(layout->sequence) : std::nullopt;
}

Result<ParsedSuperblock> ParseSuperblock(std::string_view bytes) {
  ASSIGN_OR_RETURN(const Layout layout, IntactCopy(bytes));
  RETURN_IF_ERROR(CheckKnown(layout));
  if (layout.name_size > kNameMax || layout.controller_count > kControllersMax) {
    return DataLoss("the superblock's sizes are impossible");
  }
  ParsedSuperblock parsed{.facts = {.cluster_name = std::string(layout.name, layout.name_size),
                                    .broker = BrokerId(layout.broker),
                                    .incarnation = Incarnation(layout.incarnation),
                                    .boot_epoch = BootEpoch(layout.boot_epoch),
                                    .stage = static_cast<BootstrapStage>(layout.stage),
                                    .cluster_uuid = layout.cluster_uuid,
                                    .controllers = {},
                                    .was_stopped_cleanly = layout.was_stopped_cleanly != 0,
                                    .journal_key = layout.journal_key,
                                    .incompatible_features = layout.incompatible_features,
                                    .compatible_features = layout.compatible_features,
                                    .cluster_level = layout.cluster_level},
                          .sequence = layout.sequence};
  for (uint32_t i = 0; i < layout.controller_count; ++i) {
    parsed.facts.controllers.push_back({BrokerId(layout.controllers[i].broker),
                                        Incarnation(layout.controllers[i].incarnation),
                                        ReplicaNumber(layout.controllers[i].number)});
  }
  return parsed;
}

Result<FoundSuperblock> FindSuperblock(std::string_view file) {
  const std::string_view first = file.substr(0, kCopySize);
  const std::string_view second = file.substr(std::min<size_t>(file.size(), kCopySize));
  const bool is_second_newer = SuperblockSequence(second) > SuperblockSequence(first);
  Result<ParsedSuperblock> newest = ParseSuperblock(is_second_newer ? second : first);
  const bool is_lost = newest.status().code() == Code::kDataLoss;
  if (is_lost) return newest.status().With("SUPERBLOCK, of which neither copy is whole");
  if (!newest.ok()) return newest.status().With(kFile);
  FoundSuperblock found{.newest = std::move(*newest), .damaged_copy = std::nullopt};
  if (!SuperblockSequence(is_second_newer ? first : second).has_value()) {
    found.damaged_copy = is_second_newer ? 0 : 1;
  }
  return found;
}

namespace {

// Each by itself: a sector that cannot be read takes no more than its copy. What of the file could
// be read is given to `done`, or the error if that is nothing. `file` must stay until then.
void ReadCopies(File& file, MoveFunction<void(Result<std::string>)> done) {
  file.Read(0, kCopySize, [&file, done = std::move(done)](Result<Bytes> first) mutable {
    LOG_IF(WARNING, !first.ok()) << "the first copy in SUPERBLOCK cannot be read: "
                                 << first.status();
    file.Read(
        kCopySize, kCopySize,
        [first = std::move(first), done = std::move(done)](const Result<Bytes>& second) mutable {
          LOG_IF(WARNING, !second.ok())
              << "the second copy in SUPERBLOCK cannot be read: " << second.status();
          if (!first.ok() && !second.ok()) return done(first.status());
          std::string copies(first.ok() ? first->view() : std::string_view());
          if (second.ok() && second->size() > 0) {
            copies.resize(kCopySize);
            copies += second->view();
          }
          done(std::move(copies));
        });
  });
}

void ReadFile(FileSystem& files, Superblock::ReadDone done) {
  files.Open(kFile, OpenMode::kRead, Caching::kPageCache,
             [done = std::move(done)](Result<std::unique_ptr<File>> opened) mutable {
               if (!opened.ok()) return done(opened.status());
               const std::shared_ptr<File> file = std::move(*opened);  // with the read
               ReadCopies(*file,
                          [file, done = std::move(done)](Result<std::string> copies) mutable {
                            if (!copies.ok()) return done(copies.status());
                            done(FindSuperblock(*copies));
                          });
             });
}

}  // namespace

void Superblock::Read(FileSystem& files, ReadDone done) {
  files.List(
      "", [files = &files, done = std::move(done)](Result<std::vector<std::string>> names) mutable {
        if (!names.ok()) return done(names.status());
        if (Has(*names, kFile)) return ReadFile(*files, std::move(done));
        if (Status status = CheckHoldsNoData(*names); !status.ok()) return done(std::move(status));
        done(
            NotFound("it holds no SUPERBLOCK and no data: no data directory, or one whose broker "
                     "has not started yet"));
      });
}

class Superblock::Opener : public std::enable_shared_from_this<Superblock::Opener> {
 public:
  Opener(FileSystem& files, Expectation expectation, Random random, OpenedDone done)
      : files_(&files),
        expectation_(std::move(expectation)),
        random_(random),
        done_(std::move(done)) {}

  void Start() {
    files_->List("", [self = shared_from_this()](Result<std::vector<std::string>> names) {
      if (!names.ok()) return self->done_(names.status());
      self->OnListed(*names);
    });
  }

 private:
  void OnListed(const std::vector<std::string>& names) {
    if (Has(names, kFile)) return Read();
    if (Status status = CheckHoldsNoData(names); !status.ok()) return done_(std::move(status));
    if (!Has(names, kNewFile)) return Create();
    // Its making was interrupted before anything could depend on it.
    files_->Remove(kNewFile, [self = shared_from_this()](Status removed) {
      if (!removed.ok()) return self->done_(std::move(removed));
      self->Create();
    });
  }

  void Read() {
    files_->Open(kFile, OpenMode::kReadWrite, Caching::kPageCache,
                 [self = shared_from_this()](Result<std::unique_ptr<File>> file) {
                   if (!file.ok()) return self->done_(file.status());
                   self->file_ = std::move(*file);
                   ReadCopies(*self->file_, [self](Result<std::string> copies) {
                     if (!copies.ok()) return self->done_(copies.status());
                     self->OnRead(*copies);
                   });
                 });
  }

  void OnRead(std::string_view bytes) {
    const Result<FoundSuperblock> found = FindSuperblock(bytes);
    if (!found.ok()) return done_(found.status());
    LOG_IF(WARNING, found->damaged_copy.has_value())
        << "one of the two copies in SUPERBLOCK is damaged, by a crash in its write or by the "
           "disk; "
           "the other is taken";
    const SuperblockFacts& facts = found->newest.facts;
    if (facts.cluster_name != expectation_.cluster_name) {
      return done_(FailedPrecondition("the data directory belongs to cluster \"" +
                                          facts.cluster_name + "\", not \"" +
                                          expectation_.cluster_name + "\"",
                                      Reason::kClusterMismatch));
    }
    if (facts.broker != expectation_.broker) {
      return done_(FailedPrecondition("the data directory belongs to broker " +
                                      std::to_string(facts.broker.value()) + ", not broker " +
                                      std::to_string(expectation_.broker.value())));
    }
    Finish(facts, found->newest.sequence);
  }

  void Create() {
    facts_ = {.cluster_name = expectation_.cluster_name,
              .broker = expectation_.broker,
              .incarnation = Incarnation(random_.Next() | 1),
              .boot_epoch = BootEpoch(0),
              .stage = BootstrapStage::kFresh,
              .cluster_uuid = 0,
              .controllers = {},
              .was_stopped_cleanly = false,
              .journal_key = random_.Next() | 1,
              .incompatible_features = 0,
              .compatible_features = 0,
              .cluster_level = 0};
    files_->Open(kNewFile, OpenMode::kCreate, Caching::kPageCache,
                 [self = shared_from_this()](Result<std::unique_ptr<File>> file) {
                   if (!file.ok()) return self->done_(file.status());
                   self->file_ = std::move(*file);
                   self->file_->Write(
                       0, {EncodeSuperblock(self->facts_, 1), EncodeSuperblock(self->facts_, 2)},
                       [self](Status status) { self->OnWritten(status); });
                 });
  }

  void OnWritten(const Status& written) {
    if (!written.ok()) return done_(written);
    file_->Sync([self = shared_from_this()](Status synced) {
      if (!synced.ok()) return self->done_(std::move(synced));
      self->files_->Rename(kNewFile, kFile, [self](Status renamed) {
        if (!renamed.ok()) return self->done_(std::move(renamed));
        self->files_->SyncDirectory("", [self](Status status) {
          if (!status.ok()) return self->done_(std::move(status));
          self->Finish(self->facts_, 2);
        });
      });
    });
  }

  // Counts the boot, durably.
  void Finish(SuperblockFacts facts, uint64_t sequence) {
    superblock_.reset(new Superblock(std::move(file_), facts, sequence));
    facts.boot_epoch = BootEpoch(facts.boot_epoch.value() + 1);
    facts.was_stopped_cleanly = false;
    superblock_->Update(facts, [self = shared_from_this()](Status status) {
      if (!status.ok()) return self->done_(std::move(status));
      self->done_(std::move(self->superblock_));
    });
  }

  FileSystem* files_;
  const Expectation expectation_;
  Random random_;
  OpenedDone done_;
  std::unique_ptr<File> file_;
  SuperblockFacts facts_;
  std::unique_ptr<Superblock> superblock_;
};

void Superblock::Open(FileSystem& files, const Expectation& expectation, Random random,
                      OpenedDone done) {
  std::make_shared<Opener>(files, expectation, random, std::move(done))->Start();
}

// Both copies, one after the other: if either is lost later, the other says the same. The copy with
// the larger sequence is not touched before the one beside it is durable.
void Superblock::Update(const SuperblockFacts& facts, StatusDone done) {
  facts_ = facts;
  WriteCopy([this, done = std::move(done)](Status first) mutable {
    if (!first.ok()) return done(std::move(first));
    WriteCopy(std::move(done));
  });
}

void Superblock::WriteCopy(StatusDone done) {
  ++sequence_;
  const uint64_t at = (sequence_ + 1) % 2 * kCopySize;
  file_->Write(at, {EncodeSuperblock(facts_, sequence_)},
               [this, done = std::move(done)](Status written) mutable {
                 if (!written.ok()) return done(std::move(written));
                 file_->Sync(std::move(done));
               });
}

}  // namespace millrace::storage
