#include "raft/net/handshake.h"

#include <algorithm>
#include <string>
#include <utility>

#include "raft/net/complaints.h"

namespace millrace::raft::net {
namespace {

// The key of a Status's metadata that Telling adds.
constexpr std::string_view kTold = "told";
constexpr std::string_view kToldNothing = "refused; the log of the refusing broker says why";

// "broker 2 of cluster "a"": both sides of every refusal. A stranger may have sent any name.
std::string Describe(uint32_t broker, const std::string& cluster) {
  return "broker " + std::to_string(broker) + " of cluster \"" + Printable(cluster) + '"';
}

// A range that is absent is [1, 1].
VersionRange RangeOf(uint32_t min, uint32_t max) {
  if (min == 0 && max == 0) return {};
  return {.min = min, .max = max};
}
VersionRange FormatsOf(const wire::Hello& hello) {
  return RangeOf(hello.format_min(), hello.format_max());
}
VersionRange LevelsOf(const wire::Hello& hello) {
  return RangeOf(hello.level_min(), hello.level_max());
}

std::string ToString(const VersionRange& range) {
  return std::to_string(range.min) + " to " + std::to_string(range.max);
}

// Also false where the ends of one are the wrong way round.
bool Meet(const VersionRange& a, const VersionRange& b) {
  return std::max(a.min, b.min) <= std::min(a.max, b.max);
}

Status CheckVersions(const PeerTransportOptions& options, const wire::Hello& hello,
                     const std::string& pair) {
  if (hello.format_version() != kHelloFormatVersion) {
    return Telling(FailedPrecondition(pair + ": the latter's Hello has form " +
                                      std::to_string(hello.format_version()) + ", which is not " +
                                      std::to_string(kHelloFormatVersion)),
                   "the form of the Hello is not known here");
  }
  if (const VersionRange formats = FormatsOf(hello); !Meet(options.formats, formats)) {
    return Telling(FailedPrecondition(pair + " have no peer format in common: they speak " +
                                      ToString(options.formats) + " and " + ToString(formats)),
                   "the two brokers have no peer format in common");
  }
  const uint32_t known = options.cluster_level ? options.cluster_level() : 0;
  const VersionRange needed =
      known == 0 ? options.levels : VersionRange{.min = known, .max = known};
  if (const VersionRange levels = LevelsOf(hello); !Meet(needed, levels)) {
    return Telling(FailedPrecondition(pair + " have no feature level in common: needed is " +
                                      ToString(needed) + ", the latter knows " + ToString(levels)),
                   "the broker does not know the feature level that is needed");
  }
  return Status::Ok();
}

uint64_t ClusterUuid(const PeerTransportOptions& options) {
  return options.cluster_uuid ? options.cluster_uuid() : options.self.cluster_uuid;
}

}  // namespace

wire::Lane ToWire(Lane lane) {
  switch (lane) {
    case Lane::kControl:
      return wire::LANE_CONTROL;
    case Lane::kAppend:
      return wire::LANE_APPEND;
    case Lane::kBulk:
      break;
  }
  return wire::LANE_BULK;
}

Result<Lane> FromWire(wire::Lane lane) {
  if (lane == wire::LANE_CONTROL) return Lane::kControl;
  if (lane == wire::LANE_APPEND) return Lane::kAppend;
  if (lane == wire::LANE_BULK) return Lane::kBulk;
  return InvalidArgument("lane " + std::to_string(static_cast<int>(lane)) + " is not known");
}

wire::Hello MakeHello(const PeerTransportOptions& options, BrokerId receiver, Lane lane,
                      uint64_t session) {
  wire::Hello hello;
  hello.set_format_version(kHelloFormatVersion);
  hello.set_cluster_name(options.cluster_name);
  hello.set_cluster_uuid(ClusterUuid(options));
  hello.set_broker_id(options.self.who.broker.value());
  hello.set_incarnation(options.self.who.incarnation.value());
  hello.set_boot_epoch(options.self.boot_epoch.value());
  hello.set_lane(ToWire(lane));
  hello.set_receiver_broker_id(receiver.value());
  hello.set_session(session);
  hello.set_format_min(options.formats.min);
  hello.set_format_max(options.formats.max);
  hello.set_software_version(options.software_version);
  hello.set_level_min(options.levels.min);
  hello.set_level_max(options.levels.max);
  hello.set_internal_address(options.internal_address);
  return hello;
}

PeerIdentity IdentityOf(const PeerTransportOptions& options, const wire::Hello& hello) {
  return {.who = {BrokerId(hello.broker_id()), Incarnation(hello.incarnation())},
          .boot_epoch = BootEpoch(hello.boot_epoch()),
          .cluster_uuid = hello.cluster_uuid(),
          .format = std::min(options.formats.max, FormatsOf(hello).max),
          .level_max = LevelsOf(hello).max,
          .software_version = Printable(hello.software_version()),
          .internal_address = Printable(hello.internal_address())};
}

Status CheckHello(const PeerTransportOptions& options, const wire::Hello& hello) {
  const BrokerId self = options.self.who.broker;
  const std::string pair = Describe(self.value(), options.cluster_name) + " and " +
                           Describe(hello.broker_id(), hello.cluster_name());
  RETURN_IF_ERROR(CheckVersions(options, hello, pair));
  if (hello.cluster_name() != options.cluster_name) {
    return Telling(
        FailedPrecondition(pair + " belong to different clusters", Reason::kClusterMismatch),
        "the names of the two clusters differ");
  }
  const uint64_t uuid = ClusterUuid(options);
  if (uuid != 0 && hello.cluster_uuid() != 0 && uuid != hello.cluster_uuid()) {
    return Telling(FailedPrecondition(pair + " belong to different clusters: their UUIDs are " +
                                          std::to_string(uuid) + " and " +
                                          std::to_string(hello.cluster_uuid()),
                                      Reason::kClusterMismatch),
                   "the two clusters have one name and different UUIDs");
  }
  if (hello.receiver_broker_id() != self.value()) {
    return Telling(FailedPrecondition(pair + ": the latter means to reach broker " +
                                      std::to_string(hello.receiver_broker_id()) +
                                      "; two brokers share an id, or an address is wrong"),
                   "another broker than the one meant is reached here");
  }
  if (BrokerId(hello.broker_id()) == self) {
    return Telling(FailedPrecondition(pair + " have the same id"), "the two brokers have one id");
  }
  if (!options.peers.contains(BrokerId(hello.broker_id()))) {
    return Telling(
        FailedPrecondition(pair + ": the latter is not among the brokers that the former knows"),
        "the broker's id is not among those known here");
  }
  return FromWire(hello.lane()).status();
}

Status Telling(Status refusal, std::string_view told) {
  return std::move(refusal).AddMetadata(std::string(kTold), std::string(told));
}

wire::Refusal MakeRefusal(const Status& why) {
  wire::Refusal refusal;
  refusal.set_code(static_cast<int>(why.code()));
  refusal.set_message(std::string(kToldNothing));
  for (const auto& [key, told] : why.metadata()) {
    if (key == kTold) refusal.set_message(told);
  }
  return refusal;
}

}  // namespace millrace::raft::net
