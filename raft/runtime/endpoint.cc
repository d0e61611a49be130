#include <algorithm>
#include <charconv>

#include "raft/runtime/network.h"

namespace millrace {
namespace {

Status NotAnEndpoint(std::string_view text, std::string_view why) {
  return InvalidArgument("\"" + std::string(text) + "\" is not HOST:PORT: " + std::string(why));
}

// Whether `host` is 127.x.y.z; names that merely begin like it are not.
bool IsLoopbackV4(std::string_view host) {
  if (!host.starts_with("127.")) return false;
  return std::all_of(host.begin(), host.end(),
                     [](char c) { return c == '.' || (c >= '0' && c <= '9'); });
}

}  // namespace

std::string Endpoint::ToString() const {
  const bool is_v6 = host.find(':') != std::string::npos;
  return (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool Endpoint::IsLoopback() const {
  return host == "localhost" || host == "::1" || IsLoopbackV4(host);
}

Result<Endpoint> ParseEndpoint(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return NotAnEndpoint(text, "there is no colon");
  std::string_view host = text.substr(0, colon);
  const std::string_view port_text = text.substr(colon + 1);

  const bool is_bracketed = host.starts_with('[') && host.ends_with(']');
  if (is_bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty()) return NotAnEndpoint(text, "the host is empty");
  if (!is_bracketed && host.find(':') != std::string_view::npos) {
    return NotAnEndpoint(text, "an IPv6 address needs brackets");
  }
  if (host.find_first_of("[]/ \t\r\n") != std::string_view::npos) {
    return NotAnEndpoint(text, "the host holds a character that no name or address has");
  }

  uint16_t port = 0;
  const char* end = port_text.data() + port_text.size();
  const auto [parsed_to, error] = std::from_chars(port_text.data(), end, port);
  if (error != std::errc() || parsed_to != end) {
    return NotAnEndpoint(text, "the port is not a number in 0..65535");
  }
  return Endpoint{std::string(host), port};
}

}  // namespace millrace
