// What one broker is told at its start, read and checked: main.cc hands each part what it needs.
//
// A value; any thread. Made by LoadServerConfig (server_settings.h) alone, so that whoever holds
// one may rely on it: endpoints are well-formed, the broker is one of the controllers.
//
//   const ServerConfig& config = *loaded;
//   EdgeOptions edge{.listen = config.listen, .message_bytes_max = config.message_bytes_max};
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/base/ids.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/network.h"

namespace millrace::broker::config {

struct Controller {
  BrokerId id;
  Endpoint address;
  auto operator<=>(const Controller&) const = default;
};

enum class LogLevel { kInfo, kWarning, kError };

struct ServerConfig {
  // Who it is, and with whom.
  BrokerId broker_id;
  std::string cluster_name;
  std::string data_dir;
  Endpoint listen;           // clients
  Endpoint internal_listen;  // brokers
  Endpoint advertise;        // what clients are told
  // Sorted by id, `broker_id` among them. A broker that was told of none is its own controller.
  std::vector<Controller> controllers;
  bool is_insecure = false;
  LogLevel log_level = LogLevel::kInfo;
  std::string log_file;  // empty: standard error

  // Tuning.
  Duration election_timeout{};
  Duration heartbeat_interval{};
  uint64_t journal_file_bytes = 0;
  uint64_t journal_bytes_max = 0;
  uint64_t large_write_bytes = 0;
  uint64_t segment_bytes = 0;
  uint64_t tail_bytes_max = 0;
  uint64_t uncommitted_bytes_max = 0;
  uint64_t message_bytes_max = 0;
  uint64_t streams_per_connection_max = 0;
  uint64_t connections_max = 0;
  uint64_t connections_per_address_max = 0;  // 0: a quarter of those there may be
  uint64_t streams_max = 0;
  bool has_reflection = false;
  uint64_t edge_memory_bytes_max = 0;
  uint64_t client_memory_bytes_max = 0;
  uint64_t producers_per_partition_max = 0;
  uint64_t producers_max = 0;
  Duration client_keepalive_interval{};
  uint64_t free_bytes_min = 0;
  Duration scrub_interval{};
  uint64_t scrub_bytes_per_second = 0;
  uint64_t compaction_memory = 0;
  uint64_t compaction_bytes_per_second = 0;
  uint64_t verify_bytes_per_second = 0;
  uint64_t coordinator_memory_bytes_max = 0;
  Duration offsets_retention{};
};

}  // namespace millrace::broker::config
