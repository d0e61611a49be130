#include "tests/simulation/broker/run_options.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace millrace::sim {

using std::chrono::milliseconds;

std::string RunOptions::Rerun(const std::string& mutant) const {
  std::string command = "simulate_broker --seed=" + std::to_string(seed);
  if (brokers != 0) command += " --brokers=" + std::to_string(brokers);
  for (const FaultClass fault : without) command += " --without=" + std::string(NameOf(fault));
  if (fail_broker != 0) command += " --fail-broker=" + std::to_string(fail_broker);
  if (fail_call != 0) command += " --fail-call=" + std::to_string(fail_call);
  if (fail_with != RunOptions{}.fail_with) command += " --fail-with=" + fail_with;
  if (fail_for != Duration(0))
    command += " --fail-for-ms=" + std::to_string(fail_for / milliseconds(1));
  if (chaos != RunOptions{}.chaos)
    command += " --chaos-ms=" + std::to_string(chaos / milliseconds(1));
  if (!mutant.empty()) command += " --mutant=" + mutant;
  return command;
}

std::optional<Status> RunOptions::FailStatus() const {
  if (fail_with == "EIO") return Unavailable("Input/output error");
  if (fail_with == "ENOSPC") return ResourceExhausted("No space left on device", Reason::kDiskFull);
  if (fail_with == "EMFILE") return ResourceExhausted("Too many open files");
  return std::nullopt;
}

bool RunOptions::SetFlag(std::string_view flag) {
  const size_t equals = std::min(flag.find('='), flag.size());
  const std::string_view name = flag.substr(0, equals);
  const std::string_view value = flag.substr(std::min(equals + 1, flag.size()));
  if (name == "--without") {
    const std::optional<FaultClass> fault = FaultClassNamed(value);
    if (fault.has_value()) without.insert(*fault);
    return fault.has_value();
  }
  if (name == "--fail-with") {
    fail_with = value;
    return FailStatus().has_value();
  }
  uint64_t number = 0;
  const char* end = value.data() + value.size();
  if (std::from_chars(value.data(), end, number) != std::from_chars_result{end, std::errc{}}) {
    return false;
  }
  if (name == "--brokers") {
    brokers = number;
  } else if (name == "--fail-broker") {
    fail_broker = number;
  } else if (name == "--fail-call") {
    fail_call = number;
  } else if (name == "--fail-for-ms") {
    fail_for = milliseconds(number);
  } else if (name == "--chaos-ms") {
    chaos = milliseconds(number);
  } else {
    return false;
  }
  return true;
}

}  // namespace millrace::sim
