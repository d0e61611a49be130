#include "tests/simulation/broker/nemesis.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/coverage.h"
#include "proto/frame/frame.h"
#include "storage/segment/format.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;

Status InputOutputError() { return Unavailable("Input/output error"); }

}  // namespace

Nemesis::Nemesis(SimWorld& world, SimCluster& cluster, const Swarm& swarm, uint64_t seed,
                 Environment environment)
    : world_(world),
      cluster_(cluster),
      swarm_(swarm),
      environment_(std::move(environment)),
      restarts_(StreamOf(seed, "restarts")),
      drops_(StreamOf(seed, "drops")) {
  const std::pair<FaultClass, Fault> faults[] = {
      {FaultClass::kKills, &Nemesis::KillOne},
      {FaultClass::kPowerLoss, &Nemesis::CutPower},
      {FaultClass::kCrashInside, &Nemesis::CrashInside},
      {FaultClass::kPartitions, &Nemesis::Partition},
      {FaultClass::kBridges, &Nemesis::Bridge},
      {FaultClass::kResets, &Nemesis::Reset},
      {FaultClass::kSlowLinks, &Nemesis::SlowLink},
      {FaultClass::kSlowDisks, &Nemesis::SlowDisk},
      {FaultClass::kStalls, &Nemesis::Stall},
      {FaultClass::kFullDisks, &Nemesis::FillDisk},
      {FaultClass::kAllDisksFull, &Nemesis::FillAllDisks},
      {FaultClass::kJournalErrors, &Nemesis::FailJournal},
      {FaultClass::kPassingErrors, &Nemesis::FailForAWhile},
      {FaultClass::kBadDisk, &Nemesis::DamageDisk},
      {FaultClass::kSegmentRot, &Nemesis::RotSegments},
      {FaultClass::kPauses, &Nemesis::Pause},
      {FaultClass::kSlowClients, &Nemesis::PauseClient},
      {FaultClass::kClocks, &Nemesis::ShiftClock},
      {FaultClass::kWrongClock, &Nemesis::ThrowClockOff}};
  for (const auto& [fault, strike] : faults) {
    if (!swarm_.Has(fault)) continue;
    Class& added = classes_.emplace_back(
        Class{.fault = fault, .strike = strike, .random = StreamOf(seed, NameOf(fault)).Fork()});
    added.pace_ms = added.random.Between(200, 4000);
  }
  cluster_.SetDeathListener([this](size_t broker, const Status& why) { OnDeath(broker, why); });
}

void Nemesis::Start() {
  is_on_ = true;
  for (size_t at = 0; at < classes_.size(); ++at) Arm(at);
}

void Nemesis::Arm(size_t at) {
  Class& fault = classes_[at];
  world_.After(milliseconds(fault.random.Between(1, 2 * fault.pace_ms)), [this, at] {
    if (!is_on_) return;
    ++counts_.faults;
    (this->*classes_[at].strike)(classes_[at].random);
    Arm(at);
  });
}

Duration Nemesis::Span(Random& random, uint64_t low_ms, uint64_t high_ms) {
  const uint64_t high = random.OneIn(5) ? high_ms : std::max(low_ms, high_ms / 10);
  return milliseconds(random.Between(low_ms, high));
}

void Nemesis::Later(Duration delay, std::function<void()> end) {
  world_.After(delay, [this, round = round_, end = std::move(end)] {
    if (round == round_) end();
  });
}

void Nemesis::Heal() {
  ++round_;
  Note("heal");
  world_.HealAll();
  for (const std::string& client : environment_.clients) world_.process(client).Resume();
  for (size_t i = 0; i < cluster_.size(); ++i) {
    SimDisk& disk = cluster_.disk(i);
    disk.ForgetCrash();
    disk.ForgetFaults();
    disk.SetSlowness(Duration(0), Duration(0));
    disk.SetCapacity(UINT64_MAX);
    disk.Resume();
    cluster_.process(i).SetDrift(0);
    cluster_.process(i).Resume();
    for (size_t j = 0; j < i; ++j) world_.SetLink(cluster_.host(i), cluster_.host(j), {});
    if (!cluster_.is_up(i)) RestartLater(i, Duration(1));
  }
}

