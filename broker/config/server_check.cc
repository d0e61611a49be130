#include "broker/config/server_check.h"

#include <algorithm>
#include <string>

namespace millrace::broker::config {
namespace {

constexpr size_t kClusterNameBytesMax = 64;
constexpr uint64_t kJournalFileStep = 1 << 20;

bool IsWildcard(const Endpoint& endpoint) {
  return endpoint.host == "0.0.0.0" || endpoint.host == "::";
}

Result<Controller> ParseController(std::string_view item, Range ids) {
  const std::string quoted = "\"" + std::string(item) + "\"";
  const size_t at = item.find('@');
  if (at == std::string_view::npos) return InvalidArgument(quoted + " is not ID@HOST:PORT");
  const Result<uint64_t> id = ParseNumber(Kind::kCount, item.substr(0, at), ids);
  if (!id.ok()) return id.status().With("the id in " + quoted);
  Result<Endpoint> address = ParseEndpoint(item.substr(at + 1));
  if (!address.ok()) return address.status().With("the address in " + quoted);
  if (address->port == 0) return InvalidArgument("the address in " + quoted + " has port 0");
  return Controller{BrokerId(static_cast<uint32_t>(*id)), *std::move(address)};
}

Status CheckUnique(const std::vector<Controller>& sorted) {
  for (size_t i = 0; i < sorted.size(); ++i) {
    for (size_t j = i + 1; j < sorted.size(); ++j) {
      if (sorted[i].id == sorted[j].id) {
        return InvalidArgument("broker id " + std::to_string(sorted[i].id.value()) +
                               " stands there twice");
      }
      if (sorted[i].address == sorted[j].address) {
        return InvalidArgument("address " + sorted[i].address.ToString() + " stands there twice");
      }
    }
  }
  return Status::Ok();
}

Status CheckClusterName(const std::string& name) {
  const bool is_plain = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
  if (name.empty() || name.size() > kClusterNameBytesMax || !is_plain) {
    return InvalidArgument("--cluster: the name must be 1 to 64 of a-z A-Z 0-9 . _ -");
  }
  return Status::Ok();
}

Status CheckListener(const ServerConfig& config, const Endpoint& listener, std::string_view flag) {
  if (listener.IsLoopback() || config.is_insecure) return Status::Ok();
  return InvalidArgument(std::string(flag) + ": " + listener.ToString() +
                         " is not loopback, and traffic is neither encrypted nor authenticated; "
                         "give --insecure to accept that");
}

Status CheckListeners(const ServerConfig& config) {
  RETURN_IF_ERROR(CheckListener(config, config.listen, "--listen"));
  RETURN_IF_ERROR(CheckListener(config, config.internal_listen, "--internal-listen"));
  if (config.listen == config.internal_listen) {
    return InvalidArgument("--listen and --internal-listen are both " + config.listen.ToString());
  }
  if (IsWildcard(config.advertise)) {
    return InvalidArgument("--advertise: clients cannot connect to " + config.advertise.ToString() +
                           "; give the address that they reach");
  }
  return Status::Ok();
}

// An even number survives no more failures than the odd number below it, and has one more broker
// that can fail.
Status CheckControllerCount(const ServerConfig& config) {
  const size_t count = config.controllers.size();
  if (count == 1 || count == 3 || count == 5) return Status::Ok();
  const std::string names = "--controllers: names " + std::to_string(count) + " brokers; ";
  if (count > 5) return InvalidArgument(names + "a cluster has one, three or five");
  return InvalidArgument(names + "a cluster has one, three or five; with " + std::to_string(count) +
                         " the loss of " + std::to_string(count / 2) + " stops it, just as with " +
                         std::to_string(count - 1));
}

Status CheckMembership(const ServerConfig& config) {
  const bool is_member =
      std::any_of(config.controllers.begin(), config.controllers.end(),
                  [&](const Controller& controller) { return controller.id == config.broker_id; });
  if (is_member) return Status::Ok();
  return InvalidArgument("--broker-id: " + std::to_string(config.broker_id.value()) +
                         " is not among --controllers; until clusters can grow, every broker of "
                         "a cluster is one of its controllers");
}

Status CheckTuning(const ServerConfig& config) {
  if (config.heartbeat_interval * 3 > config.election_timeout) {
    return InvalidArgument(
        "--heartbeat-interval: more than a third of --election-timeout, so that a lost heartbeat "
        "or two would be an election");
  }
  if (config.journal_file_bytes % kJournalFileStep != 0) {
    return InvalidArgument("--journal-file-bytes: not a multiple of 1MiB");
  }
  if (config.journal_bytes_max < 4 * config.journal_file_bytes) {
    return InvalidArgument("--journal-bytes-max: less than four times --journal-file-bytes");
  }
  return Status::Ok();
}

}  // namespace

Result<std::vector<Controller>> ParseControllers(std::string_view text, Range ids) {
  std::vector<Controller> controllers;
  while (true) {
    const size_t comma = text.find(',');
    Result<Controller> controller = ParseController(text.substr(0, comma), ids);
    if (!controller.ok()) return controller.status();
    controllers.push_back(*std::move(controller));
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  std::sort(controllers.begin(), controllers.end());
  RETURN_IF_ERROR(CheckUnique(controllers));
  return controllers;
}

void FillDerived(ServerConfig* config) {
  if (config->advertise == Endpoint()) config->advertise = config->listen;
  if (config->controllers.empty()) {
    config->controllers = {{config->broker_id, config->internal_listen}};
  }
}

Status CheckServerConfig(const ServerConfig& config) {
  RETURN_IF_ERROR(CheckClusterName(config.cluster_name));
  RETURN_IF_ERROR(CheckListeners(config));
  RETURN_IF_ERROR(CheckMembership(config));
  RETURN_IF_ERROR(CheckControllerCount(config));
  return CheckTuning(config);
}

}  // namespace millrace::broker::config
