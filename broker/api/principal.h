// Who asks for something: known to every handler, and carried along when a broker passes the
// request on.
#pragma once

#include <string>

namespace millrace::broker {

struct Principal {
  // What everybody is until clients are asked who they are.
  static constexpr char kAnonymous[] = "anonymous";

  std::string name = kAnonymous;
  // Where the client's connection comes from; empty where another broker passed the request on.
  std::string peer_address;
};

}  // namespace millrace::broker