void Nemesis::OnDeath(size_t broker, const Status& why) {
  MILLRACE_SOMETIMES_IF("an I/O error ended a broker",
                        why.message().find("Input/output") != std::string::npos);
  Note(cluster_.host(broker) + " ended by itself: " + why.ToString());
  RestartLater(broker, milliseconds(restarts_.Between(10, 1000)));
}

void Nemesis::RestartLater(size_t broker, Duration delay) {
  if (!restarting_.insert(broker).second) return;
  world_.After(delay, [this, broker] {
    restarting_.erase(broker);
    if (cluster_.is_up(broker)) return;
    Note("start " + cluster_.host(broker));
    cluster_.Start(broker);
  });
}

void Nemesis::Kill(size_t broker, bool power_loss) {
  environment_.before_loss();
  Note("kill " + cluster_.host(broker) + (power_loss ? " with power loss" : ""));
  ++counts_.kills;
  counts_.power_losses += power_loss ? 1 : 0;
  cluster_.Kill(broker, power_loss);
}

void Nemesis::KillOne(Random& random) {
  const size_t broker = Anyone(random);
  const Duration down = Span(random, 10, 5000);
  const bool is_stop = random.OneIn(3);
  const Duration grace = Span(random, 1, 2000);
  if (!cluster_.is_up(broker)) return;
  if (is_stop && cluster_.is_serving(broker)) return StopOne(broker, grace, down);
  Kill(broker, /*power_loss=*/false);
  RestartLater(broker, down);
}

void Nemesis::StopOne(size_t broker, Duration grace, Duration down) {
  Note("stop " + cluster_.host(broker));
  cluster_.Stop(broker);
  world_.After(grace, [this, broker, down] {
    if (!cluster_.is_up(broker)) return;
    Kill(broker, /*power_loss=*/false);
    RestartLater(broker, down);
  });
}

void Nemesis::CutPower(Random& random) {
  const bool is_all = random.OneIn(3);
  const size_t one = Anyone(random);
  size_t lost = 0;
  for (size_t i = 0; i < cluster_.size(); ++i) {
    const Duration down = Span(random, 10, 5000);
    if ((!is_all && i != one) || !cluster_.is_up(i)) continue;
    Kill(i, /*power_loss=*/true);
    RestartLater(i, down);
    ++lost;
  }
  MILLRACE_SOMETIMES_IF("all brokers lost power at once", lost > 1 && lost == cluster_.size());
}

void Nemesis::CrashInside(Random& random) { CrashWithin(random, 60); }

void Nemesis::OnDeletion() {
  if (is_on_ && swarm_.Has(FaultClass::kCrashInside) && drops_.OneIn(3)) CrashWithin(drops_, 15);
}

void Nemesis::CrashWithin(Random& random, uint64_t operations_max) {
  const size_t broker = Anyone(random);
  const uint64_t operation = random.Between(1, operations_max);
  const bool power_loss = random.OneIn(2);
  const Duration down = Span(random, 10, 3000);
  if (!cluster_.is_up(broker)) return;
  cluster_.disk(broker).CrashAtOperation(operation, [this, broker, power_loss, down] {
    // In the middle of an operation of that broker: its objects go once it has returned.
    MILLRACE_SOMETIMES("a broker died inside a disk operation");
    cluster_.process(broker).Kill();
    world_.After(Duration(0), [this, broker, power_loss, down] {
      if (!cluster_.is_up(broker)) return;
      Kill(broker, power_loss);
      RestartLater(broker, down);
    });
  });
}

