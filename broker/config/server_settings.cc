#include "broker/config/server_settings.h"

#include <algorithm>
#include <limits>

#include "broker/config/server_check.h"

namespace millrace::broker::config {
namespace {

template <std::string ServerConfig::* field>
Status ReadText(const ServerSetting&, std::string_view text, ServerConfig* config) {
  config->*field = std::string(text);
  return Status::Ok();
}

template <Endpoint ServerConfig::* field>
Status ReadEndpoint(const ServerSetting&, std::string_view text, ServerConfig* config) {
  Result<Endpoint> endpoint = ParseEndpoint(text);
  if (!endpoint.ok()) return endpoint.status();
  if (endpoint->port == 0) return InvalidArgument("\"" + std::string(text) + "\" has port 0");
  config->*field = *std::move(endpoint);
  return Status::Ok();
}

template <bool ServerConfig::* field>
Status ReadSwitch(const ServerSetting&, std::string_view text, ServerConfig* config) {
  const Result<bool> is_on = ParseSwitch(text);
  if (!is_on.ok()) return is_on.status();
  config->*field = *is_on;
  return Status::Ok();
}

template <bool ServerConfig::* field>
Status ReadOnOff(const ServerSetting&, std::string_view text, ServerConfig* config) {
  if (text != "on" && text != "off") {
    return InvalidArgument("\"" + std::string(text) + "\" is neither on nor off");
  }
  config->*field = text == "on";
  return Status::Ok();
}

template <uint64_t ServerConfig::* field>
Status ReadNumber(const ServerSetting& setting, std::string_view text, ServerConfig* config) {
  const Result<uint64_t> number = ParseNumber(setting.kind, text, setting.range);
  if (!number.ok()) return number.status();
  config->*field = *number;
  return Status::Ok();
}

template <Duration ServerConfig::* field>
Status ReadDuration(const ServerSetting& setting, std::string_view text, ServerConfig* config) {
  const Result<uint64_t> ms = ParseNumber(setting.kind, text, setting.range);
  if (!ms.ok()) return ms.status();
  config->*field = std::chrono::milliseconds(*ms);
  return Status::Ok();
}

Status ReadBrokerId(const ServerSetting& setting, std::string_view text, ServerConfig* config) {
  const Result<uint64_t> id = ParseNumber(setting.kind, text, setting.range);
  if (!id.ok()) return id.status();
  config->broker_id = BrokerId(static_cast<uint32_t>(*id));
  return Status::Ok();
}

Status ReadControllers(const ServerSetting& setting, std::string_view text, ServerConfig* config) {
  Result<std::vector<Controller>> controllers = ParseControllers(text, setting.range);
  if (!controllers.ok()) return controllers.status();
  config->controllers = *std::move(controllers);
  return Status::Ok();
}

Status ReadLogLevel(const ServerSetting&, std::string_view text, ServerConfig* config) {
  if (text == "info") {
    config->log_level = LogLevel::kInfo;
  } else if (text == "warning") {
    config->log_level = LogLevel::kWarning;
  } else if (text == "error") {
    config->log_level = LogLevel::kError;
  } else {
    return InvalidArgument("\"" + std::string(text) + "\" is not info, warning or error");
  }
  return Status::Ok();
}

constexpr Range kBrokerIds{.min = 1, .max = std::numeric_limits<uint32_t>::max()};
constexpr Range kAny;

constexpr Range Between(uint64_t min, uint64_t max) { return {.min = min, .max = max}; }

constexpr uint64_t kKiB = 1 << 10;
constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;

std::vector<ServerSetting> IdentityRows() {
  return {
      {"broker_id", Kind::kCount, "ID", "1", kBrokerIds, ReadBrokerId,
       "This broker's number in its cluster; one of those in --controllers."},
      {"cluster", Kind::kText, "NAME", "millrace", kAny, ReadText<&ServerConfig::cluster_name>,
       "The cluster's name, a guard against mixing: brokers of another name are refused. "
       "1 to 64 of a-z A-Z 0-9 . _ -"},
      {"data_dir", Kind::kText, "DIR", "./millrace-data", kAny, ReadText<&ServerConfig::data_dir>,
       "Where everything is kept. Made if it does not exist; one broker at a time may use it."},
      {"listen", Kind::kText, "HOST:PORT", "127.0.0.1:7440", kAny,
       ReadEndpoint<&ServerConfig::listen>, "Where clients connect."},
      {"internal_listen", Kind::kText, "HOST:PORT", "127.0.0.1:7441", kAny,
       ReadEndpoint<&ServerConfig::internal_listen>, "Where the other brokers connect."},
      {"controllers", Kind::kText, "ID@HOST:PORT,...", "", kBrokerIds, ReadControllers,
       "Every broker of the cluster, one, three or five, with its --internal-listen as the others "
       "reach it; the same list on each, and at every start. Without it the broker is a cluster of "
       "its own."},
      {"advertise", Kind::kText, "HOST:PORT", "", kAny, ReadEndpoint<&ServerConfig::advertise>,
       "The address that clients are told to reach this broker at; --listen if not given."},
      {"insecure", Kind::kSwitch, "", "false", kAny, ReadSwitch<&ServerConfig::is_insecure>,
       "Allow listeners outside loopback. Traffic is neither encrypted nor authenticated, so "
       "without this they are refused."},
      {"log_level", Kind::kText, "LEVEL", "info", kAny, ReadLogLevel,
       "What is logged at least: info, warning or error. Info has a line for each change of state "
       "that an operator may care for, never one for a record."},
      {"log_file", Kind::kText, "FILE", "", kAny, ReadText<&ServerConfig::log_file>,
       "Where the log goes; standard error if not given. SIGHUP begins the file anew, after a log "
       "rotator has moved it; without a file, SIGHUP changes nothing."},
  };
}

std::vector<ServerSetting> TuningRows() {
  return {
      {"election_timeout", Kind::kMilliseconds, "TIME", "300ms", Between(100, 60'000),
       ReadDuration<&ServerConfig::election_timeout>,
       "A follower that hears no leader for this long, to twice this long at random, campaigns."},
      {"heartbeat_interval", Kind::kMilliseconds, "TIME", "50ms", Between(25, 10'000),
       ReadDuration<&ServerConfig::heartbeat_interval>,
       "How often a leader is heard at least; at most a third of --election-timeout."},
      {"journal_file_bytes", Kind::kBytes, "SIZE", "32MiB", Between(kMiB, kGiB),
       ReadNumber<&ServerConfig::journal_file_bytes>,
       "Size of one journal file, a multiple of 1MiB."},
      {"journal_bytes_max", Kind::kBytes, "SIZE", "256MiB", Between(4 * kMiB, 64 * kGiB),
       ReadNumber<&ServerConfig::journal_bytes_max>,
       "Live journal bytes past which segments are synced to give files back; bounds the time to "
       "recover. At least four times --journal-file-bytes. It and that may be changed at any "
       "start."},
      {"large_write_bytes", Kind::kBytes, "SIZE", "64KiB", Between(4 * kKiB, kGiB),
       ReadNumber<&ServerConfig::large_write_bytes>,
       "A write to a partition of so many bytes, or what came for it while the one before was "
       "under way, goes straight into its segment, and is written once. Smaller ones go into the "
       "journal and are moved later: twice the bytes, but one sync for all partitions."},
      {"segment_bytes", Kind::kBytes, "SIZE", "64MiB", Between(64 * kKiB, 4 * kGiB),
       ReadNumber<&ServerConfig::segment_bytes>,
       "Size at which a partition's segment is sealed and the next one begun."},
      {"tail_bytes_max", Kind::kBytes, "SIZE", "64MiB", Between(kMiB, 64 * kGiB),
       ReadNumber<&ServerConfig::tail_bytes_max>,
       "Memory for the newest records of all partitions together, from which consumers that keep "
       "up are served."},
      {"uncommitted_bytes_max", Kind::kBytes, "SIZE", "32MiB", Between(8 * kMiB, kGiB),
       ReadNumber<&ServerConfig::uncommitted_bytes_max>,
       "Bytes of one partition that are written and not yet on a majority, past which produce is "
       "throttled."},
  };
}

// What clients may take, and when they are refused.
std::vector<ServerSetting> ClientRows() {
  return {
      {"message_bytes_max", Kind::kBytes, "SIZE", "4MiB", Between(4 * kMiB, 64 * kMiB),
       ReadNumber<&ServerConfig::message_bytes_max>,
       "Largest message that a client may send; a call with a larger one ends with "
       "RESOURCE_EXHAUSTED."},
      {"streams_per_connection_max", Kind::kCount, "N", "1000", Between(100, 1'000'000),
       ReadNumber<&ServerConfig::streams_per_connection_max>,
       "Calls and streams that one client connection may have open. Further ones wait in the "
       "client, without a word of it: gRPC queues them until others end. GetServerInfo tells the "
       "number; a program that needs more opens another channel with a connection of its own, as "
       "the C++ library does by itself."},
      {"connections_max", Kind::kCount, "N", "10000", Between(1, 1'000'000),
       ReadNumber<&ServerConfig::connections_max>,
       "Client connections at once; further ones are closed at once. At most a quarter of the "
       "process's limit of open files, which is raised to what the system allows."},
      {"connections_per_address_max", Kind::kCount, "N", "", Between(1, 1'000'000),
       ReadNumber<&ServerConfig::connections_per_address_max>,
       "Client connections of one address (IPv6: of one network of 64 bits) at once; further ones "
       "are closed at once. A quarter of those that there may be, if not given; loopback has no "
       "such bound. Where all clients come through one proxy or gateway, set it as high as "
       "--connections-max. New connections are bounded, too: 200 a second after 1,000 at once, and "
       "a quarter of that for one address."},
      {"streams_max", Kind::kCount, "N", "20000", Between(1, 10'000'000),
       ReadNumber<&ServerConfig::streams_max>,
       "Calls and streams that all clients together may have open; further ones are refused with "
       "RESOURCE_EXHAUSTED. An idle one takes 16 KiB of memory."},
      {"reflection", Kind::kText, "on|off", "on", kAny, ReadOnOff<&ServerConfig::has_reflection>,
       "Whether tools such as grpcurl may ask for the services and their messages "
       "(grpc.reflection, v1 and v1alpha)."},
      {"edge_memory_bytes_max", Kind::kBytes, "SIZE", "256MiB", Between(16 * kMiB, 64 * kGiB),
       ReadNumber<&ServerConfig::edge_memory_bytes_max>,
       "Memory for the buffers of client connections, unfinished messages among them; past it, "
       "connections that hold much are closed."},
      {"client_memory_bytes_max", Kind::kBytes, "SIZE", "256MiB", Between(16 * kMiB, 64 * kGiB),
       ReadNumber<&ServerConfig::client_memory_bytes_max>,
       "Memory for batches on their way from clients (a quarter) and to them (half), and for what "
       "Fetch streams read (a quarter). Each stream may hold an eighth of what is free."},
      {"producers_per_partition_max", Kind::kCount, "N", "10000", Between(16, 50'000),
       ReadNumber<&ServerConfig::producers_per_partition_max>,
       "Producers that a partition remembers, so that a retry of theirs is stored once; past it "
       "the "
       "one that was silent longest is forgotten, and goes on under a new epoch. 150 to 520 bytes "
       "each."},
      {"producers_max", Kind::kCount, "N", "200000", Between(1000, 100'000'000),
       ReadNumber<&ServerConfig::producers_max>,
       "Producers that all partitions of this broker remember together; past it those that were "
       "silent longest are forgotten."},
      {"client_keepalive_interval", Kind::kMilliseconds, "TIME", "30s", Between(1000, 3'600'000),
       ReadDuration<&ServerConfig::client_keepalive_interval>,
       "A client connection that was silent for so long is asked for a sign of life, and closed "
       "when none comes within ten seconds."},
      {"free_bytes_min", Kind::kBytes, "SIZE", "64MiB", Between(kMiB, 1024 * kGiB),
       ReadNumber<&ServerConfig::free_bytes_min>,
       "Free space of the data directory's file system below which produce is refused with "
       "RESOURCE_EXHAUSTED (DISK_FULL), while reads go on."},
      {"scrub_interval", Kind::kMilliseconds, "TIME", "1d", Between(1000, 30ULL * 86'400'000),
       ReadDuration<&ServerConfig::scrub_interval>,
       "How often all sealed segments are read through, past the page cache, so that damage is "
       "found and repaired from other replicas while these are whole."},
      {"scrub_bytes_per_second", Kind::kBytes, "SIZE", "16MiB", Between(0, kGiB),
       ReadNumber<&ServerConfig::scrub_bytes_per_second>,
       "No faster than that; 0: never. Damage is then found by who reads what is damaged."},
      {"compaction_memory", Kind::kBytes, "SIZE", "64MiB", Between(64 << 10, 16 * kGiB),
       ReadNumber<&ServerConfig::compaction_memory>,
       "Memory for the keys of the partition that is being compacted, some 27 bytes a key. With "
       "less than all keys take, its files are gone through more than once."},
      {"compaction_bytes_per_second", Kind::kBytes, "SIZE", "208MiB", Between(0, 4 * kGiB),
       ReadNumber<&ServerConfig::compaction_bytes_per_second>,
       "What compaction reads, no faster than that; 0: nothing is compacted on this broker, and no "
       "tombstone goes from partitions that it has a replica of."},
      {"verify_bytes_per_second", Kind::kBytes, "SIZE", "640MiB", Between(8 * kMiB, 4 * kGiB),
       ReadNumber<&ServerConfig::verify_bytes_per_second>,
       "What `millrace partition verify` has this broker read, no faster than that; a fifth of it "
       "while live records are written."},
      {"coordinator_memory_bytes_max", Kind::kBytes, "SIZE", "1GiB", Between(kMiB, 64 * kGiB),
       ReadNumber<&ServerConfig::coordinator_memory_bytes_max>,
       "Memory for the groups and transactional ids that this broker has a replica of: some 35 "
       "bytes "
       "a partition that a group committed, 400 a transactional id. Past it no new group or "
       "transactional id is taken, and no new partition in commits and transactions."},
      {"offsets_retention", Kind::kMilliseconds, "TIME", "7d", Between(1000, 3650ULL * 86'400'000),
       ReadDuration<&ServerConfig::offsets_retention>,
       "How long what a group committed is kept once it has no members and commits no more."},
  };
}

// What was told about `setting`, and by what; the default and the flag's name if nothing was.
struct Told {
  std::string_view text;
  std::string by;
};

Told FindTold(const ServerSetting& setting, const Texts& flags, const Texts& environment) {
  if (auto flag = flags.find(setting.name); flag != flags.end()) {
    return {flag->second, FlagOf(setting)};
  }
  const std::string variable = VariableOf(setting);
  if (auto found = environment.find(variable);
      found != environment.end() && !found->second.empty()) {
    return {found->second, variable};
  }
  return {setting.default_text, FlagOf(setting)};
}

}  // namespace

const std::vector<ServerSetting>& ServerSettingTable() {
  static const std::vector<ServerSetting> kTable = [] {
    std::vector<ServerSetting> rows = IdentityRows();
    for (const auto& more : {TuningRows(), ClientRows()}) {
      rows.insert(rows.end(), more.begin(), more.end());
    }
    return rows;
  }();
  return kTable;
}

std::string FlagOf(const ServerSetting& setting) {
  std::string flag = "--" + std::string(setting.name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string VariableOf(const ServerSetting& setting) {
  std::string variable = "MILLRACE_" + std::string(setting.name);
  std::transform(variable.begin(), variable.end(), variable.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return variable;
}

Result<ServerConfig> LoadServerConfig(const Texts& flags, const Texts& environment) {
  ServerConfig config;
  for (const ServerSetting& setting : ServerSettingTable()) {
    const Told told = FindTold(setting, flags, environment);
    if (told.text.empty() && setting.default_text.empty() && !flags.contains(setting.name))
      continue;
    if (told.text.empty()) return InvalidArgument(told.by + ": the value is empty");
    const Status status = setting.read(setting, told.text, &config);
    if (!status.ok()) return status.With(told.by);
  }
  FillDerived(&config);
  const Status status = CheckServerConfig(config);
  if (!status.ok()) return status;
  return config;
}

}  // namespace millrace::broker::config