void Nemesis::Partition(Random& random) {
  const size_t a = Anyone(random);
  const size_t b = (a + 1 + random.Below(cluster_.size() - 1)) % cluster_.size();
  const bool one_way = random.OneIn(3);
  const bool is_deaf = random.OneIn(2);
  const bool is_alone = random.OneIn(2);
  ++counts_.partitions;
  Note("partition " + cluster_.host(a) + (one_way ? " -> " : " <-> ") + cluster_.host(b) +
       (is_alone ? " and all" : ""));
  for (size_t i = 0; i < cluster_.size(); ++i) {
    if (i == a || (!is_alone && i != b)) continue;
    const std::string& from = cluster_.host(one_way && is_deaf ? i : a);
    const std::string& to = cluster_.host(one_way && is_deaf ? a : i);
    MILLRACE_SOMETIMES_IF("a link was cut one way",
                          one_way && cluster_.is_up(a) && cluster_.is_up(i));
    world_.Partition(from, to, one_way);
  }
  Later(Span(random, 100, 10'000), [this] { world_.HealAll(); });
}

void Nemesis::Bridge(Random& random) {
  const size_t bridge = Anyone(random);
  const uint64_t sides = random.Next();
  ++counts_.partitions;
  Note("bridge at " + cluster_.host(bridge));
  for (size_t a = 0; a < cluster_.size(); ++a) {
    for (size_t b = 0; b < a; ++b) {
      const bool is_apart = (sides >> a & 1) != (sides >> b & 1);
      if (a == bridge || b == bridge || !is_apart) continue;
      MILLRACE_SOMETIMES_IF("two groups met only through a bridge",
                            cluster_.is_up(a) && cluster_.is_up(b) && cluster_.is_up(bridge));
      world_.Partition(cluster_.host(a), cluster_.host(b));
    }
  }
  Later(Span(random, 100, 10'000), [this] { world_.HealAll(); });
}

void Nemesis::Reset(Random& random) {
  const size_t broker = Anyone(random);
  const size_t other = (broker + 1) % cluster_.size();
  const size_t broken = world_.BreakConnections(cluster_.host(broker), cluster_.host(other));
  MILLRACE_SOMETIMES_IF("connections broke", broken > 0);
}

void Nemesis::SlowLink(Random& random) {
  const std::string a = cluster_.host(Anyone(random));
  const std::string b = cluster_.host(Anyone(random));
  LinkOptions slow{.delay_min = milliseconds(1)};
  slow.delay_max = milliseconds(random.Between(2, 200));
  slow.bytes_per_second = random.Between(50'000, 5'000'000);
  const Duration span = Span(random, 100, 10'000);
  if (a == b) return;
  MILLRACE_SOMETIMES("a link was slow");
  world_.SetLink(a, b, slow);
  Later(span, [this, a, b] { world_.SetLink(a, b, {}); });
}

void Nemesis::SlowDisk(Random& random) {
  const size_t broker = Anyone(random);
  const auto high = milliseconds(random.Between(2, 200));
  Note("slow disk at " + cluster_.host(broker));
  cluster_.disk(broker).SetSlowness(milliseconds(1), high);
  Later(Span(random, 200, 10'000),
        [this, broker] { cluster_.disk(broker).SetSlowness(Duration(0), Duration(0)); });
}

void Nemesis::Stall(Random& random) {
  const size_t broker = Anyone(random);
  Note("stall at " + cluster_.host(broker));
  cluster_.disk(broker).Stall();
  Later(Span(random, 10, 30'000), [this, broker] { cluster_.disk(broker).Resume(); });
}

void Nemesis::LeaveRoom(size_t broker, uint64_t bytes) {
  SimDisk& disk = cluster_.disk(broker);
  disk.SetCapacity(UINT64_MAX);
  disk.SetCapacity(UINT64_MAX - disk.FreeBytes() + bytes);
}

void Nemesis::FillDisk(Random& random) {
  const size_t broker = Anyone(random);
  const Duration span = Span(random, 200, 10'000);
  SimDisk& disk = cluster_.disk(broker);
  Note("full disk at " + cluster_.host(broker));
  // Under the threshold of admission, with room for what others' leaders still send.
  LeaveRoom(broker, cluster_.options().free_bytes_min - 1);
  Later(span / 2,
        [&disk] { disk.FailNext(SimDisk::Kind::kRead, SimDisk::kRoom, InputOutputError()); });
  Later(span, [this, broker] { cluster_.disk(broker).SetCapacity(UINT64_MAX); });
}

// As where all store the same on disks of the same size. Some notice it before there is no byte
// left, and others by a write that finds none; they get room one after the other.
void Nemesis::FillAllDisks(Random& random) {
  const Duration span = Span(random, 1500, 10'000);
  Note("all disks are full");
  for (size_t i = 0; i < cluster_.size(); ++i) {
    const uint64_t few = random.Below(64 << 10);
    LeaveRoom(i, random.OneIn(2) ? few : cluster_.options().free_bytes_min - 1);
    Later(span + milliseconds(random.Below(500)),
          [this, i] { cluster_.disk(i).SetCapacity(UINT64_MAX); });
  }
  Later(span, [this] { LookWhetherAllAreFull(); });  // each has looked by then
}

void Nemesis::LookWhetherAllAreFull() const {
  for (size_t i = 0; i < cluster_.size(); ++i) {
    const bool is_full = cluster_.disk(i).FreeBytes() < cluster_.options().free_bytes_min;
    if (!cluster_.is_serving(i) || !is_full) return;
  }
  MILLRACE_SOMETIMES("the disks of all brokers were full");
}

void Nemesis::FailJournal(Random& random) {
  const size_t broker = Anyone(random);
  const bool is_sync = random.OneIn(2);
  const std::string prefix = random.OneIn(8) ? "SUPERBLOCK" : "journal/";
  cluster_.disk(broker).FailNext(is_sync ? SimDisk::Kind::kSync : SimDisk::Kind::kChange, prefix,
                                 InputOutputError());
}

// Whatever is written, opened or read meanwhile: once the calls work again, all must be there.
void Nemesis::FailForAWhile(Random& random) {
  const Status errors[] = {InputOutputError(),
                           ResourceExhausted("No space left on device", Reason::kDiskFull),
                           ResourceExhausted("Too many open files"),
                           Status(Code::kPermissionDenied, "Read-only file system")};
  const Status error = errors[random.Below(std::size(errors))];
  const bool is_all = random.OneIn(3);
  const size_t one = Anyone(random);
  // A journal that cannot be written ends its broker, so that nothing else would be seen.
  const std::string prefix = random.OneIn(5) ? "" : "groups";
  const uint64_t every = random.Between(1, 6);
  const bool is_full = random.OneIn(4);
  const uint64_t room = random.Below(64 << 10);
  const Duration span = Span(random, 50, 4000);
  const bool is_one_sync = random.OneIn(4);
  for (size_t i = 0; i < cluster_.size(); ++i) {
    if (!is_all && i != one) continue;
    SimDisk& disk = cluster_.disk(i);
    Note("errors for a while at " + cluster_.host(i) + ": " + error.ToString());
    if (is_one_sync) {
      // After writes that succeeded: the kernel has dropped what the next sync calls durable.
      disk.FailNext(SimDisk::Kind::kSync, "groups", InputOutputError());
    } else if (is_full) {
      LeaveRoom(i, room);
    } else {
      disk.FailEvery(every, prefix, error);
    }
    Later(span, [&disk] {
      disk.ForgetFaults();
      disk.SetCapacity(UINT64_MAX);
    });
  }
}

void Nemesis::DamageDisk(Random& random) {
  const size_t broker = swarm_.bad_disk;
  const Duration span = Span(random, 100, 5000);
  if (!cluster_.is_up(broker)) return;
  MarkDamaged(broker);
  Kill(broker, random.OneIn(2));
  Rot(random, broker);
  RestartLater(broker, span);
}

void Nemesis::MarkDamaged(size_t broker) {
  environment_.before_loss();
  environment_.on_damage(broker);
  damaged_.insert(broker);
}

void Nemesis::Rot(Random& random, size_t broker) {
  SimDisk& disk = cluster_.disk(broker);
  std::vector<std::string> paths = disk.DurablePaths();
  if (paths.empty()) return;
  for (uint64_t left = random.Between(1, 4); left > 0; --left) {
    const std::string& path = paths[random.Below(paths.size())];
    const uint64_t size = disk.Content(path).value_or("").size();
    const uint64_t at = random.Next();
    const uint64_t how = random.Below(8);
    if (size == 0) continue;
    MILLRACE_SOMETIMES("a file rotted");
    Note("rot in " + path + " at " + cluster_.host(broker));
    if (how == 0) {
      disk.TruncateFile(path, at % size);
    } else if (how <= 2) {
      disk.Overwrite(path, at % size, std::string(std::min<uint64_t>(512, size - at % size), '\0'));
    } else {
      disk.FlipBit(path, at % size, static_cast<unsigned>(how));
    }
  }
}

// Helical: of each stretch of entries one broker's copy may rot, so that all of them are damaged
// somewhere and every entry is intact on all but one. What is written on stays as it is: what is
// not committed may have no other copy.
void Nemesis::RotSegments(Random& random) {
  const size_t broker = Anyone(random);
  SimDisk& disk = cluster_.disk(broker);
  std::vector<std::string> sealed;
  std::string last;
  for (const std::string& path : disk.DurablePaths()) {
    if (!path.starts_with("groups/") || !path.ends_with(".segment")) continue;
    const auto folder = [](const std::string& file) { return file.substr(0, file.rfind('/')); };
    if (!last.empty() && folder(last) == folder(path)) sealed.push_back(last);
    last = path;
  }
  if (sealed.empty()) return;
  const std::string& path = sealed[random.Below(sealed.size())];
  const std::string content = disk.Content(path).value_or("");
  std::vector<std::pair<uint64_t, uint64_t>> frames;  // position and size
  for (uint64_t at = sizeof(storage::SegmentHeader); at < content.size();) {
    const auto header = ParseFrameHeader(std::string_view(content).substr(at));
    if (!header.ok()) {
      at += kFrameAlignment;  // it rotted before, or it is what the segment is sealed with
      continue;
    }
    const bool is_here = header->index.value() / 8 % cluster_.size() == broker;
    if (is_here) frames.emplace_back(at, kFrameHeaderSize + header->payload_size);
    at += FrameSize(header->payload_size);
  }
  if (frames.empty()) return;
  const auto [at, size] = frames[random.Below(frames.size())];
  MILLRACE_SOMETIMES("a sealed segment rotted");
  has_rotted_segments_ = true;
  Note("a frame rots in " + path + " at " + cluster_.host(broker));
  const bool is_header = random.OneIn(3);
  disk.FlipBit(path, at + random.Below(is_header ? kFrameHeaderSize : size),
               static_cast<unsigned>(random.Below(8)));
}

void Nemesis::Pause(Random& random) {
  const size_t broker = Anyone(random);
  const Duration span = Span(random, 10, 30'000);
  if (!cluster_.is_up(broker)) return;
  MILLRACE_SOMETIMES("a broker stood still");
  Note("pause " + cluster_.host(broker));
  cluster_.process(broker).Pause();
  Later(span, [this, broker] { cluster_.process(broker).Resume(); });
}

void Nemesis::PauseClient(Random& random) {
  MILLRACE_SOMETIMES("a client stood still");
  const std::string& name = environment_.clients[random.Below(environment_.clients.size())];
  world_.process(name).Pause();
  Later(Span(random, 10, 10'000), [this, name] { world_.process(name).Resume(); });
}

void Nemesis::ShiftClock(Random& random) {
  const size_t broker = Anyone(random);
  SimProcess& process = cluster_.process(broker);
  MILLRACE_SOMETIMES_IF("a clock jumped or drifted", cluster_.is_up(broker));
  const int64_t offset_ms = static_cast<int64_t>(random.Below(7'200'000)) - 3'600'000;
  const int64_t drift_ppm = static_cast<int64_t>(random.Below(400'000)) - 200'000;
  if (random.OneIn(2)) {
    process.SetWallOffset(offset_ms);
  } else {
    process.SetDrift(drift_ppm);
  }
}

// Nothing may expire by it. No further: a leader that is a day behind refuses its clients' records,
// and one that is a week ahead stamps what makes it forget their producers.
void Nemesis::ThrowClockOff(Random& random) {
  const size_t broker = swarm_.wrong_clock;
  constexpr int64_t kHourMs = 3'600'000;
  const bool is_ahead = !random.OneIn(3);
  const uint64_t hours = random.Between(1, is_ahead ? 6 * 24 : 23);
  const int64_t ahead_ms = static_cast<int64_t>(hours) * kHourMs;
  const Duration span = Span(random, 1000, 15'000);
  MILLRACE_SOMETIMES_IF("a clock was hours to days off", cluster_.is_up(broker));
  Note("the clock of " + cluster_.host(broker) + " is " + std::to_string(hours) + " hours " +
       (is_ahead ? "ahead" : "behind"));
  cluster_.process(broker).SetWallOffset(is_ahead ? ahead_ms : -ahead_ms);
  Later(span, [this, broker] { cluster_.process(broker).SetWallOffset(0); });
}

}  // namespace millrace::sim
